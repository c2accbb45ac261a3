// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_WRITER_HPP
#define CLOSEWATCH_SINK_WRITER_HPP

#include <closewatch/core/types.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <limits>
#include <string>
#include <string_view>

namespace closewatch {

/// Lines on their way to a descriptor. Never blocks on a reader: a queue of bounded size, beyond which whole lines are
/// dropped and counted until half of it is free again and the loss has been told. What belongs together (the rows of a
/// snapshot) is taken to its last line where there was room for its first: it may be longer than the queue, and one
/// that is cut would be followed by another that is cut at the same place.
class Writer {
 public:
  /// Takes no ownership of `fd`. `name` is for messages.
  Writer(int fd, std::string name, std::size_t limit = std::size_t{16} << 20U);

  /// Is there room for a line? If not, the line that was to come counts as dropped.
  [[nodiscard]] bool accepts();
  /// Queues a line whole; to be asked for with accepts() first, but for what must be said (gap, bye).
  void put(std::string_view line);

  /// What comes until end_together() belongs together.
  void begin_together() { together_ = has_room(); }
  void end_together() { together_ = false; }

  /// Lines dropped since the last resume(), once there is room again; 0 while there is none, or none was dropped.
  [[nodiscard]] std::uint64_t dropped_before_room() const;
  /// Takes lines again, and returns how many were dropped.
  std::uint64_t resume();

  /// What comes now is owed, and little: the limit no longer holds.
  void lift_limit() { limit_ = std::numeric_limits<std::size_t>::max(); }
  /// Enough is queued to be worth a write.
  [[nodiscard]] bool is_full_enough() const { return queued() >= worth_a_write; }

  /// Writes what can be written without waiting. EPIPE where nobody reads any more.
  [[nodiscard]] std::expected<void, Error> pump();
  /// Waits up to `patience` for the rest to go out.
  [[nodiscard]] std::expected<void, Error> finish(std::chrono::milliseconds patience);

  [[nodiscard]] bool waiting() const { return sent_ < queue_.size(); }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  static constexpr std::size_t worth_a_write = std::size_t{1} << 20U;
  [[nodiscard]] std::size_t queued() const { return queue_.size() - sent_; }
  [[nodiscard]] bool has_room() const { return dropped_ == 0 && queued() < limit_; }
  [[nodiscard]] bool ready(int milliseconds) const;

  int fd_;
  std::string name_;
  std::size_t limit_;
  bool plain_file_;
  std::string queue_;
  std::size_t sent_ = 0;
  std::uint64_t dropped_ = 0;
  bool together_ = false;  ///< what comes is taken, whatever is queued
};

}  // namespace closewatch

#endif
