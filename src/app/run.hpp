// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_RUN_HPP
#define CLOSEWATCH_APP_RUN_HPP

#include "app/options.hpp"
#include "host/signals.hpp"

namespace closewatch {

/// Runs COMMAND and watches it and its descendants alone: a leak sanitizer. Returns COMMAND's own status; where that is
/// 0 and sockets leaked, the one of a leak. COMMAND gets the signals as they were `before`.
int run_command(const Options& options, const SignalsBefore& before);

}  // namespace closewatch

#endif
