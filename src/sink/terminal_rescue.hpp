// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TERMINAL_RESCUE_HPP
#define CLOSEWATCH_SINK_TERMINAL_RESCUE_HPP

#include <termios.h>

#include <string_view>

namespace closewatch {

/// From here on a signal that ends the program (a crash, a second Ctrl-C) first writes `bytes` to `display` and gives
/// it `before` back. What is done about the signal otherwise stays as it was.
void rescue_terminal(int display, const termios& before, std::string_view bytes);

/// Somebody may have stopped its output (Ctrl-S): what gives the screen back would wait for a Ctrl-Q that nobody knows
/// of. Leaves a terminal that nothing stops, until its modes are put back. Async-signal-safe.
void let_output_go(int display);

/// It was given back already.
void forget_terminal();

}  // namespace closewatch

#endif
