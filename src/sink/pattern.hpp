// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_PATTERN_HPP
#define CLOSEWATCH_SINK_PATTERN_HPP

#include <closewatch/core/report.hpp>

#include <string>

namespace closewatch {

/// As `ss` prints an end, with `*` for what is not fixed: 10.0.0.7:*, *:8080, [::1]:8080; `*` for nothing at all.
[[nodiscard]] std::string pattern_text(const EndPattern& end);

/// *:8080 of what is accepted there, 10.0.0.5:3306 of what is connected to; `*` where it is neither.
[[nodiscard]] std::string service_text(const Service& service);

}  // namespace closewatch

#endif
