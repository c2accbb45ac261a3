// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/listeners.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

Listener listens(std::uint64_t cookie, std::string_view address, std::uint16_t port, std::uint32_t pid = 900) {
  Listener out;
  out.cookie = cookie;
  out.tuple = tuple(Role::unknown, address, port, address.find(':') == std::string_view::npos ? "0.0.0.0" : "::", 0);
  out.process = person(pid, "server");
  return out;
}

std::uint64_t found(const Listeners& listeners, const Tuple& connection) {
  const Listener* listener = listeners.by_local_end(connection);
  return listener == nullptr ? 0 : listener->cookie;
}

Tuple to(std::string_view local, std::uint16_t port) {
  return tuple(Role::unknown, local, port, local.find(':') == std::string_view::npos ? "10.0.0.9" : "2001:db8::9",
               40000);
}

Closer closer(std::uint32_t pid) { return {person(pid, "closer"), Cause::close}; }

}  // namespace

TEST_CASE("a listener is found by its cookie until it is closed", "[listeners]") {
  Listeners listeners{10};
  CHECK(listeners.by_cookie(1) == nullptr);
  listeners.opened(listens(1, "0.0.0.0", 80));
  REQUIRE(listeners.by_cookie(1) != nullptr);
  CHECK(listeners.by_cookie(1)->process.key.pid == 900);
  listeners.closed(1, Tuple{}, std::nullopt);
  CHECK(listeners.by_cookie(1) == nullptr);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 0);
}

TEST_CASE("a later row of the same listener replaces it: another process has it now", "[listeners]") {
  Listeners listeners{1};
  listeners.opened(listens(1, "0.0.0.0", 80, 900));
  listeners.opened(listens(1, "0.0.0.0", 80, 901));
  CHECK(listeners.by_cookie(1)->process.key.pid == 901);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 1);
  CHECK(listeners.refused() == 0);
}

TEST_CASE("a socket that listens on another port now, its end unseen, is found there alone", "[listeners]") {
  Listeners listeners{10};
  listeners.opened(listens(1, "0.0.0.0", 80));
  listeners.opened(listens(1, "0.0.0.0", 81));
  CHECK(found(listeners, to("10.0.0.7", 81)) == 1);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 0);
  listeners.closed(1, Tuple{}, std::nullopt);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 0);
  CHECK(found(listeners, to("10.0.0.7", 81)) == 0);
}

TEST_CASE("who accepted from a listener is kept, the latest, and survives the row of a walk", "[listeners]") {
  Listeners listeners{10};
  listeners.accepted(1, person(901, "worker"));  // not known: nothing to keep it with
  listeners.opened(listens(1, "0.0.0.0", 80));
  CHECK(listeners.by_cookie(1)->acceptor.key.pid == 0);
  listeners.accepted(1, person(901, "worker"));
  listeners.accepted(1, person(902, "worker"));
  listeners.accepted(2, person(903, "worker"));
  CHECK(listeners.by_cookie(1)->acceptor.key.pid == 902);
  listeners.opened(listens(1, "0.0.0.0", 80, 900));
  CHECK(listeners.by_cookie(1)->acceptor.key.pid == 902);
  CHECK(listeners.by_cookie(1)->process.key.pid == 900);
  listeners.closed(1, Tuple{}, std::nullopt);
  listeners.opened(listens(1, "0.0.0.0", 80));
  CHECK(listeners.by_cookie(1)->acceptor.key.pid == 0);
}

TEST_CASE("the more specific listener takes the connection", "[listeners]") {
  Listeners listeners{10};
  listeners.opened(listens(1, "::", 80));
  CHECK(found(listeners, to("10.0.0.7", 80)) == 1);  // an IPv6 wildcard takes IPv4 too
  CHECK(found(listeners, to("2001:db8::7", 80)) == 1);
  listeners.opened(listens(2, "0.0.0.0", 80));
  CHECK(found(listeners, to("10.0.0.7", 80)) == 2);
  CHECK(found(listeners, to("2001:db8::7", 80)) == 1);
  listeners.opened(listens(3, "10.0.0.7", 80));
  CHECK(found(listeners, to("10.0.0.7", 80)) == 3);
  CHECK(found(listeners, to("10.0.0.8", 80)) == 2);
  listeners.opened(listens(4, "2001:db8::7", 80));
  CHECK(found(listeners, to("2001:db8::7", 80)) == 4);
  CHECK(found(listeners, to("2001:db8::8", 80)) == 1);
  listeners.closed(3, Tuple{}, std::nullopt);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 2);
}

TEST_CASE("the order in which they opened does not matter", "[listeners]") {
  Listeners listeners{10};
  listeners.opened(listens(3, "10.0.0.7", 80));
  listeners.opened(listens(2, "0.0.0.0", 80));
  listeners.opened(listens(1, "::", 80));
  CHECK(found(listeners, to("10.0.0.7", 80)) == 3);
  CHECK(found(listeners, to("10.0.0.8", 80)) == 2);
}

TEST_CASE("an IPv4 wildcard takes no IPv6, another port or namespace nothing", "[listeners]") {
  Listeners listeners{10};
  listeners.opened(listens(1, "0.0.0.0", 80));
  CHECK(found(listeners, to("2001:db8::7", 80)) == 0);
  CHECK(found(listeners, to("10.0.0.7", 81)) == 0);
  Tuple elsewhere = to("10.0.0.7", 80);
  elsewhere.netns += 1;
  CHECK(found(listeners, elsewhere) == 0);
}

TEST_CASE("listeners beyond the limit are refused and counted", "[listeners]") {
  Listeners listeners{2};
  for (std::uint64_t cookie = 1; cookie <= 5; ++cookie)
    listeners.opened(listens(cookie, "0.0.0.0", static_cast<std::uint16_t>(cookie)));
  CHECK(listeners.refused() == 3);
  CHECK(listeners.by_cookie(2) != nullptr);
  CHECK(listeners.by_cookie(3) == nullptr);
  listeners.closed(1, Tuple{}, std::nullopt);
  listeners.opened(listens(6, "0.0.0.0", 6));
  CHECK(listeners.by_cookie(6) != nullptr);
  CHECK(listeners.refused() == 3);
}

TEST_CASE("who closed a listener is remembered for its children", "[listeners]") {
  Listeners listeners{10};
  listeners.opened(listens(1, "0.0.0.0", 80));
  CHECK_FALSE(listeners.closer_of(1));
  listeners.closed(1, Tuple{}, closer(5));
  REQUIRE(listeners.closer_of(1));
  CHECK(listeners.closer_of(1)->process.key.pid == 5);
  SECTION("also of one that the table had no room for") {
    listeners.closed(77, Tuple{}, closer(6));
    REQUIRE(listeners.closer_of(77));
    CHECK(listeners.closer_of(77)->process.key.pid == 6);
  }
  SECTION("not where nobody's call closed it") {
    listeners.closed(2, Tuple{}, std::nullopt);
    CHECK_FALSE(listeners.closer_of(2));
  }
}

TEST_CASE("only the closers of late are remembered", "[listeners]") {
  Listeners listeners{10};
  for (std::uint64_t cookie = 1; cookie <= 1025; ++cookie) listeners.closed(cookie, Tuple{}, closer(5));
  CHECK_FALSE(listeners.closer_of(1));
  CHECK(listeners.closer_of(2));
  CHECK(listeners.closer_of(1025));
}

TEST_CASE("listeners that a walk has not met are forgotten", "[listeners]") {
  Listeners listeners{10};
  Listener old = listens(1, "0.0.0.0", 80);
  old.seen_ns = 100;
  Listener fresh = listens(2, "10.0.0.7", 80);
  fresh.seen_ns = 200;
  listeners.opened(old);
  listeners.opened(fresh);
  listeners.forget_unseen({160, 150, false, true, {netns + 1}}, false);
  CHECK(listeners.by_cookie(1) != nullptr);  // nobody went where it is
  const bool lost = GENERATE(false, true);
  listeners.forget_unseen({160, 150, false, lost, {}}, lost);
  CHECK(listeners.by_cookie(1) == nullptr);
  CHECK(found(listeners, to("10.0.0.8", 80)) == 0);
  CHECK(found(listeners, to("10.0.0.7", 80)) == 2);
  old.seen_ns = 210;
  listeners.opened(old);
  CHECK(found(listeners, to("10.0.0.8", 80)) == 1);
}

TEST_CASE("who closed a listener is known by its port too, the latest first", "[listeners]") {
  Listeners listeners{10};
  CHECK_FALSE(listeners.closer_of_local_end(to("127.0.0.1", 80)));
  listeners.closed(1, listens(1, "0.0.0.0", 80).tuple, closer(5));
  listeners.closed(2, listens(2, "127.0.0.1", 81).tuple, closer(6));
  listeners.closed(3, listens(3, "0.0.0.0", 80).tuple, closer(7));
  REQUIRE(listeners.closer_of_local_end(to("127.0.0.1", 80)));
  CHECK(listeners.closer_of_local_end(to("127.0.0.1", 80))->process.key.pid == 7);
  CHECK(listeners.closer_of_local_end(to("127.0.0.1", 81))->process.key.pid == 6);
  CHECK_FALSE(listeners.closer_of_local_end(to("127.0.0.2", 81)));  // another address than it listened on
}
