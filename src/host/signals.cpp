// SPDX-License-Identifier: BSD-2-Clause
#include "host/signals.hpp"

#include <unistd.h>

#include <algorithm>

namespace closewatch {

SignalsBefore SignalsBefore::now() {
  SignalsBefore before;
  sigprocmask(SIG_BLOCK, nullptr, &before.mask_);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action{};
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) before.ignored_.push_back(signal);
  }
  return before;
}

bool SignalsBefore::ignored(int signal) const {
  return std::find(ignored_.begin(), ignored_.end(), signal) != ignored_.end();
}

void SignalsBefore::restore() const {
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action{};
    action.sa_handler = ignored(signal) ? SIG_IGN : SIG_DFL;
    sigaction(signal, &action, nullptr);  // refused for SIGKILL, SIGSTOP and libc's own: these cannot be changed
  }
  sigprocmask(SIG_SETMASK, &mask_, nullptr);
}

Signals::Signals(bool passes_on, bool gives_way) {
  sigemptyset(&set_);
  sigaddset(&set_, SIGWINCH);
  for (const int signal : {SIGINT, SIGTERM}) add_unless_ignored(signal);
  if (passes_on)
    for (const int signal : passed_on) add_unless_ignored(signal);
  if (gives_way)
    for (const int signal : {SIGTSTP, SIGCONT}) add_unless_ignored(signal);
  add_unless_ignored(SIGHUP);
  sigprocmask(SIG_BLOCK, &set_, &before_);
  fd_ = signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC);
}

Signals::~Signals() {
  release();
  if (fd_ >= 0) ::close(fd_);
}

void Signals::release() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

std::optional<signalfd_siginfo> Signals::next() const {
  signalfd_siginfo info{};
  if (::read(fd_, &info, sizeof info) != sizeof info) return std::nullopt;
  return info;
}

void Signals::stop() const {
  sigset_t stopping;
  sigemptyset(&stopping);
  sigaddset(&stopping, SIGTSTP);
  raise(SIGTSTP);  // it waits until it is let through
  sigprocmask(SIG_UNBLOCK, &stopping, nullptr);
  sigprocmask(SIG_BLOCK, &stopping, nullptr);
}

/// nohup(1) has SIGHUP ignored, a shell SIGINT of what it runs in the background; blocked they would come all the same.
void Signals::add_unless_ignored(int signal) {
  struct sigaction action{};
  if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&set_, signal);
}

}  // namespace closewatch
