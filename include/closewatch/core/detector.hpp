// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DETECTOR_HPP
#define CLOSEWATCH_CORE_DETECTOR_HPP

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/finding.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace closewatch {

/// A socket that is in CLOSE_WAIT, or dead (TCP is CLOSE) with its descriptor still open; or was, and what became of it.
struct Judged {
  std::uint64_t cookie = 0;
  Tuple tuple;
  State state = State::close_wait;
  bool mptcp = false;
  std::uint64_t since_ns = 0;  ///< in this state, after boot
  bool since_is_lower_bound = false;  ///< it has been there at least since then
  Condition condition;
  std::vector<Holder> holders;  ///< of the last sweep that met any
  Identity process;             ///< the one responsible; pid 0 where unknown
  Attribution attribution = Attribution::unknown;
  WorkloadId workload = 0;
  Kind kind = Kind::eof_unread;
  Verdict verdict = Verdict::ok;
  std::optional<AcceptQueue> accept_queue;  ///< of its listener, where it was never accepted
  std::optional<Resolution> resolution;     ///< it is over
  std::uint64_t resolved_ns = 0;
};

/// What a sweep, or the end of a socket, has changed about what is thought of it.
struct Judgement {
  Finding::Status status = Finding::Status::raised;
  std::uint64_t time_ns = 0;
  Judged socket;
};

/// How fast a workload closes what its peers have closed: times in CLOSE_WAIT that its own close() or shutdown() ended.
/// A histogram of fixed size; quantiles are upper bounds, at most an eighth too high.
class Habit {
 public:
  void add(std::uint64_t ns);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t most() const { return most_; }
  /// 0 where nothing was added.
  [[nodiscard]] std::uint64_t quantile(double share) const;

 private:
  static constexpr std::size_t steps = 8;  ///< in each doubling
  std::array<std::uint32_t, 64 * steps> slots_{};
  std::uint64_t count_ = 0;
  std::uint64_t most_ = 0;
};

/// Kinds and verdicts of contract section 4, from rows of sweeps, transitions and the clock. Pure, bounded.
class Detector {
 public:
  struct Settings {
    std::uint64_t leak_after_ns = 30'000'000'000;
    std::uint64_t sweep_ns = 5'000'000'000;
    bool sanitizer = false;          ///< by the rule of `run`
    bool sees_all_processes = true;  ///< otherwise no kind rests on the absence of a holder
    std::size_t sockets_limit = 262'144;
    std::size_t ended_limit = 65'536;  ///< of those kept after an end that clears nothing
  };

  Detector(const Settings& settings, Workloads& workloads);

  /// Of the sweep under way: a socket in CLOSE_WAIT, in CLOSE with its descriptor open, or in LISTEN.
  void row(const SocketRow& row);
  /// Of the sweep under way: a descriptor of a socket. Before or behind its row.
  void holder(const HolderRow& row);
  /// Habits, ends, and what goes into and out of CLOSE_WAIT.
  void transition(const TransitionSeen& seen, std::vector<Judgement>& judgements);
  /// The last descriptor of a socket that TCP had ended before has gone.
  void released(const DescriptorClosed& seen, std::vector<Judgement>& judgements);
  /// Transitions were lost: ends may have gone unseen.
  void lost();
  /// The rows of a sweep are complete: judges every socket that was met.
  void sweep_done(const WalkDone& done, std::vector<Judgement>& judgements);

  /// Everything met by the last sweep, judged or within the limit.
  [[nodiscard]] std::vector<Judged> sockets() const;
  /// What was judged stuck or leak and then ended in a way that clears nothing (its process's end, a reset, ss -K).
  [[nodiscard]] const std::vector<Judged>& ended() const;
  /// Findings that were cleared, by close() or accept().
  [[nodiscard]] std::uint64_t cleared() const;
  /// Findings raised so far.
  [[nodiscard]] std::uint64_t raised() const;
  /// None where less than three sweeps have seen it.
  [[nodiscard]] std::optional<Trend> trend(WorkloadId workload, Kind kind) const;
  [[nodiscard]] const Habit* habit(WorkloadId workload) const;
  /// Sockets that found no room.
  [[nodiscard]] std::uint64_t refused() const;
};

}  // namespace closewatch

#endif
