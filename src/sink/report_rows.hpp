// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_ROWS_HPP
#define CLOSEWATCH_SINK_REPORT_ROWS_HPP

// How a row of the report is named, in the report for people and on the screen. All of it is harmless to a terminal.

#include <closewatch/core/report.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace closewatch {

/// Of a workload or a process.
struct RowName {
  std::string name;
  std::string end;    ///< of a workload: its port, or whom it connects to
  std::string where;  ///< container and cgroup; of a process: what is run
  std::string count;  ///< of processes, or the pid
};
[[nodiscard]] RowName name_of(const WorkloadReport& row, bool utf8);
[[nodiscard]] RowName name_of(const ProcessReport& row, bool utf8);

/// As wide as `width`, filled with blanks; where it is cut, a mark says so.
[[nodiscard]] std::string cut_to(std::string_view text, std::size_t width, bool utf8);

/// Name and end in one column: the name gives way first, then the beginning of the address. As wide as `width`, filled
/// with blanks.
[[nodiscard]] std::string in_columns(const RowName& row, std::size_t width, bool utf8);

/// "812/65535", "-" where it is not known.
[[nodiscard]] std::string descriptors_text(const std::optional<DescriptorUse>& use);

}  // namespace closewatch

#endif
