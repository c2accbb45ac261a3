// SPDX-License-Identifier: BSD-2-Clause
#include "sink/terminal_rescue.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace closewatch {
namespace {

/// One more than the largest number of a signal, those of real time included (signal(7)).
constexpr int signals = NSIG;

/// Those that end whoever has no handler, and can be caught.
constexpr bool is_ending(int signal) {
  switch (signal) {
    case SIGKILL:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGCONT:
    case SIGCHLD:
    case SIGURG:
    case SIGWINCH: return false;
    default: return true;
  }
}

/// Those that say that we are broken: whoever handles them (a sanitizer) gets them behind us.
constexpr bool is_crash(int signal) {
  return signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
}

template <typename Do>
void for_each_ending(const Do& act) {
  for (int signal = 1; signal < signals; ++signal)
    if (is_ending(signal)) act(signal);
}

/// A signal handler is given nothing: what it needs has to lie ready.
struct Rescue {
  volatile sig_atomic_t armed = 0;
  int display = -1;
  termios before{};
  std::array<char, 512> bytes{};
  std::size_t length = 0;
  alignas(16) std::array<std::byte, 65'536> stack{};
  std::array<struct sigaction, signals> actions{};  ///< as they were
};
Rescue rescue;

struct sigaction& before_of(int signal) { return rescue.actions[static_cast<std::size_t>(signal)]; }

void put_back_actions() {
  for_each_ending([](int signal) { sigaction(signal, &before_of(signal), nullptr); });
}

void on_ending(int signal, siginfo_t* info, void*);

/// Whoever kept the actions while ours were there (ncurses' are put back so) has put ours back: to take those for what
/// was before would have them raise the signal to themselves without end.
void take_as_before(int signal) {
  struct sigaction& action = before_of(signal);
  sigaction(signal, nullptr, &action);
  if ((action.sa_flags & SA_SIGINFO) == 0 || action.sa_sigaction != on_ending) return;
  action = {};
  action.sa_handler = SIG_DFL;
}

/// Async-signal-safe calls alone (signal-safety(7)).
void on_ending(int signal, siginfo_t* info, void*) {
  const int error = errno;
  if (rescue.armed != 0) {
    rescue.armed = 0;
    // In the background a change of the terminal would stop us here for good.
    sigset_t background;
    sigemptyset(&background);
    sigaddset(&background, SIGTTOU);
    sigprocmask(SIG_BLOCK, &background, nullptr);
    let_output_go(rescue.display);
    if (write(rescue.display, rescue.bytes.data(), rescue.length) < 0) errno = 0;  // nobody is left to be told
    tcsetattr(rescue.display, TCSANOW, &rescue.before);
  }
  put_back_actions();
  // A fault comes again when the instruction is tried again, with all that is known of it; the others are sent again.
  const bool is_fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
  if (!is_fault || info->si_code <= 0) raise(signal);
  errno = error;
}

}  // namespace

void rescue_terminal(int display, const termios& before, std::string_view bytes) {
  forget_terminal();
  rescue.display = display;
  rescue.before = before;
  rescue.length = std::min(bytes.size(), rescue.bytes.size());
  std::copy_n(bytes.begin(), rescue.length, rescue.bytes.begin());
  for_each_ending(take_as_before);
  rescue.armed = 1;
  // A stack that has overflown has no room for a handler. What is there already (a sanitizer's) serves as well.
  stack_t stack{};
  if (sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_DISABLE) != 0) {
    stack = {.ss_sp = rescue.stack.data(), .ss_flags = 0, .ss_size = rescue.stack.size()};
    sigaltstack(&stack, nullptr);
  }
  struct sigaction action{};
  action.sa_sigaction = on_ending;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for_each_ending([&](int signal) {
    const auto handler = before_of(signal).sa_handler;
    // What is handled, or ignored, ends nobody.
    if (handler == SIG_DFL || (is_crash(signal) && handler != SIG_IGN)) sigaction(signal, &action, nullptr);
  });
}

// Output that was stopped goes on when the terminal forgets how to stop it (n_tty_set_termios()). tcflow() starts only
// what tcflow() has stopped.
void let_output_go(int display) {
  termios unstoppable{};
  if (tcgetattr(display, &unstoppable) != 0) return;
  unstoppable.c_iflag &= ~static_cast<tcflag_t>(IXON);
  tcsetattr(display, TCSANOW, &unstoppable);
}

void forget_terminal() {
  if (rescue.armed == 0) return;
  rescue.armed = 0;
  put_back_actions();
}

}  // namespace closewatch
