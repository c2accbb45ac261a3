// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TRACE_HPP
#define CLOSEWATCH_APP_TRACE_HPP

#include "app/options.hpp"

namespace closewatch {

/// `closewatch trace`: everything from the options to the exit status.
[[nodiscard]] Exit run_trace(const Options& options);

}  // namespace closewatch

#endif
