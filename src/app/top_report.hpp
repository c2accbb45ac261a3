// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TOP_REPORT_HPP
#define CLOSEWATCH_APP_TOP_REPORT_HPP

// The evidence that `top` saves (key w).

#include "sink/text.hpp"

#include <closewatch/core/report.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace closewatch {

/// closewatch-HOST-YYYYmmdd-HHMMSS, in local time: a name that harms nothing, whatever the host is called.
[[nodiscard]] std::string report_name(const std::string& host, std::int64_t time_ns, std::int64_t utc_offset_ns);

/// Writes both forms into the first of `folders` that takes them, as new files that are the owner's alone. Says where,
/// or why not.
[[nodiscard]] std::string save_report(const Report& report, const TextSink::Style& style,
                                      const std::vector<std::string>& folders);

}  // namespace closewatch

#endif
