// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "sweeps.hpp"

using namespace closewatch;
using namespace closewatch::test;

// What sweeps make of sockets, kind by kind, each with its innocent twin. The limit is 30 s, a sweep comes every 5 s.

namespace {

using Lines = std::vector<std::string>;

SocketRow dead(std::uint64_t cookie, std::uint64_t entered_ns) {
  SocketRow row = waiting(cookie, entered_ns);
  row.state = State::close;
  return row;
}

SocketRow queued(std::uint64_t cookie, std::uint64_t entered_ns) {
  SocketRow row = waiting(cookie, entered_ns);
  row.evidence.no_socket = true;
  row.condition.eof = EndOfFile::unread;
  row.condition.was_used = false;
  row.attribution = Attribution::listener;
  return row;
}

SocketRow listens() {
  SocketRow row;
  row.cookie = 80;
  row.tuple = listening();
  row.state = State::listen;
  row.process = server();
  row.accept_queue = {3, 128};
  return row;
}

}  // namespace

TEST_CASE("a socket is judged once it is past the limit, and told once", "[detector]") {
  Sweeps machine;
  machine.add(waiting(81, 100 * seconds));
  CHECK(machine.sweep(105 * seconds, 129 * seconds).empty());
  CHECK(machine.words(81) == "eof_ignored ok");
  CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.sweep(135 * seconds, 160 * seconds).empty());
  CHECK(machine.detector.raised() == 1);
  const Judged one = machine.judged(81);
  CHECK(one.since_ns == 100 * seconds);
  CHECK_FALSE(one.since_is_lower_bound);
  CHECK(one.process.key == server().key);
  CHECK(one.attribution == Attribution::holder);
  CHECK(machine.workloads[one.workload].executable == "/usr/bin/server");
  REQUIRE(one.holders.size() == 1);
  CHECK(one.holders[0].fd == 7);
}

TEST_CASE("only CLOSE_WAIT and the dead are looked at", "[detector]") {
  Sweeps machine;
  for (const State state : {State::established, State::fin_wait2, State::last_ack, State::listen}) {
    SocketRow row = waiting(81, 1 * seconds);
    row.state = state;
    machine.add(row);
    CHECK(machine.sweep(100 * seconds).empty());
    CHECK(machine.detector.sockets().empty());
  }
  SocketRow orphan = waiting(81, 1 * seconds);
  orphan.evidence.dead = true;
  machine.add(orphan);
  CHECK(machine.sweep(105 * seconds).empty());
  SocketRow reset_in_queue = dead(81, 1 * seconds);
  reset_in_queue.evidence.no_socket = true;
  machine.add(reset_in_queue);
  CHECK(machine.sweep(110 * seconds).empty());
}

TEST_CASE("one look judges by age alone", "[detector]") {
  Sweeps machine;
  machine.add(waiting(81, 50 * seconds));
  machine.add(waiting(82, 90 * seconds));
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.words(82) == "eof_ignored ok");
  CHECK_FALSE(machine.detector.trend(machine.judged(81).workload, Kind::eof_ignored));
}

TEST_CASE("the age of a socket from before the start is a lower bound", "[detector]") {
  Sweeps machine;
  SocketRow row = waiting(81, 0);
  SECTION("since the peer's last segment, which was its FIN or came behind it") {
    row.condition.received_ns = 60 * seconds;
    machine.add(row);
    CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_ignored stuck"});
    CHECK(machine.judged(81).since_ns == 60 * seconds);
    CHECK(machine.judged(81).since_is_lower_bound);
    SECTION("which a later segment does not make younger") {
      machine.sockets[81].row.condition.received_ns = 101 * seconds;
      CHECK(machine.sweep(105 * seconds).empty());
      CHECK(machine.judged(81).since_ns == 60 * seconds);
    }
  }
  SECTION("since it was first met") {
    machine.add(row);
    CHECK(machine.sweep(100 * seconds, 125 * seconds).empty());
    CHECK(machine.judged(81).since_ns == 100 * seconds);
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  }
  SECTION("of a dead one the last segment says nothing: a timer may have ended it just now") {
    row.state = State::close;
    row.condition.received_ns = 10 * seconds;
    machine.add(row);
    CHECK(machine.sweep(100 * seconds).empty());
    CHECK(machine.judged(81).since_ns == 100 * seconds);
    CHECK(machine.judged(81).since_is_lower_bound);
  }
}

TEST_CASE("an MPTCP subflow and a socket of the kernel's are in order", "[detector]") {
  Sweeps machine;
  SocketRow subflow = waiting(81, 1 * seconds);
  subflow.evidence.mptcp = true;
  subflow.evidence.no_socket = true;
  machine.add(subflow);
  SocketRow own = waiting(82, 1 * seconds);
  own.condition.no_file = true;
  machine.add(own).holders.clear();
  CHECK(machine.sweep(100 * seconds, 300 * seconds).empty());
  CHECK(machine.words(81) == "mptcp ok");
  CHECK(machine.words(82) == "kernel ok");
}

TEST_CASE("never accepted: its listener is named, with the queue", "[detector]") {
  Sweeps machine;
  machine.add(queued(81, 1 * seconds)).holders.clear();
  Sweeps::Socket& listener = machine.add(listens());
  listener.holders = {held_by(server()), held_by(person(950, "worker"))};
  SECTION("by its cookie") {}
  SECTION("by its port") {
    machine.sockets[81].row.listener_cookie = 0;
    machine.sockets[81].row.attribution = Attribution::unknown;
    machine.sockets[81].row.process = {};
    machine.listeners.opened(
        {.cookie = 80, .tuple = listening(), .process = server(), .acceptor = {}, .matched = false, .seen_ns = 1});
  }
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised never_accepted stuck"});
  CHECK(machine.judged(81).process.key.pid == 900);
  CHECK(machine.judged(81).attribution == Attribution::listener);
  REQUIRE(machine.judged(81).accept_queue);
  CHECK(machine.judged(81).accept_queue->length == 3);
  CHECK(machine.judged(81).accept_queue->most == 128);
  listener.holders[1].used_last = true;
  CHECK(machine.sweep(105 * seconds).empty());
  CHECK(machine.judged(81).process.key.pid == 950);
}

TEST_CASE("accepted at last: cleared, and it has the time that everybody has", "[detector]") {
  Sweeps machine;
  machine.add(queued(81, 1 * seconds)).holders.clear();
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised never_accepted stuck"});
  machine.add(waiting(81, 1 * seconds));
  CHECK(machine.sweep(105 * seconds) == Lines{"81 resolved never_accepted stuck accepted"});
  CHECK(machine.detector.cleared() == 1);
  CHECK(machine.words(81) == "eof_ignored ok");
  CHECK_FALSE(machine.judged(81).resolution);
  CHECK(machine.sweep(110 * seconds, 130 * seconds).empty());
  CHECK(machine.sweep(135 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.judged(81).since_ns == 1 * seconds);
}

TEST_CASE("dead and not closed is a leak by itself, its age counted from its death", "[detector]") {
  Sweeps machine;
  machine.add(dead(81, 100 * seconds));
  CHECK(machine.sweep(105 * seconds, 125 * seconds).empty());
  CHECK(machine.words(81) == "dead_unclosed ok");
  CHECK(machine.sweep(130 * seconds) == Lines{"81 raised dead_unclosed leak"});
}

TEST_CASE("a writer that is blocked is stuck, a reply that is taken is in order", "[detector]") {
  Sweeps machine;
  SocketRow row = waiting(81, 100 * seconds);
  row.condition.unsent_bytes = 5000;
  machine.add(row);
  row.cookie = 82;
  machine.add(row);
  for (std::uint64_t now = 105; now <= 125; now += 5) {
    CHECK(machine.sweep(now * seconds).empty());
    machine.sockets[82].row.condition.acked_bytes += 1;
  }
  CHECK(machine.sweep(130 * seconds) == Lines{"81 raised write_blocked stuck"});
  CHECK(machine.words(82) == "replying ok");
  SECTION("until it moves no more for the limit") {
    CHECK(machine.sweep(135 * seconds, 159 * seconds).empty());
    CHECK(machine.sweep(160 * seconds) == Lines{"82 raised write_blocked stuck"});
  }
  SECTION("until the reply is done, and not closed") {
    machine.sockets[82].row.condition.unsent_bytes = 0;
    CHECK(machine.sweep(135 * seconds, 159 * seconds).empty());
    CHECK(machine.sweep(160 * seconds) == Lines{"82 raised eof_ignored stuck"});
  }
  SECTION("what was blocked and moves again is in order") {
    machine.sockets[81].row.condition.acked_bytes += 1;
    CHECK(machine.sweep(135 * seconds) == Lines{"81 changed replying ok"});
  }
}

TEST_CASE("at first sight past the limit unsent bytes have not moved", "[detector]") {
  Sweeps machine;
  SocketRow row = waiting(81, 1 * seconds);
  row.condition.unsent_bytes = 5000;
  row.condition.acked_bytes = 100;
  machine.add(row);
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised write_blocked stuck"});
}

TEST_CASE("inherited: those who have it never used it, in two sweeps", "[detector]") {
  Sweeps machine;
  const Identity child = person(950, "child");
  Sweeps::Socket& socket = machine.add(waiting(81, 1 * seconds));
  socket.holders = {held_by(child, false)};
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.sweep(105 * seconds) == Lines{"81 changed inherited leak"});
  CHECK(machine.judged(81).process.key == child.key);
  SECTION("one of them uses it") {
    socket.holders.push_back(held_by(person(951, "child")));
    CHECK(machine.sweep(110 * seconds) == Lines{"81 changed eof_ignored stuck"});
    SECTION("and is gone again") {
      socket.holders.pop_back();
      CHECK(machine.sweep(115 * seconds).empty());
      CHECK(machine.sweep(120 * seconds) == Lines{"81 changed inherited leak"});
    }
  }
  SECTION("a sweep that lost rows does not change it") {
    machine.detector.rows_lost();
    CHECK(machine.sweep(110 * seconds).empty());
    CHECK(machine.words(81) == "inherited leak");
  }
}

TEST_CASE("not inherited", "[detector]") {
  Sweeps machine;
  Sweeps::Socket& socket = machine.add(waiting(81, 1 * seconds));
  socket.holders = {held_by(server(), false)};
  SECTION("one holder of two has used it: a fork-per-connection server") {
    socket.holders.push_back(held_by(person(950, "child")));
  }
  SECTION("the last user, be it not marked otherwise") { socket.holders[0].used_last = true; }
  SECTION("older than the run") { socket.row.condition.use_observed = false; }
  SECTION("nobody has used it yet: a socket-activated service") { socket.row.condition.was_used = false; }
  SECTION("more users than are kept") { socket.row.condition.too_many_users = true; }
  (void)machine.sweep(100 * seconds, 200 * seconds);
  CHECK(machine.words(81) == "eof_ignored stuck");
}

TEST_CASE("where not every process is seen no kind rests on an absence", "[detector]") {
  Detector::Settings settings;
  settings.sees_all_processes = false;
  Sweeps machine{settings};
  machine.add(waiting(81, 1 * seconds)).holders = {held_by(server(), false)};
  machine.add(waiting(82, 1 * seconds)).holders.clear();
  (void)machine.sweep(100 * seconds, 200 * seconds);
  CHECK(machine.words(81) == "eof_ignored stuck");
  CHECK(machine.words(82) == "eof_ignored stuck");
}

TEST_CASE("in flight: nobody holds it, in two sweeps, and no use of late", "[detector]") {
  Sweeps machine;
  Sweeps::Socket& socket = machine.add(waiting(81, 1 * seconds));
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_ignored stuck"});
  const std::vector<Holder> holders = std::exchange(socket.holders, {});
  CHECK(machine.sweep(105 * seconds).empty());
  CHECK(machine.judged(81).holders.size() == 1);
  SECTION("two absences") {
    CHECK(machine.sweep(110 * seconds) == Lines{"81 changed in_flight stuck"});
    CHECK(machine.judged(81).holders.empty());
    CHECK(machine.judged(81).attribution == Attribution::opener);
    SECTION("received") {
      socket.holders = {held_by(person(960, "receiver"), false)};
      CHECK(machine.sweep(115 * seconds) == Lines{"81 changed eof_ignored stuck"});
    }
  }
  SECTION("met in between") {
    socket.holders = holders;
    CHECK(machine.sweep(110 * seconds).empty());
    socket.holders.clear();
    CHECK(machine.sweep(115 * seconds).empty());
  }
  SECTION("a sweep that lost rows is none of the two") {
    machine.detector.rows_lost();
    CHECK(machine.sweep(110 * seconds).empty());
    CHECK(machine.sweep(115 * seconds) == Lines{"81 changed in_flight stuck"});
  }
  SECTION("io_uring uses it without a descriptor") {
    socket.row.condition.used_ns = 90 * seconds;
    CHECK(machine.sweep(110 * seconds, 119 * seconds).empty());
    CHECK(machine.sweep(120 * seconds) == Lines{"81 changed in_flight stuck"});
  }
}

TEST_CASE("unread is unread: at its end, before it, and only peeked at", "[detector]") {
  Sweeps machine;
  SocketRow row = waiting(81, 1 * seconds);
  row.condition.eof = EndOfFile::unread;
  row.condition.unread_bytes = 300;
  machine.add(row);
  row.cookie = 82;
  row.condition.eof = EndOfFile::peeked;
  machine.add(row);
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_unread stuck", "82 raised eof_unread stuck"});
  machine.sockets[81].row.condition.eof = EndOfFile::consumed;
  CHECK(machine.sweep(105 * seconds) == Lines{"81 changed eof_ignored stuck"});
}

TEST_CASE("a leak against the workload's own habit", "[detector]") {
  Sweeps machine;
  machine.add(waiting(81, 100 * seconds));
  SECTION("twenty others closed at once") {
    machine.closes_others(101 * seconds, 20, 1 * ms);
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored leak"});
    REQUIRE(machine.detector.habit(machine.judged(81).workload) != nullptr);
    CHECK(machine.detector.habit(machine.judged(81).workload)->count() == 20);
  }
  SECTION("nineteen are no habit") {
    machine.closes_others(101 * seconds, 19, 1 * ms);
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  }
  SECTION("a slow but correct server: three seconds each") {
    machine.closes_others(101 * seconds, 50, 3 * seconds);
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
    CHECK(machine.sweep(135 * seconds, 160 * seconds).empty());
    CHECK(machine.sweep(165 * seconds) == Lines{"81 changed eof_ignored leak"});
    SECTION("that turns out to be slower still") {
      machine.closes_others(166 * seconds, 5, 9 * seconds);
      CHECK(machine.sweep(170 * seconds) == Lines{"81 changed eof_ignored stuck"});
    }
  }
  SECTION("the habit of another workload") {
    for (int i = 0; i < 30; ++i)
      (void)machine.transition(called(101 * seconds, State::close_wait, State::last_ack, Cause::close));
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  }
  SECTION("what the end of a process ended is no habit, nor what the peer reset") {
    for (std::uint64_t i = 0; i < 30; ++i) {
      (void)machine.transition(leaves(101 * seconds, 5000 + i, 1 * ms, Cause::exit));
      (void)machine.transition(leaves(101 * seconds, 6000 + i, 1 * ms, std::nullopt, State::close));
      (void)machine.transition(leaves(101 * seconds, 7000 + i, 1 * ms, Cause::kill, State::close));
    }
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  }
  SECTION("times that are not known, or filtered out, are no habit") {
    for (std::uint64_t i = 0; i < 30; ++i) {
      TransitionSeen seen = leaves(101 * seconds, 5000 + i, 1 * ms, Cause::close);
      if (i % 2 == 0)
        seen.entered_ns = 0;
      else
        seen.evidence.hidden = true;
      (void)machine.transition(seen);
    }
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored stuck"});
  }
  SECTION("shutdown() is a closing call too") {
    for (std::uint64_t i = 0; i < 20; ++i)
      (void)machine.transition(leaves(101 * seconds, 5000 + i, 1 * ms, Cause::shutdown));
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_ignored leak"});
  }
  SECTION("what is unread is not measured by it: a pool, beside quick requests") {
    machine.sockets[81].row.condition.eof = EndOfFile::unread;
    machine.closes_others(101 * seconds, 50, 1 * ms);
    CHECK(machine.sweep(130 * seconds) == Lines{"81 raised eof_unread stuck"});
  }
}

TEST_CASE("time in the accept queue is not held against the workload's habit", "[detector]") {
  Sweeps machine;
  machine.closes_others(90 * seconds, 20, 2 * seconds);  // so that 40 s are in order
  machine.add(listens());
  machine.add(queued(81, 1 * seconds));
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised never_accepted stuck"});
  machine.sockets.at(81).row = waiting(81, 1 * seconds);
  CHECK(machine.sweep(105 * seconds) == Lines{"81 resolved never_accepted stuck accepted"});
  CHECK(machine.sweep(110 * seconds, 145 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.sweep(150 * seconds) == Lines{"81 changed eof_ignored leak"});
}

TEST_CASE("a workload known by name only becomes one known by its executable", "[detector]") {
  Sweeps machine;
  const Identity late = person(970, "late");
  SocketRow row = waiting(81, 100 * seconds);
  row.process = late;
  machine.add(row);
  (void)machine.sweep(105 * seconds);
  CHECK(machine.workloads[machine.judged(81).workload].executable == "late");
  machine.resolve(late, "/usr/bin/late");
  (void)machine.sweep(110 * seconds);
  CHECK(machine.workloads[machine.judged(81).workload].executable == "/usr/bin/late");
}

TEST_CASE("rows met twice, and descriptors met twice, count once", "[detector]") {
  Sweeps machine;
  machine.add(waiting(81, 1 * seconds)).holders = {held_by(server()), held_by(server()), held_by(server(), true, 8)};
  SocketRow again = machine.sockets[81].row;
  again.time_ns = 99 * seconds;
  machine.detector.row(again);
  CHECK(machine.sweep(100 * seconds) == Lines{"81 raised eof_ignored stuck"});
  CHECK(machine.detector.sockets().size() == 1);
  CHECK(machine.judged(81).holders.size() == 2);
}

TEST_CASE("holders may come before their row", "[detector]") {
  Sweeps machine;
  machine.detector.holder({99 * seconds, 81, held_by(person(950, "child"))});
  SocketRow row = waiting(81, 1 * seconds);
  row.time_ns = 100 * seconds;
  machine.detector.row(row);
  (void)machine.sweep(100 * seconds);
  CHECK(machine.judged(81).process.key.pid == 950);
}

TEST_CASE("of many holders some are shown, the one that matters among them", "[detector]") {
  Sweeps machine;
  Sweeps::Socket& socket = machine.add(waiting(81, 1 * seconds));
  socket.holders.clear();
  for (std::uint32_t pid = 1; pid <= 200; ++pid) socket.holders.push_back(held_by(person(pid, "child"), false));
  socket.holders.back().used_last = true;
  (void)machine.sweep(100 * seconds, 105 * seconds);
  CHECK(machine.judged(81).holders.size() == 64);
  CHECK(machine.judged(81).process.key.pid == 200);
  CHECK(machine.words(81) == "eof_ignored stuck");
}

TEST_CASE("a full table counts what it refuses, and takes it later", "[detector]") {
  Detector::Settings settings;
  settings.sockets_limit = 2;
  Sweeps machine{settings};
  for (std::uint64_t cookie = 81; cookie <= 84; ++cookie) machine.add(waiting(cookie, 1 * seconds));
  CHECK(machine.sweep(100 * seconds).size() == 2);
  CHECK(machine.sweep(105 * seconds).empty());
  CHECK(machine.detector.refused() == 2);
  machine.sockets.erase(81);
  CHECK(machine.transition(leaves(106 * seconds, 81, 100 * seconds, Cause::close)).size() == 1);
  CHECK(machine.sweep(110 * seconds) == Lines{"83 raised eof_ignored stuck"});
  CHECK(machine.detector.refused() == 2);
}

TEST_CASE("with more descriptors than can be kept an absence proves nothing", "[detector]") {
  Detector::Settings settings;
  settings.sockets_limit = 1;
  Sweeps machine{settings};
  Sweeps::Socket& socket = machine.add(waiting(81, 1 * seconds));
  socket.holders.clear();
  for (std::uint32_t pid = 1; pid <= 5; ++pid) socket.holders.push_back(held_by(person(pid, "child"), pid == 5));
  (void)machine.sweep(100 * seconds, 120 * seconds);
  CHECK(machine.words(81) == "eof_ignored stuck");
}

TEST_CASE("the order of the stream is by age, whatever that of the table", "[detector]") {
  Sweeps machine;
  for (std::uint64_t i = 0; i < 50; ++i) machine.add(waiting(200 + (i * 37) % 50, (1 + i) * ms));
  const Lines lines = machine.sweep(100 * seconds);
  REQUIRE(lines.size() == 50);
  for (std::size_t i = 1; i < 50; ++i)
    CHECK(machine.judgements[i - 1].socket.since_ns < machine.judgements[i].socket.since_ns);
}
