// SPDX-License-Identifier: BSD-2-Clause
// What was there before: rows of walks, buckets, and what no walk meets any more.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// Some buckets are a minute old then.
constexpr std::uint64_t late = 100 * seconds;

SocketRow listener_row(std::uint64_t time_ns, bool matched = false) {
  SocketRow out = row(time_ns, State::listen, Attribution::listener, server());
  out.cookie = 80;
  out.tuple = listening();
  out.evidence.matched = matched;
  return out;
}

SocketRow another(std::uint64_t time_ns, std::uint64_t cookie) {
  SocketRow out = row(time_ns, State::close_wait, Attribution::holder, client());
  out.cookie = cookie;
  return out;
}

/// How many connections are on the close path, as the engine knows.
std::uint64_t connections(Watched& watched, std::uint64_t time_ns) {
  watched({Usage{time_ns, 0, 0}});
  return only<Stats>(watched.facts()).at(0).totals.connections;
}

bool has(const Lines& lines, const std::string& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

}  // namespace

TEST_CASE("sockets from before the start are a snapshot", "[engine][walk]") {
  Watched watched;
  // Asked for at once: its program names the workload when the walk is done.
  CHECK(watched({row(50 * ms, State::close_wait, Attribution::holder, client()), WalkDone{60 * ms}}) ==
        Lines{"ask 812/0"});
  CHECK(watched({started(100 * ms)}) == Lines{"hello", "snapshot 81 CLOSE_WAIT age=55ms holder:812", "snapshot_end"});
  const Snapshot first = only<Snapshot>(watched.facts()).at(0);
  CHECK(first.connection.id.netns == netns);
  CHECK(first.connection.tuple.peer == outgoing().peer);
}

TEST_CASE("an age whose start was not seen is null", "[engine][walk]") {
  Watched watched;
  SocketRow unseen = row(50 * ms, State::close_wait, Attribution::holder, client());
  unseen.entered_ns = 0;
  CHECK(has(watched({unseen, WalkDone{60 * ms}, started(100 * ms)}), "snapshot 81 CLOSE_WAIT age=? holder:812"));
}

TEST_CASE("listeners are no rows of the snapshot", "[engine][walk]") {
  Watched watched;
  CHECK(watched({listener_row(50 * ms), WalkDone{60 * ms}, started(100 * ms)}) == Lines{"hello", "snapshot_end"});
}

TEST_CASE("in CLOSE_WAIT and not accepted yet: its listener's", "[engine][walk]") {
  Watched watched;
  SocketRow waiting = row(50 * ms, State::close_wait, Attribution::unknown, {});
  waiting.cookie = 82;
  waiting.tuple = incoming();
  waiting.tuple.role = Role::unknown;
  waiting.evidence.no_socket = true;
  const auto lines = watched({listener_row(50 * ms), waiting, WalkDone{60 * ms}, started(100 * ms)});
  CHECK(has(lines, "snapshot 82 CLOSE_WAIT age=55ms listener:900"));
  CHECK(only<Snapshot>(watched.facts()).at(0).connection.tuple.role == Role::accept);
}

TEST_CASE("buckets are their port's listener's", "[engine][walk]") {
  Watched watched;
  const auto lines = watched({listener_row(late + 40 * ms), bucket(late + 50 * ms, 83, incoming()),
                              WalkDone{late + 60 * ms}, started(late + 100 * ms)});
  CHECK(has(lines, "snapshot 83 TIME_WAIT age=15050ms listener:900"));
  CHECK(only<Snapshot>(watched.facts()).at(0).connection.tuple.role == Role::accept);
}

TEST_CASE("buckets of a port that nobody listens on are shown as unknown", "[engine][walk]") {
  Watched watched;
  const auto lines = watched({listener_row(late + 40 * ms), bucket(late + 50 * ms, 83, outgoing()),
                              WalkDone{late + 60 * ms}, started(late + 100 * ms)});
  CHECK(lines == Lines{"hello", "snapshot 83 TIME_WAIT age=15050ms unknown", "snapshot_end"});
  CHECK(only<Snapshot>(watched.facts()).at(0).connection.tuple.role == Role::unknown);
}

TEST_CASE("buckets: an orphan's age in FIN_WAIT2 is not told, and a timer that is due tells 60 s and more",
          "[engine][walk]") {
  Watched watched;
  BucketRow orphan = bucket(late + 50 * ms, 83, outgoing());
  orphan.substate = State::fin_wait2;
  BucketRow due = bucket(late + 50 * ms, 84, incoming());
  due.expires_in_ns = -5 * static_cast<std::int64_t>(ms);
  const auto lines = watched({orphan, due, WalkDone{late + 60 * ms}, started(late + 100 * ms)});
  CHECK(has(lines, "snapshot 83 FIN_WAIT2 age=? unknown"));
  CHECK(has(lines, "snapshot 84 TIME_WAIT age=60055ms unknown"));
}

TEST_CASE("a bucket whose timer is beyond 60 s has no age", "[engine][walk]") {
  Watched watched;
  BucketRow odd = bucket(late + 50 * ms, 83, outgoing());
  odd.expires_in_ns = 61 * static_cast<std::int64_t>(seconds);
  CHECK(has(watched({odd, WalkDone{late + 60 * ms}, started(late + 100 * ms)}), "snapshot 83 TIME_WAIT age=? unknown"));
}

TEST_CASE("with filters on processes a bucket is shown only with a listener that they let through", "[engine][walk]") {
  Engine::Settings settings;
  settings.filters_processes = true;
  Watched watched{settings};
  const bool matched = GENERATE(true, false);
  CAPTURE(matched);
  const auto lines =
      watched({listener_row(late + 40 * ms, matched), bucket(late + 50 * ms, 83, incoming()),
               bucket(late + 50 * ms, 84, outgoing()), WalkDone{late + 60 * ms}, started(late + 100 * ms)});
  CHECK(has(lines, "snapshot 83 TIME_WAIT age=15050ms listener:900") == matched);
  CHECK(only<Snapshot>(watched.facts()).size() == (matched ? 1U : 0U));
}

TEST_CASE("a listener whose process has ended owns no buckets", "[engine][walk]") {
  Watched watched;
  watched({ProcessSeen{late + 30 * ms, server()}, ProcessExited{late + 35 * ms, server().key}});
  const auto lines = watched({listener_row(late + 40 * ms), bucket(late + 50 * ms, 83, incoming()),
                              WalkDone{late + 60 * ms}, started(late + 100 * ms)});
  CHECK(has(lines, "snapshot 83 TIME_WAIT age=15050ms unknown"));
}

TEST_CASE("events before the start are folded into the snapshot and not shown", "[engine][walk]") {
  Watched watched;
  CHECK(watched({change(50 * ms, State::established, State::close_wait)}).empty());
  CHECK(watched({row(70 * ms, State::close_wait, Attribution::opener, client()), WalkDone{80 * ms}}) ==
        Lines{"ask 812/0"});
  CHECK(watched({started(100 * ms)}) == Lines{"hello", "snapshot 81 CLOSE_WAIT age=35ms opener:812", "snapshot_end"});
  CHECK(watched({Usage{100 * ms, 0, 0}}) == Lines{"stats events=0 lost=0 connections=1"});
}

TEST_CASE("a row that is older than a transition already read does not undo it", "[engine][walk]") {
  Watched watched;
  watched({called(80 * ms, State::close_wait, State::last_ack, Cause::close),
           row(70 * ms, State::close_wait, Attribution::opener, client()), WalkDone{90 * ms}});
  CHECK(has(watched({started(100 * ms)}), "snapshot 81 LAST_ACK age=20ms closer:812"));
}

TEST_CASE("a row that is newer than the transition has the say", "[engine][walk]") {
  Watched watched;
  watched({row(85 * ms, State::last_ack, Attribution::closer, client()),
           change(80 * ms, State::established, State::close_wait), WalkDone{90 * ms}});
  CHECK(has(watched({started(100 * ms)}), "snapshot 81 LAST_ACK age=20ms closer:812"));
}

TEST_CASE("a transition that is newer than the row has the say", "[engine][walk]") {
  Watched watched;
  watched({row(70 * ms, State::close_wait, Attribution::opener, client()),
           called(80 * ms, State::close_wait, State::last_ack, Cause::close), WalkDone{90 * ms}});
  CHECK(has(watched({started(100 * ms)}), "snapshot 81 LAST_ACK age=20ms closer:812"));
}

TEST_CASE("a socket that ended before the start is not in the snapshot", "[engine][walk]") {
  Watched watched;
  watched({row(70 * ms, State::close_wait, Attribution::opener, client()),
           last(change(80 * ms, State::close_wait, State::close)), WalkDone{90 * ms}});
  CHECK(watched({started(100 * ms)}) == Lines{"hello", "snapshot_end"});
}

TEST_CASE("what a walk does not meet any more has ended unseen", "[engine][walk]") {
  Watched watched;
  watched.begin({row(50 * ms, State::close_wait, Attribution::holder, client()), another(50 * ms, 83)});
  REQUIRE(connections(watched, 110 * ms) == 2);
  watched({another(200 * ms, 83), WalkDone{210 * ms, 200 * ms}});
  CHECK(connections(watched, 220 * ms) == 1);
}

TEST_CASE("what one walk over the tables does not meet may be about to end: two are believed, or one behind a loss",
          "[engine][walk]") {
  Watched watched;
  const SocketRow mine = row(50 * ms, State::close_wait, Attribution::holder, client());
  watched.begin({mine, another(50 * ms, 83)});
  // Meets the other alone.
  const auto walk = [&](std::uint64_t time_ns) {
    return watched(
        {another(time_ns, 83), WalkDone{time_ns + 10 * ms, time_ns, false, true, {another(time_ns, 83).tuple.netns}}});
  };
  const auto told = [](const Lines& lines) {
    return std::count_if(lines.begin(), lines.end(),
                         [](const std::string& line) { return line.find(" gone") != std::string::npos; });
  };
  SECTION("two in a row") {
    CHECK(told(walk(200 * ms)) == 0);
    CHECK(connections(watched, 220 * ms) == 2);
    CHECK(told(walk(400 * ms)) == 1);
    CHECK(connections(watched, 420 * ms) == 1);
  }
  SECTION("met in between") {
    walk(200 * ms);
    watched({row(300 * ms, State::close_wait, Attribution::holder, client())});
    walk(300 * ms);
    CHECK(told(walk(400 * ms)) == 0);
    CHECK(connections(watched, 420 * ms) == 2);
  }
  SECTION("behind a loss") {
    watched({LossSeen{150 * ms, 1, 0}});
    walk(200 * ms);
    CHECK(connections(watched, 220 * ms) == 1);
  }
}

TEST_CASE("what began to close while the walk was under way is kept", "[engine][walk]") {
  Watched watched;
  watched.begin();
  watched(
      {another(200 * ms, 83), change(205 * ms, State::established, State::close_wait), WalkDone{210 * ms, 200 * ms}});
  CHECK(connections(watched, 220 * ms) == 2);
}

TEST_CASE("what began to close during a walk is kept also where the walk had not met anything yet", "[engine][walk]") {
  // The walk passes it while it is still ESTABLISHED; the ring is read before WalkDone.
  Watched watched;
  watched.begin();
  SECTION("the walk finds nothing at all") {
    watched({change(205 * ms, State::established, State::close_wait), WalkDone{210 * ms, 200 * ms}});
    CHECK(connections(watched, 220 * ms) == 1);
  }
  SECTION("its first row is younger than the change") {
    watched(
        {another(206 * ms, 83), change(205 * ms, State::established, State::close_wait), WalkDone{210 * ms, 200 * ms}});
    CHECK(connections(watched, 220 * ms) == 2);
  }
}

TEST_CASE("a walk for owners, without the tables, tells no snapshot", "[engine][walk]") {
  Watched watched;
  watched.begin();
  CHECK(watched({another(200 * ms, 83), WalkDone{210 * ms}}) == Lines{"ask 812/0"});
}

TEST_CASE("buckets of a walk that told no snapshot do not turn up in the next, which does not meet them",
          "[engine][walk]") {
  Watched watched;
  watched.begin();
  watched({bucket(200 * ms, 83, outgoing()), WalkDone{210 * ms, 200 * ms}});
  watched({LossSeen{3 * seconds, 1, 0}});
  CHECK(watched({TablesWalked{3 * seconds + 1 * ms, 3 * seconds, netns, 0},
                 WalkDone{3 * seconds + 1 * ms, 3 * seconds}}) == Lines{"snapshot_end"});
}

TEST_CASE("a listener that no walk meets any more owns no buckets", "[engine][walk]") {
  Watched watched;
  watched.begin({listener_row(50 * ms)});
  watched({another(2 * seconds, 83), WalkDone{2 * seconds + 1 * ms, 2 * seconds}, LossSeen{3 * seconds, 1, 0}});
  const auto lines = watched({bucket(late, 84, incoming()), WalkDone{late}});
  CHECK(has(lines, "snapshot 84 TIME_WAIT age=15000ms unknown"));
}

TEST_CASE("a listener that opened behind the back of a walk names what comes in after it", "[engine][walk]") {
  Watched watched;
  watched.begin();
  SECTION("the walk finds nothing at all") {}
  SECTION("its first row is younger") { watched({another(206 * ms, 83)}); }
  watched({listener_opens(205 * ms), WalkDone{210 * ms, 200 * ms}});
  TransitionSeen child = on_incoming(change(220 * ms, State::established, State::close_wait));
  child.attribution = Attribution::unknown;
  child.evidence.no_socket = true;
  CHECK(has(watched({child}), "82 ESTABLISHED>CLOSE_WAIT in=1ms listener:900 network"));
}

TEST_CASE("what went into a bucket during the first walk is in the snapshot, once, with its owner", "[engine][walk]") {
  Watched watched;
  const State substate = GENERATE(State::fin_wait2, State::time_wait);
  const bool met = GENERATE(true, false);
  CAPTURE(name(substate), met);
  TransitionSeen seen = last(called(80 * ms, State::fin_wait2, State::close, Cause::close));
  seen.evidence.dead = true;
  seen.evidence.done = substate == State::time_wait;
  BucketRow found = bucket(85 * ms, 81, outgoing());
  found.substate = substate;
  std::vector<Event> events{seen, WalkDone{90 * ms}, started(100 * ms)};
  if (met) events.insert(events.begin() + 1, found);
  // The two agree: the transition knows to the nanosecond when it went in, and not the timer (15 s). FIN_WAIT2 it was
  // in before.
  const std::string age = substate == State::fin_wait2 ? "21ms" : "20ms";
  CHECK(watched(events) == Lines{"ask 812/0", "hello",
                                 "snapshot 81 " + std::string{name(substate)} + " age=" + age + " closer:812",
                                 "snapshot_end"});
  CHECK(only<Snapshot>(watched.facts()).at(0).connection.tuple.role == Role::connect);
}

TEST_CASE("an orphan whose peer's FIN has come before the first walk met its bucket is in TIME_WAIT, with its owner",
          "[engine][walk]") {
  Watched watched;
  TransitionSeen seen = last(called(late + 80 * ms, State::fin_wait2, State::close, Cause::close));
  seen.evidence.dead = true;
  BucketRow found = bucket(late + 95 * ms, 81, outgoing());
  found.expires_in_ns = 59'995 * static_cast<std::int64_t>(ms);
  // The transition does not know when it was promoted: the bucket's timer does.
  CHECK(watched({seen, found, WalkDone{late + 98 * ms}, started(late + 100 * ms)}) ==
        Lines{"ask 812/0", "hello", "snapshot 81 TIME_WAIT age=10ms closer:812", "snapshot_end"});
}

TEST_CASE("sockets of the first walk that find no room are counted", "[engine][walk]") {
  Engine::Settings settings;
  settings.connections_limit = 2;
  Watched watched{settings};
  watched({another(50 * ms, 83), another(50 * ms, 84), another(50 * ms, 85), WalkDone{60 * ms, 40 * ms}});
  const Lines told = watched({started(100 * ms)});
  CHECK(told.front() == "hello");
  CHECK(told.back() == "gap table 1");
}

TEST_CASE("the connections' table is bounded and counts what it refuses", "[engine][walk]") {
  Engine::Settings settings;
  settings.connections_limit = 2;
  Watched watched{settings};
  watched.begin({another(50 * ms, 83), another(50 * ms, 84)});
  TransitionSeen seen = change(3 * seconds, State::established, State::close_wait);
  seen.cookie = 86;
  SECTION("what has no room is shown all the same, and a walk would find no room either") {
    CHECK(watched({seen, Tick{3 * seconds, 0}}) ==
          Lines{"86 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network", "gap table 1"});
    CHECK(watched({Stopped{4 * seconds, 0, 0}}) == Lines{"bye events=1 lost=1 connections=2"});
  }
  SECTION("its rows are no further loss") {
    watched({seen, another(3 * seconds, 83), another(3 * seconds, 84), another(3 * seconds, 86),
             WalkDone{3 * seconds + 1 * ms}});
    CHECK(watched({Stopped{4 * seconds, 0, 0}}) == Lines{"gap table 1", "bye events=1 lost=1 connections=2"});
  }
}
