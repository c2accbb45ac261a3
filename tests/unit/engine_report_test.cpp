// SPDX-License-Identifier: BSD-2-Clause
// What the engine hands over to a report: the last census, the judgements, and all that ended meanwhile.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <algorithm>
#include <numeric>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t t0 = 2 * seconds;
/// The last census: what is in its state since t0 is past the limit.
constexpr std::uint64_t at_end = t0 + 40 * seconds;

Engine::Settings keeping(bool filters_processes = false) {
  Engine::Settings settings;
  settings.keeps_accounts = true;
  settings.filters_processes = filters_processes;
  return settings;
}

Watched running(const Engine::Settings& settings = keeping()) {
  Watched watched{settings};
  watched.begin();
  return watched;
}

SocketRow met(std::uint64_t cookie, State state, const Identity& process) {
  SocketRow out = row(at_end, state, Attribution::holder, process);
  out.cookie = cookie;
  out.entered_ns = t0;
  return out;
}

SocketRow listener_met(bool matched = true) {
  SocketRow out = met(80, State::listen, server());
  out.tuple = listening();
  out.attribution = Attribution::listener;
  out.evidence.matched = matched;
  out.evidence.hidden = !matched;
  return out;
}

HolderRow held(std::uint64_t cookie, const Identity& process, std::uint32_t fd) {
  return {at_end, cookie, {process, fd, false, false}};
}

void census(Watched& watched, std::vector<Event> rows) {
  rows.emplace_back(WalkDone{at_end, at_end - 1 * ms, true});
  watched(rows);
}

Report report(Watched& watched) {
  Engine::ReportHead head;
  head.host = "box";
  head.kernel = "6.18.0";
  head.from_ns = t0;
  return watched.engine().report(std::move(head));
}

std::uint64_t count(const StateCounts& states, State state) { return states[static_cast<std::size_t>(state)]; }
std::uint64_t sum(const StateCounts& states) { return std::accumulate(states.begin(), states.end(), std::uint64_t{0}); }

/// Of this process; pid 0: of what belongs to nobody known. Null where the report has none.
const ProcessReport* of(const Report& report, std::uint32_t pid) {
  const auto found = std::find_if(report.processes.begin(), report.processes.end(), [&](const ProcessReport& process) {
    return (process.process ? process.process->identity.key.pid : 0) == pid;
  });
  return found == report.processes.end() ? nullptr : &*found;
}

/// The client closes this connection first, and the peer's FIN has come.
std::vector<Event> into_time_wait(std::uint64_t time_ns, std::uint64_t cookie) {
  TransitionSeen seen = last(called(time_ns, State::fin_wait2, State::close, Cause::close));
  seen.call.reset();
  seen.actor = {};
  seen.cookie = cookie;
  seen.evidence.dead = seen.evidence.done = true;
  return {seen};
}

DescriptorsSeen open(std::uint64_t time_ns, std::uint64_t descriptors, std::uint64_t limit = 1024) {
  return {time_ns, client().key, descriptors, limit, descriptors - 3};
}

std::optional<double> seconds_left(Watched& watched) {
  const Report seen = report(watched);
  const ProcessReport* process = of(seen, 812);
  REQUIRE(process != nullptr);
  REQUIRE(process->findings.descriptors);
  return process->findings.descriptors->seconds_left;
}

}  // namespace

TEST_CASE("the report's head, its times and what was lost", "[engine][report]") {
  Watched watched = running();
  const std::int64_t offset = 1'700'000'000'000'000'000;
  watched({Tick{t0, offset}, LossSeen{t0, 3, 2}});
  census(watched, {});
  Engine::ReportHead head;
  head.host = "box";
  head.kernel = "6.18.0";
  head.from_ns = t0;
  head.incomplete_reasons = {"a reason"};
  const Report seen = watched.engine().report(head);
  CHECK(seen.host == "box");
  CHECK(seen.kernel == "6.18.0");
  CHECK(seen.from_ns == offset + static_cast<std::int64_t>(t0));
  CHECK(seen.to_ns == offset + static_cast<std::int64_t>(at_end));
  CHECK(seen.incomplete_reasons == std::vector<std::string>{"a reason", "5 events were lost"});
  CHECK(seen.lost == 5);
}

TEST_CASE("every socket of the last census is counted, once, by its state", "[engine][report]") {
  Watched watched = running();
  census(watched, {listener_met(), met(81, State::established, client()), met(83, State::established, client()),
                   met(84, State::close_wait, client()), met(85, State::last_ack, client()),
                   met(86, State::close, client()), bucket(at_end, 87, incoming())});
  const Report seen = report(watched);
  CHECK(count(seen.states, State::listen) == 1);
  CHECK(count(seen.states, State::established) == 2);
  CHECK(count(seen.states, State::close_wait) == 1);
  CHECK(count(seen.states, State::last_ack) == 1);
  CHECK(count(seen.states, State::close) == 1);
  CHECK(count(seen.states, State::time_wait) == 1);
  CHECK(sum(seen.states) == 7);
  REQUIRE(of(seen, 812) != nullptr);
  CHECK(sum(of(seen, 812)->findings.states) == 5);
  REQUIRE(of(seen, 900) != nullptr);
  CHECK(sum(of(seen, 900)->findings.states) == 2);
  CHECK(of(seen, 900)->findings.time_wait.now == 1);
}

TEST_CASE("a walk that is no census leaves the last census as it was", "[engine][report]") {
  Watched watched = running();
  census(watched, {met(81, State::established, client())});
  watched({met(83, State::fin_wait2, client()), WalkDone{at_end, at_end - 1 * ms}});
  CHECK(sum(report(watched).states) == 1);
  CHECK(count(report(watched).states, State::established) == 1);
  // And its rows are not those of the next one.
  census(watched, {met(84, State::established, client())});
  CHECK(count(report(watched).states, State::fin_wait2) == 0);
  CHECK(count(report(watched).states, State::established) == 1);
}

TEST_CASE("rows that are told for others' sake only are not counted", "[engine][report]") {
  Watched watched = running();
  census(watched, {listener_met(false)});
  CHECK(sum(report(watched).states) == 0);
}

TEST_CASE("without accounts no census is kept", "[engine][report]") {
  Watched watched = running({});
  census(watched, {met(81, State::established, client())});
  CHECK(sum(report(watched).states) == 0);
}

TEST_CASE("what is leaked is a group, with those who hold it", "[engine][report]") {
  Watched watched = running();
  census(watched, {met(81, State::close, client()), held(81, client(), 7), held(81, person(813, "child"), 9),
                   met(83, State::close, client()), held(83, client(), 8)});
  const Report seen = report(watched);
  CHECK(leaked(seen) == 2);
  REQUIRE(of(seen, 812) != nullptr);
  const CloseWaitReport& close_wait = of(seen, 812)->findings.close_wait;
  CHECK(close_wait.leaked == 2);
  CHECK(close_wait.now == 0);
  CHECK(close_wait.oldest_ns == 40 * seconds);
  REQUIRE(close_wait.groups.size() == 1);
  const GroupReport& group = close_wait.groups[0];
  CHECK(name(group.kind) == "dead_unclosed");
  CHECK(name(group.verdict) == "leak");
  CHECK(group.count == 2);
  CHECK(group.ended == 0);
  CHECK(group.holders_in_all == 3);
  REQUIRE(group.holders.size() == 3);
  CHECK(group.holders[0].fd == 7);
  CHECK(group.holders[0].process.key == client().key);
  CHECK(group.holders[1].process.key == person(813, "child").key);
  CHECK(group.holders[1].fd == 9);
  CHECK(group.holders[2].fd == 8);
  CHECK(group.peer.port == 3306);
}

TEST_CASE("what is not accepted is a group of its listener's, with its queue", "[engine][report]") {
  Watched watched = running();
  SocketRow listener = listener_met();
  listener.accept_queue = {1, 128};
  SocketRow queued = met(82, State::close_wait, server());
  queued.tuple = incoming();
  queued.listener_cookie = 80;
  queued.attribution = Attribution::listener;
  queued.evidence.no_socket = true;
  census(watched, {queued, listener});
  const Report seen = report(watched);
  REQUIRE(of(seen, 900) != nullptr);
  const CloseWaitReport& close_wait = of(seen, 900)->findings.close_wait;
  CHECK(close_wait.now == 1);
  CHECK(close_wait.stuck == 1);
  REQUIRE(close_wait.groups.size() == 1);
  CHECK(name(close_wait.groups[0].kind) == "never_accepted");
  REQUIRE(close_wait.groups[0].accept_queue);
  CHECK(close_wait.groups[0].accept_queue->length == 1);
  CHECK(close_wait.groups[0].accept_queue->most == 128);
  CHECK(close_wait.groups[0].local.port == 8080);
}

TEST_CASE("what ended in a way that clears nothing stays in its group", "[engine][report]") {
  Watched watched = running();
  census(watched, {met(81, State::close_wait, client())});
  TransitionSeen exits = called(at_end + 1 * seconds, State::close_wait, State::last_ack, Cause::exit);
  TransitionSeen closes = called(at_end + 1 * seconds, State::close_wait, State::last_ack, Cause::close);
  exits.entered_ns = closes.entered_ns = t0;
  SECTION("exit") {
    watched({exits, WalkDone{at_end + 2 * seconds, at_end + 1 * seconds, true}});
    const Report seen = report(watched);
    CHECK(stuck(seen) == 1);
    const CloseWaitReport& close_wait = of(seen, 812)->findings.close_wait;
    CHECK(close_wait.now == 0);
    REQUIRE(close_wait.groups.size() == 1);
    CHECK(close_wait.groups[0].ended == 1);
    CHECK(close_wait.groups[0].sockets.at(0).age_ns == 41 * seconds);
    CHECK(seen.mended.count == 0);
  }
  SECTION("closed by its program: mended") {
    watched({closes, WalkDone{at_end + 2 * seconds, at_end + 1 * seconds, true}});
    const Report seen = report(watched);
    CHECK(stuck(seen) == 0);
    CHECK(of(seen, 812)->findings.close_wait.groups.empty());
    CHECK(seen.mended.count == 1);
  }
}

TEST_CASE("endings, the time to close and what went into TIME_WAIT are counted", "[engine][report]") {
  Watched watched = running();
  TransitionSeen closes = called(t0 + 1 * seconds, State::close_wait, State::last_ack, Cause::close);
  closes.entered_ns = t0 + 993 * ms;
  TransitionSeen reset = last(change(t0 + 2 * seconds, State::established, State::close));
  reset.cookie = 83;
  reset.evidence.error = 104;
  watched({closes, last(called(t0 + 1 * seconds, State::last_ack, State::close, Cause::close)), reset});
  watched(into_time_wait(t0 + 3 * seconds, 84));
  census(watched, {bucket(at_end, 84, outgoing())});
  const Report seen = report(watched);
  REQUIRE(of(seen, 812) != nullptr);
  const Findings& findings = of(seen, 812)->findings;
  const auto ended = [&](Ending ending) { return findings.endings[static_cast<std::size_t>(ending)]; };
  CHECK(ended(Ending::rst_received) == 1);
  CHECK(ended(Ending::fin) == 1);
  CHECK(std::accumulate(findings.endings.begin(), findings.endings.end(), std::uint64_t{0}) == 3);
  CHECK(findings.close_latency_ns.count == 1);
  CHECK(findings.close_latency_ns.most == 7 * ms);
  CHECK(findings.time_wait.entered == 1);
  CHECK(findings.time_wait.per_second == 1.0 / 40);
  // The bucket is the client's, by the end that was seen.
  CHECK(findings.time_wait.now == 1);
  CHECK(of(seen, 0) == nullptr);
}

TEST_CASE("without accounts nothing that ends is counted", "[engine][report]") {
  Watched watched = running({});
  watched(into_time_wait(t0 + 3 * seconds, 84));
  census(watched, {});
  const Report seen = report(watched);
  for (const ProcessReport& process : seen.processes) {
    for (const std::uint64_t ended : process.findings.endings) CHECK(ended == 0);
    CHECK(process.findings.time_wait.entered == 0);
  }
}

TEST_CASE("descriptors: the time left at the rate of the watch", "[engine][report]") {
  Watched watched = running();
  census(watched, {met(81, State::established, client())});
  SECTION("it grows by ten a second") {
    watched({open(t0, 100), open(t0 + 4 * seconds, 999), open(t0 + 5 * seconds, 150), open(t0 + 10 * seconds, 200)});
    CHECK(seconds_left(watched) == 82.4);
    const Report seen = report(watched);
    CHECK(of(seen, 812)->findings.descriptors->open == 200);
    CHECK(of(seen, 812)->findings.descriptors->soft_limit == 1024);
    CHECK(of(seen, 812)->findings.descriptors->sockets == 197);
    REQUIRE(seen.workloads.size() == 1);
    CHECK(seen.workloads[0].findings.descriptors->open == 200);
  }
  SECTION("one look tells no rate") {
    watched({open(t0, 100)});
    CHECK_FALSE(seconds_left(watched));
  }
  SECTION("two at the same moment tell none") {
    watched({open(t0, 100), open(t0, 200)});
    CHECK_FALSE(seconds_left(watched));
  }
  SECTION("it does not grow") {
    watched({open(t0, 100), open(t0 + 10 * seconds, GENERATE(100U, 50U))});
    CHECK_FALSE(seconds_left(watched));
  }
  SECTION("a connection more than at the first look is no growth") {
    watched({open(t0, 100), open(t0 + 60 * seconds, 110)});
    CHECK_FALSE(seconds_left(watched));
  }
  SECTION("nor is what comes within a moment") {
    watched({open(t0, 100), open(t0 + 200'000'000, 200)});
    CHECK_FALSE(seconds_left(watched));
  }
  SECTION("beyond a limit that was lowered") {
    watched({open(t0, 100), open(t0 + 10 * seconds, 200, 150)});
    CHECK(seconds_left(watched) == 0.0);
  }
}

TEST_CASE("descriptors: none are told of who has no socket any more, or has ended", "[engine][report]") {
  Watched watched = running();
  watched({ProcessSeen{t0, client()}});
  census(watched, {met(81, State::established, client()), met(83, State::time_wait, client())});
  watched({open(at_end, 100)});
  REQUIRE(of(report(watched), 812)->findings.descriptors);
  SECTION("ended") {
    watched({ProcessExited{at_end, client().key}});
    CHECK_FALSE(of(report(watched), 812)->findings.descriptors);
  }
  SECTION("met no more") {
    census(watched, {});
    const Report seen = report(watched);
    CHECK((of(seen, 812) == nullptr || !of(seen, 812)->findings.descriptors));
  }
}

TEST_CASE("descriptors: how many are sockets is known from the last look at each", "[engine][report]") {
  Watched watched = running();
  census(watched, {met(81, State::established, client())});
  watched({open(at_end, 100)});
  const auto sockets = [&] { return of(report(watched), 812)->findings.descriptors->sockets; };
  CHECK(sockets() == 97);
  watched({DescriptorsSeen{at_end + 1 * seconds, client().key, 120, 1024, 0}});
  CHECK(of(report(watched), 812)->findings.descriptors->open == 120);
  CHECK(sockets() == 97);
  watched({DescriptorsSeen{at_end + 2 * seconds, client().key, 50, 1024, 0}});  // no more than there are
  CHECK(sockets() == 50);
  watched({DescriptorsSeen{at_end + 2 * seconds, client().key, 50, 50, 7}});
  CHECK(sockets() == 7);
  CHECK(seconds_left(watched) == 0.0);  // its limit is reached
}

TEST_CASE("what is over is told for as long as was asked for", "[engine][report]") {
  Engine::Settings settings = keeping();
  const bool forgets = GENERATE(true, false);
  if (forgets) settings.gone_kept_ns = 60 * seconds;
  Watched watched = running(settings);
  TransitionSeen reset = last(change(t0 + 1 * seconds, State::established, State::close));
  reset.evidence.error = 104;
  watched({ProcessSeen{t0, client()}, reset, ProcessExited{t0 + 2 * seconds, client().key}});
  const auto walk = [&](std::uint64_t time_ns) { watched({WalkDone{time_ns, time_ns - 1 * ms, true}}); };
  walk(t0 + 50 * seconds);
  REQUIRE(of(report(watched), 812) != nullptr);
  CHECK(aborts(of(report(watched), 812)->findings) == 1);
  CHECK(report(watched).workloads.size() == 1);
  walk(t0 + 70 * seconds);
  CHECK((of(report(watched), 812) == nullptr) == forgets);
  CHECK(report(watched).workloads.empty() == forgets);
}

TEST_CASE("whose descriptors are to be counted: all that the census met and that live", "[engine][report]") {
  Watched watched = running();
  const Identity gone = person(850, "gone");
  watched({ProcessSeen{t0, gone}, ProcessExited{t0, gone.key}});
  census(watched, {listener_met(), met(81, State::established, client()), met(83, State::established, client()),
                   met(84, State::established, gone), met(85, State::established, {}),
                   met(86, State::close_wait, client()), held(86, person(813, "child"), 9)});
  std::vector<std::uint32_t> pids;
  for (const Identity& owner : watched.engine().owners()) pids.push_back(owner.key.pid);
  std::sort(pids.begin(), pids.end());
  CHECK(pids == std::vector<std::uint32_t>{812, 813, 900});
}

TEST_CASE("with filters on processes the report has those buckets alone that they let through", "[engine][report]") {
  const bool filters = GENERATE(true, false);
  const bool matched = GENERATE(true, false);
  CAPTURE(filters, matched);
  Watched watched = running(keeping(filters));
  watched(into_time_wait(t0 + 3 * seconds, 84));
  census(watched, {listener_met(matched), bucket(at_end, 84, outgoing()), bucket(at_end, 85, incoming()),
                   bucket(at_end, 86, tuple(Role::connect, "10.0.0.7", 51236, "10.0.0.5", 3306))});
  const Report seen = report(watched);
  REQUIRE(of(seen, 812) != nullptr);
  CHECK(of(seen, 812)->findings.time_wait.now == 1);
  const bool shows_server = !filters || matched;
  CHECK((of(seen, 900) != nullptr && of(seen, 900)->findings.time_wait.now == 1) == shows_server);
  CHECK((of(seen, 0) != nullptr) == !filters);
  CHECK(count(seen.states, State::time_wait) == 1U + (shows_server ? 1U : 0U) + (filters ? 0U : 1U));
}

TEST_CASE("TIME_WAIT from before the start is the connecting side's where its peer is a listener here",
          "[engine][report]") {
  Watched watched = running();
  SocketRow serves = listener_met();
  serves.tuple.local.port = 47'000;  // a port that connect() might have taken as well
  std::vector<Event> rows{serves};
  for (std::uint16_t port = 38'001; port <= 38'003; ++port)
    rows.emplace_back(bucket(at_end, port, tuple(Role::unknown, "127.0.0.1", port, "127.0.0.1", 47'000)));
  census(watched, rows);
  const Report seen = report(watched);
  const auto row = std::find_if(seen.workloads.begin(), seen.workloads.end(),
                                [](const WorkloadReport& one) { return one.findings.time_wait.now == 3; });
  REQUIRE(row != seen.workloads.end());
  CHECK(row->workload.service.side == Role::connect);
  CHECK(row->workload.service.endpoint.port == 47'000);
  CHECK(row->findings.time_wait.by_endpoint.at(0).side == Role::connect);
}

TEST_CASE("ports: the settings of their namespace, and those bound in the last census", "[engine][report]") {
  Watched watched = running();
  NamespaceSeen settings{at_end, netns, {}};
  settings.look.settings.port_range = PortRange{51'000, 51'999};
  const PortRow bound{at_end, 90, tuple(Role::unknown, "0.0.0.0", 51'500, "0.0.0.0", 0), 0};
  watched(into_time_wait(t0 + 3 * seconds, 84));
  watched({settings});
  census(watched, {bound});
  const auto usable = [&] {
    const Report seen = report(watched);
    const auto& ports = of(seen, 812)->findings.time_wait.by_endpoint.at(0).ports;
    REQUIRE(ports);
    return ports->usable;
  };
  CHECK(usable() == 999);
  SECTION("bound by what has left a bucket") {
    std::vector<Event> other = into_time_wait(t0 + 4 * seconds, 85);
    for (Event& event : other)
      if (auto* seen = std::get_if<TransitionSeen>(&event)) {
        seen->tuple.local.port = 51'600;
        seen->evidence.port_bound = true;
      }
    watched(other);
    CHECK(usable() == 998);
  }
  SECTION("not those of a walk that is no census") {
    watched({PortRow{at_end, 91, tuple(Role::unknown, "0.0.0.0", 51'501, "0.0.0.0", 0), 0}, WalkDone{at_end, at_end}});
    CHECK(usable() == 999);
  }
  SECTION("given back since") {
    census(watched, {});
    CHECK(usable() == 1000);
  }
}

TEST_CASE("ports: connect() that found none is told of", "[engine][report]") {
  Watched watched = running();
  TransitionSeen failed = last(called(t0 + 3 * seconds, State::syn_sent, State::close, Cause::disconnect));
  failed.cookie = 86;
  TransitionSeen given_up = failed;
  failed.tuple.local.port = 0;
  watched({failed, given_up, NamespaceSeen{at_end, netns, {}}});
  census(watched, {});
  const auto findings = report(watched).host_findings;
  REQUIRE(findings.size() == 1);
  CHECK(findings.at(0).id == "ports_exhausted");
  CHECK(findings.at(0).text.find("1 time ") != std::string::npos);
}

TEST_CASE("ports: where filters keep sockets from us nothing is said of them", "[engine][report]") {
  Engine::Settings filtered;
  filtered.keeps_accounts = true;
  filtered.sees_all_sockets = false;
  Watched watched{filtered};
  watched.begin();
  NamespaceSeen settings{at_end, netns, {}};
  settings.look.settings.port_range = PortRange{51'000, 51'999};
  watched(into_time_wait(t0 + 3 * seconds, 84));
  watched({settings});
  census(watched, {});
  const Report seen = report(watched);
  REQUIRE(of(seen, 812) != nullptr);
  CHECK(!of(seen, 812)->findings.time_wait.by_endpoint.at(0).ports);
  CHECK(seen.host_findings.empty());
}

TEST_CASE("stacks are in the group where they were asked for", "[engine][report]") {
  Watched watched = running();
  watched.resolve = [](const StackWanted& wanted) {
    StackResolved answer{wanted.cookie, wanted.end_read, {}};
    answer.stack.frames.emplace_back();
    answer.stack.frames[0].function = "serve";
    return answer;
  };
  census(watched, {StacksSeen{at_end, 81, RawStack{client().key, 0, {0x1000}, {}}, std::nullopt},
                   met(81, State::close_wait, client())});
  Engine::ReportHead head;
  head.with_stacks = GENERATE(true, false);
  const bool with_stacks = head.with_stacks;
  const Report seen = watched.engine().report(std::move(head));
  const auto& stacks = of(seen, 812)->findings.close_wait.groups.at(0).stacks;
  CHECK(stacks.has_value() == with_stacks);
  if (stacks) CHECK(stacks->opened->frames.at(0).function == "serve");
}
