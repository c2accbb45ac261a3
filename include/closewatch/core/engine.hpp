// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_ENGINE_HPP
#define CLOSEWATCH_CORE_ENGINE_HPP

#include <closewatch/core/accounts.hpp>
#include <closewatch/core/descriptor_growth.hpp>
#include <closewatch/core/detector.hpp>
#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/fifo.hpp>
#include <closewatch/core/ledger.hpp>
#include <closewatch/core/listeners.hpp>
#include <closewatch/core/processes.hpp>
#include <closewatch/core/report.hpp>
#include <closewatch/core/workloads.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace closewatch {

/// From events to facts: a plain function of its inputs. The same events give the same facts, byte for byte.
class Engine {
 public:
  struct Settings {
    bool filters_processes = false;  ///< then a bucket from before the start is shown only with its listener
    std::size_t connections_limit = 262'144;
    std::size_t listeners_limit = 65'536;
    std::size_t processes_limit = 32'768;
    std::size_t workloads_limit = 16'384;
    std::size_t stacks_limit = 65'536;
    std::size_t buckets_limit = 262'144;  ///< of TIME_WAIT
    std::size_t pending_limit = 65'536;
    std::size_t rows_limit = 524'288;  ///< of a census
    std::size_t namespaces_limit = 4096;
    bool sees_all_sockets = true;  ///< but for a filter on the namespace none keeps any from us: ports can be counted
    bool keeps_accounts = false;  ///< what a report needs: endings by process, the rows of the last census
    /// For a screen, which tells of now and may stand for days: what leaked and is over is forgotten at once, and so
    /// long after the last of it the account of a process that is gone. None: nothing is forgotten.
    std::optional<std::uint64_t> gone_kept_ns{};
    Detector::Settings detector = {};
  };

  explicit Engine(const Settings& settings);

  /// Appends what follows from `event`. A ProcessWanted among it is to be answered before the next event, and before
  /// the facts behind it are shown.
  void step(const Event& event, std::vector<Fact>& facts);

  [[nodiscard]] bool has_started() const { return started_; }

  /// Something is held back for its time to come: keep the clock ticking.
  [[nodiscard]] bool holds_back() const { return !pending_.empty(); }

  /// What a report says that is not the engine's to know. `from_ns` is after boot.
  struct ReportHead {
    std::string host;
    std::string kernel;
    std::uint64_t from_ns = 0;
    std::vector<std::string> incomplete_reasons;
    bool with_stacks = false;
    bool verbose = false;
    std::function<void()> between{};  ///< called every few milliseconds; must not step the engine
  };
  /// After a walk with a census; with Settings::keeps_accounts.
  [[nodiscard]] Report report(ReportHead head);
  /// Whose descriptors a report would like to know of (DescriptorsSeen): all that the last census met and that live.
  [[nodiscard]] std::vector<Identity> owners() const;

  /// What the tables had no room for.
  struct Refusals {
    std::uint64_t connections = 0;
    std::uint64_t listeners = 0;
    std::uint64_t processes = 0;  ///< forgotten, and asked for again
    std::uint64_t judged = 0;
    std::uint64_t accounts = 0;
    std::uint64_t workloads = 0;
    std::uint64_t workloads_forgotten = 0;  ///< that nothing belonged to any more
    std::uint64_t stacks = 0;
    std::uint64_t buckets = 0;
    std::uint64_t routes = 0;  ///< no pace is known of them
    std::uint64_t rows = 0;  ///< sockets of the largest walk
    std::uint64_t descriptors = 0;  ///< processes whose descriptors were counted
    std::uint64_t namespaces = 0;
    std::uint64_t hurried = 0;  ///< told before it was known who holds the socket, or whether a reset followed
  };
  /// Processes that were asked for and not looked up so far.
  [[nodiscard]] std::uint64_t unanswered() const { return processes_.unanswered(); }
  [[nodiscard]] Refusals refusals() const {
    return {.connections = table_lost_,
            .listeners = listeners_.refused(),
            .processes = processes_.evicted(),
            .judged = detector_.refused() + detector_.ended_refused(),
            .accounts = accounts_.refused(),
            .workloads = workloads_.refused(),
            .workloads_forgotten = workloads_.forgotten(),
            .stacks = stacks_refused_,
            .buckets = ledger_.differences().refused,
            .routes = ledger_.differences().routes_refused,
            .rows = rows_refused_,
            .descriptors = descriptors_refused_,
            .namespaces = namespaces_refused_,
            .hurried = hurried_};
  }
  /// The network namespaces whose tables a sweep is to walk (TablesWalked): those that have TIME_WAIT buckets.
  [[nodiscard]] std::vector<std::uint32_t> namespaces_with_buckets() const { return ledger_.namespaces(); }
  /// Those that have connections on their way to an end, in the order of their inodes.
  [[nodiscard]] std::vector<std::uint32_t> namespaces_of_connections() const;
  /// How the kernel's list of buckets and what was concluded from events have differed.
  [[nodiscard]] const Ledger::Differences& differences() const { return ledger_.differences(); }

 private:
  struct Known {
    Tuple tuple;
    State state = State::close;
    bool mptcp = false;
    std::uint64_t changed_ns = 0;  ///< the last transition or row
    std::uint64_t entered_ns = 0;
    std::uint64_t listener_cookie = 0;
    Attribution attribution = Attribution::unknown;
    Identity process;
    bool no_socket = false;
    bool owner_met = false;  ///< by the walk that its last row is of
    std::uint32_t walk = 0;  ///< the last walk that met it
    bool missed = false;  ///< by the last walk, which went by tables
  };

  /// What a transition waits for on its way out, and what has come of it.
  struct Wait {
    std::uint64_t until_ns = 0;  ///< 0: ready
    bool reset_after = false;
    bool awaits_owner = false;
    bool owner_settled = false;  ///< a walk has said who holds it, be it one that is about to end
  };
  /// Order is kept: what is behind one that waits, waits too.
  struct Pending : Wait {
    std::variant<TransitionSeen, Fact> what;
  };

  struct KnownStacks {
    std::optional<RawStack> raw_opened;
    std::optional<RawStack> raw_end_read;
    Stacks resolved;
  };

  struct Descriptors {
    DescriptorsSeen last;
    DescriptorGrowth growth;
    [[nodiscard]] DescriptorUse use() const;
  };

  void on(const TransitionSeen& seen, std::vector<Fact>& facts);
  void on(const ResetSeen& seen, std::vector<Fact>& facts);
  void on(const ProcessSeen& seen, std::vector<Fact>& facts);
  void on(const ProcessExited& seen, std::vector<Fact>& facts);
  void on(const SocketRow& row, std::vector<Fact>& facts);
  void on(const HolderRow& row, std::vector<Fact>& facts);
  void on(const DescriptorClosed& seen, std::vector<Fact>& facts);
  void on(const DescriptorsSeen& seen, std::vector<Fact>& facts);
  void on(const StacksSeen& seen, std::vector<Fact>& facts);
  void on(const StackResolved& answer, std::vector<Fact>& facts);
  void on(const BucketRow& row, std::vector<Fact>& facts);
  void on(const PortRow& row, std::vector<Fact>& facts);
  void on(const TablesWalked& walk, std::vector<Fact>& facts);
  void on(const NamespaceGone& gone, std::vector<Fact>& facts);
  void on(const NamespaceSeen& seen, std::vector<Fact>& facts);
  void on(const WalkDone& done, std::vector<Fact>& facts);
  void on(const Started& started, std::vector<Fact>& facts);
  void on(const Tick& tick, std::vector<Fact>& facts);
  void on(const LossSeen& seen, std::vector<Fact>& facts);
  void on(const OutputLost& lost, std::vector<Fact>& facts);
  void on(const ProcessResolved& answer, std::vector<Fact>& facts);
  void on(const Usage& usage, std::vector<Fact>& facts);
  void on(const Stopped& stopped, std::vector<Fact>& facts);

  void keep_listener(const TransitionSeen& seen);
  void keep_connection(const TransitionSeen& seen);
  void keep_row(const SocketRow& row);
  /// Lets the detector work, and tells what it concludes; before the start it is kept for then.
  template <typename Work>
  void judge(std::vector<Fact>& facts, Work work) {
    std::vector<Judgement> judgements;
    work(judgements);
    for (Judgement& judgement : judgements) {
      note_mended(judgement);
      if (started_)
        tell(finding_of(judgement, facts), facts);
      else
        early_judgements_.push_back(std::move(judgement));
    }
  }
  /// Where there is room; of what there is none for, the walk that had most is told of.
  template <typename Row>
  void keep_of_walk(std::vector<Row>& rows, const Row& row) {
    if (rows.size() < settings_.rows_limit)
      rows.push_back(row);
    else
      rows_refused_ = std::max(rows_refused_, ++rows_refused_now_);
  }
  void forget_stacks();
  void forget_gone();
  void keep_others(std::uint64_t time_ns);
  void forget_workloads();
  void note_mended(const Judgement& judgement);
  [[nodiscard]] Finding finding_of(const Judgement& judgement, std::vector<Fact>& facts);
  /// The entry of this connection, made where there is none; null where the table is full.
  [[nodiscard]] Known* room_for(std::uint64_t cookie);
  /// Hands a fact over behind those that wait.
  void tell(Fact fact, std::vector<Fact>& facts);
  void count_without_port(const TransitionSeen& seen);
  void keep_early_end(const TransitionSeen& seen, std::vector<Fact>& facts);
  /// What it changes is not told by it.
  void keep_bucket(const TransitionSeen& seen, const Closed& closed);
  /// Its ends are another's now.
  void end_bucket_of(const TransitionSeen& seen, std::vector<Fact>& facts);
  Ledger::Found resolve_bucket(const Tuple& tuple, Ledger::Bucket& bucket, std::vector<Fact>& facts);
  [[nodiscard]] bool is_served(const Tuple& tuple) const;
  [[nodiscard]] Role side_by_range(const Tuple& tuple) const;
  void forget_namespaces(std::uint64_t before_ns);
  void conclude_buckets(std::vector<Fact>& facts);
  void tell_changes(std::vector<Fact>& facts);
  [[nodiscard]] const Listener* listener_of_unaccepted(const TransitionSeen& seen) const;
  void ask_for_owner(Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts);
  [[nodiscard]] std::vector<std::pair<std::uint64_t, Known>> take_vanished(const WalkDone& done);
  void tell_vanished(std::uint64_t cookie, const Known& known, std::vector<Fact>& facts);
  void answer_owners();
  void answer_by_closer(const TransitionSeen& closing);
  void settle(Wait& wait, const TransitionSeen& seen, bool owner_settled);
  void release(std::vector<Fact>& facts, bool all = false);
  void conclude(const Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts);
  [[nodiscard]] Transition transition_of(const Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts);
  [[nodiscard]] Closed closed_of(const Transition& transition, const TransitionSeen& seen, bool reset_after,
                                 std::vector<Fact>& facts);
  void snapshot_connections(std::int64_t time_ns, std::vector<Fact>& facts);
  void snapshot_buckets(std::int64_t time_ns, std::vector<Fact>& facts);
  void snapshot(std::vector<Fact>& facts);
  void report_losses(std::vector<Fact>& facts, bool now);
  void keep_few_pending(std::vector<Fact>& facts);
  void want_snapshot(std::vector<Fact>& facts);
  void snapshot_for_output(std::vector<Fact>& facts);

  bool want_owner_walk(std::vector<Fact>& facts);
  [[nodiscard]] bool owner_is_gone(const TransitionSeen& seen) const;
  [[nodiscard]] Connection connection(ConnectionId id, const Tuple& tuple, bool mptcp) const;
  [[nodiscard]] Responsible responsible(Attribution attribution, const Identity& process, std::vector<Fact>& facts);
  [[nodiscard]] const Identity& acceptor_or(std::uint64_t listener_cookie, const Identity& otherwise) const;
  [[nodiscard]] Responsible by_listener(const Listener* listener, std::vector<Fact>& facts);
  [[nodiscard]] std::shared_ptr<const ProcessEntry> entry_of(const Identity& identity, std::vector<Fact>& facts);
  [[nodiscard]] std::int64_t realtime(std::uint64_t time_ns) const;
  [[nodiscard]] TotalsSoFar totals(std::uint64_t cpu_ms, std::uint64_t rss_bytes) const;

  Settings settings_;
  Processes processes_;
  Listeners listeners_;
  Workloads workloads_;
  Detector detector_;
  Accounts accounts_;
  std::unordered_map<std::uint64_t, Known> connections_;
  Ledger ledger_;
  Ledger::Changes changes_;  ///< not told yet
  std::map<std::uint32_t, NamespaceHealth> namespaces_;
  std::map<std::uint32_t, std::uint64_t> namespaces_seen_ns_;
  std::map<std::uint32_t, std::uint64_t> without_port_;  ///< connect() that found none, by namespace
  Fifo<Pending> pending_;
  std::size_t awaiting_owner_ = 0;  ///< of those
  std::vector<Judgement> early_judgements_;
  std::vector<SocketRow> rows_;  ///< of the walk under way
  std::vector<SocketRow> census_;
  std::vector<PortRow> bound_;  ///< ports without a connection, of the walk under way
  std::vector<PortRow> census_bound_;
  struct Others {
    std::uint64_t time_ns = 0;
    std::unordered_map<Route, std::uint64_t, RouteHash> by_route;
  };
  // others_by_route() of the first census, or where gone_kept_ns tells of now, of two that are as far apart as a pace
  // takes.
  Others older_others_;
  Others newer_others_;
  std::unordered_map<std::uint64_t, KnownStacks> stacks_;
  std::uint64_t stacks_refused_ = 0;
  std::uint64_t rows_refused_ = 0;
  std::uint64_t rows_refused_now_ = 0;  ///< by the walk under way
  std::uint64_t descriptors_refused_ = 0;
  std::uint64_t namespaces_refused_ = 0;
  std::uint64_t hurried_ = 0;
  std::optional<std::uint64_t> longest_mended_ns_;
  std::unordered_map<ProcessKey, Descriptors, ProcessKeyHash> descriptors_;

  bool started_ = false;
  std::uint64_t now_ns_ = 0;  ///< the latest time that was told of
  std::uint64_t read_ns_ = 0;  ///< what the kernel side told before has been read
  std::int64_t realtime_offset_ns_ = 0;
  std::uint64_t events_ = 0;

  std::uint32_t walk_ = 1;
  bool snapshot_wanted_ = false;
  bool snapshot_due_ = false;  ///< and not asked for yet: a walk was done just now
  std::uint64_t walk_pause_until_ns_ = 0;
  std::uint64_t output_snapshot_ns_ = 0;
  bool output_snapshot_due_ = false;  ///< a minute after the last

  LossSeen seen_losses_;
  LossSeen told_losses_;
  std::uint64_t lost_ns_ = 0;  ///< when a loss was last seen
  bool lost_since_walk_ = false;
  std::uint64_t table_lost_ = 0;
  std::uint64_t told_table_lost_ = 0;
  std::uint64_t output_lost_ = 0;
  std::uint64_t told_ns_ = 0;
};

}  // namespace closewatch

#endif
