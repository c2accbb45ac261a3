// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_JSON_HPP
#define CLOSEWATCH_SINK_REPORT_JSON_HPP

#include <closewatch/core/report.hpp>

#include <string>

namespace closewatch {

/// The report as one document (contract, section 6; docs/report.schema.json), with a line break at its end.
[[nodiscard]] std::string report_json(const Report& report);

}  // namespace closewatch

#endif
