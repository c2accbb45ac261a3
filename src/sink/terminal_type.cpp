// SPDX-License-Identifier: BSD-2-Clause
#include "sink/terminal_type.hpp"

// Its macros take names as common as `lines` and `columns`.
#include <curses.h>
#include <term.h>
#include <unistd.h>

namespace closewatch {

bool can_paint_terminal() {
  int found = 0;
  if (setupterm(nullptr, STDOUT_FILENO, &found) != OK) return false;
  const bool moves = cursor_address != nullptr;
  del_curterm(cur_term);
  return moves;
}

}  // namespace closewatch
