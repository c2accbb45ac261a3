// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_REPORT_DRAFT_HPP
#define CLOSEWATCH_CORE_REPORT_DRAFT_HPP

// What is collected of a process or a workload before it is put into words.

#include "report_ports.hpp"

#include <closewatch/core/report.hpp>
#include <closewatch/core/route.hpp>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace closewatch {

/// A judged socket of a group.
struct Member {
  const Judged* socket = nullptr;
  bool ended = false;
  std::uint64_t age_ns = 0;  ///< at its end, where it has ended
};

/// Where connections in TIME_WAIT ran: the accepting side by its port, the connecting side by its route.
struct Place {
  bool accepted = false;
  Route route;  ///< of the accepting side only the namespace
  std::uint16_t local_port = 0;
  auto operator<=>(const Place&) const = default;
};
[[nodiscard]] Place place_of(const Tuple& tuple);

struct Draft {
  Identity first;  ///< of its processes the one that started first; of a process, the program that it is now
  std::vector<ProcessKey> members;  ///< some of them more than once
  StateCounts states{};
  std::vector<Member> sockets;
  std::uint64_t close_waits = 0;
  std::map<Place, std::uint64_t> time_wait;  ///< 0 where only others use a route that is short of ports
  std::shared_ptr<const ProcessEntry> entry;  ///< of a process that has left buckets
  FinWait2Report fin_wait2;
  const Account* account = nullptr;

  void meet(const Identity& process);
  void add_member(const ProcessKey& process) {
    if (members.empty() || members.back() != process) members.push_back(process);
  }
};

[[nodiscard]] CloseWaitReport close_wait_of(const Draft& draft, const ReportInput& input);
[[nodiscard]] TimeWaitReport time_wait_of(const Draft& draft, double seconds, const PortUse& ports);

}  // namespace closewatch

#endif
