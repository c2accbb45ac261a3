// SPDX-License-Identifier: BSD-2-Clause
// Tables are full at some time: what finds no room is counted, and what was forgotten makes room.
#include "builders.hpp"
#include "catch.hpp"
#include "sweeps.hpp"
#include "told.hpp"

#include "app/feed.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

Engine::Settings small() {
  Engine::Settings settings;
  settings.keeps_accounts = true;
  settings.connections_limit = settings.listeners_limit = settings.processes_limit = 3;
  settings.rows_limit = settings.namespaces_limit = settings.buckets_limit = 3;
  return settings;
}

SocketRow numbered(std::uint64_t time_ns, std::uint64_t cookie) {
  SocketRow out = row(time_ns, State::established, Attribution::opener, client());
  out.cookie = cookie;
  return out;
}

TcpLook a_look() {
  TcpLook look;
  look.settings.port_range = PortRange{32768, 60999};
  return look;
}

Report report_of(Watched& watched) {
  Engine::ReportHead head;
  head.incomplete_reasons = blind_spots(watched.engine().refusals());
  return watched.engine().report(std::move(head));
}

}  // namespace

TEST_CASE("sockets beyond the limit of a census are counted by the walk that had the most", "[limits]") {
  Watched watched{small()};
  watched.begin();
  for (std::uint64_t walk = 1; walk <= 3; ++walk) {
    const std::uint64_t began = walk * seconds;
    for (std::uint64_t cookie = 1; cookie <= (walk == 2 ? 5U : 4U); ++cookie) watched({numbered(began + 1, cookie)});
    watched({WalkDone{began + 2, began, true}});
  }
  CHECK(watched.engine().refusals().rows == 2);
  const Report report = report_of(watched);
  CHECK(report.states[static_cast<std::size_t>(State::established)] == 3);
  CHECK(report.incomplete_reasons == std::vector<std::string>{"2 sockets found no room in the counts of states"});
}

TEST_CASE("namespaces beyond the limit are counted; those that a census does not meet make room", "[limits]") {
  Watched watched{small()};
  watched.begin();
  for (std::uint32_t inode = 1; inode <= 5; ++inode) watched({NamespaceSeen{1 * seconds, inode, a_look()}});
  CHECK(watched.engine().refusals().namespaces == 2);
  CHECK(report_of(watched).incomplete_reasons.size() == 1);
  watched({NamespaceSeen{3 * seconds, 2, a_look()}, WalkDone{3 * seconds + 1, 2 * seconds, true}});
  watched({NamespaceSeen{4 * seconds, 6, a_look()}, NamespaceSeen{4 * seconds, 7, a_look()}});
  CHECK(watched.engine().refusals().namespaces == 2);
  watched({NamespaceSeen{4 * seconds, 8, a_look()}});
  CHECK(watched.engine().refusals().namespaces == 3);
}

TEST_CASE("a census that looks at no namespace makes no room", "[limits]") {
  Watched watched{small()};
  watched.begin();
  for (std::uint32_t inode = 1; inode <= 4; ++inode) watched({NamespaceSeen{1 * seconds, inode, a_look()}});
  const std::uint64_t refused = watched.engine().refusals().namespaces;
  watched({WalkDone{3 * seconds + 1, 2 * seconds, true}, NamespaceSeen{4 * seconds, 5, a_look()}});
  CHECK(watched.engine().refusals().namespaces == refused + 1);
}

TEST_CASE("whose descriptors were counted: the ended and the long unseen make room", "[limits]") {
  Watched watched{small()};
  watched.begin();
  const auto counts = [&](std::uint64_t time_ns, std::uint32_t pid) {
    watched({DescriptorsSeen{time_ns, person(pid, "one").key, 10, 1024, 3}});
    return watched.engine().refusals().descriptors;
  };
  for (std::uint32_t pid = 1; pid <= 3; ++pid) CHECK(counts(1 * seconds, pid) == 0);
  CHECK(counts(1 * seconds, 4) == 1);
  watched({ProcessExited{2 * seconds, person(2, "one").key}});
  CHECK(counts(2 * seconds, 5) == 1);
  CHECK(counts(2 * seconds, 6) == 2);
  CHECK(counts(62 * seconds, 6) == 2);
}

TEST_CASE("a full table of connections is a gap of its own and a reason of the report", "[limits]") {
  Watched watched{small()};
  watched.begin();
  std::uint64_t gaps = 0;
  for (std::uint64_t cookie = 1; cookie <= 8; ++cookie) {
    TransitionSeen seen = change(1 * seconds + cookie, State::established, State::close_wait);
    seen.cookie = cookie;
    watched({seen});
  }
  watched({Tick{3 * seconds, 0}});
  for (const Gap& gap : only<Gap>(watched.facts())) {
    CHECK(gap.where == Gap::Where::table);
    gaps += gap.lost;
  }
  CHECK(gaps == 5);
  CHECK(report_of(watched).incomplete_reasons ==
        std::vector<std::string>{"the tables had no room for 5 connections", "5 events were lost"});
}

TEST_CASE("listeners without end: refused, counted, told", "[limits]") {
  Watched watched{small()};
  watched.begin();
  for (std::uint64_t cookie = 1; cookie <= 5; ++cookie) {
    TransitionSeen opens = listener_opens(1 * seconds);
    opens.cookie = cookie;
    watched({opens});
  }
  CHECK(watched.engine().refusals().listeners == 2);
  CHECK(report_of(watched).incomplete_reasons.size() == 1);
}

TEST_CASE("workloads that nothing belongs to any more make room", "[limits][workloads]") {
  Processes processes{100};
  Listeners listeners{100};
  Workloads workloads{processes, listeners, 8};
  Tuple tuple = outgoing();
  const auto of = [&](std::uint16_t port) {
    tuple.peer.port = port;
    return workloads.of(client(), tuple);
  };
  for (std::uint16_t port = 1; port <= 8; ++port) CHECK(of(port) == port);
  CHECK(workloads.is_nearly_full());
  CHECK(of(9) == 0);
  std::vector<bool> in_use(workloads.size());
  in_use[0] = in_use[2] = in_use[5] = true;
  workloads.forget(in_use);
  CHECK_FALSE(workloads.is_nearly_full());
  CHECK(workloads.forgotten() == 6);
  CHECK(of(2) == 2);
  CHECK(of(5) == 5);
  std::vector<WorkloadId> fresh;
  for (std::uint16_t port = 101; port <= 106; ++port) fresh.push_back(of(port));
  std::sort(fresh.begin(), fresh.end());
  CHECK(fresh == std::vector<WorkloadId>{1, 3, 4, 6, 7, 8});
  CHECK(of(107) == 0);
  CHECK(workloads[of(103)].service.endpoint.port == 103);
  CHECK(workloads.refused() == 2);
}

TEST_CASE("odd names come and go, and a workload that leaks is still told apart", "[limits][workloads]") {
  Engine::Settings settings;
  settings.workloads_limit = 16;
  settings.detector.leak_after_ns = 1 * seconds;
  Watched watched{settings};
  watched.begin();
  watched.answer = [](const Identity& who) {
    ProcessResolved answer;
    answer.key = who.key;
    answer.exec_id = who.exec_id;
    answer.details.exe = "/tmp/" + std::to_string(who.key.pid);
    return answer;
  };
  std::uint64_t now = 10 * seconds;
  for (std::uint32_t pid = 1000; pid < 1200; ++pid, now += 100 * ms) {
    TransitionSeen closes = called(now, State::close_wait, State::last_ack, Cause::close);
    closes.cookie = pid;
    closes.entered_ns = now - 1 * ms;
    closes.process = closes.actor = person(pid, "odd");
    watched({ProcessSeen{now, closes.process}, closes});
    if (pid % 4 == 0) watched({WalkDone{now + 1, now - 1}});
  }
  CHECK(watched.engine().refusals().workloads == 0);
  CHECK(watched.engine().refusals().workloads_forgotten > 100);
}

TEST_CASE("routes without end: of those beyond the limit no pace is known, which is counted", "[limits]") {
  Ledger ledger{{.buckets = 1000, .keeps_paces = true, .routes = 3}};
  Ledger::Changes changes;
  for (std::uint16_t port = 1; port <= 5; ++port) {
    Tuple tuple = outgoing();
    tuple.peer.port = port;
    Ledger::Bucket bucket;
    bucket.cookie = port;
    bucket.entered_ns = bucket.known_ns = 1 * seconds;
    bucket.role = Role::connect;
    bucket.owner = ledger.shared({});
    ledger.enter(tuple, bucket, changes);
  }
  CHECK(ledger.differences().routes_refused == 2);
}
