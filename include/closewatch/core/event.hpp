// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_EVENT_HPP
#define CLOSEWATCH_CORE_EVENT_HPP

// Everything that the engine is told: what the kernel saw, rows of walks, the clock, losses, answers about processes.
// All times are nanoseconds after boot (CLOCK_BOOTTIME) unless said otherwise; 0 means not known.

#include <closewatch/core/finding.hpp>
#include <closewatch/core/tcp_settings.hpp>
#include <closewatch/core/types.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace closewatch {

/// What the socket said at the moment of a transition (bits of the kernel's record).
struct Evidence {
  bool dead = false;                 ///< an orphan: no process has it any more
  bool done = false;                 ///< the peer's FIN was processed
  bool no_socket = false;            ///< not accepted yet, or an orphan
  bool linger_zero = false;          ///< SO_LINGER on, with a time of 0
  bool linger2_negative = false;     ///< TCP_LINGER2 below 0
  bool reset_sent = false;           ///< a RST had gone out before
  bool table_full = false;           ///< the TIME_WAIT table was at its limit
  bool mptcp = false;                ///< a subflow of an MPTCP connection
  bool receive_shutdown = false;     ///< data that comes is answered with a RST
  bool hidden = false;               ///< filtered out, told for what others' attribution needs
  bool matched = false;              ///< let through by the filters on processes
  bool owner_met = false;            ///< of a row: its walk met the owner among the holders
  bool port_bound = false;           ///< of a row, or a change to CLOSE: bind() was called for its local port
  std::uint32_t unread = 0;          ///< rcv_nxt - copied_seq: the peer's FIN counts as one
  std::int32_t error = 0;            ///< sk_err
};

/// Totals of a connection, told with its change to CLOSE.
struct Totals {
  std::uint64_t opened_ns = 0;
  std::array<std::uint64_t, state_slots> states_ns{};  ///< by the state's number
  std::uint64_t bytes_sent = 0;                        ///< payload, without retransmissions
  std::uint64_t bytes_received = 0;                    ///< the peer's FIN counts as one
};

struct TransitionSeen {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  std::uint64_t listener_cookie = 0;  ///< 0 where it is not known, or there is none
  Tuple tuple;
  State from = State::close;
  State to = State::close;
  std::uint64_t entered_ns = 0;  ///< into `from`
  Attribution attribution = Attribution::unknown;
  Identity process;              ///< pid 0 where unknown
  std::optional<Cause> call;     ///< the call that made it; none where the network or a timer did
  Identity actor;                ///< who made the call; pid 0 where none did
  std::optional<Cause> closer_by;  ///< of the latest closing call (close, shutdown, exit) so far
  bool local_fin = false;
  bool peer_fin = false;
  Evidence evidence;
  std::optional<Totals> totals;  ///< with the change to CLOSE of what was a connection
  std::uint64_t orphan_ns = 0;   ///< how long its bucket waits for the peer's FIN, if it is one in FIN_WAIT2
};

/// A RST went out for a socket that had just gone from FIN_WAIT1 or FIN_WAIT2 to CLOSE.
struct ResetSeen {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
};

/// First sight of a process, or of the program it has become by exec().
struct ProcessSeen {
  std::uint64_t time_ns = 0;
  Identity process;
};

struct ProcessExited {
  std::uint64_t time_ns = 0;
  ProcessKey key;
};

/// A socket as a walk found it.
struct SocketRow {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  std::uint64_t listener_cookie = 0;
  Tuple tuple;
  State state = State::close;
  std::uint64_t entered_ns = 0;
  Attribution attribution = Attribution::unknown;
  Identity process;
  Evidence evidence;
  std::uint64_t opened_ns = 0;  ///< connect(), or the SYN that came in
  Condition condition;          ///< of CLOSE_WAIT, and of CLOSE with a descriptor open
  AcceptQueue accept_queue;     ///< of LISTEN
};

/// A descriptor of a socket in CLOSE_WAIT, in LISTEN, or dead, as a walk found it.
struct HolderRow {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  Holder holder;
};

/// The last descriptor of a socket that TCP had ended a while before has gone, by close() or by the end of a process.
struct DescriptorClosed {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  Identity actor;  ///< pid 0 where it was no process's doing
  Cause by = Cause::close;
};

/// A user stack as the kernel took it, the innermost address first.
struct RawStack {
  ProcessKey process;
  std::uint32_t exec_id = 0;
  std::vector<std::uint64_t> addresses;
  std::vector<std::uint64_t> words;  ///< at the end of the stack: the caller of libc's wrapper is among them
  bool operator==(const RawStack&) const = default;
};

/// The stacks kept of a socket that a walk met.
struct StacksSeen {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  std::optional<RawStack> opened;
  std::optional<RawStack> end_read;
};

/// The answer to StackWanted.
struct StackResolved {
  std::uint64_t cookie = 0;
  bool end_read = false;  ///< otherwise the one that opened it
  Stack stack;
};

/// A TIME_WAIT bucket as a walk found it; an orphan's has the state FIN_WAIT2.
struct BucketRow {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  Tuple tuple;
  State substate = State::time_wait;
  std::int64_t expires_in_ns = 0;
};

/// A socket that takes a local port, as a walk found it: opened since the last walk of its namespace's tables, or bound
/// and not connected (its peer is 0 then). What is not accepted yet has the cookie 0.
struct PortRow {
  std::uint64_t time_ns = 0;
  std::uint64_t cookie = 0;
  Tuple tuple;
  std::uint64_t opened_ns = 0;  ///< 0: not known
};

/// The buckets of a network namespace have all been told, and who has opened a connection there since the last time.
struct TablesWalked {
  std::uint64_t time_ns = 0;
  std::uint64_t began_ns = 0;
  std::uint32_t netns = 0;
  std::optional<std::uint64_t> overflows;  ///< TCPTimeWaitOverflow of /proc/net/netstat
};

/// Nothing leads to this network namespace any more.
struct NamespaceGone {
  std::uint64_t time_ns = 0;
  std::uint32_t netns = 0;
};

/// How a network namespace is set, and what its kernel has counted.
struct NamespaceSeen {
  std::uint64_t time_ns = 0;
  std::uint32_t netns = 0;
  TcpLook look;
};

/// The rows of a walk are complete: what was there all the while, and did not change, has been met.
struct WalkDone {
  std::uint64_t time_ns = 0;
  std::uint64_t began_ns = 0;
  bool census = false;  ///< it brought rows of every state, and the buckets
  /// It went by TCP tables, of the network namespaces `entered`, and by what processes have descriptors of.
  bool by_tables = false;
  std::vector<std::uint32_t> entered = {};  ///< in the order of their inodes

  /// Would it have met a socket that nobody has a descriptor of? What TCP has ended is in no table.
  [[nodiscard]] bool meets(std::uint32_t netns, State state) const {
    return !by_tables || (state != State::close && std::binary_search(entered.begin(), entered.end(), netns));
  }
};

/// What a process has open (/proc/PID/fd, RLIMIT_NOFILE).
struct DescriptorsSeen {
  std::uint64_t time_ns = 0;
  ProcessKey key;
  std::uint64_t open = 0;
  std::uint64_t soft_limit = 0;  ///< 0: not asked for
  std::uint64_t sockets = 0;  ///< 0: not counted, since whoever is of interest has one
};

/// Everything is attached and the first walk is done. The answers that head the stream.
struct Started {
  std::uint64_t time_ns = 0;
  std::string run;  ///< an id of the run
  std::string version;  ///< closewatch's
  std::string host;
  std::string kernel;
  std::string boot_id;
  std::vector<std::pair<std::string, std::string>> options;  ///< as given, in order
};

/// The clock moved. What happened before `time_ns` has been read; where that is not known yet, it is 0.
struct Tick {
  std::uint64_t time_ns = 0;
  std::int64_t realtime_offset_ns = 0;  ///< added to a boot time it gives nanoseconds since 1970 (UTC)
};

/// Totals since the start, of what the kernel side could not deliver or keep.
struct LossSeen {
  std::uint64_t time_ns = 0;
  std::uint64_t ring = 0;  ///< transitions that found no room in the ring
  std::uint64_t storage = 0;  ///< transitions without storage, and those told only by a state that did not fit
  std::uint64_t others = 0;  ///< what else found no room in the ring: resets, late closings, listeners, exits
  bool operator==(const LossSeen& other) const {
    return ring == other.ring && storage == other.storage && others == other.others;
  }
};

/// Lines that the output's queue had no room for, since the last time this was said.
struct OutputLost {
  std::uint64_t time_ns = 0;
  std::uint64_t lines = 0;
};

/// The answer to ProcessWanted.
struct ProcessResolved {
  ProcessKey key;
  std::uint32_t exec_id = 0;
  bool skipped = false;  ///< not looked up this time: to be asked for again
  bool exited = false;
  ProcessDetails details;
};

/// What closewatch itself has used so far.
struct Usage {
  std::uint64_t time_ns = 0;
  std::uint64_t cpu_ms = 0;
  std::uint64_t rss_bytes = 0;
};

/// The watching ends: everything held is let go, and the totals follow.
struct Stopped {
  std::uint64_t time_ns = 0;
  std::uint64_t cpu_ms = 0;
  std::uint64_t rss_bytes = 0;
};

using Event =
    std::variant<TransitionSeen, ResetSeen, ProcessSeen, ProcessExited, SocketRow, HolderRow, DescriptorClosed,
                 StacksSeen, StackResolved, BucketRow, PortRow, TablesWalked, NamespaceGone, NamespaceSeen, WalkDone,
                 DescriptorsSeen, Started, Tick, LossSeen, OutputLost, ProcessResolved, Usage, Stopped>;

}  // namespace closewatch

#endif
