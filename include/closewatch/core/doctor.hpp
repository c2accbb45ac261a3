// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DOCTOR_HPP
#define CLOSEWATCH_CORE_DOCTOR_HPP

// What `closewatch doctor` has found, as values. Sinks print it.

#include <closewatch/core/health.hpp>
#include <closewatch/core/types.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace closewatch {

struct NamespaceReport {
  NamespaceHealth health;
  std::array<std::uint64_t, state_slots> states{};  ///< sockets by the number of their state, as `ss -tan` has them
};

struct DoctorReport {
  std::string host;
  std::string kernel;
  std::int64_t time_ns = 0;  ///< since 1970 (UTC)
  std::vector<Check> checks;
  std::vector<NamespaceReport> namespaces;  ///< our own first
  std::vector<HostFinding> findings;        ///< the worst first
  std::vector<std::string> unseen;          ///< what could not be looked at, and why
};

/// Nothing is missing that tracing cannot do without.
[[nodiscard]] bool can_trace(const DoctorReport& report);

}  // namespace closewatch

#endif
