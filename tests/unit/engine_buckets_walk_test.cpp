// SPDX-License-Identifier: BSD-2-Clause
// TIME_WAIT buckets whose ends another takes, that nobody announced, that nothing walks; and where there is no room.
#include "buckets.hpp"
#include "catch.hpp"

using namespace closewatch;
using namespace closewatch::test;
using namespace closewatch::test::buckets;

TEST_CASE("reused: another connection has its ends", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  SECTION("by an event of it, with --all-states at once") {
    TransitionSeen other = called(t0 + 2 * seconds, State::syn_sent, State::established, Cause::connect);
    other.cookie = 90;
    CHECK(transitions(watched, {other}).at(0) == "81 TIME_WAIT>CLOSE in=2000ms closer:812 reused");
  }
  SECTION("by an event of it, later: since it was established") {
    TransitionSeen other = change(t0 + 9 * seconds, State::established, State::close_wait);
    other.cookie = 90;
    other.entered_ns = t0 + 3 * seconds;
    CHECK(transitions(watched, {other}).at(0) == "81 TIME_WAIT>CLOSE in=3000ms closer:812 reused");
  }
  SECTION("connect() has not found a port yet: nothing is known") {
    TransitionSeen other = called(t0 + 2 * seconds, State::close, State::syn_sent, Cause::connect);
    other.cookie = 90;
    other.tuple.local.port = 0;
    CHECK(transitions(watched, {other}).size() == 1);
  }
  SECTION("its own events say nothing") {
    TransitionSeen own = change(t0 + 2 * seconds, State::established, State::close_wait);
    CHECK(transitions(watched, {own}).size() == 1);
  }
  SECTION("what is hidden by filters is not looked at") {
    TransitionSeen other = change(t0 + 9 * seconds, State::established, State::close_wait);
    other.cookie = 90;
    other.evidence.hidden = true;
    CHECK(transitions(watched, {other}).empty());
  }
  SECTION("by a socket that a walk met") {
    CHECK(transitions(watched, {PortRow{t0 + 5 * seconds, 90, outgoing(), t0 + 4 * seconds}}) ==
          Lines{"81 TIME_WAIT>CLOSE in=4000ms closer:812 reused sweep"});
  }
  SECTION("by one whose SYN has come in: it has no cookie yet") {
    CHECK(transitions(watched, {PortRow{t0 + 5 * seconds, 0, outgoing(), 0}}) ==
          Lines{"81 TIME_WAIT>CLOSE in=5000ms closer:812 reused sweep"});
  }
  SECTION("by another bucket's event") {
    TransitionSeen other = into_time_wait(t0 + 6 * seconds);
    other.cookie = 90;
    CHECK(has(transitions(watched, {other}), "90 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network"));
    CHECK(has(transitions(watched), "81 TIME_WAIT>CLOSE in=6000ms closer:812 reused"));
    CHECK(transitions(watched, sweep(t0 + 67 * seconds, {})) ==
          Lines{"90 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  }
  SECTION("by another bucket's row") {
    CHECK(transitions(watched, {of(90, met(t0 + 6 * seconds, whole))}) ==
          Lines{"81 TIME_WAIT>CLOSE in=6000ms closer:812 reused sweep"});
  }
}

TEST_CASE("reused: an orphan's bucket has been promoted before", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), Tick{t0 + 1 * seconds, 0}});
  CHECK(
      transitions(watched, {PortRow{t0 + 5 * seconds, 90, outgoing(), t0 + 4 * seconds}}) ==
      Lines{"81 FIN_WAIT2>TIME_WAIT in=? closer:812 network sweep", "81 TIME_WAIT>CLOSE in=? closer:812 reused sweep"});
}

TEST_CASE("the owner has ended where its end has closed it", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen seen = into_time_wait(t0);
  seen.closer_by = Cause::exit;
  watched({seen});
  const auto told = only<Closed>(watched.facts());
  REQUIRE(told.size() == 1);
  CHECK(told.at(0).responsible.process->entry->exited);
}

TEST_CASE("from before the start: the range of ports tells the side", "[engine][buckets]") {
  NamespaceSeen settings{t0, netns, {}};
  settings.look.settings.port_range = PortRange{20'000, 20'099};
  const auto side = [&](std::uint16_t local, std::uint16_t peer) {
    Watched watched{keeping()};
    BucketRow row = met(t0 + 1 * ms, whole);
    row.tuple.local.port = local;
    row.tuple.peer.port = peer;
    watched({settings, row, TablesWalked{t0 + 2 * ms, t0, netns, std::nullopt}, WalkDone{t0 + 3 * ms, t0},
             started(t0 + 4 * ms)});
    return only<Snapshot>(watched.facts()).at(0).connection.tuple.role;
  };
  CHECK(side(20'050, 50'000) == Role::connect);
  CHECK(side(50'000, 20'050) == Role::accept);
}

TEST_CASE("a row that is older than the bucket ends nothing", "[engine][buckets]") {
  Watched watched = running();
  watched({into_time_wait(t0)});
  SECTION("another connection's") { watched({PortRow{t0 + 1 * ms, 90, outgoing(), t0 - 1 * ms}}); }
  SECTION("a SYN's") { watched({PortRow{t0 - 1 * ms, 0, outgoing(), 0}}); }
  SECTION("another bucket's") { watched({of(70, met(t0 - 1 * ms, whole / 2))}); }
  SECTION("older than the last walk that met it") {
    watched(sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, whole - 5'000'000'000)}));
    watched({PortRow{t0 + 5 * seconds, 90, outgoing(), t0 + 4 * seconds}});
  }
  CHECK(transitions(watched).empty());
  CHECK(watched.engine().namespaces_with_buckets().size() == 1);
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})).size() == 1);
  CHECK(watched.engine().namespaces_with_buckets().empty());
}

TEST_CASE("a row of a bucket that was reused before the row was read finds nothing", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen other = change(t0 + 2 * ms, State::established, State::close_wait);
  other.cookie = 90;
  watched({into_time_wait(t0 - 1 * seconds)});
  watched(sweep(t0, {other, met(t0 + 1 * ms, whole - 1'001'000'000)}));
  CHECK(transitions(watched).size() == 2);
  CHECK(watched.engine().namespaces_with_buckets().empty());
  CHECK(watched.engine().differences().unannounced == 0);
}

TEST_CASE("an older event of another connection ends nothing", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen before = change(t0, State::established, State::close_wait);
  before.cookie = 70;
  CHECK(
      transitions(watched, sweep(t0, {met(t0 + 1 * ms, whole), before, into_time_wait(t0 + 1 * ms)})) ==
      Lines{"70 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network", "81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network"});
  // The bucket's end, and that 70 is met no more.
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})).size() == 2);
}

TEST_CASE("IPv6, and the same addresses in two namespaces", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen six = into_time_wait(t0);
  six.cookie = 83;
  six.tuple = tuple(Role::connect, "2001:db8::7", 51234, "2001:db8::5", 3306);
  TransitionSeen there = into_time_wait(t0);
  there.cookie = 84;
  there.tuple.netns = netns + 1;
  watched({into_time_wait(t0), six, there});
  CHECK(watched.engine().namespaces_with_buckets() == std::vector<std::uint32_t>{netns, netns + 1});
  SECTION("the ends of one family are not the other's") {
    Tuple other = six.tuple;
    other.local.address[15] = 8;
    CHECK(transitions(watched, {PortRow{t0 + 1 * seconds, 90, other, 0}}).empty());
    CHECK(transitions(watched, {PortRow{t0 + 1 * seconds, 90, six.tuple, 0}}) ==
          Lines{"83 TIME_WAIT>CLOSE in=1000ms closer:812 reused sweep"});
  }
  SECTION("the same bytes as another family's are others") {
    Tuple other = outgoing();
    other.family = Family::ipv6;
    CHECK(transitions(watched, {PortRow{t0 + 1 * seconds, 90, other, 0}}).empty());
  }
  SECTION("each end counts") {
    for (const bool local : {true, false}) {
      Tuple other = outgoing();
      ++(local ? other.local : other.peer).port;
      CHECK(transitions(watched, {PortRow{t0 + 1 * seconds, 90, other, 0}}).empty());
    }
  }
  SECTION("the role does not") {
    Tuple other = outgoing();
    other.role = Role::accept;
    CHECK(transitions(watched, {PortRow{t0 + 1 * seconds, 90, other, 0}}).size() == 1);
  }
  SECTION("a namespace is walked by itself") {
    CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})).size() == 2);
    CHECK(watched.engine().namespaces_with_buckets() == std::vector<std::uint32_t>{netns + 1});
  }
  SECTION("one is no more: its buckets alone are gone") {
    CHECK(transitions(watched, {NamespaceGone{t0 + 3 * seconds, netns + 1}}) ==
          Lines{"84 TIME_WAIT>CLOSE in=3000ms closer:812 gone sweep"});
    CHECK(only<Transition>(watched.facts()).at(0).connection.id.netns == netns + 1);
    CHECK(watched.engine().namespaces_with_buckets() == std::vector<std::uint32_t>{netns});
  }
  SECTION("no more when their time was over") {
    CHECK(transitions(watched, {NamespaceGone{t0 + 63 * seconds, netns + 1}}) ==
          Lines{"84 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  }
}

TEST_CASE("where nothing is walked buckets end by their clock", "[engine][buckets]") {
  Watched watched = running();
  const auto walk_elsewhere = [&](std::uint64_t time_ns) { return transitions(watched, {WalkDone{time_ns, time_ns}}); };
  SECTION("in TIME_WAIT") {
    watched({into_time_wait(t0)});
    CHECK(walk_elsewhere(t0 + 65 * seconds).empty());
    CHECK(walk_elsewhere(t0 + 70 * seconds) == Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  }
  SECTION("an orphan that nothing is known of: TCP_LINGER2 for as long as can be, and then TIME_WAIT") {
    watched({orphaned(t0), Tick{t0 + 30 * ms, 0}});
    CHECK(walk_elsewhere(t0 + 185 * seconds).empty());
    CHECK(walk_elsewhere(t0 + 190 * seconds) == Lines{"81 FIN_WAIT2>CLOSE in=180001ms closer:812 expired sweep"});
  }
  SECTION("an orphan that was met before: it may have been promoted since") {
    watched({orphaned(t0), Tick{t0 + 30 * ms, 0}});
    watched(sweep(t0 + 5 * seconds, {met(t0 + 5 * seconds, 5 * static_cast<std::int64_t>(seconds), State::fin_wait2)}));
    CHECK(walk_elsewhere(t0 + 75 * seconds).empty());
    SECTION("it was") {
      CHECK(transitions(watched, sweep(t0 + 68 * seconds, {met(t0 + 68 * seconds, 1'000'000'000)})) ==
            Lines{"81 FIN_WAIT2>TIME_WAIT in=9001ms closer:812 network sweep"});
    }
    SECTION("it was not") {
      CHECK(walk_elsewhere(t0 + 80 * seconds) == Lines{"81 FIN_WAIT2>CLOSE in=10001ms closer:812 expired sweep"});
    }
  }
  SECTION("one beside a full table was never there") {
    watched({beside_a_full_table(into_time_wait(t0))});
    CHECK(walk_elsewhere(t0 + 70 * seconds) == Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 overflow sweep"});
  }
}

TEST_CASE("buckets from before the start", "[engine][buckets]") {
  const bool filters = GENERATE(false, true);
  CAPTURE(filters);
  Watched watched{keeping(filters)};
  const BucketRow served = bucket(t0, 83, incoming());
  const BucketRow orphan = of(84, met(t0, whole / 2, State::fin_wait2));
  CHECK(watched({listener_row(t0), served, orphan, TablesWalked{t0 + 1 * ms, t0, netns, 0},
                 WalkDone{t0 + 1 * ms, t0}}) == Lines{"ask 900/0"});
  const auto head = watched({started(t0 + 2 * ms)});
  CHECK(watched.engine().differences().unannounced == 0);
  SECTION("they are their port's listener's, or unknown, which a filter on processes drops") {
    CHECK(has(head, "snapshot 83 TIME_WAIT age=15002ms listener:900"));
    CHECK(has(head, "snapshot 84 FIN_WAIT2 age=? unknown") == !filters);
    CHECK(only<Snapshot>(watched.facts()).size() == (filters ? 1U : 2U));
    CHECK(entered(watched) == 0);
  }
  SECTION("none but theirs is walked") {
    CHECK(watched.engine().namespaces_with_buckets().size() == 1);
    watched({NamespaceGone{t0 + 1 * seconds, netns}});
    CHECK(watched.engine().namespaces_with_buckets().empty());
  }
  SECTION("which side they are of is known also when the listener has gone") {
    watched({listener_closes(t0 + 1 * seconds, server()), NamespaceGone{t0 + 50 * seconds, netns}});
    for (const Transition& end : only<Transition>(watched.facts()))
      if (end.connection.id.cookie == 83) CHECK(end.connection.tuple.role == Role::accept);
  }
  SECTION("they end") {
    const auto lines = transitions(watched, sweep(t0 + 50 * seconds, {}));
    CHECK(lines.size() == (filters ? 1U : 2U));
    CHECK(has(lines, "83 TIME_WAIT>CLOSE in=60000ms listener:900 expired sweep"));
    CHECK(has(lines, "84 FIN_WAIT2>CLOSE in=? unknown expired sweep") == !filters);
  }
  SECTION("they are promoted") {
    const auto lines =
        transitions(watched, sweep(t0 + 5 * seconds, {of(83, bucket(t0 + 5 * seconds, 83, incoming())),
                                                      of(84, met(t0 + 5 * seconds, whole - 1'000'000'000))}));
    CHECK(lines == (filters ? Lines{} : Lines{"84 FIN_WAIT2>TIME_WAIT in=? unknown network sweep"}));
    if (!filters) CHECK(entered(watched) == 1);
  }
}

TEST_CASE("a bucket that nobody announced is a difference after the start", "[engine][buckets]") {
  Watched watched = running();
  const auto lines = watched(sweep(t0, {listener_row(t0), bucket(t0, 83, incoming())}));
  CHECK(transitions(watched).empty());
  CHECK(watched.engine().differences().unannounced == 1);
  SECTION("once") {
    watched(sweep(t0 + 5 * seconds, {bucket(t0 + 5 * seconds, 83, incoming())}));
    CHECK(watched.engine().differences().unannounced == 1);
  }
  SECTION("its end is told") {
    CHECK(transitions(watched, sweep(t0 + 50 * seconds, {})) ==
          Lines{"83 TIME_WAIT>CLOSE in=60000ms listener:900 expired sweep"});
  }
}

TEST_CASE("promoted while the walk that finds it is under way: how it was first met is told by none",
          "[engine][buckets]") {
  Watched watched = running();
  CHECK(transitions(watched, sweep(t0, {met(t0, whole, State::fin_wait2), met(t0 + 5 * ms, whole)})).empty());
  CHECK(watched.engine().differences().unannounced == 1);
  watched({LossSeen{t0 + 1 * seconds, 1, 0}, WalkDone{t0 + 2 * seconds, t0 + 2 * seconds}});
  CHECK(has(told(watched.facts()), "snapshot 81 TIME_WAIT age=1995ms unknown"));
}

TEST_CASE("a snapshot after a gap lists the buckets there are", "[engine][buckets]") {
  Watched watched = running();
  TransitionSeen unsure = beside_a_full_table(into_time_wait(t0 + 5 * ms));
  unsure.cookie = 85;
  unsure.tuple.local.port = 7;
  watched({into_time_wait(t0), unsure, LossSeen{t0 + 1 * seconds, 1, 0}});
  std::vector<Event> rows =
      sweep(t0 + 2 * seconds, {met(t0 + 2 * seconds, whole - 2'000'000'000), bucket(t0 + 2 * seconds, 83, incoming())});
  CHECK(watched(rows).back() == "snapshot_end");
  const auto lines = told(watched.facts());
  CHECK(only<Snapshot>(watched.facts()).size() == 2);
  CHECK(has(lines, "snapshot 81 TIME_WAIT age=2010ms closer:812"));
  CHECK(has(lines, "snapshot 83 TIME_WAIT age=15010ms unknown"));
}

TEST_CASE("the ledger is bounded, and counts what it has no room for", "[engine][buckets]") {
  Engine::Settings settings = keeping();
  settings.buckets_limit = 1;
  Watched watched = running(settings);
  TransitionSeen second = into_time_wait(t0);
  second.cookie = 83;
  second.tuple.local.port = 7;
  // Its entry is told all the same.
  CHECK(transitions(watched, {into_time_wait(t0), second}).size() == 2);
  CHECK(watched.engine().refusals().buckets == 1);
  CHECK(transitions(watched, sweep(t0 + 62 * seconds, {})) ==
        Lines{"81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep"});
  CHECK(watched.engine().namespaces_with_buckets().empty());
}

TEST_CASE("nothing is told of buckets before hello", "[engine][buckets]") {
  Watched watched{keeping()};
  TransitionSeen other = into_time_wait(t0 + 2 * seconds);
  other.cookie = 90;
  TransitionSeen orphan = orphaned(t0);
  orphan.cookie = 91;
  orphan.tuple.local.port = 7;
  BucketRow promoted = of(91, met(t0 + 3 * seconds, whole));
  promoted.tuple.local.port = 7;
  watched({into_time_wait(t0), orphan, other, promoted, TablesWalked{t0 + 4 * seconds, t0 + 3 * seconds, netns, 0},
           WalkDone{t0 + 4 * seconds, t0 + 3 * seconds}, TablesWalked{t0 + 5 * seconds, t0 + 5 * seconds, netns, 0},
           WalkDone{t0 + 5 * seconds, t0 + 5 * seconds}, NamespaceGone{t0 + 6 * seconds, netns + 1}});
  CHECK(told(watched.facts()) == Lines{"ask 812/0"});
  const auto lines = watched({started(t0 + 6 * seconds)});
  CHECK(transitions(watched).empty());
  CHECK(lines == Lines{"hello", "snapshot_end"});
}

TEST_CASE("Stopped lets go of what is held back, into the ledger", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), TablesWalked{t0 + 2 * ms, t0 + 1 * ms, netns, 0}, WalkDone{t0 + 2 * ms, t0 + 1 * ms, true}});
  REQUIRE(watched.holds_back());
  watched({Stopped{t0 + 3 * ms, 0, 0}});
  CHECK(only<Closed>(watched.facts()).size() == 1);
  CHECK(std::holds_alternative<Bye>(watched.facts().back()));
  CHECK(watched.engine().namespaces_with_buckets().size() == 1);
}

TEST_CASE("what became of a promoted bucket's owner is not asked again: it was the closer", "[engine][buckets]") {
  Watched watched = running();
  watched({orphaned(t0), Tick{t0 + 30 * ms, 0}, ProcessExited{t0 + 1 * seconds, client().key}});
  watched(sweep(t0 + 10 * seconds, {met(t0 + 10 * seconds, whole - 3'000'000'000)}));
  REQUIRE(only<Transition>(watched.facts()).size() == 1);
  const Responsible owner = only<Transition>(watched.facts()).at(0).responsible;
  CHECK(owner.attribution == Attribution::closer);
  REQUIRE(owner.process);
  CHECK(owner.process->identity == client());
  CHECK(owner.process->entry->exited);
}
