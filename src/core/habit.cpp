// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/habit.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

namespace closewatch {
namespace {

/// Below 8 every value has a slot of its own; above, the three bits behind the leading one choose among eight.
constexpr unsigned step_bits = 3;
constexpr std::uint64_t steps_mask = (1U << step_bits) - 1;

std::size_t slot_of(std::uint64_t ns) {
  if (ns <= steps_mask) return static_cast<std::size_t>(ns);
  const auto doubling = static_cast<unsigned>(std::bit_width(ns)) - 1;
  const std::uint64_t step = (ns >> (doubling - step_bits)) & steps_mask;
  return static_cast<std::size_t>(((doubling - step_bits + 1) << step_bits) + step);
}

/// The highest value that falls into a slot.
std::uint64_t ceiling(std::size_t slot) {
  if (slot <= steps_mask) return slot;
  const std::uint64_t shift = (slot >> step_bits) - 1;
  return (((slot & steps_mask) + steps_mask + 1) << shift) + ((std::uint64_t{1} << shift) - 1);
}

}  // namespace

void Habit::add(std::uint64_t ns) {
  ++slots_[slot_of(ns)];
  ++count_;
  most_ = std::max(most_, ns);
}

std::uint64_t Habit::quantile(double share) const {
  const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
  std::uint64_t passed = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    passed += slots_[slot];
    if (passed != 0 && passed >= rank) return std::min(ceiling(slot), most_);
  }
  return most_;
}

}  // namespace closewatch
