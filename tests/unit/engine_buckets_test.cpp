// SPDX-License-Identifier: BSD-2-Clause
// TIME_WAIT from its entry to its end, as events and walks tell it.
#include "buckets.hpp"
#include "catch.hpp"

using namespace closewatch;
using namespace closewatch::test;
using namespace closewatch::test::buckets;

TEST_CASE("a bucket: entered by its event, expired at the time of its timer", "[engine][buckets]") {
  Watched watched = running();
  CHECK(transitions(watched, {into_time_wait(t0)}) == Lines{"81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network"});
  CHECK(watched.engine().namespaces_with_buckets() == std::vector<std::uint32_t>{netns});
  CHECK(transitions(watched, sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'000'000'000)})).empty());
  const auto lines = transitions(watched, sweep(t0 + 62 * seconds, {}));
  CHECK(lines == Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  const Transition end = only<Transition>(watched.facts()).at(0);
  CHECK(end.time_ns == static_cast<std::int64_t>(t0 + 60 * seconds));
  CHECK_FALSE(end.actor);
  CHECK(end.connection.tuple == outgoing());
  CHECK(watched.engine().namespaces_with_buckets().empty());
  CHECK(transitions(watched, sweep(t0 + 70 * seconds, {})).empty());
  CHECK(watched.engine().differences().early == 0);
  CHECK(watched.engine().differences().unannounced == 0);
  CHECK(entered(watched) == 1);
}

TEST_CASE("a bucket that no walk has met expires 60 s after its event", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})) ==
        Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
}

TEST_CASE("a timer that was set anew by a late segment counts", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  watched(sweep(t0 + 50 * seconds, {met(t0 + 50 * seconds, whole - 10'000'000'000)}));
  CHECK(transitions(watched, sweep(t0 + 61 * seconds, {met(t0 + 61 * seconds, whole - 21'000'000'000)})).empty());
  CHECK(transitions(watched, sweep(t0 + 101 * seconds, {})) ==
        Lines{"81 TIME_WAIT>CLOSE in=100000ms closer:812 expired sweep"});
}

TEST_CASE("an overdue timer: it expires when it was last met, not before", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  watched(sweep(t0 + 61 * seconds, {met(t0 + 61 * seconds, -1'000'000'000)}));
  CHECK(transitions(watched, sweep(t0 + 64 * seconds, {})) ==
        Lines{"81 TIME_WAIT>CLOSE in=61000ms closer:812 expired sweep"});
}

TEST_CASE("a subflow's bucket is one to its end", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen seen = into_time_wait(t0);
  seen.evidence.mptcp = GENERATE(true, false);
  watched({seen});
  watched(sweep(t0 + 62 * seconds, {}));
  CHECK(only<Transition>(watched.facts()).at(0).connection.mptcp == seen.evidence.mptcp);
}

TEST_CASE("out of CLOSING into TIME_WAIT", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen seen = into_time_wait(t0);
  seen.from = State::closing;
  seen.evidence.done = false;
  CHECK(transitions(watched, {seen}) == Lines{"81 CLOSING>TIME_WAIT in=1ms closer:812 network"});
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})).size() == 1);
}

TEST_CASE("what leaves no bucket is not in the ledger", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen reset = into_time_wait(t0);
  reset.evidence.error = 104;
  TransitionSeen passive = into_time_wait(t0);
  passive.from = State::last_ack;
  watched({reset, passive});
  CHECK(watched.engine().namespaces_with_buckets().empty());
}

TEST_CASE("an orphan's promotion: found by a walk, with the time of the timer", "[engine][buckets]") {
  Watched watched = running();
  // Nothing is told at its entry.
  CHECK(transitions(watched, {orphaned(t0), Tick{t0 + 30 * ms, 0}}).empty());
  REQUIRE(only<Closed>(watched.facts()).size() == 1);
  CHECK(transitions(watched, sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'000'000'000, State::fin_wait2)}))
            .empty());
  CHECK(entered(watched) == 0);
  // The peer's FIN came at 7 s.
  CHECK(transitions(watched, sweep(t0 + 10 * seconds, {met(t0 + 10 * seconds, whole - 3'000'000'000)})) ==
        Lines{"81 FIN_WAIT2>TIME_WAIT in=7001ms closer:812 network sweep"});
  CHECK(only<Transition>(watched.facts()).at(0).time_ns == static_cast<std::int64_t>(t0 + 7 * seconds));
  CHECK(only<Transition>(watched.facts()).at(0).connection.tuple.role == Role::connect);
  CHECK(entered(watched) == 1);
  CHECK(transitions(watched, sweep(t0 + 15 * seconds, {met(t0 + 15 * seconds, whole - 8'000'000'000)})).empty());
  CHECK(transitions(watched, sweep(t0 + 68 * seconds, {})) ==
        Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
}

TEST_CASE("an orphan's end: FIN_WAIT2 at the time of its timer", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), Tick{t0 + 30 * ms, 0}});
  watched(sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, 4 * static_cast<std::int64_t>(seconds), State::fin_wait2)}));
  CHECK(transitions(watched, sweep(t0 + 10 * seconds, {})) ==
        Lines{"81 FIN_WAIT2>CLOSE in=9001ms closer:812 expired sweep"});
  CHECK(entered(watched) == 0);
}

TEST_CASE("an orphan's end is known where its event says how long it is kept", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen seen = orphaned(t0);
  seen.orphan_ns = 7 * seconds;
  watched({seen, Tick{t0 + 30 * ms, 0}});
  CHECK(transitions(watched, sweep(t0 + 6 * seconds, {})).empty());
  CHECK(transitions(watched, sweep(t0 + 8 * seconds, {})) ==
        Lines{"81 FIN_WAIT2>CLOSE in=7001ms closer:812 expired sweep"});
}

TEST_CASE("an orphan's promotion is not before its event, however coarse the jiffies", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), Tick{t0 + 30 * ms, 0}});
  watched(sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'004'000'000)}));
  REQUIRE(only<Transition>(watched.facts()).size() == 1);
  CHECK(only<Transition>(watched.facts()).at(0).time_ns == static_cast<std::int64_t>(t0));
}

TEST_CASE("a row that comes before its event", "[engine][buckets]") {
  Watched watched = running();
  SECTION("with the same substate: one entry, by the event") {
    watched({met(t0 + 1 * ms, whole - 1'000'000), into_time_wait(t0)});
    CHECK(transitions(watched) == Lines{"81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network"});
    CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})) ==
          Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  }
  SECTION("promoted since: both, the promotion behind the end") {
    watched({met(t0 + 100 * ms, whole - 60'000'000), orphaned(t0), Tick{t0 + 100 * ms, 0}});
    REQUIRE(watched.facts().size() >= 2);
    const auto lines = told(watched.facts());
    CHECK(lines.at(lines.size() - 2).starts_with("81 closed"));
    CHECK(lines.back() == "81 FIN_WAIT2>TIME_WAIT in=41ms closer:812 network sweep");
  }
  CHECK(entered(watched) == 1);
  CHECK(watched.engine().differences().unannounced == 0);
}

TEST_CASE("an event that is held back until its walk is done", "[engine][buckets]") {
  Watched watched = running();
  // An orphan's awaits a RST for 20 ms.
  watched({orphaned(t0), met(t0 + 1 * ms, whole, State::fin_wait2)});
  watched({TablesWalked{t0 + 10 * ms, t0, netns, 0}, WalkDone{t0 + 10 * ms, t0}});
  watched({Tick{t0 + 30 * ms, 0}});
  CHECK(watched.engine().differences().unannounced == 0);
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})) ==
        Lines{"81 FIN_WAIT2>CLOSE in=60002ms closer:812 expired sweep"});
}

TEST_CASE("met by the walk during which its event is let go", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), met(t0 + 16 * ms, whole, State::fin_wait2), Tick{t0 + 25 * ms, 0},
           TablesWalked{t0 + 30 * ms, t0 + 15 * ms, netns, 0}, WalkDone{t0 + 30 * ms, t0 + 15 * ms}});
  CHECK(watched.engine().differences().early == 0);
}

TEST_CASE("a bucket whose event is held back is nobody else's meanwhile", "[engine][buckets]") {
  Watched watched = running();
  watched(sweep(t0 - 1 * seconds, {listener_row(t0 - 1 * seconds)}));
  TransitionSeen seen = orphaned(t0);
  seen.cookie = 82;
  seen.tuple = incoming();
  BucketRow row = of(82, met(t0 + 1 * ms, whole, State::fin_wait2));
  row.tuple = incoming();
  watched({LossSeen{t0, 1, 0}, seen, row, TablesWalked{t0 + 2 * ms, t0, netns, 0}, WalkDone{t0 + 2 * ms, t0}});
  CHECK(only<Snapshot>(watched.facts()).empty());
  SECTION("its event comes") {
    watched({Tick{t0 + 30 * ms, 0}});
    CHECK(transitions(watched, sweep(t0 + 70 * seconds, {})) ==
          Lines{"82 FIN_WAIT2>CLOSE in=60002ms closer:812 expired sweep"});
  }
  SECTION("its ends are another's before: told in and out, once") {
    TransitionSeen other = change(t0 + 10 * ms, State::established, State::close_wait);
    other.cookie = 90;
    other.tuple = incoming();
    watched({other, Tick{t0 + 50 * ms, 0}});
    watched(sweep(t0 + 5 * seconds, {}));
    CHECK(transitions(watched, sweep(t0 + 10 * seconds, {})) ==
          Lines{"82 FIN_WAIT2>CLOSE in=10011ms closer:812 gone sweep"});
  }
  CHECK(watched.engine().differences().unannounced == 0);
}

TEST_CASE("a bucket that was reused before its own event was let go", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen next = into_time_wait(t0 + 5 * ms);
  next.cookie = 90;
  // The event of 81 awaits a RST for 20 ms, and that of 90 stands behind it.
  watched(sweep(t0, {orphaned(t0 + 1 * ms), of(90, met(t0 + 6 * ms, whole)), next}));
  CHECK(transitions(watched, {Tick{t0 + 50 * ms, 0}}) ==
        Lines{"90 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network", "81 FIN_WAIT2>CLOSE in=6ms closer:812 reused sweep"});
  CHECK(transitions(watched, sweep(t0 + 5 * seconds, {of(90, met(t0 + 5 * seconds, whole - 5'000'000'000))})).empty());
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})) ==
        Lines{"90 TIME_WAIT>CLOSE in=59995ms closer:812 expired sweep"});
  CHECK(watched.engine().differences().unannounced == 0);
}

TEST_CASE("a bucket that was reused before its own event was let go, at a time that is not known",
          "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen next = orphaned(t0 + 5 * ms);
  next.cookie = 90;
  watched(sweep(t0, {orphaned(t0 + 1 * ms), of(90, met(t0 + 6 * ms, whole, State::fin_wait2)), next}));
  CHECK(transitions(watched, {Tick{t0 + 50 * ms, 0}}) == Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 reused sweep"});
}

TEST_CASE("a full table: only a walk knows whether there is a bucket", "[engine][buckets]") {
  Watched watched = running();
  const State substate = GENERATE(State::time_wait, State::fin_wait2);
  CAPTURE(name(substate));
  const TransitionSeen seen = beside_a_full_table(substate == State::time_wait ? into_time_wait(t0) : orphaned(t0));
  CHECK(transitions(watched, {seen, Tick{t0 + 30 * ms, 0}}).empty());
  REQUIRE(only<Closed>(watched.facts()).at(0).bucket == Bucket::unknown);
  SECTION("nothing of it is told before") {
    CHECK(transitions(watched, {WalkDone{t0 + 1 * seconds, t0 + 999 * ms}}).empty());
    watched({LossSeen{t0 + 2 * seconds, 1, 0}, WalkDone{t0 + 2 * seconds, t0 + 2 * seconds}});
    CHECK(only<Snapshot>(watched.facts()).empty());
  }
  SECTION("it is met") {
    const auto lines =
        transitions(watched, sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'000'000'000, substate)}));
    if (substate == State::time_wait)
      CHECK(lines == Lines{"81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network sweep"});
    else
      CHECK(lines.empty());
    CHECK(entered(watched) == (substate == State::time_wait ? 1U : 0U));
    CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})).size() == 1);
  }
  SECTION("it is not, and the kernel has counted it") {
    CHECK(transitions(watched, sweep(t0 + 5 * seconds, {}, 1)) ==
          Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 overflow sweep"});
    CHECK(only<Transition>(watched.facts()).at(0).time_ns == static_cast<std::int64_t>(t0));
  }
  SECTION("it is not, and the kernel has counted none") {
    CHECK(transitions(watched, sweep(t0 + 5 * seconds, {}, 0)) ==
          Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 gone sweep"});
  }
  SECTION("it is not, and 60 s have passed: it has not expired all the same") {
    CHECK(transitions(watched, sweep(t0 + 65 * seconds, {}, 1)) ==
          Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 overflow sweep"});
  }
  SECTION("another has its ends") {
    TransitionSeen other = change(t0 + 1 * seconds, State::established, State::close_wait);
    other.cookie = 90;
    other.entered_ns = 0;
    CHECK(transitions(watched, {other}).at(0).starts_with("81 FIN_WAIT2>CLOSE in=1001ms closer:812 overflow"));
  }
}

TEST_CASE("a full table, out of CLOSING", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen seen = beside_a_full_table(into_time_wait(t0));
  seen.from = State::closing;
  watched({seen});
  SECTION("met") {
    CHECK(transitions(watched, sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'000'000'000)})) ==
          Lines{"81 CLOSING>TIME_WAIT in=1ms closer:812 network sweep"});
  }
  SECTION("not met") {
    CHECK(transitions(watched, sweep(t0 + 5 * seconds, {}, 1)) ==
          Lines{"81 CLOSING>CLOSE in=1ms closer:812 overflow sweep"});
  }
}

TEST_CASE("no more overflows are told than the kernel has counted", "[engine][buckets]") {
  Watched watched = running();
  const auto ends = [](std::uint64_t cookie, std::uint64_t time_ns) {
    TransitionSeen seen = beside_a_full_table(into_time_wait(time_ns));
    seen.cookie = cookie;
    seen.tuple.local.port = static_cast<std::uint16_t>(40'000 + cookie);
    return seen;
  };
  const auto count = [&](Cause cause) {
    const auto all = only<Transition>(watched.facts());
    return std::count_if(all.begin(), all.end(), [&](const Transition& each) { return each.cause == cause; });
  };
  watched(sweep(t0 - 1 * seconds, {}, 7));
  // Whose the first seven were nobody knows; perhaps some are of these.
  watched({ends(1, t0), ends(2, t0), ends(3, t0), ends(4, t0), ends(5, t0), ends(6, t0), ends(7, t0), ends(8, t0)});
  watched(sweep(t0 + 1 * seconds, {}, 7));
  CHECK(count(Cause::overflow) == 7);
  CHECK(count(Cause::gone) == 1);
  watched({ends(11, t0 + 2 * seconds), ends(12, t0 + 2 * seconds), ends(13, t0 + 2 * seconds)});
  SECTION("two of three") {
    watched(sweep(t0 + 5 * seconds, {}, 9));
    CHECK(count(Cause::overflow) == 2);
    CHECK(count(Cause::gone) == 1);
  }
  SECTION("a count that went back is none") {
    watched(sweep(t0 + 5 * seconds, {}, 2));
    CHECK(count(Cause::overflow) == 0);
    CHECK(count(Cause::gone) == 3);
  }
  SECTION("none is known") {
    watched(sweep(t0 + 5 * seconds, {}, std::nullopt));
    CHECK(count(Cause::overflow) == 0);
  }
  SECTION("counted by a walk during which the event came") {
    watched(sweep(t0 + 3 * seconds, {}, 10));
    watched(sweep(t0 + 4 * seconds, {ends(14, t0 + 4 * seconds + 1 * ms)}, 11));
    CHECK(transitions(watched).empty());
    watched(sweep(t0 + 5 * seconds, {}, 11));
    CHECK(count(Cause::overflow) == 1);
  }
  SECTION("of another namespace") {
    watched({TablesWalked{t0 + 3 * seconds, t0 + 3 * seconds, netns + 1, 99},
             WalkDone{t0 + 3 * seconds, t0 + 3 * seconds}});
    watched(sweep(t0 + 5 * seconds, {}, 7));
    CHECK(count(Cause::overflow) == 0);
  }
}

TEST_CASE("gone before its time is believed when two walks agree", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  CHECK(transitions(watched, sweep(t0 + 5 * seconds, {})).empty());
  CHECK(watched.engine().differences().early == 1);
  SECTION("they do") {
    CHECK(transitions(watched, sweep(t0 + 10 * seconds, {})) ==
          Lines{"81 TIME_WAIT>CLOSE in=10010ms closer:812 gone sweep"});
    CHECK(watched.engine().namespaces_with_buckets().empty());
  }
  SECTION("it turns up again") {
    CHECK(transitions(watched, sweep(t0 + 10 * seconds, {met(t0 + 10 * seconds, whole - 10'000'000'000)})).empty());
    CHECK(transitions(watched, sweep(t0 + 15 * seconds, {})).empty());
    CHECK(transitions(watched, sweep(t0 + 20 * seconds, {})).size() == 1);
  }
  SECTION("a walk of another namespace says nothing") {
    watched({TablesWalked{t0 + 10 * seconds, t0 + 9 * seconds, netns + 1, 0},
             WalkDone{t0 + 10 * seconds, t0 + 9 * seconds}});
    CHECK(transitions(watched).empty());
  }
  SECTION("nor does one for owners") {
    CHECK(transitions(watched, {WalkDone{t0 + 10 * seconds, t0 + 10 * seconds}}).empty());
  }
  SECTION("meanwhile it is in no snapshot, nor in the report") {
    watched({LossSeen{t0 + 6 * seconds, 1, 0}, WalkDone{t0 + 6 * seconds, t0 + 6 * seconds, true}});
    CHECK(only<Snapshot>(watched.facts()).empty());
    CHECK(watched.engine().report({}).states[static_cast<std::size_t>(State::time_wait)] == 0);
  }
}

TEST_CASE("what entered while the walk was under way is not missed by it", "[engine][buckets]") {
  Watched watched = running();
  watched(sweep(t0, {into_time_wait(t0 + 1 * ms)}));
  CHECK(watched.engine().differences().early == 0);
  CHECK(transitions(watched, sweep(t0 + 5 * seconds, {})).empty());
  CHECK(watched.engine().differences().early == 1);
}

TEST_CASE("a row of a walk that failed does not stand for the next", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0), met(t0 + 1 * seconds, whole - 1'000'000'000)});
  watched(sweep(t0 + 2 * seconds, {}));
  CHECK(watched.engine().differences().early == 1);
}
