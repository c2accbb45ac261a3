// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"
#include "sweeps.hpp"

#include <closewatch/core/judge.hpp>

#include <array>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// In CLOSE_WAIT for 40 of 30 seconds, everything read, held by one who used it.
Look look() {
  Look out;
  out.now_ns = 100 * seconds;
  out.leak_after_ns = 30 * seconds;
  out.since_ns = 60 * seconds;
  out.condition.eof = EndOfFile::read;
  out.condition.use_observed = true;
  out.condition.was_used = true;
  return out;
}

/// Everything at once: each line of the contract's table stands before the next.
Look everything() {
  Look out = look();
  out.mptcp = true;
  out.no_socket = true;
  out.condition.no_file = true;
  out.state = State::close;
  out.condition.unsent_bytes = 1;
  out.unused_by_holders = true;
  out.nobody_holds = true;
  out.condition.eof = EndOfFile::unread;
  return out;
}

Verdict verdict(Kind kind, bool grows = false, bool beyond_habit = false, EndOfFile eof = EndOfFile::read) {
  return verdict_of({kind, eof, true, grows, beyond_habit});
}

ResponsibleOne told(const Identity& process, Attribution attribution) { return {process, attribution}; }

}  // namespace

TEST_CASE("the first kind that matches", "[judge]") {
  Look one = everything();
  CHECK(kind_of(one) == Kind::mptcp);
  one.mptcp = false;
  CHECK(kind_of(one) == Kind::never_accepted);
  one.no_socket = false;
  CHECK(kind_of(one) == Kind::kernel);
  one.condition.no_file = false;
  CHECK(kind_of(one) == Kind::dead_unclosed);
  one.state = State::close_wait;
  CHECK(kind_of(one) == Kind::write_blocked);
  one.advanced_ns = 99 * seconds;
  CHECK(kind_of(one) == Kind::replying);
  one.condition.unsent_bytes = 0;
  CHECK(kind_of(one) == Kind::replying);
  one.advanced_ns = 0;
  CHECK(kind_of(one) == Kind::inherited);
  one.unused_by_holders = false;
  CHECK(kind_of(one) == Kind::in_flight);
  one.nobody_holds = false;
  CHECK(kind_of(one) == Kind::eof_unread);
  one.condition.eof = EndOfFile::read;
  CHECK(kind_of(one) == Kind::eof_ignored);
}

TEST_CASE("what became of the end", "[judge]") {
  Look one = look();
  const auto kind = [&](EndOfFile eof) {
    one.condition.eof = eof;
    return kind_of(one);
  };
  CHECK(kind(EndOfFile::read) == Kind::eof_ignored);
  CHECK(kind(EndOfFile::consumed) == Kind::eof_ignored);
  CHECK(kind(EndOfFile::unread) == Kind::eof_unread);
  CHECK(kind(EndOfFile::peeked) == Kind::eof_unread);
  CHECK(kind(EndOfFile::unknown) == Kind::eof_unread);
}

TEST_CASE("unsent bytes block only once they have not moved for the limit", "[judge]") {
  Look one = look();
  one.condition.unsent_bytes = 5000;
  CHECK(kind_of(one) == Kind::write_blocked);
  SECTION("within it they may still move") {
    one.since_ns = 71 * seconds;
    CHECK(kind_of(one) == Kind::eof_ignored);
  }
  SECTION("they have moved of late") {
    one.advanced_ns = 71 * seconds;
    CHECK(kind_of(one) == Kind::replying);
  }
  SECTION("they have moved, but long ago") {
    one.since_ns = 10 * seconds;
    one.advanced_ns = 70 * seconds;
    CHECK(kind_of(one) == Kind::write_blocked);
  }
  SECTION("there are none") {
    one.condition.unsent_bytes = 0;
    CHECK(kind_of(one) == Kind::eof_ignored);
  }
}

TEST_CASE("nothing is called inherited where a use may have gone unseen", "[judge]") {
  Look one = look();
  one.unused_by_holders = true;
  CHECK(kind_of(one) == Kind::inherited);
  SECTION("not observed from the start") { one.condition.use_observed = false; }
  SECTION("nobody has ever used it: a socket-activated service") { one.condition.was_used = false; }
  SECTION("more users than are kept") { one.condition.too_many_users = true; }
  SECTION("a holder has used it") { one.unused_by_holders = false; }
  CHECK(kind_of(one) == Kind::eof_ignored);
}

TEST_CASE("in flight is what nobody holds and nobody has used of late", "[judge]") {
  Look one = look();
  one.nobody_holds = true;
  CHECK(kind_of(one) == Kind::in_flight);
  one.condition.used_ns = 71 * seconds;  // io_uring reads it without a descriptor
  CHECK(kind_of(one) == Kind::eof_ignored);
  one.condition.used_ns = 70 * seconds;
  CHECK(kind_of(one) == Kind::in_flight);
}

TEST_CASE("within the limit everything is in order", "[judge]") {
  for (std::uint8_t i = 0; i < 10; ++i)
    CHECK(verdict_of({static_cast<Kind>(i), EndOfFile::read, false, true, true}) == Verdict::ok);
}

TEST_CASE("verdicts past the limit", "[judge]") {
  for (const Kind kind : {Kind::mptcp, Kind::kernel, Kind::replying}) CHECK(verdict(kind, true, true) == Verdict::ok);
  for (const Kind kind : {Kind::never_accepted, Kind::write_blocked})
    CHECK(verdict(kind, true, true) == Verdict::stuck);
  for (const Kind kind : {Kind::inherited, Kind::dead_unclosed}) CHECK(verdict(kind) == Verdict::leak);
  for (const Kind kind : {Kind::in_flight, Kind::eof_unread, Kind::eof_ignored}) {
    CHECK(verdict(kind) == Verdict::stuck);
    CHECK(verdict(kind, true) == Verdict::leak);
    CHECK(needs_company(kind));
  }
  CHECK(verdict(Kind::eof_ignored, false, true) == Verdict::leak);
  CHECK(verdict(Kind::eof_unread, false, true) == Verdict::stuck);
  CHECK(verdict(Kind::in_flight, false, true) == Verdict::stuck);
}

TEST_CASE("an end that nobody can vouch for is never a leak", "[judge]") {
  CHECK(verdict(Kind::eof_unread, true, true, EndOfFile::unknown) == Verdict::stuck);
}

TEST_CASE("what `run` does not forgive", "[judge]") {
  std::vector<Kind> kinds;
  for (std::uint8_t i = 0; i < 10; ++i)
    if (leaks_if_left_open(static_cast<Kind>(i))) kinds.push_back(static_cast<Kind>(i));
  CHECK(kinds == std::vector{Kind::dead_unclosed, Kind::inherited, Kind::eof_ignored});
}

TEST_CASE("who is responsible, of several", "[judge]") {
  const Identity opener = person(10, "opener");
  std::vector<Holder> holders = {held_by(person(30, "late")), held_by(opener), held_by(person(20, "early"))};
  SECTION("the closer") {
    const auto one = responsible_of(holders, told(person(5, "closer"), Attribution::closer));
    CHECK(one.process.key.pid == 5);
    CHECK(one.attribution == Attribution::closer);
  }
  SECTION("the only holder, be it with two descriptors") {
    holders = {held_by(person(30, "late"), true, 7), held_by(person(30, "late"), true, 8)};
    const auto one = responsible_of(holders, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 30);
    CHECK(one.attribution == Attribution::holder);
  }
  SECTION("the holder that last used it") {
    holders[0].used_last = true;
    const auto one = responsible_of(holders, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 30);
    CHECK(one.attribution == Attribution::holder);
  }
  SECTION("the opener if it still holds") {
    const auto one = responsible_of(holders, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 10);
    CHECK(one.attribution == Attribution::opener);
  }
  SECTION("the oldest holder") {
    holders.erase(holders.begin() + 1);
    const auto one = responsible_of(holders, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 20);
    CHECK(one.attribution == Attribution::holder);
  }
  SECTION("a listener is no opener") {
    const auto one = responsible_of(holders, told(person(20, "early"), Attribution::listener));
    CHECK(one.process.key.pid == 10);
    CHECK(one.attribution == Attribution::holder);
  }
  SECTION("a pid used again is another process") {
    Identity reused = opener;
    reused.key.start_ns = 1000 * seconds;
    holders[1] = held_by(reused);
    const auto one = responsible_of(holders, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 20);
  }
  SECTION("nobody holds it: as it was told") {
    const auto one = responsible_of({}, told(opener, Attribution::opener));
    CHECK(one.process.key.pid == 10);
    CHECK(one.attribution == Attribution::opener);
  }
}

TEST_CASE("who should have accepted", "[judge]") {
  std::vector<Holder> holders = {held_by(person(10, "master")), held_by(person(20, "worker"))};
  const auto nobody = told(Identity{}, Attribution::unknown);
  SECTION("who called listen()") {
    CHECK(responsible_of_listener(holders, person(10, "master"), nobody).process.key.pid == 10);
  }
  SECTION("who last accepted") {
    holders[1].used_last = true;
    CHECK(responsible_of_listener(holders, person(10, "master"), nobody).process.key.pid == 20);
  }
  SECTION("the only one who can") {
    holders.erase(holders.begin());
    const auto one = responsible_of_listener(holders, person(10, "master"), nobody);
    CHECK(one.process.key.pid == 20);
    CHECK(one.attribution == Attribution::listener);
  }
  SECTION("nobody is known") {
    CHECK(responsible_of_listener({}, Identity{}, nobody).attribution == Attribution::unknown);
  }
}
