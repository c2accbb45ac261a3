// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_TOP_HPP
#define CLOSEWATCH_CORE_TOP_HPP

// What `top` shows: a report, refresh after refresh, and what only a row of them tells: rates and trends.

#include <closewatch/core/fact.hpp>
#include <closewatch/core/report.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// What a row did from one refresh to the next, and before.
struct TopPace {
  double time_wait_per_second = 0;  ///< that entered it
  double aborts_per_second = 0;     ///< connections that ended by a RST or a timeout
  std::vector<std::uint32_t> close_wait;  ///< how many there were at each refresh, the oldest first
};

/// A refresh.
struct TopView {
  Report report;
  std::vector<TopPace> workloads;  ///< of report.workloads, one each
  std::vector<TopPace> processes;  ///< of report.processes
  std::uint64_t events = 0;
  double events_per_second = 0;
};

/// Names a row over refreshes, in which it moves and others come and go.
[[nodiscard]] std::string row_key(const WorkloadReport& row);
[[nodiscard]] std::string row_key(const ProcessReport& row);

/// Remembers of each row what the last refreshes said. Rows that are gone are forgotten.
class TopHistory {
 public:
  static constexpr std::size_t refreshes_kept = 60;

  /// `now_ns` after boot; `events`: transitions received since the start.
  [[nodiscard]] TopView refresh(Report report, std::uint64_t events, std::uint64_t now_ns);

 private:
  struct Row {
    std::uint64_t time_wait_entered = 0;
    std::uint64_t aborts = 0;
    std::deque<std::uint32_t> close_wait;
    std::uint64_t refresh = 0;  ///< the last that had it
  };
  using Rows = std::unordered_map<std::string, Row>;

  template <typename Reported>
  std::vector<TopPace> paces(Rows& rows, const std::vector<Reported>& reported, double seconds);

  Rows workloads_;
  Rows processes_;
  std::uint64_t refresh_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t time_ns_ = 0;
};

/// Connections that ended otherwise than by both sides' FIN, by our or the peer's doing, or by a timer's.
[[nodiscard]] std::uint64_t aborts(const Findings& findings);

}  // namespace closewatch

#endif
