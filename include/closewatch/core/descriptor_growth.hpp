// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DESCRIPTOR_GROWTH_HPP
#define CLOSEWATCH_CORE_DESCRIPTOR_GROWTH_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace closewatch {

/// How fast a process's open descriptors become more for good. What comes and goes with each connection tells nothing:
/// a leak is what the number does not fall below any more. Nor does what came in one burst, and then no more; nor what
/// had been there before and was closed again, however slowly it comes and goes.
class DescriptorGrowth {
 public:
  /// Counted at `time_ns`, no earlier than the last.
  void add(std::uint64_t time_ns, std::uint64_t open);

  /// A second. None: it does not grow, or that cannot be told yet; that takes ten seconds.
  [[nodiscard]] std::optional<double> per_second() const;

 private:
  struct Count {
    std::uint64_t time_ns = 0;
    std::uint64_t least = 0;  ///< from then until the next
    std::uint64_t most = 0;
  };
  /// Counts that are so far apart at the least.
  class Series {
   public:
    void add(std::uint64_t time_ns, std::uint64_t open, std::uint64_t apart_ns);
    /// Every second is merged into the one before it.
    void thin();
    void drop_first();
    [[nodiscard]] bool is_full() const { return size_ == counts_.size(); }
    /// The most there were once, of which some were closed again; 0 where that never happened.
    [[nodiscard]] std::uint64_t given_back() const;
    [[nodiscard]] std::optional<double> per_second(std::uint64_t now_ns, std::uint64_t open) const;

   private:
    std::array<Count, 16> counts_{};
    std::size_t size_ = 0;
  };

  Series recent_;  ///< of the last minute and a half
  Series whole_;   ///< since the first, ever farther apart: what leaks slowly
  std::uint64_t whole_apart_ns_ = 0;
  std::uint64_t last_ns_ = 0;
  std::uint64_t last_open_ = 0;
};

}  // namespace closewatch

#endif
