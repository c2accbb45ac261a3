// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SRC_CORE_HEALTH_REMARKS_HPP
#define CLOSEWATCH_SRC_CORE_HEALTH_REMARKS_HPP

// What is remarked of single namespaces and settings, before those that say the same become one finding.

#include <closewatch/core/health.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

struct Remark {
  std::string_view id;
  HostFinding::Severity severity = HostFinding::Severity::info;
  std::uint32_t netns = 0;  ///< 0: of the whole machine
  std::string what;         ///< with its numbers; the beginning of a sentence
  std::string meaning;      ///< its end
  std::string remedy;
  std::string avoid;
};
using Remarks = std::vector<Remark>;

void remark_ports(const NamespaceHealth& where, Remarks& remarks);
void remark_time_wait(const NamespaceHealth& where, const std::vector<SysctlLine>& configured, Remarks& remarks);
void remark_configured(const MachineHealth& machine, Remarks& remarks);
void remark_closing(const NamespaceHealth& where, Remarks& remarks);
void remark_listeners(const NamespaceHealth& where, Remarks& remarks);
void remark_conntrack(const NamespaceHealth& where, Remarks& remarks);
void remark_orphans(const MachineHealth& machine, Remarks& remarks);

/// Counters of the kernel's that belong together, as one sum.
struct Counted {
  std::uint64_t since_made = 0;  ///< of the namespace
  std::uint64_t risen = 0;       ///< of it: while it was watched
};
[[nodiscard]] Counted counted(const NamespaceHealth& where, std::initializer_list<std::string_view> names);

/// "12 segments in the last 60 s", where they have risen; else "12 segments since the namespace was made".
[[nodiscard]] std::string times_text(const Counted& counted, std::string_view one, std::uint64_t watched_ns);

/// The value of a setting, or `otherwise` where this kernel has none or it could not be read.
[[nodiscard]] std::uint64_t setting(const NamespaceHealth& where, std::string_view name, std::uint64_t otherwise);

/// "1 port", "12 ports"
[[nodiscard]] std::string count_text(std::uint64_t number, std::string_view one);
/// "45 s", "12 min", "3 h", "2 days"
[[nodiscard]] std::string span_text(double seconds);
/// "1, 2, 3 and 4 more"
[[nodiscard]] std::string list_text(const std::vector<std::string>& items, std::size_t most);

/// The last line that sets it; null where none does. `name` is that of the file in /proc/sys/net/ipv4.
[[nodiscard]] const SysctlLine* line_of(const std::vector<SysctlLine>& configured, std::string_view name);
[[nodiscard]] std::optional<std::uint64_t> value_of(const SysctlLine& line);

}  // namespace closewatch

#endif
