// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_REPORT_HPP
#define CLOSEWATCH_CORE_REPORT_HPP

// The report (contract, section 6) as values: what a watch has found, worst first. Sinks print it.

#include <closewatch/core/accounts.hpp>
#include <closewatch/core/detector.hpp>
#include <closewatch/core/event.hpp>
#include <closewatch/core/health.hpp>
#include <closewatch/core/ledger.hpp>
#include <closewatch/core/listeners.hpp>
#include <closewatch/core/processes.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// Sockets by the number of their state.
using StateCounts = std::array<std::uint64_t, state_slots>;

/// An end of connections that have something in common. What they have not is empty, and printed as `*`.
struct EndPattern {
  Family family = Family::ipv4;
  std::optional<Address> address;
  std::optional<std::uint16_t> port;
  bool operator==(const EndPattern&) const = default;
};

/// Of one process: /proc/PID/fd and RLIMIT_NOFILE.
struct DescriptorUse {
  std::uint64_t open = 0;
  std::uint64_t soft_limit = 0;
  std::uint64_t sockets = 0;
  /// Until the limit, at the rate of the watch; 0 where it is reached. None: it does not grow.
  std::optional<double> seconds_left;
};

struct SocketReport {
  Connection connection;
  std::uint64_t age_ns = 0;
  bool age_is_lower_bound = false;
  Condition condition;
  Identity process;  ///< the one responsible; pid 0 where unknown
  Attribution attribution = Attribution::unknown;
  std::vector<Holder> holders;
};

/// Sockets of one process or workload that are there for the same reason.
struct GroupReport {
  Kind kind = Kind::eof_unread;
  Verdict verdict = Verdict::ok;
  std::uint64_t count = 0;
  std::uint64_t ended = 0;  ///< of them: over by now, in a way that clears nothing
  std::optional<Trend> trend;
  Role side = Role::unknown;
  EndPattern local;
  EndPattern peer;
  std::vector<Holder> holders;  ///< each process before the second descriptor of any
  std::uint64_t holders_in_all = 0;
  std::optional<AcceptQueue> accept_queue;
  std::uint64_t unread_bytes = 0;
  std::vector<SocketReport> sockets;  ///< the oldest first
  std::optional<Stacks> stacks;       ///< of the oldest, where they were asked for
};

struct CloseWaitReport {
  std::uint64_t now = 0;
  std::uint64_t leaked = 0;
  std::uint64_t stuck = 0;
  std::uint64_t oldest_ns = 0;
  bool oldest_is_lower_bound = false;
  std::vector<GroupReport> groups;
};

struct TimeWaitEndpoint {
  Role side = Role::connect;
  EndPattern local;
  EndPattern peer;
  std::uint64_t now = 0;
  std::optional<RouteUse> ports;  ///< of the connecting side, where the namespace's settings are known
};

struct TimeWaitReport {
  std::uint64_t now = 0;
  std::uint64_t entered = 0;
  double per_second = 0;
  std::vector<TimeWaitEndpoint> by_endpoint;  ///< the most first
};

struct FinWait2Report {
  std::uint64_t orphaned = 0;
  std::uint64_t living = 0;
};

struct LatencyReport {
  std::uint64_t p50 = 0;
  std::uint64_t p99 = 0;
  std::uint64_t most = 0;
  std::uint64_t count = 0;
};

/// What is told of a process and of a workload alike.
struct Findings {
  StateCounts states{};
  std::optional<DescriptorUse> descriptors;  ///< of a workload: of its process that is nearest to its limit
  CloseWaitReport close_wait;
  TimeWaitReport time_wait;
  FinWait2Report fin_wait2;
  std::array<std::uint64_t, ending_count> endings{};
  LatencyReport close_latency_ns;
};

struct ProcessReport {
  std::optional<Process> process;  ///< none: what belongs to nobody known
  Findings findings;
};

struct WorkloadReport {
  Workload workload;
  std::uint64_t processes = 0;
  std::vector<ProcessKey> members;  ///< these, by their start and pid
  Findings findings;
  Identity nearest_to_limit;  ///< whose descriptors are in the findings, where there are any
};

/// Findings that the programs themselves have put an end to while they were watched.
struct MendedReport {
  std::uint64_t count = 0;
  std::optional<std::uint64_t> longest_ns;  ///< that one of them had been there
};

struct Report {
  std::string host;
  std::string kernel;
  std::int64_t from_ns = 0;  ///< since 1970 (UTC)
  std::int64_t to_ns = 0;
  std::vector<std::string> incomplete_reasons;  ///< none: complete
  std::uint64_t lost = 0;
  StateCounts states{};
  std::vector<WorkloadReport> workloads;
  std::vector<ProcessReport> processes;
  std::vector<HostFinding> host_findings;
  MendedReport mended;
  bool knows_ports = false;  ///< false: filters keep others from us, who take ports too
};

/// Connections that ended so (is_abort()).
[[nodiscard]] std::uint64_t aborts(const Findings& findings);

/// None is left within ten minutes at this rate, or within a day where a sixteenth of them is in use; or nine tenths
/// are.
[[nodiscard]] bool runs_out(const DescriptorUse& use);

/// Sockets with the verdict `leak`, or `stuck`, in all.
[[nodiscard]] std::uint64_t leaked(const Report& report);
[[nodiscard]] std::uint64_t stuck(const Report& report);

/// How many connections have a port of their own on a route, in any state but TIME_WAIT; orphans' buckets not among
/// them.
[[nodiscard]] std::unordered_map<Route, std::uint64_t, RouteHash> others_by_route(const std::vector<SocketRow>& rows);

/// All that a report is made of. Filters have been applied to it. Boot times are of the clock that `to_ns` less
/// `realtime_offset_ns` is of.
struct ReportInput {
  std::string host;
  std::string kernel;
  std::int64_t from_ns = 0;             ///< since 1970 (UTC)
  std::int64_t to_ns = 0;               ///< since 1970 (UTC)
  std::int64_t realtime_offset_ns = 0;  ///< added to a boot time it gives nanoseconds since 1970
  std::vector<std::string> incomplete_reasons;
  std::uint64_t lost = 0;

  std::vector<SocketRow> rows;      ///< of the last walk, in every state, LISTEN too
  std::vector<PortRow> bound;       ///< of the last walk: bound and not connected
  std::map<std::uint32_t, NamespaceHealth> namespaces;  ///< as they were told, by inode; without what is worked out
  std::unordered_map<Route, std::uint64_t, RouteHash> others_before{};  ///< others_by_route() of an earlier census
  std::uint64_t others_before_ns = 0;  ///< when that was, after boot; 0: there was none
  std::vector<Judged> judged;  ///< Detector::sockets()
  std::vector<Judged> ended;  ///< Detector::ended()
  std::function<std::optional<Trend>(WorkloadId, Kind)> trend;  ///< Detector::trend(); empty: none is known
  MendedReport mended;
  std::unordered_map<ProcessKey, DescriptorUse, ProcessKeyHash> descriptors;
  bool with_stacks = false;  ///< groups are told apart by them
  std::unordered_map<std::uint64_t, Stacks> stacks;  ///< by cookie
  bool verbose = false;  ///< every socket of a group
  std::function<void()> between{};  ///< called every few milliseconds; must leave alone all that is told of here

  const Ledger& ledger;
  const Accounts& accounts;
  Workloads& workloads;
  Processes& processes;
  const Listeners& listeners;
};

[[nodiscard]] Report build(const ReportInput& input);

}  // namespace closewatch

#endif
