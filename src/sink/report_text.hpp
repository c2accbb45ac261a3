// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_TEXT_HPP
#define CLOSEWATCH_SINK_REPORT_TEXT_HPP

#include "sink/text.hpp"

#include <closewatch/core/report.hpp>

#include <string>

namespace closewatch {

/// What a row of the report is.
enum class ReportRows : std::uint8_t { workload, process };

/// The report for people: what is wrong first and in full, the rest in a few lines. At most 80 columns unless wide.
[[nodiscard]] std::string report_text(const Report& report, const TextSink::Style& style,
                                      ReportRows rows = ReportRows::workload);

}  // namespace closewatch

#endif
