// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_LEDGER_HPP
#define CLOSEWATCH_CORE_LEDGER_HPP

#include <closewatch/core/dense_map.hpp>
#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/ports.hpp>
#include <closewatch/core/route.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace closewatch {

/// Whose the TIME_WAIT buckets are, from their entry to their end. Of what exists the kernel's own list is the truth
/// (rows of walks); of whose it is, the ledger. Orphans in FIN_WAIT2 live in buckets too.
class Ledger {
 public:
  struct Settings {
    std::size_t buckets = 262'144;
    bool keeps_paces = false;  ///< for `pace`
    std::size_t routes = 16'384;
  };

  /// Two cannot have the same ends at one time: a bucket goes by these, and where another connection turns up by them
  /// it has been reused.
  struct Bucket {
    std::uint64_t cookie = 0;
    std::uint64_t entered_ns = 0;  ///< into `substate`, or into `from` while it is unsure; 0: not known
    std::uint64_t expires_ns = 0;  ///< 0: not known yet
    std::uint64_t known_ns = 0;  ///< when it was last told of: its entry, or the row of a walk
    std::shared_ptr<const Responsible> owner;  ///< null only until the walk is done that met it first
    WorkloadId workload = 0;
    State from = State::fin_wait2;  ///< the state before it was handed to a bucket
    State substate = State::time_wait;
    Role role = Role::unknown;
    bool mptcp = false;
    bool port_bound = false;  ///< bind() was called for its local port, and not connect() has found it
    bool unsure = false;  ///< the table was full: perhaps it was never made
    bool missed = false;  ///< by the last walk
    /// It is there, as far as is known.
    [[nodiscard]] bool exists() const { return owner != nullptr && !unsure && !missed; }
    /// The moment its timer fires, after boot; 0 where that is not known.
    [[nodiscard]] std::uint64_t due_ns() const {
      if (expires_ns != 0) return expires_ns;
      return substate == State::time_wait && entered_ns != 0 ? entered_ns + time_wait_ns : 0;
    }
  };

  /// Something that no event told: found by a walk, by its clock, or by another connection.
  struct Change {
    Tuple tuple;
    Bucket bucket;  ///< as it was before
    State from = State::time_wait;
    State to = State::close;  ///< time_wait: it was handed to a bucket, or promoted
    Cause cause = Cause::network;
    std::uint64_t time_ns = 0;  ///< after boot
    bool by_sweep = true;  ///< otherwise an event of another connection told of it
  };
  using Changes = std::vector<Change>;

  /// How the ledger and the kernel's list have differed.
  struct Differences {
    std::uint64_t unannounced = 0;  ///< in the kernel's list, and unknown here
    std::uint64_t early = 0;  ///< gone from the kernel's list before their time
    std::uint64_t refused = 0;  ///< no room here
    std::uint64_t routes_refused = 0;  ///< no room for their pace
  };

  /// By their ends; the role is not looked at.
  struct Ends {
    std::size_t operator()(const Tuple& tuple) const noexcept;
    bool operator()(const Tuple& left, const Tuple& right) const noexcept;
  };
  using Buckets = DenseMap<Tuple, Bucket, Ends, Ends>;

  explicit Ledger(const Settings& settings) : settings_(settings) {}

  /// A connection has been handed to a bucket, for certain or perhaps (`unsure`).
  void enter(const Tuple& tuple, const Bucket& bucket, Changes& changes);
  /// The connection `cookie` (0: one that is not accepted yet) has had these ends since `time_ns`.
  void taken(const Tuple& tuple, std::uint64_t cookie, std::uint64_t time_ns, bool by_sweep, Changes& changes);
  void row(const BucketRow& row, Changes& changes);
  void walked(const TablesWalked& walk);
  /// The namespace is no more.
  void gone(std::uint32_t netns, std::uint64_t time_ns, Changes& changes);
  /// Of a bucket that a walk has met and no event announced so far.
  enum class Found {
    owned,  ///< its owner has been put in
    unwanted,  ///< none of ours
    awaited,  ///< its event is on its way
  };
  /// Walks are done: what they did not meet has ended. `resolve(tuple, bucket)` says what one is that was found.
  template <typename Resolve>
  void conclude(std::uint64_t now_ns, Resolve resolve, Changes& changes) {
    // Walks that were after something else come ten times a second: by clocks alone nothing ends so soon.
    if (walks_.empty() && !has_unresolved_ && now_ns < concluded_ns_ + conclude_every_ns) return;
    concluded_ns_ = now_ns;
    has_unresolved_ = false;
    for (auto at = buckets_.begin(); at != buckets_.end();) {
      auto& [tuple, bucket] = *at;
      const Found found = bucket.owner == nullptr ? resolve(tuple, bucket) : Found::awaited;
      if (found == Found::owned) count_found(tuple, bucket, now_ns);
      if (found == Found::unwanted) forget(tuple, bucket, now_ns);
      at = found == Found::unwanted || is_over(tuple, bucket, now_ns, changes) ? buckets_.erase(at) : ++at;
    }
    walks_.clear();
    taken_.clear();
    keep_paces(now_ns);
    forget_namespaces();
  }

  [[nodiscard]] const Buckets& buckets() const { return buckets_; }
  /// The one that this connection was handed to; null where there is none.
  [[nodiscard]] const Bucket* find(const Tuple& tuple, std::uint64_t cookie) const {
    const auto found = buckets_.find(tuple);
    return found != buckets_.end() && found->second.cookie == cookie && found->second.exists() ? &found->second
                                                                                               : nullptr;
  }
  /// The inodes of those that have buckets.
  [[nodiscard]] std::vector<std::uint32_t> namespaces() const;
  [[nodiscard]] const Differences& differences() const { return differences_; }
  /// What was there before the start is no difference.
  void begin() { differences_.unannounced = differences_.early = 0; }
  /// Of TIME_WAIT on a route, over the last ten to twenty seconds; none where it is known for a shorter time.
  [[nodiscard]] std::optional<Pace> pace(const Route& route, std::uint64_t now_ns) const;
  /// One object for all buckets that a process leaves in a row.
  [[nodiscard]] std::shared_ptr<const Responsible> shared(const Responsible& owner);

 private:
  struct Checkpoint {
    std::uint64_t time_ns = 0;
    std::uint64_t entered = 0;
    std::uint64_t now = 0;
  };
  struct RoutePace {
    std::uint64_t entered = 0;
    std::uint64_t now = 0;
    Checkpoint older;
    Checkpoint newer;
  };
  struct Walk {
    std::uint64_t began_ns = 0;
    std::uint64_t time_ns = 0;
  };
  /// What the kernel had no room for is counted by it as it happens; whose it was is known a little later.
  struct Overflows {
    std::uint64_t told = 0;  ///< TCPTimeWaitOverflow
    std::uint64_t unclaimed = 0;  ///< of it: nobody's so far
  };
  void confirm(const Tuple& tuple, Bucket& bucket, State substate, std::uint64_t expires_ns, Changes& changes);
  static void tell_entry(const Tuple& tuple, const Bucket& before, State from, std::uint64_t time_ns, Changes& changes);
  void promote_unseen(const Tuple& tuple, Bucket& bucket, Changes& changes);
  bool is_over(const Tuple& tuple, Bucket& bucket, std::uint64_t now_ns, Changes& changes);
  bool is_over_unmet(const Tuple& tuple, Bucket& bucket, std::uint64_t walked_ns, Changes& changes);
  void end(const Tuple& tuple, const Bucket& bucket, Cause cause, std::uint64_t time_ns, bool by_sweep,
           Changes& changes);
  static void tell_end(const Tuple& tuple, const Bucket& bucket, Cause cause, std::uint64_t time_ns, bool by_sweep,
                       Changes& changes);
  Bucket* add(const Tuple& tuple, const Bucket& bucket);
  void forget(const Tuple& tuple, const Bucket& bucket, std::uint64_t time_ns);
  enum class Step { entered, found, left };
  void count(const Tuple& tuple, const Bucket& bucket, Step step, std::uint64_t time_ns);
  void count_found(const Tuple& tuple, const Bucket& bucket, std::uint64_t now_ns) {
    ++differences_.unannounced;
    count(tuple, bucket, Step::found, now_ns);
  }
  void keep_paces(std::uint64_t now_ns);
  /// Whose buckets have all ended, where there are many: namespaces come and go without end.
  void forget_namespaces();

  static constexpr std::uint64_t conclude_every_ns = 1'000'000'000;

  Settings settings_;
  std::uint64_t concluded_ns_ = 0;
  bool has_unresolved_ = false;  ///< a walk has found buckets that have no owner yet
  Buckets buckets_;
  std::unordered_set<std::uint64_t> taken_;  ///< as events told; a row of the walk under way may come behind those
  std::map<std::uint32_t, std::uint64_t> by_namespace_;  ///< how many
  std::map<std::uint32_t, Overflows> overflows_;
  std::map<std::uint32_t, Walk> walks_;  ///< since the last conclusion
  std::unordered_map<Route, RoutePace, RouteHash> paces_;
  std::array<std::shared_ptr<const Responsible>, 1024> owners_;  ///< of late, by their pids
  Differences differences_;
};

}  // namespace closewatch

#endif
