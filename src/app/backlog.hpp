// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_BACKLOG_HPP
#define CLOSEWATCH_APP_BACKLOG_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace closewatch {

/// Records that were taken out of the ring while nobody could look at them, in their order.
class Backlog {
 public:
  /// Of so many bytes none is added any more: the ring holds the rest, and counts what it has no room for.
  static constexpr std::size_t limit = 64U << 20U;

  [[nodiscard]] bool is_empty() const { return sizes_.empty(); }
  [[nodiscard]] bool is_full() const { return bytes_.size() >= limit; }

  void add(std::span<const std::byte> record) {
    bytes_.insert(bytes_.end(), record.begin(), record.end());
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    sizes_.push_back(static_cast<std::uint32_t>(record.size()));
  }

  /// Hands them over, and is empty.
  template <typename Take>
  void hand_over(const Take& take) {
    const std::vector<std::byte> bytes = std::exchange(bytes_, {});
    std::size_t at = 0;
    for (const std::uint32_t size : std::exchange(sizes_, {})) {
      take(std::span{bytes}.subspan(at, size));
      at += (size + alignment - 1) / alignment * alignment;
    }
  }

 private:
  static constexpr std::size_t alignment = 8;  // of a record
  std::vector<std::byte> bytes_;
  std::vector<std::uint32_t> sizes_;
};

}  // namespace closewatch

#endif
