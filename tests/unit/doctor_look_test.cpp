// SPDX-License-Identifier: BSD-2-Clause
// From the files of a made-up machine to the doctor's findings; and what the trial of kernel programs means.
#include "catch.hpp"
#include "tree.hpp"

#include "app/doctor_look.hpp"
#include "host/sysctl_files.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Ids = std::vector<std::string>;

std::uint32_t own_inode() {
  struct stat status{};
  REQUIRE(stat("/proc/thread-self/ns/net", &status) == 0);
  return static_cast<std::uint32_t>(status.st_ino);
}

constexpr const char* ipv4 = "proc/sys/net/ipv4/";
constexpr const char* netfilter = "proc/sys/net/netfilter/";

/// A machine on which nothing is wrong, whose one namespace has the inode of ours: no other can be entered by a test.
class Machine : public Tree {
 public:
  Machine() {
    for (const auto& [name, value] :
         {std::pair{"tcp_fin_timeout", 60}, std::pair{"tcp_tw_reuse", 2}, std::pair{"tcp_max_tw_buckets", 65'536},
          std::pair{"tcp_max_orphans", 65'536}, std::pair{"tcp_keepalive_time", 7200}, std::pair{"tcp_syncookies", 1},
          std::pair{"tcp_rfc1337", 0}, std::pair{"tcp_abort_on_overflow", 0}, std::pair{"tcp_timestamps", 1}})
      set(ipv4, name, std::to_string(value));
    set(ipv4, "ip_local_port_range", "32768\t60999");
    set(ipv4, "ip_local_reserved_ports", "");
    set("proc/sys/net/core/", "somaxconn", "4096");
    counters("ListenDrops ListenOverflows TCPAbortOnMemory TCPTimeWaitOverflow TW", "0 0 0 0 900");
    orphans(2);
    sockets({});
  }

  void set(std::string folder, std::string_view name, std::string_view value) {
    file(folder + std::string{name}, std::string{value} + "\n");
  }
  void counters(std::string_view names, std::string_view values) {
    file("proc/thread-self/net/netstat",
         "TcpExt: " + std::string{names} + "\nTcpExt: " + std::string{values} + "\nIpExt: InNoRoutes\nIpExt: 0\n");
  }
  void orphans(int count) {
    file("proc/thread-self/net/sockstat",
         "sockets: used 90\nTCP: inuse 5 orphan " + std::to_string(count) + " tw 12 alloc 7 mem 1\n");
  }
  /// Lines of /proc/net/tcp: local, peer, state and the ticks of its timer.
  struct Line {
    const char* local;
    const char* peer;
    const char* state;
    const char* timer = "00:00000000";
  };
  void sockets(const std::vector<Line>& lines) {
    std::string text =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    int number = 0;
    for (const Line& line : lines)
      text += "   " + std::to_string(number++) + ": " + line.local + " " + line.peer + " " + line.state +
              " 00000000:00000000 " + line.timer + " 00000000     0        0 0 3 0000000000000000\n";
    file("proc/thread-self/net/tcp", text);
  }

  [[nodiscard]] NamespaceReport look() const {
    std::vector<std::string> unseen;
    const auto found = look_at_namespaces(root(), {{own_inode(), root() / "proc/thread-self/ns/net", {}}}, unseen);
    CHECK(unseen.empty());
    REQUIRE(found.size() == 1);
    return found[0];
  }
  [[nodiscard]] Ids findings() const {
    Ids ids;
    for (const HostFinding& one : findings_of({{look().health}, configured_sysctls(root())})) ids.push_back(one.id);
    return ids;
  }
};

// 127.0.0.1, 10.0.0.7 and 10.0.0.5, with ports, as the kernel prints them.
constexpr const char* any_8080 = "00000000:1F90";
constexpr const char* nobody = "00000000:0000";
constexpr const char* our_8080 = "0700000A:1F90";
constexpr const char* our_40000 = "0700000A:9C40";
constexpr const char* our_40001 = "0700000A:9C41";
constexpr const char* their_3306 = "0500000A:0CEA";
constexpr const char* their_50000 = "0500000A:C350";
constexpr const char* listen_state = "0A";
constexpr const char* time_wait = "06";
constexpr const char* close_wait = "08";
constexpr const char* thirty_seconds = "03:00000BB8";

}  // namespace

TEST_CASE("doctor: a machine on which nothing is wrong", "[doctor]") { CHECK(Machine{}.findings().empty()); }

TEST_CASE("doctor: settings of a namespace", "[doctor]") {
  for (const auto& [name, value, id] :
       {std::tuple{"tcp_fin_timeout", "15", "fin_timeout_lowered"},
        std::tuple{"tcp_tw_reuse", "1", "tw_reuse_everywhere"},
        std::tuple{"tcp_max_tw_buckets", "5000", "tw_buckets_low"}, std::tuple{"tcp_timestamps", "0", "timestamps_off"},
        std::tuple{"tcp_syncookies", "0", "syncookies_off"}, std::tuple{"tcp_rfc1337", "1", "rfc1337"},
        std::tuple{"tcp_abort_on_overflow", "1", "abort_on_overflow"},
        std::tuple{"tcp_tw_recycle", "1", "tw_recycle_configured"}}) {
    CAPTURE(name);
    Machine machine;
    machine.set(ipv4, name, value);
    CHECK(machine.findings() == Ids{id});
  }
}

TEST_CASE("doctor: counters of a namespace", "[doctor]") {
  for (const auto& [name, id] :
       {std::pair{"TCPTimeWaitOverflow", "tw_overflow"}, std::pair{"TCPAbortOnMemory", "orphans"},
        std::pair{"ListenOverflows", "listen_overflow"}, std::pair{"PAWSEstab", "paws_rejects"},
        std::pair{"TCPAbortOnData", "linger0"}}) {
    CAPTURE(name);
    Machine machine;
    machine.counters(name, "500");
    CHECK(machine.findings() == Ids{id});
    machine.counters(name, "0");
    CHECK(machine.findings().empty());
  }
  Machine machine;
  machine.orphans(40'000);
  CHECK(machine.findings() == Ids{"orphans"});
}

TEST_CASE("doctor: files of sysctl", "[doctor]") {
  Machine machine;
  machine.file("etc/sysctl.d/99-fast.conf", "net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fin_timeout=15\n");
  CHECK(machine.findings() == Ids{"tw_recycle_configured", "fin_timeout_lowered"});
  machine.file("etc/sysctl.d/99-fast.conf", "# net.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fin_timeout=60\n");
  CHECK(machine.findings().empty());
}

TEST_CASE("doctor: connection tracking, CLOSE_WAIT, keepalive", "[doctor]") {
  Machine machine;
  machine.set(netfilter, "nf_conntrack_count", "95");
  machine.set(netfilter, "nf_conntrack_max", "100");
  CHECK(machine.findings() == Ids{"conntrack_full"});
  machine.set(netfilter, "nf_conntrack_count", "5");
  machine.set(netfilter, "nf_conntrack_tcp_timeout_close_wait", "60");
  machine.set(ipv4, "tcp_keepalive_time", "600");
  CHECK(machine.findings().empty());
  machine.sockets({{any_8080, nobody, listen_state}, {our_8080, their_50000, close_wait}});
  CHECK(machine.findings() == Ids{"keepalive", "conntrack_close_wait"});
}

TEST_CASE("doctor: a port that is held by TIME_WAIT alone", "[doctor]") {
  Machine machine;
  machine.sockets({{our_8080, their_50000, time_wait, thirty_seconds},
                   {our_8080, "0500000A:C351", time_wait, "03:00000064"},
                   {our_40000, their_3306, time_wait, thirty_seconds}});
  CHECK(machine.findings() == Ids{"port_held"});
  const NamespaceHealth health = machine.look().health;
  REQUIRE(health.held.size() == 1);
  CHECK(health.held[0].port == 8080);
  CHECK(health.held[0].time_wait == 2);
  CHECK(health.held[0].free_in_ns == 30'000'000'000);
  machine.sockets({{any_8080, nobody, listen_state}, {our_8080, their_50000, time_wait, thirty_seconds}});
  CHECK(machine.findings().empty());
}

TEST_CASE("doctor: a listener in the range, reserved or not", "[doctor]") {
  Machine machine;
  machine.sockets({{our_40000, nobody, listen_state}, {our_40000, their_50000, "01"}});
  CHECK(machine.findings() == Ids{"listener_in_port_range"});
  CHECK(machine.look().health.routes.empty());  // what came in there is no use of a port by connect()
  machine.set(ipv4, "ip_local_reserved_ports", "39000-41000");
  CHECK(machine.findings().empty());
}

TEST_CASE("doctor: ports by route", "[doctor]") {
  Machine machine;
  machine.set(ipv4, "ip_local_port_range", "40000\t40001");
  machine.set(ipv4, "tcp_tw_reuse", "0");
  machine.sockets({{our_40000, their_3306, "01"}});
  CHECK(machine.findings().empty());
  machine.sockets({{our_40000, their_3306, "01"}, {our_40001, their_3306, time_wait, thirty_seconds}});
  CHECK(machine.findings() == Ids{"ports_exhausted"});
  const NamespaceHealth health = machine.look().health;
  REQUIRE(health.routes.size() == 1);
  CHECK(health.routes[0].usable == 2);
  CHECK(health.routes[0].in_use == 2);
  machine.set(ipv4, "tcp_tw_reuse", "1");  // thirty seconds old: it may be taken
  CHECK(machine.look().health.routes[0].in_use == 1);
}

TEST_CASE("doctor: states are counted as ss does", "[doctor]") {
  Machine machine;
  machine.sockets({{any_8080, nobody, listen_state},
                   {our_8080, their_50000, close_wait},
                   {our_40000, their_3306, time_wait, thirty_seconds},
                   {our_40001, their_3306, "05", thirty_seconds}});
  const NamespaceReport report = machine.look();
  const auto count = [&](State state) { return report.states[static_cast<std::size_t>(state)]; };
  CHECK(count(State::listen) == 1);
  CHECK(count(State::close_wait) == 1);
  CHECK(count(State::time_wait) == 1);
  CHECK(count(State::fin_wait2) == 1);
  CHECK(report.health.time_wait == 1);
  CHECK(report.health.close_wait == 1);
  CHECK(report.health.netns == own_inode());
}

TEST_CASE("doctor: what cannot be read is said", "[doctor]") {
  const Tree empty;
  std::vector<std::string> unseen;
  const auto found = look_at_namespaces(empty.root(), {{own_inode(), "", {}}}, unseen);
  REQUIRE(found.size() == 1);
  CHECK(findings_of({{found[0].health}, {}}).empty());
  REQUIRE(unseen.size() == 3);
  CHECK(unseen[0].starts_with("sockets of network namespace"));
  CHECK(unseen[1].starts_with("settings of"));
  CHECK(unseen[2].starts_with("counters of"));
}

TEST_CASE("doctor: a namespace that has gone is nothing unseen", "[doctor]") {
  std::vector<std::string> unseen;
  CHECK(look_at_namespaces("/", {{1, "/nowhere", {}}}, unseen).empty());
  CHECK(unseen.empty());
}

TEST_CASE("doctor: hooks that work, that are absent, that are refused", "[doctor]") {
  using Status = Check::Status;
  const auto check = [](const char* program, int code, HookTry::Step step = HookTry::Step::load) {
    return check_of({program, "tp_btf/some_hook", code, step}, {"ask the host", "ask the kernel"});
  };
  const Check works = check("transition", 0);
  CHECK(works.id == "hook_transition");
  CHECK(works.status == Status::ok);
  CHECK(works.remedy.empty());
  for (const char* needed :
       {"transition", "transition_nested", "send_reset", "destroy", "process_exit", "walk_tcp", "walk_files",
        "walk_sockets", "walk_rows_of_tables", "walk_rows_of_files", "one_of_tomorrow"}) {
    CAPTURE(needed);
    CHECK(check(needed, ENOENT).status == Status::missing);
    CHECK(check(needed, EPERM).status == Status::missing);
  }
  for (const char* optional : {"use_recv", "use_send"}) {
    CHECK(check(optional, ENOENT).status == Status::degraded);
    CHECK(check(optional, EPERM).status == Status::missing);  // it is loaded with the others wherever it exists
  }
  for (const char* optional : {"process_fork", "process_free"})
    CHECK(check(optional, EPERM).status == Status::degraded);
  CHECK(check("walk_tcp", EPERM).remedy == "ask the host");
  CHECK(check("walk_tcp", EINVAL).remedy == "ask the kernel");
  CHECK(check("walk_tcp", EINVAL, HookTry::Step::attach).text.find("attaching fails: Invalid argument") !=
        std::string::npos);
  CHECK(check("walk_tcp", ENOENT).text.find("no such hook") != std::string::npos);
}

TEST_CASE("doctor: sockets are looked at in either way", "[doctor]") {
  using Status = Check::Status;
  const bool storage = GENERATE(true, false);
  const bool tables = GENERATE(true, false);
  const bool files = GENERATE(true, false);
  CAPTURE(storage, tables, files);
  const HookRemedies remedies{"ask the host", "ask the kernel"};
  std::vector<Check> checks;
  for (const auto& [program, works] : {std::pair{"walk_files", false}, std::pair{"walk_rows_of_files", files},
                                       std::pair{"walk_sockets", storage}, std::pair{"walk_rows_of_tables", tables}})
    checks.push_back(check_of({program, "iter/some", works ? 0 : EPERM}, remedies));
  weigh_walks(checks);
  CHECK(checks[0].status == Status::missing);  // whatever the others
  if (storage) {
    for (std::size_t at = 1; at < checks.size(); ++at) CHECK((checks[at].status == Status::ok));
    CHECK(checks[1].remedy.empty());
  } else if (tables && files) {
    CHECK(checks[2].status == Status::degraded);
    CHECK(checks[2].remedy.empty());
  } else {
    CHECK(checks[2].status == Status::missing);
    CHECK(checks[2].remedy == "ask the host");
    CHECK((checks[1].status == Status::ok) == files);
  }
}
