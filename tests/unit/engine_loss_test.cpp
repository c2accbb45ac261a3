// SPDX-License-Identifier: BSD-2-Clause
// What was lost is told, once and in full, and the tables are rebuilt.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t t0 = 2 * seconds;

Watched running() {
  Watched watched;
  watched.begin();
  return watched;
}

}  // namespace

TEST_CASE("a gap by where it was, then a walk, then a snapshot", "[engine][loss]") {
  Watched watched = running();
  CHECK(watched({LossSeen{t0, 3, 0}}) == Lines{"gap ring 3", "walk tables"});
  CHECK(watched({row(t0 + 5 * ms, State::close_wait, Attribution::holder, client()), WalkDone{t0 + 6 * ms}}) ==
        Lines{"ask 812/0", "snapshot 81 CLOSE_WAIT age=6ms holder:812", "snapshot_end"});
  CHECK(watched({WalkDone{t0 + 7 * ms}}).empty());
}

TEST_CASE("storage and ring are told apart", "[engine][loss]") {
  Watched watched = running();
  CHECK(watched({LossSeen{t0, 3, 2}}) == Lines{"gap ring 3", "gap storage 2", "walk tables"});
}

TEST_CASE("totals that stay where they are tell nothing", "[engine][loss]") {
  Watched watched = running();
  watched({LossSeen{t0, 3, 0}});
  CHECK(watched({LossSeen{t0 + 5 * seconds, 3, 0}, Tick{t0 + 6 * seconds, 0}}).empty());
}

TEST_CASE("while losses go on they are told once a second, nothing left out", "[engine][loss]") {
  Watched watched = running();
  CHECK(watched({LossSeen{t0, 3, 0}}) == Lines{"gap ring 3", "walk tables"});
  watched({WalkDone{t0 + 1 * ms, t0}});
  CHECK(watched({LossSeen{t0 + 100 * ms, 5, 0}, LossSeen{t0 + 200 * ms, 9, 1}, Tick{t0 + 999 * ms, 0}}).empty());
  CHECK(watched({Tick{t0 + 1 * seconds, 0}}) == Lines{"gap ring 6", "gap storage 1", "walk tables"});
}

TEST_CASE("a walk that is under way is not asked for again", "[engine][loss]") {
  Watched watched = running();
  watched({LossSeen{t0, 3, 0}});
  CHECK(watched({LossSeen{t0 + 2 * seconds, 4, 0}}) == Lines{"gap ring 1"});
}

TEST_CASE("a loss during the first walk: what the snapshot says may be no more, so there is another",
          "[engine][loss]") {
  Watched watched;
  CHECK(watched({LossSeen{50 * ms, 7, 1}}).empty());
  CHECK(watched({WalkDone{100 * ms}, started(100 * ms)}) ==
        Lines{"hello", "snapshot_end", "gap ring 7", "gap storage 1", "walk tables"});
  CHECK(watched({WalkDone{120 * ms, 110 * ms}}) == Lines{"snapshot_end"});
  CHECK(watched({LossSeen{t0, 9, 1}}) == Lines{"gap ring 2", "walk tables"});
}

TEST_CASE("what was lost beside transitions is a gap too", "[engine][loss]") {
  Watched watched = running();
  CHECK(watched({LossSeen{t0, 0, 0, 4}}) == Lines{"gap ring 4", "walk tables"});
  watched({WalkDone{t0 + 1 * ms, t0}});
  CHECK(watched({LossSeen{t0 + 2 * seconds, 3, 0, 5}}) == Lines{"gap ring 4", "walk tables"});
  watched({WalkDone{t0 + 3 * seconds, t0 + 2 * seconds}});
  CHECK(watched({Stopped{t0 + 4 * seconds, 0, 0}}) == Lines{"bye events=0 lost=8 connections=0"});
}

TEST_CASE("after a loss a listener is believed in again when a walk has met it", "[engine][loss]") {
  SocketRow listens = row(90 * ms, State::listen, Attribution::listener, server());
  listens.cookie = 80;
  listens.tuple = listening();
  Watched watched;
  watched.begin({listens});
  TransitionSeen ends = on_incoming(change(t0, State::established, State::close_wait));
  ends.attribution = Attribution::unknown;
  ends.process = {};
  ends.listener_cookie = 0;
  ends.evidence.no_socket = true;
  const auto who = [&] {
    watched({ends});
    ends.time_ns += 1 * ms;
    return name(only<Transition>(watched.facts()).at(0).responsible.attribution);
  };
  CHECK(who() == "listener");
  watched({LossSeen{t0 + 1 * ms, 1, 0}});
  ends.time_ns += 5 * ms;
  CHECK(who() == "unknown");
  listens.time_ns = t0 + 20 * ms;
  watched({listens, WalkDone{t0 + 30 * ms, t0 + 10 * ms}});
  ends.time_ns = t0 + 40 * ms;
  CHECK(who() == "listener");
}

TEST_CASE("the last losses are told before bye, within the second too", "[engine][loss]") {
  Watched watched = running();
  watched({LossSeen{t0, 3, 0}});
  watched({LossSeen{t0 + 100 * ms, 5, 0}});
  CHECK(watched({Stopped{t0 + 200 * ms, 0, 0}}) == Lines{"gap ring 2", "bye events=0 lost=5 connections=0"});
}

TEST_CASE("lines that the output had no room for are a gap of their own", "[engine][loss]") {
  Watched watched = running();
  CHECK(watched({OutputLost{t0, 12}}) == Lines{"gap output 12", "walk tables"});
  CHECK(watched({WalkDone{t0 + 1 * ms}}) == Lines{"snapshot_end"});
  CHECK(watched({LossSeen{t0 + 2 * ms, 3, 4}, Stopped{t0 + 3 * ms, 0, 0}}) ==
        Lines{"gap ring 3", "gap storage 4", "bye events=0 lost=19 connections=0"});
}

TEST_CASE("a reader too slow for one snapshot is not given another within the minute", "[engine][loss]") {
  Watched watched = running();
  watched({OutputLost{t0, 12}, WalkDone{t0 + 1 * ms}});
  CHECK(watched({OutputLost{t0 + 58 * seconds, 5}}) == Lines{"gap output 5"});
  CHECK(watched({Tick{t0 + 59 * seconds, 0}}).empty());
  // It is owed one all the same.
  SECTION("and loses no more") { CHECK(watched({Tick{t0 + 60 * seconds, 0}}) == Lines{"walk tables"}); }
  SECTION("and loses again") {
    CHECK(watched({OutputLost{t0 + 60 * seconds, 5}}) == Lines{"gap output 5", "walk tables"});
  }
  CHECK(watched({WalkDone{t0 + 61 * seconds, t0 + 60 * seconds}}) == Lines{"snapshot_end"});
  CHECK(watched({Tick{t0 + 300 * seconds, 0}}).empty());
}

TEST_CASE("a loss right behind a walk: told at once, the walk comes after the pause", "[engine][loss]") {
  Watched watched = running();
  watched({WalkDone{t0, t0 - 1 * ms}});
  CHECK(watched({LossSeen{t0 + 50 * ms, 3, 0}}) == Lines{"gap ring 3"});
  CHECK(watched({Tick{t0 + 60 * ms, 0}}).empty());
  CHECK(watched({Tick{t0 + 600 * ms, 0}}) == Lines{"walk tables"});
  CHECK(watched({WalkDone{t0 + 610 * ms, t0 + 600 * ms}}) == Lines{"snapshot_end"});
  CHECK(watched({Tick{t0 + 2 * seconds, 0}}).empty());
}

TEST_CASE("bye counts what the gaps told", "[engine][loss]") {
  Watched watched;
  SECTION("nothing was lost before hello") {}
  SECTION("something was") { watched({LossSeen{50 * ms, 7, 1}}); }
  watched({WalkDone{100 * ms}, started(100 * ms)});
  std::uint64_t before = 0;
  for (const Gap& gap : only<Gap>(watched.facts())) before += gap.lost;
  watched({LossSeen{t0, 10, 1, 2}});
  std::uint64_t lost = before;
  for (const Gap& gap : only<Gap>(watched.facts())) lost += gap.lost;
  watched({Stopped{t0 + 1 * ms, 0, 0}});
  CHECK(only<Bye>(watched.facts()).at(0).totals.lost == lost);
}

TEST_CASE("events are counted from hello on", "[engine][loss]") {
  Watched watched;
  watched({change(50 * ms, State::established, State::close_wait), WalkDone{60 * ms}, started(100 * ms)});
  watched({called(t0, State::established, State::fin_wait1, Cause::close),
           last(change(t0 + 1 * ms, State::last_ack, State::close))});
  CHECK(watched({Usage{t0 + 2 * ms, 0, 0}}) == Lines{"stats events=2 lost=0 connections=0"});
}

TEST_CASE("of many events behind one that waits none waits for long: they are told, and counted", "[engine][limits]") {
  Engine::Settings settings;
  settings.pending_limit = 100;
  Watched watched{settings};
  watched.begin();
  watched({ProcessSeen{150 * ms, client()}, ProcessExited{160 * ms, client().key}});
  // Its owner is asked for.
  CHECK(watched({change(t0, State::established, State::close_wait)}) == Lines{"walk"});
  std::size_t told = 0;
  for (std::uint64_t n = 1; n <= 100; ++n) {
    TransitionSeen other = on_incoming(change(t0 + n, State::established, State::close_wait));
    other.cookie = 1000 + n;
    watched({other});
    told += only<Transition>(watched.facts()).size();
    if (n < 100) CHECK(told == 0);
  }
  CHECK(told == 101);
  CHECK(watched.engine().refusals().hurried == 1);
}

TEST_CASE("what a walk does not meet any more is told as gone, where nothing says that something was lost",
          "[engine][loss]") {
  Watched watched = running();
  watched({ProcessSeen{t0, client()}});
  TransitionSeen other = change(t0 + 1 * ms, State::established, State::fin_wait1);
  other.cookie = 83;
  other.tuple.local.port = 4000;
  watched({change(t0, State::established, State::close_wait), other});
  SECTION("no bucket") {
    SocketRow met = row(t0 + 30 * ms, State::fin_wait1, Attribution::opener, client());
    met.cookie = 83;
    met.tuple = other.tuple;
    CHECK(watched({met, WalkDone{t0 + 40 * ms, t0 + 20 * ms}}) ==
          Lines{"81 CLOSE_WAIT>CLOSE in=40ms opener:812 gone sweep"});
    CHECK(watched({met, WalkDone{t0 + 60 * ms, t0 + 50 * ms}}).empty());
  }
  SECTION("a bucket has it") {
    SocketRow met = row(t0 + 30 * ms, State::close_wait, Attribution::opener, client());
    BucketRow found = bucket(t0 + 25 * ms, 83, other.tuple);
    found.expires_in_ns = 59'990 * static_cast<std::int64_t>(ms);
    CHECK(watched({found, met, WalkDone{t0 + 40 * ms, t0 + 20 * ms}}) ==
          Lines{"83 FIN_WAIT1>TIME_WAIT in=39ms opener:812 network sweep"});
  }
  SECTION("it went by tables, and not where they are") {
    CHECK(watched.engine().namespaces_of_connections() == std::vector<std::uint32_t>{netns});
    CHECK(watched({WalkDone{t0 + 40 * ms, t0 + 20 * ms, false, true, {netns + 1}}}).empty());
    SECTION("then it did, twice") {
      CHECK(watched({WalkDone{t0 + 60 * ms, t0 + 55 * ms, false, true, {netns}}}).empty());
      CHECK(watched({WalkDone{t0 + 80 * ms, t0 + 75 * ms, false, true, {netns}}}).size() == 2);
      CHECK(watched.engine().namespaces_of_connections().empty());
    }
    SECTION("lines that the output lost say nothing of them") {
      watched({OutputLost{t0 + 45 * ms, 1}, WalkDone{t0 + 1 * seconds, t0 + 900 * ms, false, true, {}}});
      CHECK(watched.engine().namespaces_of_connections().size() == 1);
    }
  }
  SECTION("nor did it, and something was lost") {
    watched({LossSeen{t0 + 10 * ms, 4, 0}, WalkDone{t0 + 40 * ms, t0 + 20 * ms, false, true, {}}});
    CHECK(watched.engine().namespaces_of_connections().empty());
    // That was a loss of then.
    watched({change(t0 + 50 * ms, State::established, State::close_wait),
             WalkDone{t0 + 70 * ms, t0 + 60 * ms, false, true, {}}});
    CHECK(watched.engine().namespaces_of_connections().size() == 1);
  }
  SECTION("something was lost: the snapshot has what there is") {
    CHECK(watched({LossSeen{t0 + 10 * ms, 4, 0}, WalkDone{t0 + 40 * ms, t0 + 20 * ms}}) ==
          Lines{"gap ring 4", "walk tables", "snapshot_end"});
  }
}
