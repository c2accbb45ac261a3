// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/closing.hpp>

#include <cerrno>

namespace closewatch {
namespace {

/// A timer that moves an orphan on runs a second after its FIN was acknowledged at the earliest
/// (tcp_keepalive_timer(), tcp_fin_timeout above 60 s); the acknowledgement itself does so within the same segment.
constexpr std::uint64_t timer_not_before_ns = 500'000'000;

bool is_unreachable(std::int32_t error) {
  switch (error) {
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EACCES:
    case EPERM: return true;
    default: return false;
  }
}

Ending ending_of_error(const TransitionSeen& seen, bool reset_after) {
  switch (seen.evidence.error) {
    case ECONNABORTED: return Ending::killed;
    case ECONNREFUSED: return seen.from == State::syn_sent ? Ending::refused : Ending::unreachable;
    case ETIMEDOUT: return Ending::timeout;
    case ECONNRESET:
    case EPIPE: return reset_after ? Ending::rst_late_data : Ending::rst_received;
    default: return is_unreachable(seen.evidence.error) ? Ending::unreachable : Ending::unknown;
  }
}

/// An abort by the call that released the socket; connect(AF_UNSPEC) where it keeps it.
Ending ending_of_abort(const TransitionSeen& seen) {
  if (seen.call == Cause::disconnect) return Ending::disconnected;
  if (unread_bytes(seen) > 0) return Ending::rst_unread;
  if (seen.evidence.linger_zero) return Ending::rst_linger0;
  return Ending::unknown;
}

Ending ending_of_fin_wait2(const TransitionSeen& seen, bool reset_after) {
  const Evidence& evidence = seen.evidence;
  if (evidence.done) return Ending::fin;
  if (!evidence.dead) return seen.call ? ending_of_abort(seen) : Ending::unknown;
  if (evidence.linger2_negative) return Ending::rst_linger2;
  // tcp_keepalive_timer() resets first where the time was up; data that comes is answered after.
  if (evidence.reset_sent && !seen.call) return Ending::fin_timeout;
  return reset_after ? Ending::rst_late_data : Ending::fin;
}

}  // namespace

std::uint32_t unread_bytes(const TransitionSeen& seen) {
  const bool fin_came = seen.evidence.done || seen.from == State::close_wait || seen.from == State::last_ack ||
                        seen.from == State::closing;
  const std::uint32_t fin = fin_came && seen.evidence.unread > 0 ? 1U : 0U;
  return seen.evidence.unread - fin;
}

Ending ending_of(const TransitionSeen& seen, bool reset_after) {
  if (seen.evidence.error != 0) return ending_of_error(seen, reset_after);
  switch (seen.from) {
    case State::syn_sent: return seen.call ? Ending::abandoned : Ending::unknown;
    case State::fin_wait2: return ending_of_fin_wait2(seen, reset_after);
    case State::closing:
    case State::last_ack: return seen.call ? ending_of_abort(seen) : Ending::fin;
    default:
      if (seen.call) return ending_of_abort(seen);
      return seen.evidence.no_socket && !seen.evidence.mptcp && !seen.evidence.dead ? Ending::never_accepted
                                                                                    : Ending::unknown;
  }
}

Bucket bucket_of(const TransitionSeen& seen, Ending ending) {
  const bool handed_over = ending == Ending::fin && (seen.from == State::fin_wait2 || seen.from == State::closing);
  if (!handed_over) return Bucket::none;
  if (seen.evidence.table_full) return Bucket::unknown;
  return substate_of(seen) == State::time_wait ? Bucket::time_wait : Bucket::fin_wait2;
}

State substate_of(const TransitionSeen& seen) {
  // Out of CLOSING the peer's FIN has been seen by definition.
  return seen.evidence.done || seen.from == State::closing ? State::time_wait : State::fin_wait2;
}

bool found_no_port(const TransitionSeen& seen) {
  return seen.from == State::syn_sent && seen.to == State::close && seen.tuple.local.port == 0 &&
         seen.call.has_value() && seen.evidence.error == 0;
}

FirstFin first_fin_of(const TransitionSeen& seen) {
  if (seen.local_fin && seen.peer_fin) return FirstFin::both;
  if (seen.local_fin) return FirstFin::local;
  return seen.peer_fin ? FirstFin::peer : FirstFin::none;
}

Cause cause_of(const TransitionSeen& seen) {
  if (seen.call) return *seen.call;
  if (seen.to != State::close) return Cause::network;
  if (seen.evidence.error == ETIMEDOUT) return Cause::timer;
  const bool waited = seen.entered_ns != 0 && seen.time_ns - seen.entered_ns >= timer_not_before_ns;
  if (seen.from == State::fin_wait2 && seen.evidence.error == 0 && seen.evidence.dead && !seen.evidence.done && waited)
    return Cause::timer;
  if (ending_of(seen, false) == Ending::never_accepted) return Cause::listener_closed;
  return Cause::network;
}

bool awaits_reset(const TransitionSeen& seen) {
  if (seen.to != State::close || (seen.from != State::fin_wait1 && seen.from != State::fin_wait2)) return false;
  if (!seen.evidence.dead && !seen.evidence.receive_shutdown) return false;
  return ending_of(seen, false) != ending_of(seen, true);
}

}  // namespace closewatch
