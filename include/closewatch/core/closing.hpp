// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_CLOSING_HPP
#define CLOSEWATCH_CORE_CLOSING_HPP

// What the tracepoint does not say: how a connection ended, and what is left of it. Pure readings of one transition;
// the rules are the tables of kernel-facts.md, each held by a kernel test.

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>

namespace closewatch {

/// Bytes that came and were not read. The peer's FIN takes a sequence number of its own and is no byte.
[[nodiscard]] std::uint32_t unread_bytes(const TransitionSeen& seen);

/// How it ended, at a change to CLOSE. A RST that went out behind the transition is told by `reset_after`.
[[nodiscard]] Ending ending_of(const TransitionSeen& seen, bool reset_after);

/// What the kernel keeps of it: tcp_time_wait() hands FIN_WAIT2 and CLOSING over to a bucket.
[[nodiscard]] Bucket bucket_of(const TransitionSeen& seen, Ending ending);

/// The state of the bucket that it is handed to, if it is: an orphan's is FIN_WAIT2 until its peer's FIN comes.
[[nodiscard]] State substate_of(const TransitionSeen& seen);

/// connect() has found no port for it (EADDRNOTAVAIL): it ends in the call that would have given it one
/// (tcp_v4_connect()).
[[nodiscard]] bool found_no_port(const TransitionSeen& seen);

[[nodiscard]] FirstFin first_fin_of(const TransitionSeen& seen);

[[nodiscard]] Cause cause_of(const TransitionSeen& seen);

/// Its ending can still change: a RST right behind it would mean late data for an orphan.
[[nodiscard]] bool awaits_reset(const TransitionSeen& seen);

}  // namespace closewatch

#endif
