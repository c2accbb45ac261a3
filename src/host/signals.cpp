// SPDX-License-Identifier: BSD-2-Clause
#include "host/signals.hpp"

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

}  // namespace closewatch
