// SPDX-License-Identifier: BSD-2-Clause
// Every distinct change to CLOSE of transitions-6.18.txt, by the name of its case there.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/closing.hpp>

#include <cerrno>
#include <string>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// Evidence, as the file writes it; DONE is not in the file and follows from the FIN that came (unrd1, CLOSE_WAIT …).
enum Bit : unsigned {
  plain = 0,
  dead = 1,
  done = 2,
  nosock = 4,
  linger0 = 8,
  linger2 = 16,
  reset = 32,  // a RST had gone out before
  full = 64,
  mptcp = 128,
  rdshut = 256,
  late = 512,  // it had been in its state for seconds
};

struct Line {
  const char* in;  ///< the case of the file
  State from;
  std::optional<Cause> call;
  int error;
  unsigned bits;
  std::uint32_t unread;
  const char* ending;
  const char* bucket;
  const char* cause;
  bool waits;  ///< a RST right behind it would mean late data
};

constexpr auto none = std::nullopt;
constexpr unsigned orphan = dead | nosock | rdshut;

const std::vector<Line> lines{
    {"active_then_passive, client", State::fin_wait2, none, 0, orphan, 0, "fin", "fin_wait2", "network", true},
    {"active_then_passive, server", State::last_ack, none, 0, orphan | done, 0, "fin", "none", "network", false},
    {"simultaneous_close_CLOSING", State::closing, none, 0, orphan | done, 1, "fin", "time_wait", "network", false},
    {"fin_with_ack_in_FIN_WAIT1", State::fin_wait2, none, 0, orphan | done, 1, "fin", "time_wait", "network", false},
    {"rst_in_ESTABLISHED, client", State::established, Cause::close, 0, linger0 | rdshut, 0, "rst_linger0", "none",
     "close", false},
    {"rst_in_ESTABLISHED, server", State::established, none, ECONNRESET, plain, 0, "rst_received", "none", "network",
     false},
    {"rst_in_CLOSE_WAIT", State::close_wait, none, EPIPE, done | rdshut, 1, "rst_received", "none", "network", false},
    {"linger0_close_in_CLOSE_WAIT", State::close_wait, Cause::close, 0, linger0 | done | rdshut, 1, "rst_linger0",
     "none", "close", false},
    {"close_with_unread", State::established, Cause::close, 0, rdshut, 5, "rst_unread", "none", "close", false},
    {"close_wait_unread_then_close", State::close_wait, Cause::close, 0, done | rdshut, 6, "rst_unread", "none",
     "close", false},
    {"shutdown_WR_half_close, client", State::fin_wait2, none, 0, done | rdshut, 5, "fin", "time_wait", "network",
     false},
    {"shutdown_WR_half_close, server", State::last_ack, none, 0, orphan | done, 1, "fin", "none", "network", false},
    {"shutdown_WR_then_close_while_FIN_WAIT2", State::fin_wait2, Cause::close, 0, orphan, 0, "fin", "fin_wait2",
     "close", true},
    {"shutdown_RD", State::established, Cause::close, 0, rdshut, 1, "rst_unread", "none", "close", false},
    {"shutdown_RDWR_keep_fd", State::fin_wait2, none, 0, done | rdshut, 1, "fin", "time_wait", "network", false},
    {"shutdown_WR_in_CLOSE_WAIT_fd_kept", State::last_ack, none, 0, done | rdshut, 1, "fin", "none", "network", false},
    {"orphan_FIN_WAIT1_timeout", State::fin_wait1, none, ETIMEDOUT, orphan | late, 0, "timeout", "none", "timer",
     false},
    {"orphan_FIN_WAIT1_rst", State::fin_wait1, none, ECONNRESET, orphan, 0, "rst_received", "none", "network", true},
    {"FIN_WAIT2_orphan_timeout_default, client", State::fin_wait2, none, 0, orphan, 0, "fin", "fin_wait2", "network",
     true},
    {"FIN_WAIT2_orphan_timeout_default, server", State::last_ack, none, ECONNRESET, orphan | done, 1, "rst_received",
     "none", "network", false},
    {"FIN_WAIT2_bucket_gets_data", State::close_wait, none, EPIPE, done | rdshut, 1, "rst_received", "none", "network",
     false},
    {"FIN_WAIT2_long_fin_timeout", State::fin_wait2, none, 0, orphan | late, 0, "fin", "fin_wait2", "timer", true},
    {"TCP_LINGER2_neg, client", State::fin_wait2, none, 0, orphan | linger2, 0, "rst_linger2", "none", "network",
     false},
    {"TCP_LINGER2_neg, server", State::close_wait, none, EPIPE, done | rdshut, 1, "rst_received", "none", "network",
     false},
    {"TCP_LINGER2_neg_in_FIN_WAIT2", State::fin_wait2, Cause::close, 0, orphan | linger2, 0, "rst_linger2", "none",
     "close", false},
    {"connect_refused", State::syn_sent, none, ECONNREFUSED, plain, 0, "refused", "none", "network", false},
    {"connect_timeout", State::syn_sent, none, ETIMEDOUT, late, 0, "timeout", "none", "timer", false},
    {"connect_nonblock_then_close_in_SYN_SENT", State::syn_sent, Cause::close, 0, rdshut, 0, "abandoned", "none",
     "close", false},
    {"simultaneous_open", State::established, none, ECONNRESET, plain, 0, "rst_received", "none", "network", false},
    {"listener_close_with_unaccepted, EST", State::established, none, 0, nosock, 0, "never_accepted", "none",
     "listener_closed", false},
    {"listener_close_with_unaccepted, CLOSE_WAIT", State::close_wait, none, 0, nosock | done | rdshut, 1,
     "never_accepted", "none", "listener_closed", false},
    {"reuseport", State::established, none, 0, nosock, 0, "never_accepted", "none", "listener_closed", false},
    {"peer_fin_before_accept", State::last_ack, none, 0, orphan | done, 1, "fin", "none", "network", false},
    {"sigkill, client", State::fin_wait2, none, 0, orphan, 0, "fin", "fin_wait2", "network", true},
    {"fork_dup_close, active", State::fin_wait2, none, 0, orphan | done, 1, "fin", "time_wait", "network", false},
    {"fork_dup_close, passive", State::last_ack, none, 0, orphan | done, 1, "fin", "none", "network", false},
    {"keepalive_timeout", State::established, none, ETIMEDOUT, reset | late, 0, "timeout", "none", "timer", false},
    {"user_timeout_rto", State::established, none, ETIMEDOUT, late, 0, "timeout", "none", "timer", false},
    {"ss_K_established", State::established, Cause::kill, ECONNABORTED, reset, 0, "killed", "none", "kill", false},
    {"ss_K_close_wait", State::close_wait, Cause::kill, ECONNABORTED, reset | done | rdshut, 1, "killed", "none",
     "kill", false},
    {"connect_AF_UNSPEC_disconnect", State::established, Cause::disconnect, 0, plain, 0, "disconnected", "none",
     "disconnect", false},
    {"mptcp, client's subflow", State::fin_wait2, none, 0, orphan | mptcp, 0, "fin", "fin_wait2", "network", true},
    {"mptcp, server's subflow", State::last_ack, none, 0, nosock | done | rdshut | mptcp, 1, "fin", "none", "network",
     false},
    {"tw_overflow, orphan", State::fin_wait2, none, 0, orphan | full, 0, "fin", "unknown", "network", true},
    {"tw_overflow, half closed", State::fin_wait2, none, 0, done | rdshut | full, 1, "fin", "unknown", "network",
     false},
    {"tw_overflow, server", State::last_ack, none, ECONNRESET, orphan | done | full, 1, "rst_received", "none",
     "network", false},
    {"tw_incoming_SYN, teardown", State::established, Cause::close, 0, linger0 | rdshut, 0, "rst_linger0", "none",
     "close", false},
    {"tw_rst_assassination", State::fin_wait2, none, 0, orphan | done, 1, "fin", "time_wait", "network", false},
};

TransitionSeen seen_in(const Line& line) {
  constexpr std::uint64_t now_ns = 100 * seconds;
  TransitionSeen seen =
      line.call ? called(now_ns, line.from, State::close, *line.call) : change(now_ns, line.from, State::close);
  if ((line.bits & late) != 0) seen.entered_ns = now_ns - 2 * seconds;
  Evidence& evidence = seen.evidence;
  evidence.dead = (line.bits & dead) != 0;
  evidence.done = (line.bits & done) != 0;
  evidence.no_socket = (line.bits & nosock) != 0;
  evidence.linger_zero = (line.bits & linger0) != 0;
  evidence.linger2_negative = (line.bits & linger2) != 0;
  evidence.reset_sent = (line.bits & reset) != 0;
  evidence.table_full = (line.bits & full) != 0;
  evidence.mptcp = (line.bits & mptcp) != 0;
  evidence.receive_shutdown = (line.bits & rdshut) != 0;
  evidence.unread = line.unread;
  evidence.error = line.error;
  return seen;
}

}  // namespace

TEST_CASE("the oracle: every change to CLOSE that was measured", "[closing][oracle]") {
  for (const Line& line : lines) {
    INFO(line.in);
    const TransitionSeen seen = seen_in(line);
    const Ending ending = ending_of(seen, false);
    CHECK(name(ending) == line.ending);
    CHECK(name(bucket_of(seen, ending)) == line.bucket);
    CHECK(name(cause_of(seen)) == line.cause);
    CHECK(awaits_reset(seen) == line.waits);
    if (!line.waits) continue;
    const Ending with_reset = ending_of(seen, true);
    CHECK(name(with_reset) == std::string{"rst_late_data"});
    CHECK(bucket_of(seen, with_reset) == Bucket::none);
  }
}
