// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TERMINAL_TYPE_HPP
#define CLOSEWATCH_SINK_TERMINAL_TYPE_HPP

namespace closewatch {

/// Is TERM the name of a terminal that is known here, and whose cursor can be moved?
[[nodiscard]] bool can_paint_terminal();

}  // namespace closewatch

#endif
