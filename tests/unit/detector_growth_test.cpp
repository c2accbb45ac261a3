// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "sweeps.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

// When the number of a workload's sockets past the limit grows. The limit is 30 s, a sweep comes every 5 s: the window
// is the last 60 s.

namespace {

using Lines = std::vector<std::string>;

SocketRow stale(std::uint64_t cookie, std::uint64_t entered_ns) {
  SocketRow row = waiting(cookie, entered_ns);
  row.condition.eof = EndOfFile::unread;
  return row;
}

/// Sweeps from 100 s on, with one more socket stale every `every_s`, born from `from_s` to `to_s`.
struct Leaking {
  Sweeps machine;
  std::uint64_t now_s = 100;
  std::uint64_t from_s = 100;
  std::uint64_t to_s = 100'000;
  std::uint64_t every_s = 5;
  bool read = false;

  explicit Leaking(const Detector::Settings& settings = {}) : machine(settings) {}

  /// Sweeps up to and with `until_s`.
  Lines until(std::uint64_t until_s) {
    Lines out;
    for (; now_s <= until_s; now_s += 5) {
      for (std::uint64_t second = now_s - 4; second <= now_s; ++second) {
        if (second < from_s || second > to_s || (second - from_s) % every_s != 0) continue;
        machine.add(read ? waiting(second, second * seconds) : stale(second, second * seconds));
      }
      const Lines lines = machine.sweep(now_s * seconds);
      out.insert(out.end(), lines.begin(), lines.end());
    }
    return out;
  }

  [[nodiscard]] std::size_t leaks() const {
    const auto all = machine.detector.sockets();
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [](const Judged& one) { return one.verdict == Verdict::leak; }));
  }

  [[nodiscard]] std::optional<Trend> trend(Kind kind = Kind::eof_unread) const {
    return machine.detector.trend(machine.judged(from_s).workload, kind);
  }
};

}  // namespace

TEST_CASE("a leak that grows is one, within a watch of twice the limit", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  SECTION("unread") {}
  SECTION("read to the end") { leak.read = true; }
  (void)leak.until(155);
  CHECK(leak.leaks() == 0);
  (void)leak.until(160);
  CHECK(leak.leaks() == 31);
  CHECK(leak.machine.words(130) == (leak.read ? "eof_ignored leak" : "eof_unread leak"));
  CHECK(leak.machine.words(131) == (leak.read ? "eof_ignored ok" : "eof_unread ok"));
}

TEST_CASE("a slow leak is found too", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 20;
  (void)leak.until(200);
  CHECK(leak.leaks() != 0);
}

TEST_CASE("in flight, and growing", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  for (leak.now_s = 100; leak.now_s <= 160;) {
    (void)leak.until(leak.now_s);
    for (auto& [cookie, socket] : leak.machine.sockets) socket.holders.clear();
  }
  CHECK(leak.machine.words(110) == "in_flight leak");
}

TEST_CASE("a number that stands still is a stale pool", "[detector][growth]") {
  Leaking pool;
  pool.every_s = 1;
  SECTION("gone stale in one burst") {
    pool.to_s = 112;
    SECTION("while we watched") {}
    SECTION("with an old one beside it") { pool.machine.add(stale(7, 50 * seconds)); }
    SECTION("long after the start") {
      pool.from_s = 200;
      pool.to_s = 212;
    }
  }
  SECTION("before the start, at times unknown") {
    pool.to_s = 0;
    for (std::uint64_t i = 0; i < 25; ++i) {
      SocketRow row = stale(100 + i, 0);
      row.condition.received_ns = (75 + i) * seconds;
      pool.machine.add(row);
    }
  }
  SECTION("one after the other, and no more") {
    pool.from_s = 101;
    pool.to_s = 117;
  }
  (void)pool.until(400);
  CHECK(pool.leaks() == 0);
  CHECK(pool.machine.words(pool.from_s) == "eof_unread stuck");
  CHECK(pool.trend() == Trend::steady);
}

TEST_CASE("what comes to be so at one moment has not grown", "[detector][growth]") {
  Leaking pool;
  pool.every_s = 1;
  pool.to_s = 120;
  (void)pool.until(125);
  // Replies that were taken to the end, all of them at 126 s.
  for (auto& [cookie, socket] : pool.machine.sockets) socket.row.condition.acked_bytes = 1;
  (void)pool.until(300);
  CHECK(pool.machine.words(110) == "eof_unread stuck");
  CHECK(pool.leaks() == 0);
}

TEST_CASE("what the program closes late is no leak, nor are its like", "[detector][growth]") {
  Leaking slow;
  slow.every_s = 1;
  (void)slow.until(155);
  SECTION("just before") {
    slow.machine.sockets.erase(110);
    (void)slow.machine.transition(leaves(156 * seconds, 110, 46 * seconds, Cause::close));
    (void)slow.until(210);
    CHECK(slow.leaks() == 0);
    SECTION("but it holds for a window only") {
      (void)slow.until(220);
      CHECK(slow.leaks() != 0);
    }
  }
  SECTION("one that no sweep has met") {
    (void)slow.machine.transition(leaves(156 * seconds, 9999, 31 * seconds, Cause::close));
    (void)slow.until(210);
    CHECK(slow.leaks() == 0);
  }
  SECTION("after the accusation: all of it falls") {
    (void)slow.until(165);
    REQUIRE(slow.leaks() != 0);
    const auto accused = slow.leaks();
    (void)slow.machine.transition(leaves(166 * seconds, 9999, 31 * seconds, Cause::close));
    CHECK(slow.until(170).size() == accused + 5);
    CHECK(slow.leaks() == 0);
    CHECK(slow.machine.words(110) == "eof_unread stuck");
  }
  SECTION("closed within the limit it says nothing of the others") {
    (void)slow.machine.transition(leaves(156 * seconds, 9999, 29 * seconds, Cause::close));
    (void)slow.until(160);
    CHECK(slow.leaks() != 0);
  }
  SECTION("nor does the end of a process") {
    (void)slow.machine.transition(leaves(156 * seconds, 9999, 31 * seconds, Cause::exit));
    (void)slow.until(160);
    CHECK(slow.leaks() != 0);
  }
}

TEST_CASE("closed late by another process: the workload that had it counts", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  (void)leak.until(150);
  TransitionSeen seen = leaves(151 * seconds, 110, 41 * seconds, Cause::close);
  seen.actor = seen.process = person(971, "helper");
  (void)leak.machine.transition(seen);
  leak.machine.sockets.erase(110);
  (void)leak.until(205);
  CHECK(leak.leaks() == 0);
}

TEST_CASE("a count that went down has not grown", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 5;
  (void)leak.until(150);
  // Two processes end: of the three past the limit one is left, and a fourth comes.
  for (const std::uint64_t cookie : {100U, 105U, 110U}) {
    leak.machine.sockets.erase(cookie);
    (void)leak.machine.transition(leaves(151 * seconds, cookie, 40 * seconds, Cause::exit));
  }
  (void)leak.until(210);
  CHECK(leak.leaks() == 0);
  (void)leak.until(220);
  CHECK(leak.leaks() != 0);
}

TEST_CASE("once a leak, it stays one though the growth has stopped", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  leak.to_s = 140;
  (void)leak.until(170);
  const std::size_t leaks = leak.leaks();
  CHECK(leaks == 41);
  CHECK(leak.trend() == Trend::growing);
  CHECK(leak.until(400).empty());
  CHECK(leak.leaks() == leaks);
  CHECK(leak.trend() == Trend::steady);
  SECTION("until it is another kind") {
    leak.machine.sockets[110].row.condition.acked_bytes = 1;
    CHECK(leak.until(405) == Lines{"110 changed replying ok"});
    CHECK(leak.until(430).empty());
    CHECK(leak.until(435) == Lines{"110 changed eof_unread stuck"});
  }
}

TEST_CASE("after a loss the counting starts over", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  (void)leak.until(155);
  leak.machine.detector.events_lost();
  (void)leak.until(220);
  CHECK(leak.leaks() == 0);
  (void)leak.until(225);
  CHECK(leak.leaks() != 0);
}

TEST_CASE("a pool that went stale one by one and is done with it does not leak", "[detector][growth]") {
  Leaking pool;
  pool.every_s = 1;
  // What passes the limit up to the end of the first full window was born a limit before.
  const bool done = GENERATE(true, false);
  pool.to_s = done ? 124 : 160;
  (void)pool.until(165);
  CHECK((pool.leaks() == 0) == done);
}

TEST_CASE("busy workers with a client each do not leak, however many", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 5;
  leak.read = GENERATE(false, true);
  const bool each = GENERATE(true, false);
  for (; leak.now_s <= 200;) {
    (void)leak.until(leak.now_s);
    for (auto& [cookie, socket] : leak.machine.sockets) {
      const Identity worker = person(1000 + static_cast<std::uint32_t>(each ? cookie : cookie / 10), "server");
      if (socket.row.process == worker) continue;
      leak.machine.resolve(worker, "/usr/bin/server");
      socket.row.process = worker;
      socket.holders = {held_by(worker)};
    }
  }
  CHECK(leak.trend(leak.read ? Kind::eof_ignored : Kind::eof_unread) == Trend::growing);
  CHECK((leak.leaks() != 0) == (leak.read || !each));
}

TEST_CASE("growth is each workload's own", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  SocketRow other = stale(7, 60 * seconds);
  other.tuple.local.port = 9090;
  leak.machine.add(other);
  (void)leak.until(160);
  CHECK(leak.leaks() != 0);
  CHECK(leak.machine.words(7) == "eof_unread stuck");
}

TEST_CASE("nothing is concluded from the mixture of what found no room", "[detector][growth]") {
  Processes processes{10};
  Listeners listeners{10};
  Workloads workloads{processes, listeners, 0};
  Detector detector{{}, workloads};
  std::vector<Judgement> judgements;
  for (std::uint64_t i = 0; i < 30; ++i)
    detector.transition(leaves(100 * seconds, 5000 + i, 1 * ms, Cause::close), judgements);
  for (std::uint64_t now = 100; now <= 200; now += 5) {
    for (std::uint64_t cookie = 100; cookie <= now; ++cookie) {
      SocketRow row = waiting(cookie, cookie * seconds);
      row.time_ns = now * seconds;
      detector.row(row);
      detector.holder({row.time_ns, cookie, held_by(server())});
    }
    detector.sweep_done({now * seconds, now * seconds - 1}, judgements);
  }
  for (const Judged& one : detector.sockets()) CHECK(one.verdict != Verdict::leak);
}

TEST_CASE("kTLS reads where nobody sees it: it never grows into a leak", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  for (leak.now_s = 100; leak.now_s <= 200;) {
    for (std::uint64_t second = leak.now_s - 4; second <= leak.now_s; ++second) {
      SocketRow row = stale(second, second * seconds);
      row.condition.eof = EndOfFile::unknown;
      leak.machine.add(row);
    }
    leak.from_s = 100'000;
    (void)leak.until(leak.now_s);
  }
  CHECK(leak.leaks() == 0);
}

TEST_CASE("that the ages of old ones are known too low is no trend", "[detector][growth]") {
  Leaking pool;
  pool.to_s = 0;
  for (std::uint64_t i = 0; i < 25; ++i) {
    SocketRow row = stale(100 + i, 0);
    row.condition.received_ns = (75 + i) * seconds;
    pool.machine.add(row);
  }
  (void)pool.until(130);
  CHECK(pool.machine.words(124) == "eof_unread stuck");
  CHECK(pool.trend() == Trend::steady);
}

TEST_CASE("trends", "[detector][growth]") {
  Leaking leak;
  leak.every_s = 1;
  (void)leak.until(135);
  CHECK_FALSE(leak.trend());
  (void)leak.until(160);
  CHECK(leak.trend() == Trend::growing);
  SECTION("up and down is neither") {
    for (std::uint64_t cookie = 100; cookie < 120; ++cookie) {
      leak.machine.sockets.erase(cookie);
      (void)leak.machine.transition(leaves(161 * seconds, cookie, 50 * seconds, Cause::exit));
    }
    leak.from_s = 120;
    (void)leak.until(165);
    CHECK(leak.trend() == Trend::steady);
  }
  SECTION("draining") {
    leak.to_s = leak.from_s;
    (void)leak.until(280);
    for (std::uint64_t cookie = 101; cookie < 120; ++cookie) {
      leak.machine.sockets.erase(cookie);
      (void)leak.machine.transition(leaves(281 * seconds, cookie, 160 * seconds, Cause::close));
    }
    (void)leak.until(285);
    CHECK(leak.trend() == Trend::draining);
  }
}

TEST_CASE("`run` wants six sweeps", "[detector][growth]") {
  Detector::Settings settings;
  settings.leak_after_ns = 10 * seconds;  // 20 s are spanned by five sweeps
  Leaking normal{settings};
  settings.sanitizer = true;
  Leaking strict{settings};
  normal.every_s = strict.every_s = 1;
  (void)normal.until(120);
  (void)strict.until(120);
  CHECK(normal.leaks() != 0);
  CHECK(strict.leaks() == 0);
  (void)strict.until(125);
  CHECK(strict.leaks() != 0);
}
