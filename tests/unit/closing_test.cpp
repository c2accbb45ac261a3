// SPDX-License-Identifier: BSD-2-Clause
// The tables "How it ended" and "TIME_WAIT" of kernel-facts.md, row by row.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/closing.hpp>

#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// Any moment late enough that the socket has been in its state for a millisecond.
constexpr std::uint64_t now_ns = 10 * seconds;

TransitionSeen to_close(State from) { return change(now_ns, from, State::close); }
TransitionSeen closed_by(State from, Cause call) { return called(now_ns, from, State::close, call); }

TransitionSeen with_error(State from, int error) {
  TransitionSeen seen = to_close(from);
  seen.evidence.error = error;
  return seen;
}

TransitionSeen orphan() {
  TransitionSeen seen = to_close(State::fin_wait2);
  seen.evidence.dead = true;
  seen.evidence.no_socket = true;
  seen.evidence.receive_shutdown = true;
  return seen;
}

std::string_view ending(const TransitionSeen& seen, bool reset_after = false) {
  return name(ending_of(seen, reset_after));
}
std::string_view bucket_after(const TransitionSeen& seen, bool reset_after = false) {
  return name(bucket_of(seen, ending_of(seen, reset_after)));
}

const std::vector<State> connected{State::syn_recv, State::established, State::fin_wait1, State::fin_wait2,
                                   State::closing,  State::close_wait,  State::last_ack};

}  // namespace

TEST_CASE("an abort by a call: SO_LINGER 0, unread data, connect(AF_UNSPEC)", "[closing]") {
  for (const State from : {State::established, State::close_wait}) {
    CAPTURE(name(from));
    for (const Cause call : {Cause::close, Cause::exit}) {
      TransitionSeen seen = closed_by(from, call);
      seen.evidence.linger_zero = true;
      CHECK(ending(seen) == "rst_linger0");
      CHECK(cause_of(seen) == call);
      seen.evidence.linger_zero = false;
      seen.evidence.unread = 5;
      CHECK(ending(seen) == "rst_unread");
      CHECK(bucket_after(seen) == "none");
    }
    CHECK(ending(closed_by(from, Cause::disconnect)) == "disconnected");
    CHECK(cause_of(closed_by(from, Cause::disconnect)) == Cause::disconnect);
  }
}

TEST_CASE("connect(AF_UNSPEC) is a disconnect whatever is unread or lingers", "[closing]") {
  TransitionSeen seen = closed_by(State::established, Cause::disconnect);
  seen.evidence.unread = 5;
  seen.evidence.linger_zero = true;
  CHECK(ending(seen) == "disconnected");
}

TEST_CASE("the peer's FIN alone is no unread data", "[closing]") {
  TransitionSeen seen = closed_by(State::close_wait, Cause::close);
  seen.evidence.unread = 1;
  seen.evidence.linger_zero = true;
  CHECK(ending(seen) == "rst_linger0");
  seen.evidence.unread = 2;
  CHECK(ending(seen) == "rst_unread");
}

TEST_CASE("the peer's RST", "[closing]") {
  CHECK(ending(with_error(State::established, ECONNRESET)) == "rst_received");
  CHECK(ending(with_error(State::close_wait, EPIPE)) == "rst_received");
  CHECK(ending(with_error(State::fin_wait1, ECONNRESET)) == "rst_received");
  CHECK(ending(with_error(State::fin_wait2, ECONNRESET)) == "rst_received");
  CHECK(ending(with_error(State::last_ack, ECONNRESET)) == "rst_received");
  for (const State from : connected) {
    CAPTURE(name(from));
    CHECK(bucket_after(with_error(from, ECONNRESET)) == "none");
    CHECK(cause_of(with_error(from, ECONNRESET)) == Cause::network);
  }
}

TEST_CASE("a RST in the backlog of the owner's call is still the network's", "[closing]") {
  // The kernel side names no call where sk_err is set; the ending does not need the call either.
  TransitionSeen seen = with_error(State::close_wait, EPIPE);
  seen.evidence.unread = 1;
  CHECK(ending(seen) == "rst_received");
  CHECK(cause_of(seen) == Cause::network);
}

TEST_CASE("any state, ETIMEDOUT: a timer gave up", "[closing]") {
  for (State from : connected) {
    CAPTURE(name(from));
    TransitionSeen seen = with_error(from, ETIMEDOUT);
    seen.evidence.dead = from == State::fin_wait1;
    CHECK(ending(seen) == "timeout");
    CHECK(cause_of(seen) == Cause::timer);
    CHECK(bucket_after(seen) == "none");
  }
  CHECK(ending(with_error(State::syn_sent, ETIMEDOUT)) == "timeout");
  CHECK(cause_of(with_error(State::syn_sent, ETIMEDOUT)) == Cause::timer);
}

TEST_CASE("any state, ECONNABORTED: killed by ss -K", "[closing]") {
  std::vector<State> states = connected;
  states.push_back(State::syn_sent);
  for (const State from : states) {
    CAPTURE(name(from));
    TransitionSeen seen = closed_by(from, Cause::kill);
    seen.evidence.error = ECONNABORTED;
    CHECK(ending(seen) == "killed");
    CHECK(cause_of(seen) == Cause::kill);
    CHECK(bucket_after(seen) == "none");
  }
}

TEST_CASE("SYN_SENT: refused, unreachable, given up", "[closing]") {
  CHECK(ending(with_error(State::syn_sent, ECONNREFUSED)) == "refused");
  CHECK(ending(closed_by(State::syn_sent, Cause::close)) == "abandoned");
  CHECK(ending(closed_by(State::syn_sent, Cause::exit)) == "abandoned");
  for (const int error : {EHOSTUNREACH, ENETUNREACH}) {
    CHECK(ending(with_error(State::syn_sent, error)) == "unreachable");
    CHECK(ending(with_error(State::established, error)) == "unreachable");
  }
  CHECK(cause_of(with_error(State::syn_sent, ECONNREFUSED)) == Cause::network);
}

TEST_CASE("an error that the tables do not have is unknown", "[closing]") {
  CHECK(ending(with_error(State::established, EINVAL)) == "unknown");
  CHECK(bucket_after(with_error(State::established, EINVAL)) == "none");
}

TEST_CASE("LAST_ACK: done, or reset", "[closing]") {
  CHECK(ending(to_close(State::last_ack)) == "fin");
  CHECK(bucket_after(to_close(State::last_ack)) == "none");
  CHECK(cause_of(to_close(State::last_ack)) == Cause::network);
  CHECK(ending(with_error(State::last_ack, ECONNRESET)) == "rst_received");
}

TEST_CASE("LAST_ACK left by a call is an abort: SO_LINGER 0 after shutdown()", "[closing]") {
  TransitionSeen seen = closed_by(State::last_ack, Cause::close);
  seen.evidence.linger_zero = true;
  CHECK(ending(seen) == "rst_linger0");
}

TEST_CASE("never accepted: no socket, nobody's call, its listener went away", "[closing]") {
  for (const State from : {State::established, State::close_wait}) {
    CAPTURE(name(from));
    TransitionSeen seen = to_close(from);
    seen.evidence.no_socket = true;
    seen.evidence.unread = from == State::close_wait ? 1 : 0;
    CHECK(ending(seen) == "never_accepted");
    CHECK(cause_of(seen) == Cause::listener_closed);
    CHECK(bucket_after(seen) == "none");
  }
}

TEST_CASE("a subflow has no socket either and was never to be accepted", "[closing]") {
  TransitionSeen seen = to_close(State::established);
  seen.evidence.no_socket = true;
  seen.evidence.mptcp = true;
  CHECK(ending(seen) == "unknown");
  CHECK(cause_of(seen) == Cause::network);
}

TEST_CASE("FIN_WAIT2 of an orphan: data came and was answered with a RST", "[closing]") {
  CHECK(ending(orphan(), true) == "rst_late_data");
  CHECK(bucket_after(orphan(), true) == "none");
}

TEST_CASE("FIN_WAIT with ECONNRESET: the peer's RST, or our own on late data", "[closing]") {
  for (const State from : {State::fin_wait1, State::fin_wait2}) {
    CAPTURE(name(from));
    TransitionSeen seen = with_error(from, ECONNRESET);
    seen.evidence.dead = true;
    CHECK(ending(seen, false) == "rst_received");
    CHECK(ending(seen, true) == "rst_late_data");
    CHECK(awaits_reset(seen));
  }
}

TEST_CASE("FIN_WAIT2 hands over to a bucket", "[closing]") {
  SECTION("the peer's FIN was processed: TIME_WAIT") {
    TransitionSeen seen = orphan();
    seen.evidence.done = true;
    CHECK(ending(seen) == "fin");
    CHECK(bucket_after(seen) == "time_wait");
    CHECK_FALSE(awaits_reset(seen));
  }
  SECTION("it was not, and no process has it: the bucket is in FIN_WAIT2 itself") {
    CHECK(ending(orphan()) == "fin");
    CHECK(bucket_after(orphan()) == "fin_wait2");
  }
  SECTION("of a living process: TIME_WAIT, with data unread or not") {
    TransitionSeen seen = to_close(State::fin_wait2);
    seen.evidence.done = true;
    seen.evidence.unread = 5;
    CHECK(ending(seen) == "fin");
    CHECK(bucket_after(seen) == "time_wait");
  }
  SECTION("TCP_LINGER2 below 0: a RST, no bucket") {
    TransitionSeen seen = orphan();
    seen.evidence.linger2_negative = true;
    CHECK(ending(seen) == "rst_linger2");
    CHECK(bucket_after(seen) == "none");
    CHECK_FALSE(awaits_reset(seen));
  }
  SECTION("TCP_LINGER2 below 0 means nothing once the peer's FIN has come") {
    TransitionSeen seen = orphan();
    seen.evidence.linger2_negative = true;
    seen.evidence.done = true;
    CHECK(ending(seen) == "fin");
    CHECK(bucket_after(seen) == "time_wait");
  }
  SECTION("tcp_disconnect(), in a call and not an orphan") {
    TransitionSeen seen = closed_by(State::fin_wait2, Cause::disconnect);
    CHECK(ending(seen) == "disconnected");
    CHECK(bucket_after(seen) == "none");
    CHECK_FALSE(awaits_reset(seen));
  }
  SECTION("SO_LINGER 0 and close() in FIN_WAIT2") {
    TransitionSeen seen = closed_by(State::fin_wait2, Cause::close);
    seen.evidence.linger_zero = true;
    CHECK(ending(seen) == "rst_linger0");
    CHECK(bucket_after(seen) == "none");
  }
  SECTION("a timer after a reset was sent: the orphan's time was up") {
    TransitionSeen seen = orphan();
    seen.evidence.reset_sent = true;
    seen.entered_ns = now_ns - 62 * seconds;
    CHECK(ending(seen) == "fin_timeout");
    CHECK(cause_of(seen) == Cause::timer);
    CHECK(bucket_after(seen) == "none");
  }
  SECTION("the table is full: whether there is a bucket is not known") {
    TransitionSeen seen = orphan();
    seen.evidence.table_full = true;
    CHECK(ending(seen) == "fin");
    CHECK(bucket_after(seen) == "unknown");
    seen.evidence.done = true;
    CHECK(bucket_after(seen) == "unknown");
  }
}

TEST_CASE("CLOSING hands over to TIME_WAIT, always", "[closing]") {
  TransitionSeen seen = to_close(State::closing);
  seen.evidence.dead = true;
  CHECK(ending(seen) == "fin");
  CHECK(bucket_after(seen) == "time_wait");
  seen.evidence.table_full = true;
  CHECK(bucket_after(seen) == "unknown");
}

TEST_CASE("an ending that is no FIN never has a bucket", "[closing]") {
  for (const State from : {State::fin_wait2, State::closing})
    for (int value = 0; value <= static_cast<int>(Ending::unknown); ++value) {
      const auto other = static_cast<Ending>(value);
      if (other == Ending::fin) continue;
      CAPTURE(name(from), name(other));
      CHECK(bucket_of(to_close(from), other) == Bucket::none);
    }
}

TEST_CASE("who sent the first FIN", "[closing]") {
  TransitionSeen seen = to_close(State::last_ack);
  CHECK(first_fin_of(seen) == FirstFin::none);
  seen.local_fin = true;
  CHECK(first_fin_of(seen) == FirstFin::local);
  seen.peer_fin = true;
  CHECK(first_fin_of(seen) == FirstFin::both);
  seen.local_fin = false;
  CHECK(first_fin_of(seen) == FirstFin::peer);
}

TEST_CASE("unread bytes: the FIN has a sequence number and is no byte", "[closing]") {
  TransitionSeen seen = to_close(State::established);
  seen.evidence.unread = 5;
  CHECK(unread_bytes(seen) == 5);
  seen.evidence.unread = 1;
  CHECK(unread_bytes(seen) == 1);  // shutdown_RD: a byte, no FIN has come
  for (const State from : {State::close_wait, State::last_ack, State::closing}) {
    CAPTURE(name(from));
    seen.from = from;
    seen.evidence.unread = 0;
    CHECK(unread_bytes(seen) == 0);
    seen.evidence.unread = 1;
    CHECK(unread_bytes(seen) == 0);
    seen.evidence.unread = 6;
    CHECK(unread_bytes(seen) == 5);
  }
  seen.from = State::fin_wait2;
  CHECK(unread_bytes(seen) == 6);
  seen.evidence.done = true;
  CHECK(unread_bytes(seen) == 5);
}

TEST_CASE("what waits for a RST behind it", "[closing]") {
  CHECK(awaits_reset(orphan()));
  for (const State from : {State::established, State::closing, State::close_wait, State::last_ack, State::syn_sent}) {
    CAPTURE(name(from));
    TransitionSeen seen = with_error(from, ECONNRESET);
    seen.evidence.dead = true;
    seen.evidence.receive_shutdown = true;
    CHECK_FALSE(awaits_reset(seen));
  }
  SECTION("shutdown(RDWR) of a living socket answers data with a RST too") {
    TransitionSeen seen = with_error(State::fin_wait1, ECONNRESET);
    CHECK_FALSE(awaits_reset(seen));
    seen.evidence.receive_shutdown = true;
    CHECK(awaits_reset(seen));
  }
  SECTION("only →CLOSE") {
    TransitionSeen seen = orphan();
    seen.to = State::fin_wait2;
    CHECK_FALSE(awaits_reset(seen));
  }
  SECTION("what a timer ended does not wait") {
    TransitionSeen seen = with_error(State::fin_wait1, ETIMEDOUT);
    seen.evidence.dead = true;
    CHECK_FALSE(awaits_reset(seen));
  }
}

TEST_CASE("the cause of what the network did, and of what calls did", "[closing]") {
  CHECK(cause_of(change(now_ns, State::established, State::close_wait)) == Cause::network);
  CHECK(cause_of(change(now_ns, State::fin_wait1, State::fin_wait2)) == Cause::network);
  for (const Cause call :
       {Cause::connect, Cause::listen, Cause::close, Cause::shutdown, Cause::exit, Cause::disconnect, Cause::kill}) {
    CAPTURE(name(call));
    CHECK(cause_of(called(now_ns, State::established, State::fin_wait1, call)) == call);
  }
}

TEST_CASE("an orphan that was moved to its bucket late was moved by a timer", "[closing]") {
  TransitionSeen seen = orphan();
  CHECK(cause_of(seen) == Cause::network);
  seen.entered_ns = now_ns - 2 * seconds;
  CHECK(cause_of(seen) == Cause::timer);
  SECTION("but not where its start was not seen") {
    seen.entered_ns = 0;
    CHECK(cause_of(seen) == Cause::network);
  }
  SECTION("nor where the peer's FIN moved it") {
    seen.evidence.done = true;
    CHECK(cause_of(seen) == Cause::network);
  }
  SECTION("nor where a RST did") {
    seen.evidence.error = ECONNRESET;
    CHECK(cause_of(seen) == Cause::network);
  }
}
