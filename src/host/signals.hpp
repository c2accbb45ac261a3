// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SIGNALS_HPP
#define CLOSEWATCH_HOST_SIGNALS_HPP

#include <signal.h>
#include <sys/signalfd.h>

#include <array>
#include <optional>
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

/// SIGINT, SIGTERM, SIGHUP, SIGWINCH and others that are somebody's to pass on, as a descriptor. Once gone, a second
/// Ctrl-C ends the program at once.
class Signals {
 public:
  /// `passes_on`: those of passed_on too. `gives_way`: Ctrl-Z and what ends a stop too, for whoever has the screen.
  Signals(bool passes_on, bool gives_way);
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();
  [[nodiscard]] int fd() const { return fd_; }
  void release() const;
  [[nodiscard]] std::optional<signalfd_siginfo> next() const;
  /// Stops, as the SIGTSTP that came would have done; returns when the program goes on.
  void stop() const;

 private:
  void add_unless_ignored(int signal);

  sigset_t set_{};
  sigset_t before_{};
  int fd_ = -1;
};

}  // namespace closewatch

#endif
