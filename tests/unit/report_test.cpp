// SPDX-License-Identifier: BSD-2-Clause
// From walks, judgements and accounts to the report: who comes first, what stands together, what is common.
#include "catch.hpp"
#include "scene.hpp"

#include <closewatch/core/report.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

Tuple from_peer(std::uint16_t port, const char* peer = "10.0.0.9") {
  return tuple(Role::accept, "10.0.0.7", 8080, peer, port);
}

/// The pids of the processes in their order, 0 for what belongs to nobody known.
std::vector<std::uint32_t> pids(const Report& report) {
  std::vector<std::uint32_t> out;
  for (const ProcessReport& one : report.processes) out.push_back(one.process ? one.process->identity.key.pid : 0);
  return out;
}

/// A copy: most reports here are gone by the end of the line.
Findings of(const Report& report, const Identity& process) {
  for (const ProcessReport& one : report.processes)
    if (one.process && one.process->identity.key == process.key) return one.findings;
  FAIL("not in the report: " << process.key.pid);
  throw 0;
}

std::uint64_t states_of(const StateCounts& states, State state) { return states[static_cast<std::size_t>(state)]; }

using Pids = std::vector<std::uint32_t>;

}  // namespace

TEST_CASE("report: an empty machine", "[report]") {
  const Scene scene;
  const Report report = scene.report();
  CHECK(report.host == "box");
  CHECK(report.kernel == "6.18.0");
  CHECK(report.incomplete_reasons.empty());
  CHECK(report.states == StateCounts{});
  CHECK(report.workloads.empty());
  CHECK(report.processes.empty());
  CHECK(leaked(report) == 0);
  CHECK(stuck(report) == 0);
}

TEST_CASE("report: worst first, and what is unknown comes last", "[report]") {
  Scene scene;
  const auto socket = [&](std::uint64_t cookie, std::uint32_t pid, Verdict verdict) {
    Judged one = leaked_socket(cookie, pid == 0 ? Identity{} : person(pid, "p"), from_peer(1), 50 * seconds);
    one.verdict = verdict;
    scene.judged(one);
  };
  scene.row(State::established, person(5, "idle"));
  scene.row(State::established, person(4, "idle"));
  for (std::uint64_t cookie = 1; cookie <= 3; ++cookie) socket(cookie, 0, Verdict::leak);
  socket(4, 20, Verdict::stuck);
  socket(5, 20, Verdict::stuck);
  socket(6, 30, Verdict::leak);
  socket(7, 40, Verdict::leak);
  socket(8, 40, Verdict::stuck);
  for (const std::uint32_t pid : {7U, 6U}) {
    scene.closed_into_bucket(person(pid, "tw"), outgoing_from(static_cast<std::uint16_t>(pid)));
  }
  const Report report = scene.report();
  CHECK(pids(report) == Pids{40, 30, 20, 6, 7, 4, 5, 0});
  CHECK(leaked(report) == 5);
  CHECK(stuck(report) == 3);
}

TEST_CASE("report: processes that started in the same nanosecond come by pid", "[report]") {
  Scene scene;
  Identity twin = person(9, "b");
  twin.key.start_ns = person(3, "a").key.start_ns;
  scene.row(State::established, twin);
  scene.row(State::established, person(3, "a"));
  CHECK(pids(scene.report()) == Pids{3, 9});
}

TEST_CASE("report: workloads have the same order, and know how many processes they are", "[report]") {
  Scene scene;
  scene.row(State::established, client());
  for (const std::uint32_t pid : {901U, 902U, 902U}) {
    ProcessDetails details;
    details.exe = "/usr/sbin/fork";
    scene.is(person(pid, "fork"), details);
    scene.judged(leaked_socket(pid + scene.input.judged.size(), person(pid, "fork"), from_peer(1), 40 * seconds));
  }
  scene.row(State::established, {}, tuple(Role::connect, "10.0.0.7", 1, "10.0.0.99", 1));
  const Report report = scene.report();
  REQUIRE(report.workloads.size() == 3);
  CHECK(report.workloads[0].workload.executable == "/usr/sbin/fork");
  CHECK(report.workloads[0].workload.service.endpoint.port == 8080);
  CHECK(report.workloads[0].processes == 2);
  CHECK(report.workloads[0].findings.close_wait.leaked == 3);
  CHECK(report.workloads[1].workload.executable == "/usr/bin/client");
  CHECK(report.workloads[1].processes == 1);
  CHECK(report.workloads[2].workload.executable.empty());
  CHECK(report.workloads[2].processes == 0);
}

TEST_CASE("report: a group is a kind and a verdict", "[report]") {
  Scene scene;
  const auto socket = [&](std::uint64_t cookie, Kind kind, Verdict verdict) {
    Judged one = leaked_socket(cookie, server(), from_peer(1), cookie * seconds);
    one.kind = kind;
    one.verdict = verdict;
    scene.judged(one);
  };
  socket(1, Kind::replying, Verdict::ok);
  socket(2, Kind::eof_ignored, Verdict::ok);
  socket(3, Kind::eof_unread, Verdict::stuck);
  socket(4, Kind::eof_unread, Verdict::stuck);
  socket(5, Kind::eof_ignored, Verdict::leak);
  socket(6, Kind::write_blocked, Verdict::stuck);
  const CloseWaitReport& wait = of(scene.report(), server()).close_wait;
  CHECK(wait.now == 6);
  CHECK(wait.leaked == 1);
  CHECK(wait.stuck == 3);
  CHECK(wait.oldest_ns == 6 * seconds);
  REQUIRE(wait.groups.size() == 5);
  CHECK(wait.groups[0].kind == Kind::eof_ignored);
  CHECK(wait.groups[0].verdict == Verdict::leak);
  CHECK(wait.groups[1].kind == Kind::eof_unread);
  CHECK(wait.groups[1].count == 2);
  CHECK(wait.groups[2].kind == Kind::write_blocked);
  CHECK(wait.groups[3].verdict == Verdict::ok);
  CHECK(wait.groups[4].verdict == Verdict::ok);
}

TEST_CASE("report: the ends of a group on the accepting side", "[report]") {
  Scene scene;
  for (std::uint16_t port = 1; port <= 2; ++port)
    scene.judged(leaked_socket(port, server(), from_peer(port), 50 * seconds));
  const GroupReport group = of(scene.report(), server()).close_wait.groups.at(0);
  CHECK(group.side == Role::accept);
  CHECK(group.local == EndPattern{Family::ipv4, std::nullopt, 8080});
  CHECK(group.peer == EndPattern{Family::ipv4, std::nullopt, std::nullopt});
}

TEST_CASE("report: the ends of a group on the connecting side", "[report]") {
  Scene scene;
  const Address here = endpoint("10.0.0.7", 0).address;
  const Address there = endpoint("10.0.0.5", 0).address;
  const auto group = [&] { return of(scene.report(), client()).close_wait.groups.at(0); };
  const auto add = [&](const Tuple& ends) {
    scene.judged(leaked_socket(scene.input.judged.size() + 1, client(), ends, 50 * seconds));
  };
  add(outgoing());
  CHECK(group().local == EndPattern{Family::ipv4, here, std::nullopt});
  CHECK(group().peer == EndPattern{Family::ipv4, there, 3306});
  add(tuple(Role::connect, "10.0.0.7", 1, "10.0.0.5", 3307));
  CHECK(group().peer == EndPattern{Family::ipv4, there, std::nullopt});
  add(tuple(Role::connect, "10.0.0.8", 1, "10.0.0.6", 3307));
  CHECK(group().local == EndPattern{});
  CHECK(group().peer == EndPattern{});
  CHECK(group().side == Role::connect);
}

TEST_CASE("report: ends of both families, and of both sides, have no more in common than they have", "[report]") {
  Scene scene;
  scene.judged(leaked_socket(1, client(), outgoing(), 50 * seconds));
  scene.judged(leaked_socket(2, client(), tuple(Role::connect, "::1", 5, "::2", 3306), 50 * seconds));
  GroupReport group = of(scene.report(), client()).close_wait.groups.at(0);
  CHECK(!group.local.address);
  CHECK(group.peer == EndPattern{group.peer.family, std::nullopt, 3306});
  // The bytes of 10.0.0.7, in another family.
  scene.input.judged[1].tuple.local.address = scene.input.judged[0].tuple.local.address;
  CHECK(!of(scene.report(), client()).close_wait.groups.at(0).local.address);
  scene.judged(leaked_socket(3, client(), from_peer(3306), 50 * seconds));
  group = of(scene.report(), client()).close_wait.groups.at(0);
  CHECK(group.side == Role::unknown);
  CHECK(group.peer.port == 3306);
}

TEST_CASE("report: at most twenty sockets of a group, the oldest first, unless all were asked for", "[report]") {
  Scene scene;
  for (std::uint64_t cookie = 1; cookie <= 25; ++cookie)
    scene.judged(leaked_socket(cookie, server(), from_peer(static_cast<std::uint16_t>(cookie)), cookie * seconds));
  GroupReport group = of(scene.report(), server()).close_wait.groups.at(0);
  CHECK(group.count == 25);
  REQUIRE(group.sockets.size() == 20);
  CHECK(group.sockets[0].age_ns == 25 * seconds);
  CHECK(group.sockets[19].age_ns == 6 * seconds);
  CHECK(group.sockets[0].connection.id.cookie == 25);
  CHECK(group.holders.size() == 20);
  CHECK(group.holders_in_all == 25);
  scene.input.verbose = true;
  group = of(scene.report(), server()).close_wait.groups.at(0);
  CHECK(group.sockets.size() == 25);
  CHECK(group.holders.size() == 25);
}

TEST_CASE("report: no holder is hidden behind the many descriptors of another", "[report]") {
  Scene scene;
  for (std::uint32_t fd = 1; fd <= 30; ++fd)
    scene.judged(leaked_socket(fd, server(), from_peer(1), (100 - fd) * seconds)).holders = {holder(server(), fd)};
  scene.judged(leaked_socket(99, server(), from_peer(1), 1 * seconds)).holders = {holder(server(), 99),
                                                                                  holder(client(), 5)};
  const GroupReport group = of(scene.report(), server()).close_wait.groups.at(0);
  REQUIRE(group.holders.size() == 20);
  CHECK(group.holders[0].process.key == server().key);
  CHECK(group.holders[0].fd == 1);
  CHECK(group.holders[1].process.key == client().key);
  CHECK(group.holders[2].fd == 2);
  CHECK(group.holders_in_all == 32);
}

TEST_CASE("report: ages that are lower bounds say so, in the group and in sum", "[report]") {
  Scene scene;
  scene.judged(leaked_socket(1, server(), from_peer(1), 40 * seconds));
  CHECK(!of(scene.report(), server()).close_wait.oldest_is_lower_bound);
  scene.judged(leaked_socket(2, server(), from_peer(2), 50 * seconds)).since_is_lower_bound = true;
  const CloseWaitReport wait = of(scene.report(), server()).close_wait;
  CHECK(wait.oldest_ns == 50 * seconds);
  CHECK(wait.oldest_is_lower_bound);
  CHECK(wait.groups.at(0).sockets.at(0).age_is_lower_bound);
  CHECK(!wait.groups.at(0).sockets.at(1).age_is_lower_bound);
}

TEST_CASE("report: what ended in a way that clears nothing is still told, but is not there now", "[report]") {
  Scene scene;
  Judged gone = leaked_socket(1, server(), from_peer(1), 50 * seconds);
  gone.resolution = Resolution::exit;
  gone.resolved_ns = Scene::now_ns - 10 * seconds;
  scene.ended(gone);
  scene.judged(leaked_socket(2, server(), from_peer(2), 20 * seconds));
  const Report report = scene.report();
  const CloseWaitReport& wait = of(report, server()).close_wait;
  CHECK(wait.now == 1);
  CHECK(wait.leaked == 2);
  REQUIRE(wait.groups.size() == 1);
  CHECK(wait.groups[0].count == 2);
  CHECK(wait.groups[0].ended == 1);
  CHECK(wait.groups[0].sockets[0].age_ns == 40 * seconds);
  CHECK(states_of(report.states, State::close_wait) == 1);
}

TEST_CASE("report: a dead socket counts as leaked, and as none in CLOSE_WAIT", "[report]") {
  Scene scene;
  Judged dead = leaked_socket(1, server(), from_peer(1), 50 * seconds);
  dead.state = State::close;
  dead.kind = Kind::dead_unclosed;
  scene.judged(dead);
  const Report report = scene.report();
  CHECK(of(report, server()).close_wait.now == 0);
  CHECK(of(report, server()).close_wait.leaked == 1);
  CHECK(states_of(report.states, State::close) == 1);
}

TEST_CASE("report: a socket that was judged is not counted again by its row", "[report]") {
  Scene scene;
  const Judged& judged = scene.judged(leaked_socket(4711, server(), from_peer(1), 50 * seconds));
  scene.row(State::close_wait, client(), judged.tuple).cookie = 4711;
  scene.row(State::close_wait, client());
  const Report report = scene.report();
  CHECK(states_of(report.states, State::close_wait) == 2);
  CHECK(of(report, server()).close_wait.now == 1);
  CHECK(of(report, client()).close_wait.now == 1);
  CHECK(of(report, client()).close_wait.groups.empty());
}

TEST_CASE("report: states, of the machine and of each", "[report]") {
  Scene scene;
  scene.row(State::listen, server(), listening());
  scene.row(State::established, server(), incoming());
  scene.row(State::established, client());
  scene.row(State::fin_wait2, client());
  scene.row(State::fin_wait2, client()).evidence.dead = true;
  Ledger::Bucket orphan = scene.a_bucket(client(), outgoing(), 1 * seconds);
  orphan.substate = State::fin_wait2;
  scene.put(outgoing(), orphan);
  const Report report = scene.report();
  CHECK(states_of(report.states, State::established) == 2);
  CHECK(states_of(report.states, State::fin_wait2) == 3);
  CHECK(states_of(report.states, State::listen) == 1);
  CHECK(states_of(of(report, server()).states, State::established) == 1);
  CHECK(of(report, client()).fin_wait2.living == 1);
  CHECK(of(report, client()).fin_wait2.orphaned == 2);
  CHECK(of(report, client()).time_wait.now == 0);
  // The listener is of one workload with what comes in on it.
  CHECK(report.workloads.size() == 2);
}

TEST_CASE("report: a look that takes no time has no rates", "[report]") {
  Scene scene;
  scene.input.from_ns = scene.input.to_ns;
  scene.closed(client(), outgoing(), Ending::fin, Bucket::time_wait, 1);
  CHECK(of(scene.report(), client()).time_wait.per_second == 0);
}

TEST_CASE("report: endings and close latencies come from the accounts", "[report]") {
  Scene scene;
  scene.closed(client(), outgoing(), Ending::rst_unread, Bucket::none, 1);
  Transition closing = a_transition();
  closing.from = State::close_wait;
  closing.to = State::last_ack;
  closing.in_state_ns = 8 * ms;
  scene.accounts.take(closing, Scene::now_ns);
  const Findings findings = of(scene.report(), client());
  CHECK(findings.endings[static_cast<std::size_t>(Ending::rst_unread)] == 1);
  CHECK(findings.close_latency_ns.count == 1);
  CHECK(findings.close_latency_ns.most == 8 * ms);
  CHECK(findings.close_latency_ns.p99 >= 8 * ms);
  CHECK(scene.report().workloads.at(0).findings.close_latency_ns.count == 1);
}

TEST_CASE("report: a workload's descriptors are those of the process nearest to its limit", "[report]") {
  Scene scene;
  for (const std::uint32_t pid : {1U, 2U, 3U}) {
    ProcessDetails details;
    details.exe = "/usr/sbin/fork";
    scene.is(person(pid, "fork"), details);
    scene.row(State::established, person(pid, "fork"));
  }
  const auto workload = [&] { return scene.report().workloads.at(0).findings.descriptors; };
  CHECK(!workload());
  scene.input.descriptors[person(1, "fork").key] = {500, 1024, 9, std::nullopt};
  scene.input.descriptors[person(2, "fork").key] = {600, 4096, 9, std::nullopt};
  CHECK(workload()->open == 500);
  CHECK(of(scene.report(), person(2, "fork")).descriptors->open == 600);
  scene.input.descriptors[person(2, "fork").key].seconds_left = 100;
  CHECK(workload()->open == 600);
  scene.input.descriptors[person(3, "fork").key] = {10, 1024, 9, 50};
  CHECK(workload()->open == 10);
}

TEST_CASE("report: trends are those of the workload, and the worst of several", "[report]") {
  Scene scene;
  const WorkloadId first = scene.judged(leaked_socket(1, server(), from_peer(1), 50 * seconds)).workload;
  scene.judged(leaked_socket(2, server(), tuple(Role::accept, "10.0.0.7", 9090, "10.0.0.9", 1), 50 * seconds));
  CHECK(!of(scene.report(), server()).close_wait.groups.at(0).trend);
  scene.input.trend = [first](WorkloadId id, Kind kind) -> std::optional<Trend> {
    if (kind != Kind::eof_ignored) return std::nullopt;
    return id == first ? Trend::growing : Trend::draining;
  };
  const Report report = scene.report();
  CHECK(of(report, server()).close_wait.groups.at(0).trend == Trend::growing);
  CHECK(report.workloads.at(0).findings.close_wait.groups.at(0).trend == Trend::growing);
  CHECK(report.workloads.at(1).findings.close_wait.groups.at(0).trend == Trend::draining);
}

TEST_CASE("report: unread bytes are added up, the fullest accept queue stands for all", "[report]") {
  Scene scene;
  for (std::uint32_t at = 1; at <= 3; ++at) {
    Judged& one = scene.judged(leaked_socket(at, server(), from_peer(1), 50 * seconds));
    one.condition.unread_bytes = 10 * at;
    one.accept_queue = AcceptQueue{at == 2 ? 9 : at, 128};
  }
  const GroupReport group = of(scene.report(), server()).close_wait.groups.at(0);
  CHECK(group.unread_bytes == 60);
  REQUIRE(group.accept_queue);
  CHECK(group.accept_queue->length == 9);
}

TEST_CASE("report: with stacks a group is also one place in the code", "[report]") {
  Scene scene;
  for (std::uint64_t cookie = 1; cookie <= 5; ++cookie)
    scene.judged(leaked_socket(cookie, server(), from_peer(1), cookie * seconds));
  scene.input.stacks[1].end_read = stack_at("handler", 88);
  scene.input.stacks[2].end_read = stack_at("handler", 88);
  scene.input.stacks[2].end_read->frames[0].address += 4096;  // another process: another place in memory
  scene.input.stacks[2].opened = stack_at("accept_one", 12);
  scene.input.stacks[3].end_read = stack_at("other", 99);
  scene.input.stacks[4].opened = stack_at("handler", 88);
  CHECK(of(scene.report(), server()).close_wait.groups.size() == 1);
  CHECK(!of(scene.report(), server()).close_wait.groups.at(0).stacks);
  scene.input.with_stacks = true;
  const CloseWaitReport wait = of(scene.report(), server()).close_wait;
  REQUIRE(wait.groups.size() == 4);
  CHECK(wait.groups[0].count == 2);
  REQUIRE(wait.groups[0].stacks);
  CHECK(wait.groups[0].stacks->end_read->frames[1].line == 88);
  CHECK(!wait.groups[1].stacks);
}

TEST_CASE("report: the process as it is known, of the program that it is now", "[report]") {
  Scene scene;
  Identity now = person(812, "renamed", 1);
  ProcessDetails details;
  details.exe = "/usr/bin/renamed";
  scene.row(State::established, client());
  scene.is(now, details);
  scene.row(State::established, now);
  scene.processes.exited(now.key);
  const Report report = scene.report();
  REQUIRE(report.processes.size() == 1);
  CHECK(text(report.processes[0].process->identity.comm) == "renamed");
  CHECK(report.processes[0].process->entry->details.exe == "/usr/bin/renamed");
  CHECK(report.processes[0].process->entry->exited);
}
