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

TEST_CASE("losses from before hello are no gap of the stream", "[engine][loss]") {
  Watched watched;
  CHECK(watched({LossSeen{50 * ms, 7, 1}}).empty());
  CHECK(watched({WalkDone{100 * ms}, started(100 * ms), Tick{200 * ms, 0}}) == Lines{"hello", "snapshot_end"});
  CHECK(watched({LossSeen{t0, 9, 1}}) == Lines{"gap ring 2", "walk tables"});
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
  CHECK(watched({OutputLost{t0 + 59 * seconds, 5}}) == Lines{"gap output 5"});
  CHECK(watched({OutputLost{t0 + 60 * seconds, 5}}) == Lines{"gap output 5", "walk tables"});
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
  SECTION("something was, and the stream does not begin before hello") { watched({LossSeen{50 * ms, 7, 1}}); }
  watched({WalkDone{100 * ms}, started(100 * ms)});
  const std::uint64_t before = only<Gap>(watched.facts()).size();
  watched({LossSeen{t0, 10, 1}});
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
