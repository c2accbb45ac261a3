// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_LEDGER_HPP
#define CLOSEWATCH_CORE_LEDGER_HPP

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/ports.hpp>
#include <closewatch/core/route.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// TCP_TIMEWAIT_LEN (include/net/tcp.h): a compile-time constant of the kernel's.
inline constexpr std::uint64_t time_wait_ns = 60'000'000'000;

/// Whose the TIME_WAIT buckets are, from their entry to their end. Of what exists the kernel's own list is the truth
/// (rows of walks); of whose it is, the ledger. Orphans in FIN_WAIT2 live in buckets too.
class Ledger {
 public:
  struct Settings {
    std::size_t buckets = 262'144;
    bool keeps_routes = false;  ///< for `pace`
    std::size_t routes = 16'384;
  };

  /// Two cannot have the same ends at one time: a bucket goes by these, and where another connection turns up by them
  /// it has been reused.
  struct Bucket {
    std::uint64_t cookie = 0;
    std::uint64_t entered_ns = 0;  ///< into `substate`; 0: not known
    std::uint64_t expires_ns = 0;  ///< 0: not known yet
    std::shared_ptr<const Responsible> owner;
    WorkloadId workload = 0;
    State from = State::fin_wait2;  ///< the state before the bucket
    State substate = State::time_wait;
    Role role = Role::unknown;
    bool mptcp = false;
    bool unsure = false;  ///< the table was full: perhaps it was never made
    bool was_orphan = false;  ///< it has been in FIN_WAIT2 as a bucket
    bool before = false;  ///< from before the start: its entry was not seen
    bool met = false;  ///< by the walk under way
    bool missed = false;  ///< by the last one
    /// It is there, as far as is known.
    [[nodiscard]] bool exists() const { return !unsure && !missed; }
  };

  /// Something that nobody told: found by a walk, by its clock, or by another connection.
  struct Change {
    Tuple tuple;
    Bucket bucket;  ///< as it was before
    State to = State::close;  ///< time_wait: its entry, or promotion
    Cause cause = Cause::network;
    std::uint64_t time_ns = 0;  ///< after boot
    bool by_sweep = true;  ///< otherwise told by an event of another connection
  };
  using Changes = std::vector<Change>;

  /// How the ledger and the kernel's list differed, in all walks so far.
  struct Differences {
    std::uint64_t unknown = 0;  ///< in the kernel's list, and not in the ledger
    std::uint64_t early = 0;  ///< gone from the kernel's list before their time
    std::uint64_t evicted = 0;  ///< no room in the ledger
  };

  struct Ends {
    std::size_t operator()(const Tuple& tuple) const noexcept;
    bool operator()(const Tuple& left, const Tuple& right) const noexcept;  ///< but for the role
  };
  using Buckets = std::unordered_map<Tuple, Bucket, Ends, Ends>;

  explicit Ledger(const Settings& settings) : settings_(settings) {}

  /// A connection has been handed to a bucket, perhaps.
  void enter(const Tuple& tuple, const Bucket& bucket, Changes& changes);
  /// Another connection has these ends since `time_ns`.
  void taken(const Tuple& tuple, std::uint64_t cookie, std::uint64_t time_ns, bool by_sweep, Changes& changes);
  /// False where it is not known: then `adopt` is for it.
  bool row(const BucketRow& row, Changes& changes);
  void adopt(const BucketRow& row, const Responsible& owner, WorkloadId workload);
  /// The rows of a namespace are complete.
  void walked(const TablesWalked& walk, Changes& changes);
  /// The namespace is no more, or nothing leads to it any more.
  void gone(std::uint32_t netns, std::uint64_t time_ns, Changes& changes);
  /// What no walk has told of ends by its own clock.
  void expire(std::uint64_t now_ns, Changes& changes);

  [[nodiscard]] const Buckets& buckets() const { return buckets_; }
  [[nodiscard]] const Bucket* find(const Tuple& tuple) const;
  /// Namespaces that have buckets.
  [[nodiscard]] std::vector<std::uint32_t> namespaces() const;
  [[nodiscard]] const Differences& differences() const { return differences_; }
  /// Of TIME_WAIT on a route, over the last ten to twenty seconds; none where it is known for a shorter time.
  [[nodiscard]] std::optional<Pace> pace(const Route& route, std::uint64_t now_ns) const;
  /// One object for the buckets that one process leaves.
  [[nodiscard]] std::shared_ptr<const Responsible> owner(const Responsible& who);

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
  void end(Buckets::iterator found, Cause cause, std::uint64_t time_ns, bool by_sweep, Changes& changes);
  void promote(const Tuple& tuple, Bucket& bucket, const BucketRow& row, Changes& changes);
  Bucket* room_for(const Tuple& tuple);
  void count(const Tuple& tuple, int change, std::uint64_t time_ns);
  void checkpoint(std::uint64_t now_ns);

  Settings settings_;
  Buckets buckets_;
  std::map<std::uint32_t, std::uint64_t> by_namespace_;  ///< how many
  std::map<std::uint32_t, std::uint64_t> overflows_;  ///< TCPTimeWaitOverflow, as last told
  std::unordered_map<Route, RoutePace, RouteHash> routes_;
  std::array<std::shared_ptr<const Responsible>, 1024> owners_;  ///< of late, by the pid
  Differences differences_;
};

}  // namespace closewatch

#endif
