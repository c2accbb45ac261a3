// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_FIFO_HPP
#define CLOSEWATCH_CORE_FIFO_HPP

#include <cstddef>
#include <utility>
#include <vector>

namespace closewatch {

/// A queue of what is large: std::deque allocates for each of these.
template <typename Item>
class Fifo {
 public:
  [[nodiscard]] bool empty() const { return head_ == items_.size(); }
  [[nodiscard]] std::size_t size() const { return items_.size() - head_; }
  [[nodiscard]] Item& front() { return items_[head_]; }
  [[nodiscard]] auto begin() { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  [[nodiscard]] auto end() { return items_.end(); }
  [[nodiscard]] auto rbegin() { return items_.rbegin(); }
  [[nodiscard]] auto rend() { return items_.rend() - static_cast<std::ptrdiff_t>(head_); }

  void push_back(Item item) {
    // What has gone makes room before more is asked for; each item moves up once at most for each that went.
    if (items_.size() == items_.capacity() && head_ > items_.size() / 2) {
      items_.erase(items_.begin(), begin());
      head_ = 0;
    }
    items_.push_back(std::move(item));
  }

  void pop_front() {
    if (++head_ < items_.size()) return;
    items_.clear();
    head_ = 0;
    if (items_.capacity() > kept) std::vector<Item>{}.swap(items_);
  }

 private:
  static constexpr std::size_t kept = 16'384;  ///< after a flood: not to be kept for good

  std::vector<Item> items_;
  std::size_t head_ = 0;
};

}  // namespace closewatch

#endif
