// SPDX-License-Identifier: BSD-2-Clause
// Which ports connect() may choose from, which of them are taken, and until when that goes well.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/ports.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t minute = 60 * seconds;

TcpSettings settings(std::uint64_t reuse, PortRange range = {40'000, 40'099}) {
  TcpSettings out;
  out.values["tcp_tw_reuse"] = reuse;
  out.values["tcp_timestamps"] = 1;
  out.port_range = range;
  return out;
}

Ports in(const TcpSettings& settings) {
  Ports out;
  out.set(netns, settings);
  return out;
}

Route route(std::string_view local, std::string_view peer) {
  return route_of(tuple(Role::connect, local, 1, peer, 80));
}

using PortNumbers = std::vector<std::uint16_t>;
const Route far_away = route("10.0.0.7", "10.0.0.5");

/// 50 in TIME_WAIT, ten in other states.
Ports half_full(std::uint64_t reuse) {
  Ports ports = in(settings(reuse));
  for (std::uint16_t port = 40'000; port < 40'050; ++port) ports.wait(far_away, port, 30 * seconds);
  for (std::uint16_t port = 40'050; port < 40'060; ++port) ports.use(far_away, port);
  return ports;
}

}  // namespace

TEST_CASE("ports: the range, less the reserved and the bound", "[ports]") {
  TcpSettings set = settings(0);
  set.reserved_ports = {{40'010, 40'019}, {40'099, 40'099}, {39'000, 40'000}, {50'000, 50'001}};
  Ports ports = in(set);
  CHECK(ports.usable(netns) == 100 - 10 - 1 - 1);
  for (const std::uint16_t port : PortNumbers{40'020, 40'020, 40'010, 39'999, 40'100, 8080}) ports.bind(netns, port);
  CHECK(ports.usable(netns) == 100 - 10 - 1 - 1 - 1);
  CHECK(ports.usable(netns + 1) == 0);
  for (const std::uint16_t port : PortNumbers{40'000, 40'010, 40'020, 40'021, 40'098, 40'099, 40'100, 8080})
    ports.use(far_away, port);
  const auto use = ports.of(far_away, {});
  REQUIRE(use);
  CHECK(use->route == far_away);
  CHECK(use->usable == 87);
  CHECK(use->in_use == 2);
}

TEST_CASE("ports: the whole of the numbers", "[ports]") {
  CHECK(in(settings(0, {1, 65'535})).usable(netns) == 65'535);
  CHECK(in(settings(0, {65'535, 65'535})).usable(netns) == 1);
}

TEST_CASE("ports: without settings, and without use of the range, nothing is said", "[ports]") {
  Ports ports;
  ports.use(far_away, 40'000);
  ports.bind(netns, 40'000);
  CHECK(!ports.of(far_away, {}));
  CHECK(ports.routes().empty());
  ports.set(netns, TcpSettings{});
  ports.use(far_away, 40'000);
  CHECK(!ports.of(far_away, {}));
  ports.set(netns, settings(0));
  ports.use(far_away, 39'999);
  CHECK(!ports.of(far_away, {}));
}

TEST_CASE("ports: when connect() may take a port from TIME_WAIT", "[ports]") {
  const auto hold = [](const TcpSettings& set, const Route& on) { return in(set).hold_ns(on); };
  const Route loopback = route("127.0.0.1", "127.0.0.1");
  CHECK(hold(settings(0), loopback) == minute);
  CHECK(hold(settings(1), far_away) == 1 * seconds);
  CHECK(hold(settings(2), far_away) == minute);
  CHECK(hold(settings(2), loopback) == 1 * seconds);
  // One end is enough, and the net is 127/8.
  CHECK(hold(settings(2), route("10.0.0.7", "127.200.0.1")) == 1 * seconds);
  CHECK(hold(settings(2), route("127.0.0.1", "10.0.0.7")) == 1 * seconds);
  CHECK(hold(settings(2), route("::1", "fd00::2")) == 1 * seconds);
  CHECK(hold(settings(2), route("fd00::1", "fd00::2")) == minute);
  // 127 begins an address of the other family too.
  CHECK(hold(settings(2), route("7f00::1", "fd00::2")) == minute);
  CHECK(Ports{}.hold_ns(loopback) == minute);
}

TEST_CASE("ports: reuse needs timestamps, and waits for its delay", "[ports]") {
  TcpSettings set = settings(1);
  set.values["tcp_tw_reuse_delay"] = 250;
  CHECK(in(set).hold_ns(far_away) == 250 * ms);
  set.values["tcp_tw_reuse_delay"] = 3'000'000'000'000;
  CHECK(in(set).hold_ns(far_away) == minute);
  set.values["tcp_tw_reuse_delay"] = 250;
  set.values["tcp_timestamps"] = 0;
  CHECK(in(set).hold_ns(far_away) == minute);
}

TEST_CASE("ports: TIME_WAIT that may be reused is not in use", "[ports]") {
  for (const std::uint64_t reuse : {0U, 1U}) {
    Ports ports = in(settings(reuse));
    ports.wait(far_away, 40'000, 999 * ms);
    ports.wait(far_away, 40'001, 1 * seconds);
    ports.wait(far_away, 40'002, std::nullopt);
    ports.wait(far_away, 40'003, 61 * seconds);  // its timer is late
    ports.use(far_away, 40'004);
    const auto use = ports.of(far_away, {});
    REQUIRE(use);
    CHECK(use->time_wait == 4);
    CHECK(use->in_use == (reuse == 0 ? 5 : 2));
  }
}

TEST_CASE("ports: each route has all ports to itself", "[ports]") {
  Ports ports = in(settings(0));
  ports.set(netns + 1, settings(0, {1000, 1009}));
  Route elsewhere = far_away;
  elsewhere.netns = netns + 1;
  const Route other_source = route("10.0.0.8", "10.0.0.5");
  for (const Route& one : {far_away, other_source}) ports.use(one, 40'000);
  ports.use(other_source, 40'001);
  ports.use(elsewhere, 1000);
  CHECK(ports.of(far_away, {})->in_use == 1);
  CHECK(ports.of(other_source, {})->in_use == 2);
  CHECK(ports.of(elsewhere, {})->usable == 10);
  CHECK(ports.routes() == std::vector{elsewhere, other_source, far_away});
}

TEST_CASE("ports: routes whose TIME_WAIT can all be reused use nothing", "[ports]") {
  Ports ports = in(settings(1));
  ports.wait(far_away, 40'000, 30 * seconds);
  CHECK(ports.routes().empty());
  CHECK(ports.of(far_away, {})->in_use == 0);
}

TEST_CASE("ports: how long it goes well", "[ports]") {
  const Ports ports = half_full(0);
  const auto left = [&](const Pace& pace) { return ports.of(far_away, pace)->seconds_left; };
  CHECK(ports.of(far_away, {})->in_use == 60);
  CHECK(!ports.of(far_away, {})->seconds_left);
  CHECK(left({2, 2, 0}) == 20);
  CHECK(left({2, 4, 0}) == 10);
  // 1.5 a second for 60 s are 90, beside ten of others: that just fits.
  CHECK(!left({1.5, 1.5, 0}));
  CHECK(left({1.6, 1, 0}) == 40);
  CHECK(!left({2, 0, 0}));
  CHECK(!left({2, -1, 0}));
}

TEST_CASE("ports: where others than TIME_WAIT grow there is no steady state", "[ports]") {
  const Ports ports = half_full(0);
  CHECK(ports.of(far_away, Pace{0, 0.5, 0.5})->seconds_left == 80);
  // 60 in TIME_WAIT for good leave thirty for the ten.
  CHECK(ports.of(far_away, Pace{1, 1, 0.5})->seconds_left == 60);
}

TEST_CASE("ports: reuse makes the same pace bearable", "[ports]") {
  const auto use = half_full(1).of(far_away, Pace{2, 2, 0});
  CHECK(use->in_use == 10);
  CHECK(!use->seconds_left);
  CHECK(use->sustainable_per_second == 90);
  CHECK(half_full(0).of(far_away, {})->sustainable_per_second == 1.5);
}

TEST_CASE("ports: none left is none left, whatever the pace", "[ports]") {
  Ports ports = in(settings(0, {40'000, 40'001}));
  ports.use(far_away, 40'000);
  ports.wait(far_away, 40'001, 5 * seconds);
  CHECK(ports.of(far_away, {})->seconds_left == 0);
  CHECK(ports.of(far_away, Pace{0.01, 0, 0})->seconds_left == 0);
  ports.use(far_away, 40'001);  // of another moment
  ports.use(far_away, 40'001);
  CHECK(ports.of(far_away, {})->sustainable_per_second == 0);
}
