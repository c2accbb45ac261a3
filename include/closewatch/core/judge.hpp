// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_JUDGE_HPP
#define CLOSEWATCH_CORE_JUDGE_HPP

// The rules of contract sections 2 and 4 about one socket, without memory of their own.

#include <closewatch/core/event.hpp>
#include <closewatch/core/finding.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <span>

namespace closewatch {

/// All that decides why a socket has not been closed.
struct Look {
  std::uint64_t now_ns = 0;
  std::uint64_t leak_after_ns = 0;
  State state = State::close_wait;
  bool mptcp = false;
  bool no_socket = false;
  std::uint64_t since_ns = 0;
  std::uint64_t advanced_ns = 0;  ///< when acknowledged bytes were last seen to have advanced; 0: never
  Condition condition;
  bool unused_by_holders = false;  ///< two walks agree that there are holders and none of them has used it
  bool nobody_holds = false;       ///< two walks agree that no process has a descriptor
};
[[nodiscard]] Kind kind_of(const Look& look);

/// All that decides how bad that is.
struct Standing {
  Kind kind = Kind::eof_unread;
  EndOfFile eof = EndOfFile::unknown;
  bool past_limit = false;
  bool grows = false;         ///< the workload's number of them
  bool beyond_habit = false;  ///< the workload closes others, and far sooner
};
[[nodiscard]] Verdict verdict_of(const Standing& standing);

/// Kinds that are leaks only where their number grows, or the workload closes others.
[[nodiscard]] bool needs_company(Kind kind);
/// The rule of `run`: kinds that are leaks if the program leaves them open to its end.
[[nodiscard]] bool leaks_if_left_open(Kind kind);

struct ResponsibleOne {
  Identity process;  ///< pid 0 where unknown
  Attribution attribution = Attribution::unknown;
};
/// Of those who hold a socket and the one its row names. `holders` in any order.
[[nodiscard]] ResponsibleOne responsible_of(std::span<const Holder> holders, const ResponsibleOne& told);
/// For a connection that was never accepted: whoever of its listener's holders accepts.
[[nodiscard]] ResponsibleOne responsible_of_listener(std::span<const Holder> holders, const Identity& listens,
                                                     const ResponsibleOne& told);

}  // namespace closewatch

#endif
