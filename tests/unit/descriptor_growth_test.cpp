// SPDX-License-Identifier: BSD-2-Clause
// How fast a process's descriptors become more for good.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/descriptor_growth.hpp>

#include <functional>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t start = 5000 * seconds;

/// Counted every `apart` seconds, from 0 to `until`.
std::optional<double> pace(std::uint64_t until, std::uint64_t apart,
                           const std::function<std::uint64_t(std::uint64_t)>& open_at) {
  DescriptorGrowth growth;
  for (std::uint64_t at = 0; at <= until; at += apart) growth.add(start + at * seconds, open_at(at));
  return growth.per_second();
}

}  // namespace

TEST_CASE("descriptors: a steady leak is told after ten seconds, at its pace", "[core][descriptors]") {
  const auto leak = [](std::uint64_t at) { return 100 + 2 * at; };
  CHECK_FALSE(pace(9, 1, leak));
  CHECK(pace(10, 1, leak) == 2.0);
  CHECK(pace(60, 1, leak) == 2.0);
  CHECK(pace(7200, 1, leak) == 2.0);
  CHECK(pace(60, 10, leak) == 2.0);
  CHECK(pace(10, 10, leak) == 2.0);
}

TEST_CASE("descriptors: connections that come and go are no leak, one below them is", "[core][descriptors]") {
  const auto wave = [](std::uint64_t at) { return at % 7 * 40; };
  CHECK_FALSE(pace(100, 1, [&](std::uint64_t at) { return 100 + wave(at); }));
  const auto leak = pace(100, 1, [&](std::uint64_t at) { return 100 + wave(at) + at; });
  REQUIRE(leak);
  CHECK(*leak > 0.5);
  CHECK(*leak < 4.0);
}

TEST_CASE("descriptors: a wave is none but for its first edge, however slow it is", "[core][descriptors]") {
  struct Wave {
    std::uint64_t up;
    std::uint64_t down;
  };
  for (const Wave& wave : {Wave{20, 5}, Wave{15, 5}, Wave{30, 5}, Wave{60, 60}, Wave{200, 100}, Wave{8, 2}}) {
    const std::uint64_t period = wave.up + wave.down;
    for (std::uint64_t cycles = 2; cycles < 6; ++cycles)
      for (std::uint64_t at = 0; at < period; ++at) {
        CAPTURE(wave.up, wave.down, cycles, at);
        REQUIRE_FALSE(pace(cycles * period + at, 1, [&](std::uint64_t time) {
          const std::uint64_t phase = time % period;
          return 9 + (phase <= wave.up ? 86 * phase / wave.up : 86 * (period - phase) / wave.down);
        }));
      }
  }
}

TEST_CASE("descriptors: a burst is none, whenever it comes", "[core][descriptors]") {
  for (const std::uint64_t burst : {1U, 4U, 5U, 12U, 40U, 3600U})
    for (std::uint64_t since = 0; since < 300; since += 1) {
      CAPTURE(burst, since);
      REQUIRE_FALSE(pace(burst + since, 1, [&](std::uint64_t at) { return at < burst ? 100U : 400U; }));
    }
}

TEST_CASE("descriptors: a leak that has stopped is told no more", "[core][descriptors]") {
  const auto stops = [](std::uint64_t at) { return 100 + 5 * std::min<std::uint64_t>(at, 60); };
  CHECK(pace(60, 1, stops));
  CHECK_FALSE(pace(60 + 25, 1, stops));
  CHECK_FALSE(pace(60 + 300, 1, stops));
}

TEST_CASE("descriptors: a leak that begins late is told at its own pace", "[core][descriptors]") {
  const auto late = pace(3600 + 90, 1, [](std::uint64_t at) { return at < 3600 ? 100 : 100 + 3 * (at - 3600); });
  REQUIRE(late);
  CHECK(*late > 2.5);
  CHECK(*late < 3.5);
}

TEST_CASE("descriptors: a slow leak is told too", "[core][descriptors]") {
  const auto slow = pace(7200, 1, [](std::uint64_t at) { return 100 + at / 60; });
  REQUIRE(slow);
  CHECK(*slow > 0.9 / 60);
  CHECK(*slow < 1.1 / 60);
}
