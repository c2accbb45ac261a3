// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_rows.hpp"

#include "sink/escape.hpp"
#include "sink/pattern.hpp"
#include "sink/report_words.hpp"

#include <fmt/compile.h>

#include <algorithm>

namespace closewatch {
namespace {

/// "65535/1M": limits are round numbers.
std::string limit_text(std::uint64_t limit) {
  if (limit >= 1'048'576) return fmt::format(FMT_COMPILE("{}M"), limit / 1'048'576);
  return limit >= 100'000 ? fmt::format(FMT_COMPILE("{}k"), limit / 1000) : fmt::format(FMT_COMPILE("{}"), limit);
}

}  // namespace

RowName name_of(const WorkloadReport& report, bool utf8) {
  const Workload& workload = report.workload;
  RowName row;
  row.name = workload.executable.empty() ? (report.processes == 0 ? "unknown" : "others")
                                         : printable(words::base_name(workload.executable), utf8, 0);
  if (workload.service.side != Role::unknown) row.end = service_text(workload.service);
  if (workload.container) row.where = "container " + printable(*workload.container, utf8, 0);
  if (!workload.cgroup.empty() && workload.cgroup != "/")
    row.where += (row.where.empty() ? "" : ", ") + printable(workload.cgroup, utf8, 0);
  row.count = fmt::format(FMT_COMPILE("{}"), report.processes);
  return row;
}

RowName name_of(const ProcessReport& report, bool utf8) {
  RowName row;
  row.name = "unknown";
  row.count = "-";
  if (!report.process) return row;
  const ProcessDetails& details = report.process->entry->details;
  row.name = printable(text(report.process->identity.comm), utf8, 0);
  constexpr std::size_t command_line_shown = 120;  // a JVM's is as long as the rest of the report
  const std::string command = printable(details.cmdline.value_or(details.exe.value_or("")), utf8, 0);
  row.where = command.size() <= command_line_shown ? command : printable(command, utf8, command_line_shown) + " ...";
  if (details.container)
    row.where += (row.where.empty() ? "container " : ", container ") + printable(*details.container, utf8, 0);
  row.count = fmt::format(FMT_COMPILE("{}"), report.process->identity.key.pid);
  return row;
}

std::string cut_to(std::string_view text, std::size_t width, bool utf8) {
  if (width == 0 || columns_of(text) <= width) return printable(text, utf8, width);
  std::string cut = width > 1 ? printable(text, utf8, width - 1) : std::string{};
  return cut + (utf8 ? "…" : "~");
}

std::string in_columns(const RowName& row, std::size_t width, bool utf8) {
  if (row.end.empty()) return cut_to(row.name, width, utf8);
  constexpr std::size_t name_at_least = 8;
  const std::size_t free = width > row.end.size() + 1 ? width - row.end.size() - 1 : 0;
  const std::size_t for_name = std::min(columns_of(row.name), std::max(name_at_least, free));
  const std::string_view mark = utf8 ? "…" : "~";
  std::string end = row.end;
  const std::size_t for_end = width > for_name + 1 ? width - for_name - 1 : 0;
  if (end.size() > for_end && for_end != 0) end = std::string{mark} + end.substr(end.size() - for_end + 1);
  return printable(cut_to(row.name, for_name, utf8) + " " + end, utf8, width);
}

std::string descriptors_text(const std::optional<DescriptorUse>& use) {
  return use ? fmt::format(FMT_COMPILE("{}/{}"), use->open, limit_text(use->soft_limit)) : "-";
}

}  // namespace closewatch
