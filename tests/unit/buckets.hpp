// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_BUCKETS_HPP
#define CLOSEWATCH_TESTS_UNIT_BUCKETS_HPP

// TIME_WAIT buckets as events and walks tell of them.

#include "builders.hpp"
#include "told.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace closewatch::test::buckets {

inline constexpr std::uint64_t t0 = 200 * seconds;
/// What the timer is set for at the entry into TIME_WAIT.
inline constexpr std::int64_t whole = 60 * static_cast<std::int64_t>(seconds);

inline Engine::Settings keeping(bool filters_processes = false) {
  Engine::Settings settings;
  settings.keeps_accounts = true;
  settings.filters_processes = filters_processes;
  return settings;
}

inline Watched running(const Engine::Settings& settings = keeping()) {
  Watched watched{settings};
  watched.begin();
  watched({ProcessSeen{1 * seconds, client()}});
  return watched;
}

/// The client's connection 81 ends: it was in FIN_WAIT2 for 1 ms, and its peer's FIN has come.
inline TransitionSeen into_time_wait(std::uint64_t time_ns) {
  TransitionSeen seen = last(called(time_ns, State::fin_wait2, State::close, Cause::close));
  seen.call.reset();
  seen.actor = {};
  seen.local_fin = seen.peer_fin = true;
  seen.evidence.dead = seen.evidence.done = true;
  return seen;
}

/// It has not come: FIN_WAIT2 goes on in a bucket.
inline TransitionSeen orphaned(std::uint64_t time_ns) {
  TransitionSeen seen = into_time_wait(time_ns);
  seen.peer_fin = seen.evidence.done = false;
  return seen;
}

inline TransitionSeen beside_a_full_table(TransitionSeen seen) {
  seen.evidence.table_full = true;
  return seen;
}

inline BucketRow met(std::uint64_t time_ns, std::int64_t expires_in_ns, State substate = State::time_wait) {
  BucketRow out = bucket(time_ns, 81, outgoing());
  out.substate = substate;
  out.expires_in_ns = expires_in_ns;
  return out;
}

inline BucketRow of(std::uint64_t cookie, BucketRow row) {
  row.cookie = cookie;
  return row;
}

/// A walk of the tables of one namespace, which takes 10 ms.
inline std::vector<Event> sweep(std::uint64_t began_ns, std::vector<Event> rows,
                                std::optional<std::uint64_t> overflows = std::uint64_t{0}) {
  rows.emplace_back(TablesWalked{began_ns + 10 * ms, began_ns, netns, overflows});
  rows.emplace_back(WalkDone{began_ns + 10 * ms, began_ns});
  return rows;
}

inline SocketRow listener_row(std::uint64_t time_ns, bool matched = true) {
  SocketRow out = row(time_ns, State::listen, Attribution::listener, server());
  out.cookie = 80;
  out.tuple = listening();
  out.evidence.matched = matched;
  return out;
}

inline std::uint64_t entered(Watched& watched) {
  std::uint64_t sum = 0;
  for (const ProcessReport& process : watched.engine().report({}).processes) sum += process.findings.time_wait.entered;
  return sum;
}

/// Those of the transitions, without all else.
inline Lines transitions(const Watched& watched) {
  Lines lines;
  for (const Fact& fact : watched.facts())
    if (std::holds_alternative<Transition>(fact)) lines.push_back(told(fact));
  return lines;
}

inline Lines transitions(Watched& watched, const std::vector<Event>& events) {
  watched(events);
  return transitions(watched);
}

inline bool has(const Lines& lines, const std::string& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

}  // namespace closewatch::test::buckets

#endif
