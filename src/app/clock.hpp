// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_CLOCK_HPP
#define CLOSEWATCH_APP_CLOCK_HPP

// The one clock of the house: time is an argument everywhere else.

#include <time.h>

#include <chrono>
#include <cstdint>

namespace closewatch {

[[nodiscard]] inline std::uint64_t nanoseconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

/// After boot, suspended time included: as the kernel programs stamp their records.
[[nodiscard]] inline std::uint64_t now_ns() { return nanoseconds(CLOCK_BOOTTIME); }

[[nodiscard]] inline std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds{time}.count());
}

}  // namespace closewatch

#endif
