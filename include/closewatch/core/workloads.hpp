// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_WORKLOADS_HPP
#define CLOSEWATCH_CORE_WORKLOADS_HPP

#include <closewatch/core/listeners.hpp>
#include <closewatch/core/processes.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// The part of a workload's name that its sockets give: the port it listens on, or the end it connects to.
struct Service {
  Role side = Role::unknown;  ///< accept: `endpoint.port` is the local port; connect: `endpoint` is the peer
  Family family = Family::ipv4;
  Endpoint endpoint;
  auto operator<=>(const Service&) const = default;
};

/// (executable, cgroup, listening port or remote end): ten thousand processes of a fork-per-connection server are one
/// (contract, section 2).
struct Workload {
  std::string executable;  ///< its path; the command name where /proc was too late; empty: nobody is known
  bool executable_known = false;
  std::string cgroup;
  std::optional<std::string> container;
  Service service;
};

using WorkloadId = std::uint32_t;

/// Names workloads by small numbers. Bounded: what finds no room is the workload 0, "others", a mixture that nothing
/// can be concluded from.
class Workloads {
 public:
  Workloads(const Processes& processes, const Listeners& listeners, std::size_t limit);

  /// The workload of a socket with this tuple whose responsible process is `process` (pid 0: unknown).
  [[nodiscard]] WorkloadId of(const Identity& process, const Tuple& tuple);
  [[nodiscard]] const Workload& operator[](WorkloadId id) const { return workloads_[id]; }
  [[nodiscard]] std::size_t size() const { return workloads_.size(); }
  /// Time to forget those that nothing belongs to any more.
  [[nodiscard]] bool is_nearly_full() const { return workloads_.size() - free_.size() > limit_ - limit_ / 4; }
  /// Forgets all but these: `in_use[id]`. Their numbers are given out again.
  void forget(const std::vector<bool>& in_use);
  [[nodiscard]] std::uint64_t forgotten() const { return forgotten_; }
  /// How often a socket was put with the others because there was no room.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

  [[nodiscard]] const Listeners& listeners() const { return listeners_; }

 private:
  /// A workload's name without copies of its strings, for the lookup at each close().
  struct Name {
    Service service;  // first, since it is compared at once, and differs as a rule
    bool executable_known = false;
    std::string_view executable;
    std::string_view cgroup;
    auto operator<=>(const Name&) const = default;
  };

  /// A process at work for a service, and which workload that is: it is asked for several times a connection. Kept
  /// where the executable is known, which does not change before the next exec().
  struct Recent {
    ProcessKey key;
    std::uint32_t exec_id = 0;
    WorkloadId id = 0;  ///< 0: nothing is kept here
    Service service;
  };
  [[nodiscard]] WorkloadId find(const Identity& process, const Tuple& tuple, const Service& service, Recent& recent);
  [[nodiscard]] static Name name_of(const Workload& workload) {
    return {workload.service, workload.executable_known, workload.executable, workload.cgroup};
  }
  [[nodiscard]] Service service_of(const Tuple& tuple, bool has_owner) const;
  /// What is known of a process, or of another that it is a likeness of: a child that lived too briefly to be asked for
  /// belongs to the listener's program, or to one of its name that does the same. Null where there is none.
  [[nodiscard]] const ProcessDetails* details_of(const Identity& process, const Tuple& tuple) const;

  const Processes& processes_;
  const Listeners& listeners_;
  std::size_t limit_;
  std::deque<Workload> workloads_;
  std::map<Name, WorkloadId> ids_;  ///< the names look into workloads_, whose entries never move
  std::map<std::pair<Comm, Service>, WorkloadId> by_comm_;  ///< whose program is known
  std::array<Recent, 256> recent_;
  std::vector<WorkloadId> free_;
  std::uint64_t refused_ = 0;
  std::uint64_t forgotten_ = 0;
};

}  // namespace closewatch

#endif
