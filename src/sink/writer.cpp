// SPDX-License-Identifier: BSD-2-Clause
#include "sink/writer.hpp"

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace closewatch {
namespace {

/// POLLOUT on a pipe promises room for this much, so that a write of it does not wait even where the descriptor would
/// (a terminal promises nothing: whoever opens one, opens it with O_NONBLOCK).
constexpr std::size_t promised = PIPE_BUF;
/// Twice the limit, as strings grow.
constexpr std::size_t room_kept = std::size_t{32} << 20U;
constexpr std::size_t file_chunk = std::size_t{1} << 20U;

bool is_plain_file(int fd) {
  struct stat status{};
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

Writer::Writer(int fd, std::string name, std::size_t limit)
    : fd_(fd), name_(std::move(name)), limit_(limit), plain_file_(is_plain_file(fd)) {}

bool Writer::accepts() {
  if (together_ || has_room()) return true;
  ++dropped_;
  return false;
}

void Writer::put(std::string_view line) { queue_ += line; }

std::uint64_t Writer::dropped_before_room() const { return queued() <= limit_ / 2 ? dropped_ : 0; }

std::uint64_t Writer::resume() { return std::exchange(dropped_, 0); }

bool Writer::ready(int milliseconds) const {
  if (plain_file_) return true;
  pollfd entry{fd_, POLLOUT, 0};
  return poll(&entry, 1, milliseconds) > 0;
}

std::expected<void, Error> Writer::pump() {
  while (waiting() && ready(0)) {
    const std::size_t length = std::min(queued(), plain_file_ ? file_chunk : promised);
    const ssize_t written = ::write(fd_, queue_.data() + sent_, length);
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return std::unexpected(Error{"write to " + name_, errno, errno == ENOSPC ? "make room there" : ""});
    }
    sent_ += static_cast<std::size_t>(written);
  }
  if (!waiting()) {
    queue_.clear();
    // After what belonged together: not to be kept for good.
    if (queue_.capacity() > room_kept) std::string{}.swap(queue_);
    sent_ = 0;
  } else if (sent_ > worth_a_write && sent_ > queued()) {  // what is left is moved: less than what went out
    queue_.erase(0, sent_);
    sent_ = 0;
  }
  return {};
}

std::expected<void, Error> Writer::finish(std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds step{50};
  for (;;) {
    if (auto done = pump(); !done || !waiting()) return done;
    if (patience <= std::chrono::milliseconds::zero())
      return std::unexpected(Error{"write the last lines to " + name_, ETIMEDOUT, "its reader does not read"});
    if (!ready(static_cast<int>(step.count()))) patience -= step;
  }
}

}  // namespace closewatch
