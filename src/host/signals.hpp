// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SIGNALS_HPP
#define CLOSEWATCH_HOST_SIGNALS_HPP

#include <signal.h>

#include <array>
#include <vector>

namespace closewatch {

/// Signals that concern COMMAND where they come to us alone.
inline constexpr std::array passed_on{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT};

/// Which signals we found blocked and ignored when we were started: what a shell's child would have in our place.
class SignalsBefore {
 public:
  /// To be asked before anything is blocked or ignored.
  static SignalsBefore now();
  /// As nohup(1) does with SIGHUP, and a shell with SIGINT of what it runs in the background.
  [[nodiscard]] bool ignored(int signal) const;
  /// Everything else gets its default.
  void restore() const;

 private:
  sigset_t mask_{};
  std::vector<int> ignored_;
};

}  // namespace closewatch

#endif
