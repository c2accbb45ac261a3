// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_COUNTED_DESCRIPTORS_HPP
#define CLOSEWATCH_APP_COUNTED_DESCRIPTORS_HPP

#include "app/feed.hpp"
#include "host/descriptors.hpp"

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace closewatch {

/// Counts the descriptors of all whose sockets the last census met, and tells the engine (DescriptorsSeen). Outside the
/// initial pid namespace nothing is asked by pid.
class CountedDescriptors {
 public:
  /// `between` is called every few milliseconds, since the ring is to be drained meanwhile.
  CountedDescriptors(Feed& feed, std::filesystem::path root, bool asks_by_pid, std::function<void()> between)
      : feed_(feed), root_(std::move(root)), asks_by_pid_(asks_by_pid), between_(std::move(between)) {}

  /// Those of all, with which of them are sockets, however long it takes.
  void count_all();
  /// How many are open, every ten seconds: what a pace takes.
  void count_open_when_due();
  /// Of each how many are open and its limit, as far as it goes in a moment, and the rest at the next calls; beside it,
  /// now and then, which of them are sockets.
  void count_on();

 private:
  /// How many are open, and the limit too where that is wanted.
  void tell_open(const Identity& owner, bool with_limit);
  void tell(const Identity& owner, const Descriptors& found);
  void look_on();
  /// There is time left, of so much that there was; `between` had its turn.
  [[nodiscard]] bool has_time();

  Feed& feed_;
  std::filesystem::path root_;
  bool asks_by_pid_;
  std::function<void()> between_;
  std::uint64_t until_ns_ = 0;
  std::uint64_t next_between_ns_ = 0;
  std::uint64_t opened_ns_ = 0;  ///< when the last round of count_open_when_due() was
  std::uint64_t looked_ns_ = 0;  ///< when the last round of looks at each descriptor began
  std::vector<Identity> uncounted_;
  std::vector<Identity> unlooked_;
  std::optional<DescriptorCount> look_;  ///< of the last of `unlooked_`, under way
};

}  // namespace closewatch

#endif
