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
  double aborts_per_second = 0;     ///< is_abort()
  /// Sockets in CLOSE_WAIT, and those that TCP has ended and that are open still, at each refresh, the oldest first.
  std::vector<std::uint32_t> close_wait;
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
  /// Over less a rate says little: a refresh that comes so soon behind another (a row was opened) is in its place.
  static constexpr std::uint64_t shortest_step_ns = 300'000'000;

  /// `now_ns` after boot; `events`: transitions received since the start.
  [[nodiscard]] TopView refresh(Report report, std::uint64_t events, std::uint64_t now_ns);

 private:
  struct Sums {
    std::uint64_t time_wait_entered = 0;
    std::uint64_t aborts = 0;
  };
  struct Moment {
    std::uint64_t time_ns = 0;
    std::uint64_t events = 0;
  };
  struct Row {
    Sums last;
    Sums before;  ///< what the last one was counted from
    std::deque<std::uint32_t> close_wait;
    std::uint64_t refresh = 0;  ///< the last that had it
  };
  using Rows = std::unordered_map<std::string, Row>;

  struct Step {
    double seconds = 0;  ///< since what rates are counted from
    bool is_whole = true;  ///< that is the last refresh; otherwise this one takes its place
  };
  template <typename Reported>
  std::vector<TopPace> paces(Rows& rows, std::vector<Reported>& reported, const Step& step);

  Rows workloads_;
  Rows processes_;
  std::uint64_t refresh_ = 0;
  Moment last_;
  Moment before_;
};

}  // namespace closewatch

#endif
