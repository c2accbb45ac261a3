// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_ACCOUNTS_HPP
#define CLOSEWATCH_CORE_ACCOUNTS_HPP

#include <closewatch/core/detector.hpp>
#include <closewatch/core/fact.hpp>
#include <closewatch/core/workloads.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace closewatch {

inline constexpr std::size_t ending_count = static_cast<std::size_t>(Ending::unknown) + 1;

/// What ended while closewatch watched, of one process or of one workload.
struct Account {
  Identity process;  ///< of a workload: the one of its processes that started first
  std::array<std::uint64_t, ending_count> endings{};
  std::uint64_t time_wait_entered = 0;
  std::unique_ptr<Habit> latency;  ///< in CLOSE_WAIT until its own close() or shutdown(); null: no such time is known
  std::uint64_t last_ns = 0;  ///< when the latest of it was added, after boot
};

/// Adds up what the engine concludes, by process and by workload. Bounded: what finds no room is counted.
class Accounts {
 public:
  struct Limits {
    std::size_t processes = 32'768;
    std::size_t workloads = 16'384;
    std::size_t members = 65'536;  ///< pairs of a workload and a process
  };
  struct Member {
    WorkloadId workload = 0;
    ProcessKey process;
    bool operator==(const Member&) const = default;
  };
  struct MemberHash {
    std::size_t operator()(const Member& member) const noexcept {
      return ProcessKeyHash{}(member.process) ^ (std::size_t{member.workload} << 32U);
    }
  };

  Accounts(Workloads& workloads, const Limits& limits) : workloads_(workloads), limits_(limits) {}

  // `now_ns`: after boot.
  void take(const Closed& closed, std::uint64_t now_ns);
  void take(const Transition& transition, std::uint64_t now_ns);
  /// One that its connection's end did not tell of went into TIME_WAIT: an orphan, or where the table was full.
  void entered_time_wait(const Responsible& owner, const Tuple& tuple, std::uint64_t now_ns);

  /// Forgets that processes that are not among the living are members of a workload; and what nobody has added to since
  /// then: accounts of such processes, and of workloads that have no other.
  void forget_gone(std::uint64_t before_ns, const std::function<bool(const ProcessKey&)>& lives);

  /// What belongs to nobody known has the key {0, 0}.
  [[nodiscard]] const std::unordered_map<ProcessKey, Account, ProcessKeyHash>& processes() const { return processes_; }
  [[nodiscard]] const std::unordered_map<WorkloadId, Account>& by_workload() const { return by_workload_; }
  /// Which processes were seen at work for which workload.
  [[nodiscard]] const std::unordered_set<Member, MemberHash>& members() const { return members_; }
  /// Ends and closings that found no room in an account.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  struct Pair {
    Account* process = nullptr;
    Account* workload = nullptr;
  };
  Pair accounts_of(const Responsible& responsible, const Tuple& tuple, std::uint64_t now_ns);

  Workloads& workloads_;
  Limits limits_;
  std::unordered_map<ProcessKey, Account, ProcessKeyHash> processes_;
  std::unordered_map<WorkloadId, Account> by_workload_;
  std::unordered_set<Member, MemberHash> members_;
  std::uint64_t refused_ = 0;
};

}  // namespace closewatch

#endif
