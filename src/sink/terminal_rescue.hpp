// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TERMINAL_RESCUE_HPP
#define CLOSEWATCH_SINK_TERMINAL_RESCUE_HPP

#include <termios.h>

#include <string_view>

namespace closewatch {

/// From here on a signal that ends the program (a crash, a second Ctrl-C) first writes `bytes` to `display` and gives
/// it `before` back. What is done about the signal otherwise stays as it was.
void rescue_terminal(int display, const termios& before, std::string_view bytes);

/// It was given back already.
void forget_terminal();

}  // namespace closewatch

#endif
