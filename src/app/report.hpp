// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_REPORT_HPP
#define CLOSEWATCH_APP_REPORT_HPP

#include "app/feed.hpp"
#include "app/options.hpp"
#include "app/session.hpp"

#include <closewatch/core/report.hpp>

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <vector>

namespace closewatch {

class Output;

/// Watches for a while, and then says who leaks and why. `on_started` is called once everything is attached and what
/// was there before is known. Returns the exit status.
Exit run_report(const Options& options, std::function<void()> on_started = {});

/// What a report says that neither the engine nor the stream's head knows.
struct ReportFrame {
  std::uint64_t began_ns = 0;  ///< after boot
  bool with_stacks = false;
  bool verbose = false;
  std::vector<std::string> blind_spots;  ///< but for those of the engine's tables
  std::function<void()> between{};       ///< Engine::ReportHead
};
/// What the engine has to report once it has been fed.
[[nodiscard]] Report make_report(Feed& feed, ReportFrame frame);
[[nodiscard]] Report make_report(const Options& options, const Session& session, Feed& feed);

/// The exit status of `report`.
[[nodiscard]] Exit status_of(const Options& options, const Report& report);

/// The report as the options want it, to the end: a reader may take his time.
[[nodiscard]] std::expected<void, Error> write_report(const Options& options, const Report& report,
                                                      const Output& output);

}  // namespace closewatch

#endif
