// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_GROWTH_HPP
#define CLOSEWATCH_CORE_GROWTH_HPP

#include <closewatch/core/finding.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// Does the number of a workload's sockets past the limit grow (contract, section 4)? Counted for each kind, from sweep
/// to sweep, over the sweeps that span twice the limit.
class Growth {
 public:
  struct Settings {
    std::uint64_t leak_after_ns = 0;
    std::uint64_t sweep_ns = 0;
    std::size_t least_sweeps = 3;
  };
  explicit Growth(const Settings& settings) : settings_(settings) {}

  /// A sweep is complete: its sockets past the limit are counted between these two.
  void begin_sweep(std::uint64_t now_ns);
  void end_sweep();

  /// A socket, past the limit or not yet, in its state since `birth_ns`.
  void born(WorkloadId workload, Kind kind, std::uint64_t birth_ns);
  /// A socket past the limit, in its state since `birth_ns`.
  void count(WorkloadId workload, Kind kind, std::uint64_t birth_ns);
  /// One that was there when the watching began, its age unknown. That it passes the limit only now is no growth.
  void count_from_before(WorkloadId workload, Kind kind, bool first_time);

  /// The program itself has closed one past the limit: it does get round to it.
  void closed_late(WorkloadId workload, std::uint64_t time_ns);
  /// 0: never.
  [[nodiscard]] std::uint64_t last_closed_late(WorkloadId workload) const;

  [[nodiscard]] bool grows(WorkloadId workload, Kind kind) const;
  /// None where less than three sweeps have seen it.
  [[nodiscard]] std::optional<Trend> trend(WorkloadId workload, Kind kind) const;

  /// Workloads that nothing belongs to any more: all but `in_use[id]`.
  void forget(const std::vector<bool>& in_use);
  /// Something went unseen: what was counted before proves nothing.
  void restart();

 private:
  /// Enough to know whether a count never fell and rose twice in the window, whatever the window's length in sweeps.
  struct Series {
    std::uint64_t counted = 0;  ///< by the last sweep
    std::uint64_t now = 0;  ///< by the sweep under way
    std::uint64_t allowed = 0;  ///< of these, the ones that are no growth
    std::uint64_t sweeps = 0;  ///< that have seen it
    std::uint64_t fell_ns = 0;
    std::array<std::uint64_t, 2> rose_ns{};  ///< the latest first
    std::uint64_t first_birth_ns = 0;  ///< of those that passed the limit in the window
    std::uint64_t last_birth_ns = 0;
    std::uint64_t youngest_ns = 0;  ///< the latest birth of all, past the limit or not yet
  };

  static std::uint64_t place(WorkloadId workload, Kind kind) {
    return (std::uint64_t{workload} << 8U) | static_cast<std::uint64_t>(kind);
  }
  void take(Series& series) const;
  [[nodiscard]] const Series* find(WorkloadId workload, Kind kind) const;

  Settings settings_;
  std::unordered_map<std::uint64_t, Series> series_;  ///< bounded by the workloads
  std::unordered_map<WorkloadId, std::uint64_t> closed_late_ns_;  ///< likewise
  std::deque<std::uint64_t> recent_ns_;  ///< the last sweeps, as many as are needed at least
  std::uint64_t began_ns_ = 0;
  std::uint64_t now_ns_ = 0;
  std::uint64_t window_ns_ = 0;  ///< when the window begins
  bool first_ = true;  ///< the sweep under way has none before it to compare with
  bool whole_ = false;  ///< there were sweeps enough, over time enough
};

}  // namespace closewatch

#endif
