// SPDX-License-Identifier: BSD-2-Clause
// The ledger by itself: owners, paces, room.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/ledger.hpp>

#include <malloc.h>

#include <iostream>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t t0 = 200 * seconds;

Responsible closer(const Identity& identity) {
  return {Process{identity, std::make_shared<const ProcessEntry>()}, Attribution::closer};
}

/// A ledger whose walks resolve nothing.
struct Book {
  Ledger ledger{{.buckets = 262'144, .keeps_paces = true, .routes = 16'384}};
  Ledger::Changes changes;
  std::shared_ptr<const Responsible> owner = ledger.shared(closer(client()));

  static Tuple from_port(std::uint16_t port) { return tuple(Role::connect, "10.0.0.7", port, "10.0.0.5", 3306); }
  Ledger::Bucket bucket(std::uint64_t time_ns, std::uint64_t cookie) const {
    Ledger::Bucket out;
    out.cookie = cookie;
    out.entered_ns = out.known_ns = time_ns;
    out.owner = owner;
    out.role = Role::connect;
    return out;
  }
  void enters(std::uint64_t time_ns, std::uint16_t port) {
    ledger.enter(from_port(port), bucket(time_ns, port), changes);
  }
  void meets(std::uint64_t time_ns, std::uint16_t port, std::uint64_t entered_ns) {
    BucketRow row;
    row.time_ns = time_ns;
    row.cookie = port;
    row.tuple = from_port(port);
    row.tuple.role = Role::unknown;
    row.expires_in_ns = static_cast<std::int64_t>(entered_ns + time_wait_ns) - static_cast<std::int64_t>(time_ns);
    ledger.row(row, changes);
  }
  void concludes(std::uint64_t time_ns, Role role = Role::unknown) {
    ledger.conclude(
        time_ns,
        [&](const Tuple&, Ledger::Bucket& found) {
          found.owner = owner;
          if (role != Role::unknown) found.role = role;
          return Ledger::Found::owned;
        },
        changes);
  }
  void walks(std::uint64_t time_ns) { ledger.walked({time_ns, time_ns, netns, std::nullopt}); }
  std::optional<Pace> pace(std::uint64_t time_ns) const { return ledger.pace(route_of(from_port(0)), time_ns); }
};

}  // namespace

TEST_CASE("ledger: whose a bucket is, of what kind, and since when", "[ledger]") {
  Book book;
  book.enters(t0, 1);
  REQUIRE(book.ledger.buckets().size() == 1);
  const auto& [ends, bucket] = *book.ledger.buckets().begin();
  CHECK(ends == Book::from_port(1));
  CHECK(bucket.owner->process->identity == client());
  CHECK(bucket.substate == State::time_wait);
  CHECK(bucket.entered_ns == t0);
  CHECK(bucket.exists());
  CHECK(book.changes.empty());
}

TEST_CASE("ledger: what the ends of two are compared by", "[ledger]") {
  const Ledger::Ends ends;
  const Tuple one = Book::from_port(1);
  Tuple other = one;
  SECTION("not by the role") {
    other.role = Role::accept;
    CHECK(ends(one, other));
    CHECK(ends(one) == ends(other));
  }
  SECTION("by all else") {
    SECTION("the namespace") { ++other.netns; }
    SECTION("the family") { other.family = Family::ipv6; }
    SECTION("the local port") { ++other.local.port; }
    SECTION("the local address") { ++other.local.address[15]; }
    SECTION("the peer's port") { ++other.peer.port; }
    SECTION("the peer's address") { ++other.peer.address[15]; }
    if (other != one) CHECK_FALSE(ends(one, other));
  }
}

TEST_CASE("ledger: what exists", "[ledger]") {
  Book book;
  Ledger::Bucket bucket = book.bucket(t0, 1);
  CHECK(bucket.exists());
  SECTION("not what is perhaps there") { bucket.unsure = true; }
  SECTION("not what the last walk has missed") { bucket.missed = true; }
  SECTION("not what nobody owns yet") { bucket.owner = nullptr; }
  if (bucket.unsure || bucket.missed || !bucket.owner) CHECK_FALSE(bucket.exists());
}

TEST_CASE("ledger: one owner for all buckets that a process leaves", "[ledger]") {
  Book book;
  const Responsible owner = closer(client());
  const auto first = book.ledger.shared(owner);
  CHECK(book.ledger.shared(owner) == first);
  const auto differs = [&](const Responsible& other) {
    const auto second = book.ledger.shared(other);
    CHECK(second != first);
    REQUIRE(second->process.has_value() == other.process.has_value());
    CHECK(second->attribution == other.attribution);
    if (other.process) CHECK(second->process->identity == other.process->identity);
    if (other.process) CHECK(second->process->entry == other.process->entry);
  };
  Responsible other = owner;
  SECTION("another attribution") {
    other.attribution = Attribution::listener;
    differs(other);
  }
  SECTION("a pid used again") {
    ++other.process->identity.key.start_ns;
    differs(other);
  }
  SECTION("another program by exec()") {
    ++other.process->identity.exec_id;
    differs(other);
  }
  SECTION("more is known of it now") {
    other.process->entry = std::make_shared<const ProcessEntry>();
    differs(other);
  }
  SECTION("a pid 1024 further on") {
    other.process->identity.key.pid += 1024;
    differs(other);
  }
  SECTION("nobody") { differs({}); }
  // Whoever came in between, the first keeps its own.
  CHECK(first->process->identity == client());
}

TEST_CASE("ledger: a pace is of ten seconds at least", "[ledger]") {
  Book book;
  CHECK_FALSE(book.pace(t0));
  for (std::uint16_t second = 0; second < 10; ++second)
    for (std::uint16_t each = 0; each < 3; ++each)
      book.enters(t0 + second * seconds, static_cast<std::uint16_t>(1000 + 3 * second + each));
  CHECK_FALSE(book.pace(t0 + 9'999 * ms));
  REQUIRE(book.pace(t0 + 10 * seconds));
  CHECK(book.pace(t0 + 10 * seconds)->entered_per_second == Approx(3));
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(3));
  CHECK(book.pace(t0 + 10 * seconds)->other_per_second == 0);
  SECTION("nothing is known of another route") {
    Route other = route_of(Book::from_port(0));
    SECTION("of another peer's port") { ++other.peer.port; }
    SECTION("of another source") { ++other.local[3]; }
    SECTION("of another namespace") { ++other.netns; }
    CHECK_FALSE(book.ledger.pace(other, t0 + 10 * seconds));
  }
  SECTION("what was before the last ten to twenty seconds counts no more") {
    for (const std::uint64_t after : {10U, 15U, 20U, 25U, 30U}) book.concludes(t0 + after * seconds);
    REQUIRE(book.pace(t0 + 30 * seconds));
    CHECK(book.pace(t0 + 30 * seconds)->entered_per_second == 0);
    CHECK(book.pace(t0 + 30 * seconds)->net_per_second == 0);
  }
  SECTION("over both windows where the younger is too short") {
    book.concludes(t0 + 10 * seconds);
    for (std::uint16_t each = 0; each < 15; ++each)
      book.enters(t0 + 12 * seconds, static_cast<std::uint16_t>(2000 + each));
    CHECK(book.pace(t0 + 15 * seconds)->entered_per_second == Approx(3));
    // The younger is long enough from here on.
    CHECK(book.pace(t0 + 20 * seconds)->entered_per_second == Approx(1.5));
  }
}

TEST_CASE("ledger: buckets that end grow nothing", "[ledger]") {
  Book book;
  book.enters(t0, 1);
  book.concludes(t0);
  for (std::uint16_t each = 0; each < 10; ++each)
    book.enters(t0 + 1 * seconds, static_cast<std::uint16_t>(1000 + each));
  // Four of them are another's now.
  for (std::uint16_t each = 0; each < 4; ++each)
    book.ledger.taken(Book::from_port(static_cast<std::uint16_t>(1000 + each)), 7, t0 + 2 * seconds, false,
                      book.changes);
  REQUIRE(book.pace(t0 + 10 * seconds));
  CHECK(book.pace(t0 + 10 * seconds)->entered_per_second == Approx(1.1));
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(0.7));
}

TEST_CASE("ledger: what was there before is no growth", "[ledger]") {
  Book book;
  book.meets(t0, 50'001, t0 - 5 * seconds);
  book.meets(t0, 50'002, t0 - 5 * seconds);
  book.concludes(t0);
  book.enters(t0 + 1 * seconds, 50'003);
  CHECK(book.pace(t0 + 10 * seconds)->entered_per_second == Approx(0.1));
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(0.1));
  SECTION("and it ends") {
    book.walks(t0 + 56 * seconds);
    book.concludes(t0 + 56 * seconds);
    CHECK(book.ledger.buckets().size() == 1);
    CHECK(book.pace(t0 + 57 * seconds)->net_per_second == Approx(-1.0 / 57));
  }
}

TEST_CASE("ledger: what is found later is no growth of either window", "[ledger]") {
  Book book;
  book.enters(t0, 50'001);
  book.concludes(t0 + 10 * seconds);
  book.meets(t0 + 12 * seconds, 50'002, t0 + 5 * seconds);
  book.concludes(t0 + 12 * seconds);
  CHECK(book.pace(t0 + 14 * seconds)->net_per_second == Approx(1.0 / 14));
  CHECK(book.pace(t0 + 20 * seconds)->net_per_second == 0);
}

TEST_CASE("ledger: what has grown by a burst and stands now does not grow", "[ledger]") {
  Book book;
  book.enters(t0, 50'001);
  for (std::uint16_t each = 0; each < 30; ++each)
    book.enters(t0 + 1 * seconds, static_cast<std::uint16_t>(51'000 + each));
  book.concludes(t0 + 10 * seconds);
  CHECK(book.pace(t0 + 14 * seconds)->net_per_second == Approx(31.0 / 14));
  CHECK(book.pace(t0 + 15 * seconds)->net_per_second == 0);
  book.enters(t0 + 16 * seconds, 50'002);
  CHECK(book.pace(t0 + 17 * seconds)->net_per_second == Approx(32.0 / 17));
}

TEST_CASE("ledger: a row before its event has entered all the same", "[ledger]") {
  Book book;
  book.enters(t0, 1);
  book.meets(t0 + 1 * seconds, 50'001, t0 + 1 * seconds);
  book.enters(t0 + 1 * seconds, 50'001);
  CHECK(book.pace(t0 + 10 * seconds)->entered_per_second == Approx(0.2));
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(0.2));
}

TEST_CASE("ledger: paces are of what went out", "[ledger]") {
  Book book;
  Ledger::Bucket bucket = book.bucket(t0, 1);
  SECTION("not of what came in") {
    bucket.role = Role::accept;
    book.ledger.enter(Book::from_port(50'001), bucket, book.changes);
    CHECK_FALSE(book.pace(t0 + 10 * seconds));
  }
  SECTION("where it is not known the higher port is the client's") {
    bucket.role = Role::unknown;
    book.ledger.enter(Book::from_port(80), bucket, book.changes);
    CHECK_FALSE(book.pace(t0 + 10 * seconds));
    book.ledger.enter(Book::from_port(50'001), bucket, book.changes);
    CHECK(book.pace(t0 + 10 * seconds));
  }
  SECTION("not of orphans") {
    bucket.substate = State::fin_wait2;
    book.ledger.enter(Book::from_port(50'001), bucket, book.changes);
    CHECK_FALSE(book.pace(t0 + 10 * seconds));
  }
  SECTION("not of what is perhaps not there") {
    bucket.unsure = true;
    book.ledger.enter(Book::from_port(50'001), bucket, book.changes);
    CHECK_FALSE(book.pace(t0 + 10 * seconds));
  }
  SECTION("none where nobody asks") {
    Ledger ledger{{}};
    ledger.enter(Book::from_port(50'001), bucket, book.changes);
    CHECK_FALSE(ledger.pace(route_of(Book::from_port(0)), t0 + 10 * seconds));
  }
}

TEST_CASE("ledger: what goes into TIME_WAIT later has its part in the pace then", "[ledger]") {
  Book book;
  book.enters(t0, 50'000);
  Ledger::Bucket bucket = book.bucket(t0, 50'001);
  SECTION("an orphan") { bucket.substate = State::fin_wait2; }
  SECTION("one that is there though the table was full") { bucket.unsure = true; }
  SECTION("both") {
    bucket.substate = State::fin_wait2;
    bucket.unsure = true;
  }
  book.ledger.enter(Book::from_port(50'001), bucket, book.changes);
  const bool later = bucket.unsure || bucket.substate == State::fin_wait2;
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(later ? 0.1 : 0.2));
  book.meets(t0 + 1 * seconds, 50'001, t0 + 1 * seconds);
  CHECK(book.pace(t0 + 10 * seconds)->entered_per_second == Approx(0.2));
  CHECK(book.pace(t0 + 10 * seconds)->net_per_second == Approx(0.2));
}

TEST_CASE("ledger: an orphan's port was taken before it moves to TIME_WAIT", "[ledger]") {
  Book book;
  book.enters(t0, 50'000);
  for (std::uint16_t port = 50'001; port <= 50'003; ++port) {
    Ledger::Bucket orphan = book.bucket(t0 + 1 * seconds, port);
    orphan.substate = State::fin_wait2;
    book.ledger.enter(Book::from_port(port), orphan, book.changes);
  }
  for (const std::uint64_t after : {10U, 20U}) book.concludes(t0 + after * seconds);
  for (std::uint16_t port = 50'001; port <= 50'003; ++port) book.meets(t0 + 25 * seconds, port, t0 + 25 * seconds);
  REQUIRE(book.pace(t0 + 30 * seconds));
  CHECK(book.pace(t0 + 30 * seconds)->entered_per_second == Approx(0.3));
  CHECK(book.pace(t0 + 30 * seconds)->net_per_second == Approx(0));
}

TEST_CASE("ledger: idle routes are forgotten, and make room", "[ledger]") {
  Book book;
  Ledger small{{.buckets = 100, .keeps_paces = true, .routes = 1}};
  book.ledger = std::move(small);
  const Tuple other = tuple(Role::connect, "10.0.0.7", 50'002, "10.0.0.6", 3306);
  const auto other_is_known = [&](std::uint64_t time_ns) {
    book.ledger.enter(other, book.bucket(time_ns, 2), book.changes);
    return book.ledger.pace(route_of(other), time_ns + 10 * seconds).has_value();
  };
  SECTION("one that is in use keeps its place") {
    book.enters(t0, 50'001);
    book.concludes(t0 + 30 * seconds);
    book.concludes(t0 + 60 * seconds);
    CHECK_FALSE(other_is_known(t0 + 61 * seconds));
  }
  SECTION("one whose last bucket has ended does not") {
    book.enters(t0, 50'001);
    for (const std::uint64_t after : {30U, 62U, 80U, 100U}) {
      book.walks(t0 + after * seconds);
      book.meets(t0 + after * seconds, 60'000, t0 + 1 * seconds);
      book.concludes(t0 + after * seconds, Role::accept);
    }
    CHECK(other_is_known(t0 + 101 * seconds));
  }
  SECTION("found, taken for outgoing, and then seen to have come in: it never had one") {
    book.meets(t0, 50'001, t0);
    book.concludes(t0, Role::accept);
    CHECK(other_is_known(t0 + 1 * seconds));
  }
}

TEST_CASE("ledger: room, and what is refused", "[ledger]") {
  Book book;
  book.ledger = Ledger{{.buckets = 2, .keeps_paces = true, .routes = 10}};
  for (std::uint16_t port = 1; port <= 4; ++port) book.enters(t0, port);
  CHECK(book.ledger.buckets().size() == 2);
  CHECK(book.ledger.differences().refused == 2);
  book.meets(t0, 5, t0);
  CHECK(book.ledger.differences().refused == 3);
  SECTION("what has its place keeps it") {
    book.enters(t0 + 1 * seconds, 1);
    CHECK(book.ledger.differences().refused == 3);
  }
  SECTION("one whose ends are another's makes room for that one") {
    book.ledger.enter(Book::from_port(1), book.bucket(t0 + 1 * seconds, 90), book.changes);
    CHECK(book.ledger.buckets().size() == 2);
    CHECK(book.ledger.differences().refused == 3);
  }
  SECTION("their namespace is not walked for them") {
    book.ledger.gone(netns, t0, book.changes);
    CHECK(book.ledger.namespaces().empty());
  }
}

TEST_CASE("ledger: a row of long ago, or of a timer that cannot be", "[ledger]") {
  Book book;
  BucketRow row;
  row.time_ns = t0;
  row.cookie = 1;
  row.tuple = Book::from_port(1);
  const auto entered = [&] {
    book.ledger.row(row, book.changes);
    return book.ledger.buckets().begin()->second.entered_ns;
  };
  SECTION("overdue by 2 s") {
    row.expires_in_ns = -2 * static_cast<std::int64_t>(seconds);
    CHECK(entered() == t0 - 62 * seconds);
  }
  SECTION("overdue by years") {
    row.expires_in_ns = std::numeric_limits<std::int64_t>::min();
    CHECK(entered() == 0);
  }
  SECTION("due in years") {
    row.expires_in_ns = std::numeric_limits<std::int64_t>::max();
    CHECK(entered() == 0);
  }
  SECTION("an orphan's") {
    row.substate = State::fin_wait2;
    row.expires_in_ns = 2 * static_cast<std::int64_t>(seconds);
    CHECK(entered() == 0);
  }
}

TEST_CASE("ledger: memory of a quarter of a million", "[.][ledger]") {
  Book book;
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (std::uint32_t each = 0; each < 250'000; ++each) {
    Tuple ends = Book::from_port(static_cast<std::uint16_t>(1024 + each % 60'000));
    ends.peer.port = static_cast<std::uint16_t>(each / 60'000 + 1);
    book.ledger.enter(ends, book.bucket(t0, each + 1), book.changes);
  }
  const std::size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  std::cout << "bytes of 250,000 buckets: " << after - before << ", each " << (after - before) / 250'000 << "\n";
  CHECK(book.ledger.buckets().size() == 250'000);
}
