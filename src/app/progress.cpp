// SPDX-License-Identifier: BSD-2-Clause
#include "app/progress.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <string_view>

namespace closewatch {
namespace {

/// Nothing waits for it, not even on a terminal that was stopped (Ctrl-S): what does not go out is shown the next time.
void say(std::string_view text) {
  pollfd entry{STDERR_FILENO, POLLOUT, 0};
  if (poll(&entry, 1, 0) <= 0) return;
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

}  // namespace

Progress::Progress(const Options& options)
    : wanted_(!options.quiet && isatty(STDERR_FILENO) != 0),
      duration_(options.duration),
      began_(std::chrono::steady_clock::now()) {}

void Progress::take(const Fact& fact) {
  if (std::holds_alternative<Transition>(fact)) ++transitions_;
  if (const auto* finding = std::get_if<Finding>(&fact);
      finding != nullptr && finding->status == Finding::Status::raised)
    ++findings_;
}

void Progress::show() {
  const auto now = std::chrono::steady_clock::now();
  if (!wanted_ || now - last_ < std::chrono::seconds{1}) return;
  last_ = now;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - began_).count();
  std::string line = fmt::format("\r\x1b[Kclosewatch: {} s", seconds);
  if (duration_) line += fmt::format(" of {}", std::chrono::duration_cast<std::chrono::seconds>(*duration_).count());
  line += fmt::format(", {} transitions, {} finding{}; Ctrl-C reports now", transitions_, findings_,
                      findings_ == 1 ? "" : "s");
  say(line);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) say("\r\x1b[K");
  shown_ = false;
}

}  // namespace closewatch
