// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "sweeps.hpp"

using namespace closewatch;
using namespace closewatch::test;

// How what was judged ends, and what `run` makes of it.

namespace {

using Lines = std::vector<std::string>;

Detector::Settings run() {
  Detector::Settings settings;
  settings.sanitizer = true;
  settings.leak_after_ns = 1 * seconds;
  settings.sweep_ns = 250 * ms;
  return settings;
}

TransitionSeen ends(std::optional<Cause> call, State to = State::last_ack) {
  return leaves(101 * seconds, 81, 100 * seconds, call, to);
}

}  // namespace

TEST_CASE("closed by the program: cleared, by whom and when", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  std::optional<Cause> call = Cause::close;
  State to = State::last_ack;
  SECTION("close") {}
  SECTION("close with unread data, which is an abort") { to = State::close; }
  SECTION("shutdown") { call = Cause::shutdown; }
  SECTION("connect(AF_UNSPEC)") {
    call = Cause::disconnect;
    to = State::close;
  }
  TransitionSeen seen = ends(call, to);
  if (seen.attribution == Attribution::closer) seen.process = seen.actor = person(950, "closer");
  CHECK(machine.transition(seen) == Lines{"81 resolved eof_ignored stuck closed"});
  const Judged& one = machine.judgements[0].socket;
  CHECK(one.resolved_ns == 101 * seconds);
  CHECK(machine.judgements[0].time_ns == 101 * seconds);
  if (seen.attribution == Attribution::closer) CHECK(one.process.key.pid == 950);
  CHECK(machine.detector.cleared() == 1);
  CHECK(machine.detector.ended().empty());
  CHECK(machine.detector.sockets().empty());
}

TEST_CASE("ends that clear nothing are kept", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  SECTION("the end of its process") {
    CHECK(machine.transition(ends(Cause::exit)) == Lines{"81 resolved eof_ignored stuck exit"});
    CHECK(machine.detector.sockets().empty());
  }
  SECTION("a reset by the peer") {
    CHECK(machine.transition(ends(std::nullopt, State::close)) ==
          Lines{"81 resolved eof_ignored stuck reset_still_open"});
    CHECK(machine.detector.sockets().size() == 1);
  }
  SECTION("ss -K") {
    CHECK(machine.transition(ends(Cause::kill, State::close)) == Lines{"81 resolved eof_ignored stuck killed"});
    CHECK(machine.detector.sockets().size() == 1);
  }
  CHECK(machine.detector.cleared() == 0);
  REQUIRE(machine.detector.ended().size() == 1);
  CHECK(machine.detector.ended()[0].verdict == Verdict::stuck);
}

TEST_CASE("closed by a worker of the kernel's: over, for whom is not known", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  CHECK(machine.transition(ends(std::nullopt)) == Lines{"81 resolved eof_ignored stuck"});
  CHECK(machine.detector.cleared() == 0);
  CHECK(machine.detector.ended().empty());
}

TEST_CASE("what was never judged ends without a word", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 99 * seconds));
  (void)machine.sweep(100 * seconds);
  for (const auto call : {Cause::close, Cause::exit}) CHECK(machine.transition(ends(call)).empty());
  CHECK(machine.detector.ended().empty());
  CHECK(machine.detector.cleared() == 0);
}

TEST_CASE("reset with its descriptor open: it is another kind, of another age", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  (void)machine.transition(ends(std::nullopt, State::close));
  machine.sockets[81].row.state = State::close;
  machine.sockets[81].row.entered_ns = 0;
  SECTION("left open it is a leak, told as that alone") {
    CHECK(machine.sweep(105 * seconds, 130 * seconds).empty());
    CHECK(machine.words(81) == "dead_unclosed ok");
    CHECK(machine.judged(81).since_ns == 101 * seconds);
    CHECK_FALSE(machine.judged(81).since_is_lower_bound);
    CHECK(machine.detector.ended().size() == 1);
    CHECK(machine.sweep(135 * seconds) == Lines{"81 raised dead_unclosed leak"});
    CHECK(machine.detector.ended().empty());
    SECTION("and closed at last it is cleared") {
      CHECK(machine.released(gone(136 * seconds, 81, Cause::close)) == Lines{"81 resolved dead_unclosed leak closed"});
      CHECK(machine.detector.cleared() == 1);
    }
    SECTION("the end of its process clears nothing") {
      CHECK(machine.released(gone(136 * seconds, 81, Cause::exit)) == Lines{"81 resolved dead_unclosed leak exit"});
      CHECK(machine.detector.cleared() == 0);
      CHECK(machine.detector.ended().size() == 1);
    }
    SECTION("connected anew it is in use") {
      TransitionSeen seen = leaves(136 * seconds, 81, 1 * seconds, Cause::connect, State::syn_sent);
      seen.from = State::close;
      CHECK(machine.transition(seen) == Lines{"81 resolved dead_unclosed leak closed"});
      CHECK(machine.detector.sockets().empty());
    }
    SECTION("ss -K of what is dead already changes nothing") {
      TransitionSeen seen = leaves(136 * seconds, 81, 1 * seconds, Cause::kill, State::close);
      seen.from = State::close;
      CHECK(machine.transition(seen).empty());
      CHECK(machine.words(81) == "dead_unclosed leak");
    }
  }
  SECTION("closed soon it is none") {
    CHECK(machine.released(gone(104 * seconds, 81, Cause::close)).empty());
    CHECK(machine.detector.ended().empty());
    CHECK(machine.detector.sockets().empty());
  }
}

TEST_CASE("a dead one that is closed late speaks for its workload", "[detector][end]") {
  Sweeps machine;
  SocketRow row = waiting(7, 1 * seconds);
  row.state = State::close;
  machine.add(row);
  for (std::uint64_t now = 100; now <= 155; now += 5) {
    for (std::uint64_t second = now - 4; second <= now; ++second) machine.add(waiting(second, second * seconds));
    (void)machine.sweep(now * seconds);
  }
  const bool closes = GENERATE(false, true);
  if (closes) {
    (void)machine.released(gone(156 * seconds, 7, Cause::close));
    machine.sockets.erase(7);
  }
  (void)machine.sweep(160 * seconds);
  CHECK(machine.words(110) == (closes ? "eof_ignored stuck" : "eof_ignored leak"));
}

TEST_CASE("reset in its accept queue it is nobody's descriptor", "[detector][end]") {
  Sweeps machine;
  SocketRow row = waiting(81, 1 * seconds);
  row.evidence.no_socket = true;
  machine.add(row).holders.clear();
  (void)machine.sweep(100 * seconds);
  TransitionSeen seen = ends(std::nullopt, State::close);
  seen.evidence.no_socket = true;
  CHECK(machine.transition(seen) == Lines{"81 resolved never_accepted stuck"});
  CHECK(machine.detector.sockets().empty());
  CHECK(machine.detector.ended().empty());
}

TEST_CASE("accepted behind the sweep's back, and then ended by TCP", "[detector][end]") {
  Sweeps machine;
  SocketRow row = waiting(81, 1 * seconds);
  row.evidence.no_socket = true;
  machine.add(row).holders.clear();
  (void)machine.sweep(100 * seconds);
  CHECK(machine.transition(ends(std::nullopt, State::close)) == Lines{"81 resolved never_accepted stuck accepted"});
  CHECK(machine.detector.cleared() == 1);
  CHECK(machine.detector.ended().empty());
  // Its descriptor is open, and the program has the time that everybody has.
  CHECK(machine.words(81) == "dead_unclosed ok");
  CHECK_FALSE(machine.judged(81).resolution);
}

TEST_CASE("never accepted, and its listener goes", "[detector][end]") {
  Sweeps machine;
  SocketRow row = waiting(81, 1 * seconds);
  row.evidence.no_socket = true;
  machine.add(row).holders.clear();
  (void)machine.sweep(100 * seconds);
  TransitionSeen seen = ends(Cause::listener_closed, State::close);
  seen.evidence.no_socket = true;
  SECTION("closed") {
    machine.listeners.closed(80, listening(), Closer{server(), Cause::close});
    CHECK(machine.transition(seen) == Lines{"81 resolved never_accepted stuck closed"});
  }
  SECTION("by the end of its process") {
    machine.listeners.closed(80, listening(), Closer{server(), Cause::exit});
    CHECK(machine.transition(seen) == Lines{"81 resolved never_accepted stuck exit"});
  }
}

TEST_CASE("gone unseen: believed when two sweeps agree", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  machine.add(waiting(82, 104 * seconds));
  (void)machine.sweep(105 * seconds);
  const auto kept = std::exchange(machine.sockets, {});
  CHECK(machine.sweep(110 * seconds).empty());
  CHECK(machine.detector.sockets().size() == 2);
  SECTION("judged: said, without a reason") {
    CHECK(machine.sweep(115 * seconds) == Lines{"81 resolved eof_ignored stuck"});
    CHECK(machine.detector.sockets().empty());
    CHECK(machine.detector.ended().empty());
    CHECK(machine.detector.cleared() == 0);
  }
  SECTION("met again") {
    machine.sockets = kept;
    CHECK(machine.sweep(115 * seconds).empty());
    machine.sockets.clear();
    CHECK(machine.sweep(120 * seconds).empty());
  }
  SECTION("a sweep that lost rows does not count") {
    machine.detector.rows_lost();
    CHECK(machine.sweep(115 * seconds).empty());
    CHECK(machine.detector.sockets().size() == 2);
  }
}

TEST_CASE("a row that a transition has overtaken is not believed", "[detector][end]") {
  Sweeps machine;
  SocketRow late = waiting(81, 1 * seconds);
  late.time_ns = 100 * seconds + 999;
  SECTION("of a socket that was known") {
    machine.add(waiting(81, 1 * seconds));
    (void)machine.sweep(100 * seconds);
    machine.sockets.clear();
  }
  SECTION("of one never met"){}(void)machine.transition(ends(Cause::close));
  machine.detector.row(late);
  CHECK(machine.sweep(105 * seconds).empty());
  CHECK(machine.detector.sockets().empty());
}

TEST_CASE("a dead one's row may come before the transition", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  SocketRow row = waiting(81, 101 * seconds);
  row.state = State::close;
  row.time_ns = 101 * seconds + 5;
  machine.detector.row(row);
  CHECK(machine.transition(ends(std::nullopt, State::close)).size() == 1);
  machine.add(row);
  CHECK(machine.sweep(105 * seconds, 129 * seconds).empty());
  CHECK(machine.sweep(131 * seconds) == Lines{"81 raised dead_unclosed leak"});
}

TEST_CASE("what is older than the last row changes nothing", "[detector][end]") {
  Sweeps machine;
  SocketRow row = waiting(81, 50 * seconds);
  row.state = State::close;
  machine.add(row);
  (void)machine.sweep(100 * seconds);
  SECTION("a row") {
    SocketRow late = waiting(81, 1 * seconds);
    late.time_ns = 99 * seconds;
    machine.detector.row(late);
  }
  SECTION("a transition: it was connected anew, and has died again") {
    TransitionSeen seen = leaves(99 * seconds, 81, 1 * seconds, Cause::connect, State::syn_sent);
    seen.from = State::close;
    CHECK(machine.transition(seen).empty());
  }
  CHECK(machine.words(81) == "dead_unclosed leak");
  CHECK(machine.detector.sockets()[0].state == State::close);
}

TEST_CASE("the ended ones are bounded", "[detector][end]") {
  Detector::Settings settings;
  settings.ended_limit = 2;
  Sweeps machine{settings};
  for (std::uint64_t cookie = 81; cookie <= 84; ++cookie) machine.add(waiting(cookie, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  for (std::uint64_t cookie = 81; cookie <= 84; ++cookie)
    (void)machine.transition(leaves(101 * seconds, cookie, 100 * seconds, Cause::exit));
  CHECK(machine.detector.ended().size() == 2);
  CHECK(machine.detector.ended_refused() == 2);
}

TEST_CASE("of several that were reset each is dropped for itself", "[detector][end]") {
  Sweeps machine;
  for (std::uint64_t cookie = 81; cookie <= 85; ++cookie) machine.add(waiting(cookie, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  for (std::uint64_t cookie = 81; cookie <= 85; ++cookie)
    (void)machine.transition(leaves(101 * seconds, cookie, 100 * seconds, std::nullopt, State::close));
  for (const std::uint64_t cookie : {81U, 85U, 83U}) (void)machine.released(gone(102 * seconds, cookie, Cause::close));
  REQUIRE(machine.detector.ended().size() == 2);
  CHECK(machine.detector.ended()[0].cookie + machine.detector.ended()[1].cookie == 82 + 84);
}

TEST_CASE("outside of `run` the end changes nothing", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  CHECK(machine.finish(101 * seconds).empty());
  CHECK(machine.words(81) == "eof_ignored stuck");
}

TEST_CASE("`run`: what is open at the end, past the limit", "[detector][end]") {
  Sweeps machine{run()};
  machine.add(waiting(81, 90 * seconds));
  SECTION("read to the end is a leak without any growth") {
    CHECK(machine.sweep(100 * seconds, 102 * seconds, 250 * ms) == Lines{"81 raised eof_ignored stuck"});
    CHECK(machine.finish(102 * seconds) == Lines{"81 changed eof_ignored leak"});
    CHECK(machine.words(81) == "eof_ignored leak");
  }
  SECTION("met within the limit, past it by now") {
    machine.add(waiting(81, 100 * seconds));
    CHECK(machine.sweep(100 * seconds + 900 * ms).empty());
    CHECK(machine.finish(101 * seconds) == Lines{"81 raised eof_ignored leak"});
    CHECK(machine.detector.raised() == 1);
  }
  SECTION("within the limit") {
    machine.add(waiting(81, 100 * seconds));
    (void)machine.sweep(100 * seconds + 900 * ms);
    CHECK(machine.finish(100 * seconds + 999 * ms).empty());
  }
  SECTION("what the last sweep did not meet may have been closed unseen") {
    (void)machine.sweep(100 * seconds);
    machine.sockets.clear();
    (void)machine.sweep(101 * seconds);
    CHECK(machine.finish(101 * seconds).empty());
    CHECK(machine.words(81) == "eof_ignored stuck");
  }
  SECTION("inherited") {
    machine.sockets[81].holders = {held_by(person(950, "child"), false)};
    (void)machine.sweep(100 * seconds, 101 * seconds, 250 * ms);
    (void)machine.finish(101 * seconds);
    CHECK(machine.words(81) == "inherited leak");
  }
  SECTION("dead") {
    machine.sockets[81].row.state = State::close;
    (void)machine.sweep(100 * seconds, 101 * seconds, 250 * ms);
    (void)machine.finish(101 * seconds);
    CHECK(machine.words(81) == "dead_unclosed leak");
  }
  SECTION("unread is stuck") {
    machine.sockets[81].row.condition.eof = EndOfFile::unread;
    (void)machine.sweep(100 * seconds, 101 * seconds, 250 * ms);
    CHECK(machine.finish(101 * seconds).empty());
    CHECK(machine.words(81) == "eof_unread stuck");
  }
  SECTION("not to be known is stuck") {
    machine.sockets[81].row.condition.eof = EndOfFile::unknown;
    (void)machine.sweep(100 * seconds, 101 * seconds, 250 * ms);
    CHECK(machine.finish(101 * seconds).empty());
    CHECK(machine.words(81) == "eof_unread stuck");
  }
  SECTION("still replying is in order") {
    (void)machine.sweep(100 * seconds);
    machine.sockets[81].row.condition.acked_bytes = 1;
    (void)machine.sweep(100 * seconds + 250 * ms);
    CHECK(machine.finish(100 * seconds + 260 * ms).empty());
    CHECK(machine.words(81) == "replying ok");
  }
  SECTION("a socket that the program closes itself is never one, however slow") {
    (void)machine.sweep(100 * seconds, 102 * seconds, 250 * ms);
    CHECK(machine.transition(leaves(103 * seconds, 81, 13 * seconds, Cause::close)) ==
          Lines{"81 resolved eof_ignored stuck closed"});
    CHECK(machine.finish(104 * seconds).empty());
    CHECK(machine.detector.ended().empty());
  }
}

TEST_CASE("`run`: what only the end of its process ended", "[detector][end]") {
  Sweeps machine{run()};
  TransitionSeen seen = leaves(101 * seconds, 81, 5 * seconds, Cause::exit);
  SECTION("judged by a sweep") {
    machine.add(waiting(81, 96 * seconds));
    (void)machine.sweep(100 * seconds);
    CHECK(machine.transition(seen) == Lines{"81 resolved eof_ignored stuck exit"});
    CHECK(machine.finish(102 * seconds) == Lines{"81 changed eof_ignored leak exit"});
  }
  SECTION("met by a sweep within the limit") {
    machine.add(waiting(81, 96 * seconds));
    (void)machine.sweep(96 * seconds + 500 * ms);
    CHECK(machine.transition(seen) == Lines{"81 raised eof_ignored stuck", "81 resolved eof_ignored stuck exit"});
    CHECK(machine.finish(102 * seconds) == Lines{"81 changed eof_ignored leak exit"});
  }
  SECTION("met by a sweep that was under way") {
    SocketRow row = waiting(81, 96 * seconds);
    row.time_ns = 100 * seconds;
    machine.detector.row(row);
    CHECK(machine.transition(seen).size() == 2);
    CHECK(machine.finish(102 * seconds).size() == 1);
    CHECK(machine.detector.ended()[0].workload != 0);
  }
  SECTION("met by none") {
    CHECK(machine.transition(seen) == Lines{"81 raised eof_ignored stuck", "81 resolved eof_ignored stuck exit"});
    CHECK(machine.finish(102 * seconds) == Lines{"81 changed eof_ignored leak exit"});
    REQUIRE(machine.detector.ended().size() == 1);
    const Judged& one = machine.detector.ended()[0];
    CHECK(one.process.key == server().key);
    CHECK(one.attribution == Attribution::closer);
    CHECK(machine.workloads[one.workload].executable == "/usr/bin/server");
    CHECK(one.since_ns == 96 * seconds);
  }
  SECTION("its last read came behind the sweep") {
    SocketRow row = waiting(81, 96 * seconds);
    row.condition.eof = EndOfFile::unread;
    machine.add(row);
    (void)machine.sweep(100 * seconds);
    CHECK(machine.transition(seen) == Lines{"81 changed eof_ignored stuck", "81 resolved eof_ignored stuck exit"});
    CHECK(machine.finish(102 * seconds).size() == 1);
  }
  SECTION("unread it is stuck") {
    seen.evidence.unread = 5;
    seen.to = State::close;
    CHECK(machine.transition(seen) == Lines{"81 raised eof_unread stuck", "81 resolved eof_unread stuck exit"});
    CHECK(machine.finish(102 * seconds).empty());
    CHECK(machine.detector.ended()[0].condition.unread_bytes == 4);
  }
  SECTION("within the limit it is nothing") {
    seen.entered_ns = 101 * seconds - 999 * ms;
    CHECK(machine.transition(seen).empty());
    CHECK(machine.finish(102 * seconds).empty());
    CHECK(machine.detector.ended().empty());
  }
  SECTION("not the program's: filtered out, a subflow, never accepted, of unknown age") {
    const int which = GENERATE(0, 1, 2, 3);
    if (which == 0) seen.evidence.hidden = true;
    if (which == 1) seen.evidence.mptcp = true;
    if (which == 2) seen.evidence.no_socket = true;
    if (which == 3) seen.entered_ns = 0;
    CHECK(machine.transition(seen).empty());
    CHECK(machine.finish(102 * seconds).empty());
  }
  SECTION("by close() it is nothing") {
    CHECK(machine.transition(leaves(101 * seconds, 81, 5 * seconds, Cause::close)).empty());
    CHECK(machine.finish(102 * seconds).empty());
  }
}

TEST_CASE("`run`: reset, and its descriptor open until the process ended", "[detector][end]") {
  Sweeps machine{run()};
  machine.add(waiting(81, 90 * seconds));
  (void)machine.sweep(100 * seconds);
  (void)machine.transition(ends(std::nullopt, State::close));
  SECTION("just now") {
    CHECK(machine.finish(101 * seconds + 100 * ms) == Lines{"81 changed eof_ignored leak reset_still_open"});
  }
  SECTION("past the limit, between two sweeps") {
    CHECK(machine.released(gone(103 * seconds, 81, Cause::exit)) ==
          Lines{"81 raised dead_unclosed leak", "81 resolved dead_unclosed leak exit"});
    CHECK(machine.finish(104 * seconds).empty());
    REQUIRE(machine.detector.ended().size() == 1);
  }
  SECTION("killed from outside it is nobody's leak") {
    Sweeps other{run()};
    other.add(waiting(81, 90 * seconds));
    (void)other.sweep(100 * seconds);
    (void)other.transition(ends(Cause::kill, State::close));
    CHECK(other.finish(101 * seconds + 100 * ms).empty());
  }
}

TEST_CASE("another process under a pid used again has another socket's finding, and no leak of the first",
          "[detector][end]") {
  Sweeps machine;
  Identity second = server();
  second.key.start_ns = 500 * seconds;
  machine.resolve(second, "/usr/bin/other");
  machine.add(waiting(81, 1 * seconds));
  machine.add(waiting(82, 1 * seconds)).holders = {held_by(second)};
  (void)machine.sweep(600 * seconds);
  CHECK(machine.judged(81).process.key == server().key);
  CHECK(machine.judged(82).process.key == second.key);
  CHECK(machine.judged(81).workload != machine.judged(82).workload);
}

TEST_CASE("what no sweep meets after a loss has ended by what was lost", "[detector][end][loss]") {
  Detector::Settings settings;
  settings.sanitizer = GENERATE(true, false);
  Sweeps machine{settings};
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  machine.sockets.clear();
  machine.detector.events_lost();
  CHECK(machine.sweep(105 * seconds) == Lines{"81 resolved eof_ignored stuck"});
  CHECK(machine.detector.sockets().empty());
  CHECK(machine.finish(106 * seconds).empty());
}

TEST_CASE("what a sweep by tables could not meet has not ended", "[detector][end]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds));
  SocketRow dead = waiting(82, 1 * seconds);
  dead.state = State::close;
  machine.add(dead);
  (void)machine.sweep(100 * seconds, 105 * seconds);
  REQUIRE(machine.detector.sockets().size() == 2);
  machine.sockets.clear();
  machine.by_tables = true;
  machine.entered = {netns - 1, netns, netns + 1};
  SECTION("what is alive would have been met where it went; what TCP has ended is in no table") {
    CHECK(machine.sweep(110 * seconds).empty());
    CHECK(machine.sweep(115 * seconds) == Lines{"81 resolved eof_ignored stuck"});
    CHECK(machine.sweep(120 * seconds, 160 * seconds).empty());
    CHECK(machine.words(82) == "dead_unclosed leak");
    SECTION("until its end is told") { CHECK(machine.released(gone(161 * seconds, 82, Cause::close)).size() == 1); }
    SECTION("or for a minute: its end may have been shown to nobody") {
      CHECK(machine.sweep(165 * seconds).empty());
      CHECK(machine.sweep(170 * seconds) == Lines{"82 resolved dead_unclosed leak"});
    }
  }
  SECTION("where it did not go") {
    machine.entered = {netns - 1, netns + 1};
    CHECK(machine.sweep(110 * seconds, 160 * seconds).empty());
    CHECK(machine.words(81) == "eof_ignored stuck");
  }
  SECTION("its end may be among what was lost") {
    machine.entered.clear();
    machine.detector.events_lost();
    CHECK(machine.sweep(110 * seconds).size() == 2);
    CHECK(machine.detector.sockets().empty());
  }
}

TEST_CASE("a dead one that vanishes after a loss was perhaps closed: its program is not accused",
          "[detector][end][loss]") {
  Detector::Settings settings;
  settings.sanitizer = true;
  Sweeps machine{settings};
  machine.add(waiting(81, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  CHECK(machine.transition(leaves(101 * seconds, 81, 100 * seconds, std::nullopt, State::close)) ==
        Lines{"81 resolved eof_ignored stuck reset_still_open"});
  REQUIRE(machine.detector.ended().size() == 1);
  machine.sockets.clear();
  SECTION("met by no sweep, its late closing lost") {
    machine.detector.events_lost();
    CHECK(machine.sweep(105 * seconds).empty());
    CHECK(machine.detector.ended().empty());
  }
  SECTION("not met by the last one") { CHECK(machine.sweep(105 * seconds).empty()); }
  CHECK(machine.finish(106 * seconds).empty());
}

TEST_CASE("what is over is forgotten where that is asked for, and what ends later is told", "[detector][end]") {
  Sweeps machine;
  for (std::uint64_t cookie = 81; cookie <= 83; ++cookie) machine.add(waiting(cookie, 1 * seconds));
  (void)machine.sweep(100 * seconds);
  for (const std::uint64_t cookie : {81U, 82U})
    (void)machine.transition(leaves(101 * seconds, cookie, 100 * seconds, std::nullopt, State::close));
  REQUIRE(machine.detector.ended().size() == 2);
  machine.detector.forget_ended();
  CHECK(machine.detector.ended().empty());
  (void)machine.released(gone(102 * seconds, 81, Cause::close));  // of what nobody remembers any more
  (void)machine.transition(leaves(103 * seconds, 83, 100 * seconds, std::nullopt, State::close));
  REQUIRE(machine.detector.ended().size() == 1);
  CHECK(machine.detector.ended()[0].cookie == 83);
}
