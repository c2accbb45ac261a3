// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_SCENE_HPP
#define CLOSEWATCH_TESTS_UNIT_SCENE_HPP

// A machine for a report to be made of: what the last walk met, what was judged, what ended.

#include "builders.hpp"
#include "output.hpp"

#include <closewatch/core/report.hpp>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace closewatch::test {

/// A socket in CLOSE_WAIT for `age_ns` when the report is made, read to the end and leaked.
Judged leaked_socket(std::uint64_t cookie, const Identity& process, const Tuple& tuple, std::uint64_t age_ns);

/// The client's connection, from another port.
Tuple outgoing_from(std::uint16_t port);

inline Holder holder(const Identity& process, std::uint32_t fd) { return {process, fd, false, false}; }

/// A user stack of the program's function `handler`, called by libc's recv() or the like.
Stack stack_at(const std::string& function, std::uint32_t line);

class Scene {
 public:
  /// The watch lasted 60 s and ended 1000 s after boot, at 12:34:56.
  static constexpr std::uint64_t now_ns = 1000 * seconds;

  Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene() = default;

  /// /proc says this of the process.
  void is(const Identity& process, ProcessDetails details);
  /// A judged socket; its workload follows from its process and tuple.
  Judged& judged(Judged socket) { return keep(input.judged, std::move(socket)); }
  Judged& ended(Judged socket) { return keep(input.ended, std::move(socket)); }
  SocketRow& row(State state, const Identity& process, const Tuple& tuple = outgoing());
  Closed closed(const Identity& process, const Tuple& tuple, Ending ending, Bucket bucket, std::uint64_t cookie);
  /// A bucket in TIME_WAIT that was entered so long before the end; the process (pid 0: unknown) has closed its
  /// connection. Where two are on one route, the older is to come first.
  void bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns = 10 * seconds);
  void put(const Tuple& tuple, Ledger::Bucket bucket);
  [[nodiscard]] Ledger::Bucket a_bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns);
  /// The same, and its end is in the accounts too.
  void closed_into_bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns = 10 * seconds);
  /// The namespace of all tuples, with these ports to choose from.
  TcpSettings& settings(PortRange range, std::uint64_t reuse = 0);
  [[nodiscard]] Report report() const { return build(input); }

  Processes processes{1000};
  Listeners listeners{1000};
  Workloads workloads{processes, listeners, 1000};
  Accounts accounts{workloads, {}};
  Ledger ledger{{.buckets = 100'000, .keeps_paces = true, .routes = 1000}};
  ReportInput input;

 private:
  Ledger::Changes changes_;
  Judged& keep(std::vector<Judged>& place, Judged socket);
  std::uint64_t next_cookie_ = 10'000;
};

}  // namespace closewatch::test

#endif
