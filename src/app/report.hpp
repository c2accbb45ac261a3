// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_REPORT_HPP
#define CLOSEWATCH_APP_REPORT_HPP

#include "app/options.hpp"
#include "app/session.hpp"

#include <closewatch/core/report.hpp>

#include <expected>
#include <string>

namespace closewatch {

class Output;

/// Watches for a while, and then says who leaks and why. Returns the exit status.
Exit run_report(const Options& options);

/// What the engine has to report once the session has run.
[[nodiscard]] Report make_report(const Options& options, const Session& session, Engine& engine);

/// The report as the options want it, to the end: a reader may take his time.
[[nodiscard]] std::expected<void, Error> write_report(const Options& options, const Report& report,
                                                      const Output& output);

}  // namespace closewatch

#endif
