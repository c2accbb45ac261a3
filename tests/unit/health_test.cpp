// SPDX-License-Identifier: BSD-2-Clause
// What is found in a machine's settings and counters: each finding with a case that raises it and one that does not.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/health.hpp>

#include <algorithm>
#include <set>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Severity = HostFinding::Severity;

/// As a kernel of today makes it, on a machine of 32 GiB.
NamespaceHealth fresh(std::uint32_t netns = 4'026'531'840) {
  NamespaceHealth out;
  out.netns = netns;
  out.now.settings.values = {
      {"tcp_fin_timeout", 60},       {"tcp_tw_reuse", 2},         {"tcp_max_tw_buckets", 131'072},
      {"tcp_max_orphans", 131'072},  {"tcp_orphan_retries", 0},   {"tcp_keepalive_time", 7200},
      {"tcp_keepalive_intvl", 75},   {"tcp_keepalive_probes", 9}, {"tcp_syncookies", 1},
      {"tcp_max_syn_backlog", 2048}, {"somaxconn", 4096},         {"tcp_rfc1337", 0},
      {"tcp_abort_on_overflow", 0},  {"tcp_timestamps", 1},       {"tcp_tw_reuse_delay", 1000}};
  out.now.settings.port_range = PortRange{32'768, 60'999};
  out.now.counters = {
      {"TCPTimeWaitOverflow", 0}, {"ListenOverflows", 0}, {"ListenDrops", 0}, {"PAWSEstab", 0}, {"TCPAbortOnMemory", 0},
      {"TCPAbortOnData", 0},      {"TW", 100'000},        {"orphan", 3},      {"tw", 40}};
  return out;
}

std::vector<HostFinding> all_of(const NamespaceHealth& where) { return findings_of({{where}, {}}); }

const HostFinding* find(const std::vector<HostFinding>& findings, std::string_view id) {
  const auto found = std::find_if(findings.begin(), findings.end(), [&](const auto& one) { return one.id == id; });
  return found == findings.end() ? nullptr : &*found;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// The only one that is raised.
HostFinding only(const std::vector<HostFinding>& findings, std::string_view id) {
  CAPTURE(id, findings.size());
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].id == id);
  CHECK(has(findings[0].text, ": "));
  CHECK(findings[0].text.ends_with("."));
  CHECK_FALSE(findings[0].text.ends_with(".."));
  CHECK_FALSE(findings[0].remedy.empty());
  return findings[0];
}

HostFinding only(const NamespaceHealth& where, std::string_view id) { return only(all_of(where), id); }

NamespaceHealth with(const char* name, std::uint64_t value) {
  NamespaceHealth out = fresh();
  out.now.settings.values[name] = value;
  return out;
}

NamespaceHealth counting(const char* name, std::uint64_t value) {
  NamespaceHealth out = fresh();
  out.now.counters[name] = value;
  return out;
}

/// It was `before` a minute ago.
NamespaceHealth rising(const char* name, std::uint64_t before, std::uint64_t now) {
  NamespaceHealth out = counting(name, now);
  out.before = out.now;
  out.before->counters[name] = before;
  out.watched_ns = 60'000'000'000;
  return out;
}

RouteUse route(std::uint64_t usable, std::uint64_t in_use) {
  RouteUse use;
  use.route = route_of(outgoing());
  use.usable = usable;
  use.in_use = in_use;
  use.time_wait = in_use;
  use.sustainable_per_second = static_cast<double>(usable) / 60;
  return use;
}

NamespaceHealth with_route(const RouteUse& use) {
  NamespaceHealth out = fresh();
  out.routes = {use};
  return out;
}

}  // namespace

TEST_CASE("health: a machine at its defaults raises nothing", "[health]") {
  CHECK(all_of(fresh()).empty());
  CHECK(findings_of({}).empty());
  CHECK(all_of({}).empty());  // nothing could be read
  NamespaceHealth busy = fresh();
  busy.time_wait = 40'000;
  busy.close_wait = 12;
  busy.listening = {22, 80, 443, 8080};
  busy.routes = {route(28'232, 20'000)};
  busy.before = busy.now;
  busy.watched_ns = 60'000'000'000;
  CHECK(all_of(busy).empty());
}

TEST_CASE("health: ports that have run out", "[health]") {
  const HostFinding found = only(with_route(route(100, 100)), "ports_exhausted");
  CHECK(found.severity == Severity::critical);
  CHECK(has(found.text, "100 of 100 usable ports from 10.0.0.7 to 10.0.0.5:3306"));
  CHECK(has(found.text, "1.7 connections a second"));
  CHECK(has(found.text, "EADDRNOTAVAIL"));
  CHECK(has(found.remedy, "tcp_tw_reuse=1"));
  CHECK(has(found.avoid, "tcp_fin_timeout"));
  CHECK(all_of(with_route(route(0, 0))).empty());
  RouteUse local = route(100, 100);
  local.route.local = local.route.peer.address = tuple(Role::connect, "127.0.0.1", 1, "127.0.0.1", 2).local.address;
  NamespaceHealth where = with_route(local);
  where.now.settings.values["tcp_tw_reuse"] = 0;
  CHECK(has(only(where, "ports_exhausted").remedy, "tcp_tw_reuse=2"));  // the default is enough there
}

TEST_CASE("health: ports that will run out", "[health]") {
  RouteUse use = route(28'232, 14'000);
  CHECK(all_of(with_route(use)).empty());
  use.seconds_left = 45;
  HostFinding found = only(with_route(use), "ports_soon");
  CHECK(found.severity == Severity::critical);
  CHECK(has(found.text, "none is left in 45 s"));
  CHECK(has(found.text, "471 connections a second"));
  use.seconds_left = 1800;
  found = only(with_route(use), "ports_soon");
  CHECK(found.severity == Severity::warning);
  CHECK(has(found.text, "30 min"));
  use.seconds_left = 200'000;
  CHECK(only(with_route(use), "ports_soon").severity == Severity::info);
  CHECK(only(with_route(route(100, 80)), "ports_soon").severity == Severity::warning);
  CHECK(all_of(with_route(route(100, 79))).empty());
}

TEST_CASE("health: what tcp_tw_reuse can do for ports depends on the settings and the route", "[health]") {
  RouteUse remote = route(100, 100);
  RouteUse local = remote;
  local.route = route_of(tuple(Role::connect, "127.0.0.1", 40'000, "127.0.0.1", 80));
  const auto remedy = [](const RouteUse& use, std::uint64_t reuse, std::uint64_t timestamps = 1,
                         std::uint64_t delay = 1000) {
    NamespaceHealth where = with_route(use);
    where.now.settings.values["tcp_tw_reuse"] = reuse;
    where.now.settings.values["tcp_timestamps"] = timestamps;
    where.now.settings.values["tcp_tw_reuse_delay"] = delay;
    const std::vector<HostFinding> found = all_of(where);
    REQUIRE(find(found, "ports_exhausted") != nullptr);
    return find(found, "ports_exhausted")->remedy;
  };
  CHECK(has(remedy(remote, 0), "tcp_tw_reuse=1 lets"));
  CHECK(has(remedy(remote, 2), "tcp_tw_reuse=1 lets"));
  CHECK(has(remedy(local, 0), "after 1 s"));
  CHECK(has(remedy(local, 0, 1, 250), "after 250 ms"));
  CHECK_FALSE(has(remedy(local, 2), "tcp_tw_reuse"));
  CHECK_FALSE(has(remedy(remote, 1), "tcp_tw_reuse"));
  CHECK(has(remedy(remote, 0, 0), "tcp_timestamps is 0"));
}

TEST_CASE("health: connect() has found no port", "[health]") {
  NamespaceHealth where = fresh();
  CHECK(all_of(where).empty());
  where.without_port = 3;
  const HostFinding found = only(where, "ports_exhausted");
  CHECK(found.severity == Severity::critical);
  CHECK(has(found.text, "3 times while it was watched"));
  CHECK(has(found.text, "EADDRNOTAVAIL"));
}

TEST_CASE("health: a listener in the range of ports", "[health]") {
  NamespaceHealth where = fresh();
  where.listening = {22, 8080, 61'000, 50'000, 40'000};
  const HostFinding found = only(where, "listener_in_port_range");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "Ports 40000 and 50000, which are listened on, lie"));
  CHECK(has(found.text, "32768 to 60999"));
  CHECK(has(found.remedy, "ip_local_reserved_ports"));
  where.now.settings.reserved_ports = {{40'000, 40'000}};
  CHECK(has(only(where, "listener_in_port_range").text, "Port 50000, which is"));
  where.now.settings.reserved_ports.push_back({49'000, 51'000});
  CHECK(all_of(where).empty());
  where.now.settings.reserved_ports.clear();
  where.listening = {22, 8080, 61'000};
  CHECK(all_of(where).empty());
}

TEST_CASE("health: a port that a server could not bind again", "[health]") {
  NamespaceHealth where = fresh();
  where.held = {{8080, 12, 34'000'000'000, "server (pid 812, exited)"}};
  const HostFinding found = only(where, "port_held");
  CHECK(found.text ==
        "Port 8080, on which nobody listens, is held by 12 connections in TIME_WAIT of server (pid 812, exited) for "
        "another 34 s: until they end a server that is started on it without SO_REUSEADDR fails with EADDRINUSE "
        "(\"Address already in use\").");
  CHECK(has(found.remedy, "SO_REUSEADDR"));
  CHECK(has(found.remedy, "had not set it"));
  where.held = {{8080, 1, std::nullopt, ""}};
  CHECK(has(only(where, "port_held").text, "1 connection in TIME_WAIT: until"));
}

TEST_CASE("health: the table of TIME_WAIT was full", "[health]") {
  const HostFinding before = only(counting("TCPTimeWaitOverflow", 7), "tw_overflow");
  CHECK(before.severity == Severity::warning);
  CHECK(has(
      before.text,
      "7 connections since the namespace was made found the table of TIME_WAIT full (tcp_max_tw_buckets 131072): "));
  CHECK(has(before.remedy, "Raise net.ipv4.tcp_max_tw_buckets"));
  CHECK(has(before.avoid, "Lowering"));
  const HostFinding now = only(rising("TCPTimeWaitOverflow", 7, 19), "tw_overflow");
  CHECK(now.severity == Severity::critical);
  CHECK(has(now.text, "12 connections in the last 60 s"));
  // Who has watched tells no history.
  CHECK(all_of(rising("TCPTimeWaitOverflow", 7, 7)).empty());
  CHECK(all_of(counting("TCPTimeWaitOverflow", 0)).empty());
}

TEST_CASE("health: few buckets", "[health]") {
  const HostFinding found = only(with("tcp_max_tw_buckets", 5000), "tw_buckets_low");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "tcp_max_tw_buckets is 5000, and 40 are in use"));
  CHECK(has(found.avoid, "tcp_max_tw_buckets=5000"));
  CHECK(all_of(with("tcp_max_tw_buckets", 4096)).empty());  // the default of a machine of 1 GiB
  CHECK(all_of(with("tcp_max_tw_buckets", 200'000)).empty());
  NamespaceHealth sized = with("tcp_max_tw_buckets", 4096);
  sized.now.settings.values["tcp_ehash_entries"] = 262'144;
  only(sized, "tw_buckets_low");
  sized.now.settings.values["tcp_ehash_entries"] = 8192;
  CHECK(all_of(sized).empty());
  sized.time_wait = 3276;
  CHECK(all_of(sized).empty());
  sized.time_wait = 3277;
  const HostFinding near = only(sized, "tw_buckets_low");
  CHECK(near.severity == Severity::warning);
  CHECK(near.remedy.starts_with("Raise"));
  // Orphans in FIN_WAIT2 are in buckets too.
  sized.time_wait = 0;
  sized.now.counters["tw"] = 4096;
  CHECK(has(only(sized, "tw_buckets_low").text, "and 4096 are in use"));
}

TEST_CASE("health: tcp_fin_timeout has nothing to do with TIME_WAIT", "[health]") {
  const HostFinding found = only(with("tcp_fin_timeout", 15), "fin_timeout_lowered");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "tcp_fin_timeout is 15 s (60 by default): it bounds"));
  CHECK(has(found.text, "compiled in"));
  CHECK(has(found.avoid, "TIME_WAIT"));
  CHECK(all_of(with("tcp_fin_timeout", 60)).empty());
  CHECK(all_of(with("tcp_fin_timeout", 120)).empty());
}

TEST_CASE("health: tcp_tw_reuse and timestamps", "[health]") {
  CHECK(only(with("tcp_tw_reuse", 1), "tw_reuse_everywhere").severity == Severity::info);
  CHECK(all_of(with("tcp_tw_reuse", 0)).empty());
  CHECK(all_of(with("tcp_timestamps", 2)).empty());
  CHECK(only(with("tcp_timestamps", 0), "timestamps_off").severity == Severity::info);
  NamespaceHealth both = with("tcp_timestamps", 0);
  both.now.settings.values["tcp_tw_reuse"] = 1;
  const HostFinding found = only(both, "timestamps_off");
  CHECK(found.severity == Severity::warning);
  CHECK(has(found.text, "tcp_timestamps is 0 while tcp_tw_reuse is 1"));
}

TEST_CASE("health: bad advice in the files of sysctl", "[health]") {
  const auto configured = [](const char* name, const char* value, const NamespaceHealth& where = fresh()) {
    return findings_of(
        {{where}, {{"/etc/sysctl.conf", "net.ipv4.ip_forward", "1"}, {"/etc/sysctl.d/9.conf", name, value}}});
  };
  const HostFinding recycle = only(configured("net.ipv4.tcp_tw_recycle", "1"), "tw_recycle_configured");
  CHECK(recycle.severity == Severity::warning);
  CHECK(has(recycle.text, "/etc/sysctl.d/9.conf sets net.ipv4.tcp_tw_recycle=1: "));
  CHECK(has(recycle.text, "4.12"));
  CHECK(configured("net.ipv4.tcp_tw_recycle", "0").empty());
  CHECK(configured("net.ipv4.tcp_tw_reuse", "1").empty());
  CHECK(only(with("tcp_tw_recycle", 1), "tw_recycle_configured").severity == Severity::critical);
  CHECK(all_of(with("tcp_tw_recycle", 0)).empty());

  CHECK(has(only(configured("net.ipv4.tcp_max_tw_buckets", "5000"), "tw_buckets_low").text, "not in force"));
  CHECK(configured("net.ipv4.tcp_max_tw_buckets", "200000").empty());
  CHECK(configured("net.ipv4.tcp_max_tw_buckets", "many").empty());
  const auto in_force = configured("net.ipv4.tcp_max_tw_buckets", "5000", with("tcp_max_tw_buckets", 5000));
  CHECK(has(only(in_force, "tw_buckets_low").text, "is 5000, set in /etc/sysctl.d/9.conf, and"));

  CHECK(has(only(configured("net/ipv4/tcp_fin_timeout", "15"), "fin_timeout_lowered").text, "not in force"));
  CHECK(configured("net.ipv4.tcp_fin_timeout", "60").empty());
  const auto lowered = configured("net.ipv4.tcp_fin_timeout", "15", with("tcp_fin_timeout", 15));
  CHECK(has(only(lowered, "fin_timeout_lowered").text, "(60 by default), set in /etc/sysctl.d/9.conf: "));
}

TEST_CASE("health: of two lines that set the same the last counts", "[health]") {
  CHECK(findings_of({{fresh()}, {{"/a", "net.ipv4.tcp_fin_timeout", "15"}, {"/b", "net.ipv4.tcp_fin_timeout", "60"}}})
            .empty());
}

TEST_CASE("health: rfc1337", "[health]") {
  CHECK(only(with("tcp_rfc1337", 1), "rfc1337").severity == Severity::info);
  CHECK(all_of(with("tcp_rfc1337", 0)).empty());
}

TEST_CASE("health: what PAWS refuses", "[health]") {
  CHECK(all_of(counting("PAWSEstab", 99)).empty());
  const HostFinding found = only(counting("TCPACKSkippedTimeWait", 100), "paws_rejects");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "100 segments since the namespace was made"));
  CHECK(only(rising("PAWSActive", 4, 5), "paws_rejects").severity == Severity::warning);
  CHECK(all_of(rising("PAWSActive", 5, 5)).empty());
}

TEST_CASE("health: orphans", "[health]") {
  CHECK(all_of(counting("orphan", 65'535)).empty());
  const HostFinding half = only(counting("orphan", 65'536), "orphans");
  CHECK(half.severity == Severity::warning);
  CHECK(has(half.text, "65536 orphaned connections of at most 131072 (tcp_max_orphans)"));
  CHECK(only(counting("orphan", 131'072), "orphans").severity == Severity::critical);
  CHECK(only(counting("TCPAbortOnMemory", 1), "orphans").severity == Severity::warning);
  CHECK(only(rising("TCPAbortOnMemory", 1, 2), "orphans").severity == Severity::critical);
  NamespaceHealth inner = counting("orphan", 131'072);  // which does not show the limit
  inner.now.settings.values.erase("tcp_max_orphans");
  CHECK(all_of(inner).empty());
}

TEST_CASE("health: listeners that drop", "[health]") {
  const HostFinding found = only(counting("ListenOverflows", 3), "listen_overflow");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "3 connections since"));
  CHECK(has(found.remedy, "somaxconn (4096 now)"));
  CHECK(has(found.avoid, "tcp_abort_on_overflow"));
  CHECK(only(rising("ListenOverflows", 3, 5), "listen_overflow").severity == Severity::critical);
  const HostFinding drops = only(counting("ListenDrops", 3), "listen_overflow");
  CHECK(has(drops.text, "3 requests since"));
  NamespaceHealth old = rising("ListenDrops", 3, 5);
  old.now.counters["ListenOverflows"] = 3;
  old.before->counters["ListenOverflows"] = 3;
  CHECK(has(only(old, "listen_overflow").text, "2 requests in"));
}

TEST_CASE("health: settings of listeners", "[health]") {
  const HostFinding cookies = only(with("tcp_syncookies", 0), "syncookies_off");
  CHECK(cookies.severity == Severity::warning);
  CHECK(has(cookies.text, "tcp_max_syn_backlog 2048"));
  CHECK(all_of(with("tcp_syncookies", 2)).empty());
  CHECK(only(with("tcp_abort_on_overflow", 1), "abort_on_overflow").severity == Severity::warning);
  CHECK(all_of(with("tcp_abort_on_overflow", 0)).empty());
}

TEST_CASE("health: SO_LINGER 0", "[health]") {
  CHECK(all_of(counting("TCPAbortOnData", 999)).empty());  // less than one in a hundred
  const HostFinding found = only(counting("TCPAbortOnData", 1000), "linger0");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.avoid, "SO_LINGER 0"));
  CHECK(only(rising("TCPAbortOnData", 1, 11), "linger0").severity == Severity::warning);
  CHECK(only(rising("TCPAbortOnData", 1, 2), "linger0").severity == Severity::info);
}

TEST_CASE("health: keepalive does not cure CLOSE_WAIT", "[health]") {
  NamespaceHealth where = with("tcp_keepalive_time", 600);
  CHECK(all_of(where).empty());
  where.close_wait = 2;
  const HostFinding found = only(where, "keepalive");
  CHECK(found.severity == Severity::info);
  CHECK(has(found.text, "tcp_keepalive_time 600 with 2 sockets in CLOSE_WAIT"));
  where.now.settings.values["tcp_keepalive_time"] = 7200;
  CHECK(all_of(where).empty());
}

TEST_CASE("health: connection tracking", "[health]") {
  NamespaceHealth where = fresh();
  where.now.conntrack = {{"nf_conntrack_count", 749},
                         {"nf_conntrack_max", 1000},
                         {"nf_conntrack_tcp_timeout_close_wait", 60},
                         {"nf_conntrack_tcp_timeout_time_wait", 120}};
  CHECK(all_of(where).empty());
  where.now.conntrack["nf_conntrack_count"] = 750;
  CHECK(only(where, "conntrack_full").severity == Severity::warning);
  where.now.conntrack["nf_conntrack_count"] = 900;
  const HostFinding full = only(where, "conntrack_full");
  CHECK(full.severity == Severity::critical);
  CHECK(has(full.text, "900 of at most 1000"));
  where.now.conntrack["nf_conntrack_count"] = 5;
  where.close_wait = 1;
  const HostFinding forgets = only(where, "conntrack_close_wait");
  CHECK(forgets.severity == Severity::info);
  CHECK(has(forgets.text, "after 60 s, and there is 1 socket in it"));
  where.now.conntrack["nf_conntrack_count"] = 0;  // loaded, and nothing here is tracked
  CHECK(all_of(where).empty());
  where.now.conntrack["nf_conntrack_count"] = 5;
  where.now.conntrack["nf_conntrack_tcp_timeout_close_wait"] = 3600;
  CHECK(all_of(where).empty());
}

TEST_CASE("health: the worst first, each id once", "[health]") {
  NamespaceHealth where = rising("TCPTimeWaitOverflow", 1, 2);
  where.now.settings.values["tcp_fin_timeout"] = 15;
  where.now.settings.values["tcp_syncookies"] = 0;
  where.routes = {route(100, 100), route(100, 90)};
  const std::vector<HostFinding> found = all_of(where);
  std::vector<std::string> ids;
  for (const HostFinding& one : found) ids.push_back(one.id);
  CHECK(ids == std::vector<std::string>{"ports_exhausted", "tw_overflow", "ports_soon", "syncookies_off",
                                        "fin_timeout_lowered"});
}

TEST_CASE("health: many namespaces that say the same say it once", "[health]") {
  MachineHealth machine;
  for (std::uint32_t inode = 1; inode <= 5; ++inode) {
    machine.namespaces.push_back(fresh(inode));
    machine.namespaces.back().now.settings.values["tcp_fin_timeout"] = 15;
  }
  CHECK(has(only(findings_of(machine), "fin_timeout_lowered").text,
            "tcp_fin_timeout is 15 s (60 by default) (network namespaces 1, 2, 3 and 2 more): it bounds"));
  machine.namespaces.resize(2);
  machine.namespaces[1].now.settings.values["tcp_fin_timeout"] = 30;
  CHECK(has(only(findings_of(machine), "fin_timeout_lowered").text,
            "tcp_fin_timeout is 15 s (60 by default) (network namespace 1); tcp_fin_timeout is 30 s (60 by default) "
            "(network namespace 2): it bounds"));
}

TEST_CASE("health: of namespaces that differ the worst comes first", "[health]") {
  MachineHealth machine{{counting("TCPTimeWaitOverflow", 7), rising("TCPTimeWaitOverflow", 1, 3)}, {}};
  machine.namespaces[0].netns = 1;
  machine.namespaces[1].netns = 2;
  const HostFinding found = only(findings_of(machine), "tw_overflow");
  CHECK(found.severity == Severity::critical);
  CHECK(found.text.starts_with("2 connections in the last 60 s"));
  CHECK(has(found.text, "(network namespace 2); 7 connections since"));
}

TEST_CASE("health: of many routes a few are told", "[health]") {
  NamespaceHealth where = fresh();
  for (std::uint64_t more = 0; more < 5; ++more) where.routes.push_back(route(100 + more, 100 + more));
  CHECK(has(only(where, "ports_exhausted").text, "102 of 102 usable ports"));
  CHECK_FALSE(has(only(where, "ports_exhausted").text, "103 of 103 usable ports"));
  CHECK(has(only(where, "ports_exhausted").text, "; and 2 more like these: "));
}

TEST_CASE("health: names", "[health]") {
  CHECK(name(Severity::critical) == "critical");
  CHECK(name(Check::Status::ok) == "ok");
  CHECK(name(Check::Status::degraded) == "degraded");
  CHECK(name(Check::Status::missing) == "missing");
  CHECK(name(Check::Status::unknown) == "unknown");
}
