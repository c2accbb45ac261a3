// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/habit.hpp>

#include <limits>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("a habit of nothing", "[habit]") {
  const Habit habit;
  CHECK(habit.count() == 0);
  CHECK(habit.quantile(0.99) == 0);
}

TEST_CASE("quantiles are upper bounds, at most an eighth too high", "[habit]") {
  Habit habit;
  for (std::uint64_t i = 1; i <= 1000; ++i) habit.add(i * ms);
  CHECK(habit.count() == 1000);
  CHECK(habit.most() == 1000 * ms);
  for (const double share : {0.01, 0.25, 0.5, 0.9, 0.99}) {
    const double right = share * 1000 * static_cast<double>(ms);
    CHECK(static_cast<double>(habit.quantile(share)) >= right);
    CHECK(static_cast<double>(habit.quantile(share)) <= right * 1.125);
  }
  CHECK(habit.quantile(1) == 1000 * ms);
}

TEST_CASE("one slow closing in a hundred does not move the 99th of them, two do", "[habit]") {
  Habit habit;
  for (int i = 0; i < 99; ++i) habit.add(1 * ms);
  habit.add(90 * seconds);
  CHECK(habit.quantile(0.99) < 2 * ms);
  habit.add(90 * seconds);
  CHECK(habit.quantile(0.99) == 90 * seconds);
}

TEST_CASE("every time has a slot", "[habit]") {
  for (const std::uint64_t ns : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{8},
                                 std::uint64_t{15}, std::uint64_t{16}, std::numeric_limits<std::uint64_t>::max()}) {
    Habit habit;
    habit.add(ns);
    CHECK(habit.quantile(0.5) == ns);
  }
  Habit habit;
  habit.add(16);
  habit.add(100);
  CHECK(habit.quantile(0.5) == 17);
}
