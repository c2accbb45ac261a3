// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_REPORT_PORTS_HPP
#define CLOSEWATCH_CORE_REPORT_PORTS_HPP

// Who takes which local ports, of all that a report is made of.

#include <closewatch/core/ports.hpp>
#include <closewatch/core/report.hpp>

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// Which side of its connection a bucket is on, as far as anybody knows.
[[nodiscard]] Role side_of(const Ledger::Bucket& bucket, const Workloads& workloads);

/// The moment that a report tells of, after boot.
[[nodiscard]] std::uint64_t moment_of(const ReportInput& input);

class PortUse {
 public:
  explicit PortUse(const ReportInput& input);

  /// None where the namespace's settings are not known, or the route uses nothing of its range.
  [[nodiscard]] std::optional<RouteUse> of(const Route& route) const;
  /// An end is in sight there, or more than half is in use.
  [[nodiscard]] bool is_short(const Route& route) const { return short_.contains(route); }
  /// Those of a namespace where it is so, the nearest to the end first.
  [[nodiscard]] std::vector<RouteUse> short_of(std::uint32_t netns) const;

 private:
  void bind_all();
  void use_all();
  [[nodiscard]] std::optional<Pace> pace_of(const Route& route) const;

  const ReportInput& input_;
  std::uint64_t now_ns_;
  Ports ports_;
  std::unordered_map<Route, std::uint64_t, RouteHash> others_;
  std::unordered_map<Route, RouteUse, RouteHash> short_;
};

}  // namespace closewatch

#endif
