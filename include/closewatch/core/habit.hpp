// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_HABIT_HPP
#define CLOSEWATCH_CORE_HABIT_HPP

#include <array>
#include <cstddef>
#include <cstdint>

namespace closewatch {

/// How fast a workload closes what its peers have closed: times in CLOSE_WAIT that its own close() or shutdown() ended.
/// A histogram of fixed size; quantiles are upper bounds, at most an eighth too high.
class Habit {
 public:
  void add(std::uint64_t ns);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t most() const { return most_; }
  /// The time that this share (0 to 1) did not exceed. 0 where nothing was added.
  [[nodiscard]] std::uint64_t quantile(double share) const;

 private:
  static constexpr std::size_t steps = 8;  ///< in each doubling
  std::array<std::uint64_t, 64 * steps> slots_{};
  std::uint64_t count_ = 0;
  std::uint64_t most_ = 0;
};

}  // namespace closewatch

#endif
