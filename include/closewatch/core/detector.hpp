// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DETECTOR_HPP
#define CLOSEWATCH_CORE_DETECTOR_HPP

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/finding.hpp>
#include <closewatch/core/growth.hpp>
#include <closewatch/core/habit.hpp>
#include <closewatch/core/judge.hpp>
#include <closewatch/core/workloads.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// A socket that is in CLOSE_WAIT, or dead (TCP is CLOSE) with its descriptor still open; or was, and what became of
/// it.
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

/// How long it had been in its state at `time_ns`; 0 where that was before.
[[nodiscard]] inline std::uint64_t age_at(const Judged& socket, std::uint64_t time_ns) {
  return time_ns > socket.since_ns ? time_ns - socket.since_ns : 0;
}

/// What a sweep, or the end of a socket, has changed about what is thought of it.
struct Judgement {
  Finding::Status status = Finding::Status::raised;
  std::uint64_t time_ns = 0;
  Judged socket;
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
  void events_lost();
  /// The sweep under way is not complete.
  void rows_lost() { rows_lost_ = true; }
  /// The rows of a sweep are complete: judges every socket that was met.
  void sweep_done(const WalkDone& done, std::vector<Judgement>& judgements);

  /// The watching ends, after its last sweep. By the rule of `run` (Settings::sanitizer), what is open now and what
  /// only the end of its process ended is judged for good; otherwise nothing happens.
  void finish(std::uint64_t time_ns, std::vector<Judgement>& judgements);

  /// Everything that the last two sweeps met and nothing is known to have ended since, judged or within the limit, in
  /// the order of their cookies.
  [[nodiscard]] std::vector<Judged> sockets() const;
  /// What was judged stuck or leak and then ended in a way that clears nothing (its process's end, a reset, ss -K). One
  /// that was reset with its descriptor open is here until it is judged as dead_unclosed.
  [[nodiscard]] const std::vector<Judged>& ended() const { return ended_; }
  /// All of these: nobody asks for what is over any more.
  void forget_ended();
  /// Findings that were cleared, by close() or accept().
  [[nodiscard]] std::uint64_t cleared() const { return cleared_; }
  /// Findings raised so far.
  [[nodiscard]] std::uint64_t raised() const { return raised_; }
  /// Marks the workloads of what is watched, and of what has ended and is kept.
  void mark_workloads(std::vector<bool>& in_use) const;
  /// Forgets what is known of all other workloads.
  void forget_workloads(const std::vector<bool>& in_use);
  /// None where less than three sweeps have seen it.
  [[nodiscard]] std::optional<Trend> trend(WorkloadId workload, Kind kind) const;
  /// Null where none of its sockets was seen to be closed.
  [[nodiscard]] const Habit* habit(WorkloadId workload) const;
  /// Sockets that found no room, at the sweep that had the most of them.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }
  /// Of the ended ones.
  [[nodiscard]] std::uint64_t ended_refused() const { return ended_refused_; }

 private:
  struct Watched {
    Judged judged;
    ResponsibleOne told;  ///< by its last row
    std::uint64_t listener_cookie = 0;
    std::uint64_t changed_ns = 0;  ///< its last row, or the transition behind that
    std::uint64_t advanced_ns = 0;  ///< when a row last showed more bytes acknowledged than the one before
    std::uint64_t accepted_ns = 0;  ///< when it was first met so, after it had waited in an accept queue
    std::uint64_t accused_ns = 0;  ///< when the growth of its workload was first held against it; 0: not
    std::uint32_t sweep = 0;  ///< the last that met it
    std::uint32_t held_sweep = 0;  ///< the last that met a holder
    std::uint8_t missed = 0;  ///< sweeps in a row without it, without a holder, with holders that never used it
    std::uint8_t unheld = 0;
    std::uint8_t unused = 0;
    bool no_socket = false;
    bool used_by_holder = false;
    bool from_before = false;  ///< met by the first sweep, its age unknown
    bool counted = false;
    bool raised = false;
    bool looked_at = false;  ///< by the end of a sweep
    bool workload_known = false;  ///< by its executable
    Identity workload_process;  ///< that `workload` was looked up for
  };
  struct WatchedListener {
    std::uint32_t netns = 0;
    AcceptQueue queue;
    Identity process;
    std::vector<Holder> holders;
    std::uint32_t sweep = 0;
  };
  struct MetHolder {
    std::uint64_t cookie = 0;
    Holder holder;
  };

  void listener_row(const SocketRow& row);
  [[nodiscard]] Watched* room_for(const SocketRow& row);
  void take(Watched& watched, const SocketRow& row) const;
  static void take_age(Watched& watched, const SocketRow& row, bool anew);

  void give_holders();
  void give_holders(std::uint64_t cookie, std::span<const MetHolder> met);
  void look(Watched& watched, std::uint64_t now_ns, std::vector<Judgement>& judgements);
  [[nodiscard]] Kind kind_now(const Watched& watched, std::uint64_t now_ns) const;
  void count_absences(Watched& watched) const;
  void find_responsible(Watched& watched);
  void find_workload(Watched& watched);
  void count(Watched& watched, std::uint64_t now_ns);
  void judge(Watched& watched, std::uint64_t now_ns, std::vector<Judgement>& judgements);
  [[nodiscard]] bool is_accused(Watched& watched, Kind kind, std::uint64_t now_ns) const;
  /// Since when the program could have closed it.
  [[nodiscard]] static std::uint64_t due_since(const Watched& watched);
  [[nodiscard]] bool is_busy_worker(const Judged& judged, Kind kind) const;
  [[nodiscard]] bool is_past(const Watched& watched, std::uint64_t now_ns) const;
  [[nodiscard]] bool is_beyond_habit(const Watched& watched, std::uint64_t now_ns);
  void pass(Watched& watched, Kind kind, Verdict verdict, std::uint64_t now_ns, std::vector<Judgement>& judgements);
  [[nodiscard]] std::uint8_t absences_believed(const Watched& watched, const WalkDone& done) const;
  void forget_missed(const WalkDone& done, std::vector<Judgement>& judgements);

  void leaves_close_wait(const TransitionSeen& seen, std::vector<Judgement>& judgements);
  void learn(const TransitionSeen& seen, const Watched* watched);
  [[nodiscard]] std::optional<Resolution> resolution_of(const TransitionSeen& seen) const;
  void resolve(Watched& watched, std::uint64_t time_ns, std::optional<Resolution> resolution,
               std::vector<Judgement>& judgements);
  void was_accepted(Watched& watched, std::uint64_t time_ns, std::vector<Judgement>& judgements);
  void stays_open(Watched& watched, const TransitionSeen& seen);
  void exits_unmet(const TransitionSeen& seen, std::vector<Judgement>& judgements);
  void exits(Watched& watched, std::uint64_t time_ns, std::optional<std::uint32_t> unread,
             std::vector<Judgement>& judgements);
  void keep_ended(const Judged& judged);
  void drop_ended(std::uint64_t cookie);
  void drop_vanished(std::uint64_t cookie);
  [[nodiscard]] bool is_met(const Watched& watched) const;
  void remember_over(std::uint64_t cookie, std::uint64_t time_ns);

  Settings settings_;
  Workloads& workloads_;
  Growth growth_;
  std::unordered_map<std::uint64_t, Watched> sockets_;
  std::unordered_map<std::uint64_t, WatchedListener> listeners_;
  std::vector<MetHolder> met_;  ///< by the sweep under way
  /// Past the limit with their end unread, by the sweep under way: each process's own.
  std::unordered_map<ProcessKey, std::uint32_t, ProcessKeyHash> unread_;
  std::unordered_map<WorkloadId, Habit> habits_;
  std::unordered_map<WorkloadId, std::uint64_t> patience_ns_;  ///< of this sweep: twenty times the habits' p99
  /// Ended of late: a row of a sweep that was under way then may come behind.
  std::unordered_map<std::uint64_t, std::uint64_t> over_ns_;
  std::deque<std::uint64_t> over_;  ///< the oldest first

  std::vector<Judged> ended_;
  std::unordered_map<std::uint64_t, std::size_t> ended_open_;  ///< of those, the ones with a descriptor still open
  std::uint32_t sweep_ = 1;
  std::uint64_t sweep_began_ns_ = 0;  ///< the last one
  bool rows_lost_ = false;  ///< the sweep under way is not complete: an absence in it proves nothing
  bool events_lost_ = false;
  std::uint64_t raised_ = 0;
  std::uint64_t cleared_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t refused_now_ = 0;  ///< by the sweep under way
  std::uint64_t ended_refused_ = 0;
};

}  // namespace closewatch

#endif
