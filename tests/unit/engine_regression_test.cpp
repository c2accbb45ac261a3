// SPDX-License-Identifier: BSD-2-Clause
// What once went wrong: walks that failed, prefork servers, ends that were judged late.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <algorithm>
#include <limits>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t t0 = 2 * seconds;
constexpr std::uint64_t limit = t0 + 30 * seconds;

Engine::Settings keeping() {
  Engine::Settings settings;
  settings.keeps_accounts = true;
  return settings;
}

Identity worker() { return person(901, "worker"); }

SocketRow listener_met(std::uint64_t time_ns) {
  SocketRow out = row(time_ns, State::listen, Attribution::listener, server());
  out.cookie = 80;
  out.tuple = listening();
  return out;
}

SocketRow queued(std::uint64_t time_ns) {
  SocketRow out = row(time_ns, State::close_wait, Attribution::listener, server());
  out.cookie = 82;
  out.tuple = incoming();
  out.listener_cookie = 80;
  out.entered_ns = t0;
  out.evidence.no_socket = true;
  return out;
}

/// A worker of the server's accepts connection 83 from listener 80.
std::vector<Event> accepts() {
  TransitionSeen seen = on_incoming(change(t0, State::established, State::close_wait));
  seen.cookie = 83;
  seen.process = worker();
  TransitionSeen closes = seen;
  closes.from = State::close_wait;
  closes.to = State::last_ack;
  closes.attribution = Attribution::closer;
  closes.call = closes.closer_by = Cause::close;
  closes.actor = worker();
  return {ProcessSeen{t0, server()}, ProcessSeen{t0, worker()}, listener_opens(t0), seen, closes};
}

}  // namespace

TEST_CASE("never accepted: a finding names the worker that accepts, as the transition does", "[engine][regression]") {
  Watched watched;
  watched.begin();
  watched(accepts());
  // A prefork server: both have the listener's descriptor.
  CHECK(watched({queued(limit), listener_met(limit), HolderRow{limit, 80, {server(), 3, false, false}},
                 HolderRow{limit, 80, {worker(), 3, false, false}}, WalkDone{limit, limit - 1 * ms}}) ==
        Lines{"83 LAST_ACK>CLOSE in=30000ms closer:901 gone sweep",
              "82 raised never_accepted stuck age=30000ms listener:901"});
}

TEST_CASE("never accepted: a snapshot names the worker that accepts, as the transition does", "[engine][regression]") {
  Watched watched;
  watched.begin();
  watched(accepts());
  watched({LossSeen{t0 + 3 * seconds, 1, 0}});
  const std::uint64_t now = t0 + 4 * seconds;
  const Lines lines = watched({listener_met(now), queued(now), WalkDone{now, now - 1 * ms}});
  CHECK(std::find(lines.begin(), lines.end(), "snapshot 82 CLOSE_WAIT age=4000ms listener:901") != lines.end());
}

TEST_CASE("who has ended has no descriptors to count", "[engine][regression]") {
  Watched watched{keeping()};
  watched.begin();
  SocketRow met = row(limit, State::close_wait, Attribution::holder, client());
  met.entered_ns = t0;
  watched({met, HolderRow{limit, 81, {client(), 7, true, true}}, HolderRow{limit, 81, {worker(), 7, false, false}},
           WalkDone{limit, limit - 1 * ms, true}, ProcessExited{limit + 1 * ms, worker().key}});
  REQUIRE(watched.engine().owners().size() == 1);
  CHECK(watched.engine().owners()[0].key == client().key);
}

TEST_CASE("rows of a walk that failed are not counted with those of the next", "[engine][regression]") {
  Watched watched{keeping()};
  watched.begin();
  const SocketRow met = row(t0, State::established, Attribution::holder, client());
  SocketRow again = met;
  again.time_ns = t0 + 1 * seconds;
  // No WalkDone behind the first: the walk met an error.
  watched({met, bucket(t0, 85, outgoing()), again, bucket(t0 + 1 * seconds, 85, outgoing()),
           WalkDone{t0 + 1 * seconds + 1 * ms, t0 + 1 * seconds, true}});
  const StateCounts states = watched.engine().report({}).states;
  CHECK(states[static_cast<std::size_t>(State::established)] == 1);
  CHECK(states[static_cast<std::size_t>(State::time_wait)] == 1);
}

TEST_CASE("a bucket from before the start is the report's worker's that accepts, as the snapshot's",
          "[engine][regression]") {
  Watched watched{keeping()};
  watched.begin();
  watched(accepts());
  const std::uint64_t now = t0 + 4 * seconds;
  watched({bucket(now, 85, incoming()), listener_met(now), WalkDone{now, now - 1 * ms, true}});
  const Report report = watched.engine().report({});
  for (const ProcessReport& process : report.processes)
    CHECK((process.findings.time_wait.now == 1) == (process.process->identity.key == worker().key));
}

TEST_CASE("the age of what has ended is what it was then", "[engine][regression]") {
  Engine::Settings settings;
  settings.detector.leak_after_ns = 1 * seconds;
  settings.detector.sanitizer = true;
  Watched watched{settings};
  watched.begin();
  SocketRow met = row(t0 + 1 * seconds, State::close_wait, Attribution::holder, client());
  met.entered_ns = t0;
  met.condition.eof = EndOfFile::read;
  TransitionSeen exits = called(t0 + 2 * seconds, State::close_wait, State::last_ack, Cause::exit);
  exits.entered_ns = t0;
  watched({met, HolderRow{t0 + 1 * seconds, 81, {client(), 7, true, true}}, WalkDone{t0 + 1 * seconds, t0}, exits});
  watched({Stopped{t0 + 9 * seconds, 0, 0}});
  CHECK(only<Finding>(watched.facts()).at(0).age_ns == 2 * seconds);
}

TEST_CASE("a bucket whose end was seen before the start is its owner's in the report too", "[engine][fault]") {
  Watched watched{keeping()};
  TransitionSeen seen = last(called(80 * ms, State::fin_wait2, State::close, Cause::close));
  seen.evidence.dead = seen.evidence.done = true;
  watched({seen, WalkDone{90 * ms}, started(100 * ms)});
  REQUIRE(only<Snapshot>(watched.facts()).at(0).responsible.process);
  watched({bucket(1 * seconds, 81, outgoing()), WalkDone{1 * seconds, 1 * seconds, true}});
  const Report report = watched.engine().report({});
  REQUIRE(report.processes.size() == 1);
  CHECK(report.processes[0].process);
  CHECK(report.processes[0].findings.time_wait.by_endpoint.at(0).side == Role::connect);
}

TEST_CASE("stacks of sockets that are gone make room for others", "[engine][fault]") {
  Engine::Settings settings;
  settings.stacks_limit = 1;
  Watched watched{settings};
  watched.begin();
  const RawStack stack{client().key, 0, {0x1000}, {}};
  watched({change(t0, State::established, State::close_wait), StacksSeen{t0, 81, stack, std::nullopt},
           called(t0 + 1 * ms, State::close_wait, State::last_ack, Cause::close),
           last(called(t0 + 2 * ms, State::last_ack, State::close, Cause::close)), WalkDone{t0 + 3 * ms, t0 + 2 * ms},
           WalkDone{t0 + 5 * seconds, t0 + 4 * seconds}, WalkDone{t0 + 9 * seconds, t0 + 8 * seconds}});
  CHECK(watched({StacksSeen{t0 + 10 * seconds, 83, stack, std::nullopt}}) == Lines{"name the opener of 83"});
}

TEST_CASE("a time that cannot be is told as 1970", "[engine][fault]") {
  Watched watched;
  watched.begin();
  watched({Tick{0, std::numeric_limits<std::int64_t>::max()},
           called(t0, State::established, State::fin_wait1, Cause::close)});
  CHECK(only<Transition>(watched.facts()).at(0).time_ns == 0);
}
