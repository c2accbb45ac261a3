// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_TYPES_HPP
#define CLOSEWATCH_CORE_TYPES_HPP

// The words of the field: states, endings, endpoints, processes. Passive values.

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace closewatch {

using Nanoseconds = std::chrono::nanoseconds;

/// TCP states, numbered as the kernel does (include/net/tcp_states.h; RFC 9293 section 3.3.2).
enum class State : std::uint8_t {
  established = 1,
  syn_sent = 2,
  syn_recv = 3,
  fin_wait1 = 4,
  fin_wait2 = 5,
  time_wait = 6,
  close = 7,
  close_wait = 8,
  last_ack = 9,
  listen = 10,
  closing = 11,
};
inline constexpr std::size_t state_slots = 16;

enum class Role : std::uint8_t { unknown, connect, accept };

/// How the responsible process is known (contract, section 2).
enum class Attribution : std::uint8_t { unknown, listener, opener, holder, closer };

/// What made a transition.
enum class Cause : std::uint8_t {
  network,
  timer,
  connect,
  listen,
  close,
  shutdown,
  exit,
  disconnect,       ///< connect(AF_UNSPEC), or shutdown() of a socket that listens or connects
  kill,             ///< SOCK_DESTROY (`ss -K`)
  listener_closed,  ///< never accepted, and its listener went away
  // How a TIME_WAIT bucket ended.
  expired,
  reused,    ///< another connection has its ends: connect() took the port again, or a SYN came in
  overflow,  ///< the table was full (tcp_max_tw_buckets): it was never made
  gone,      ///< before its time, reason unseen: a RST, `ss -K`, its namespace
};

enum class FirstFin : std::uint8_t { none, local, peer, both };

/// How a connection ended (contract, section 3).
enum class Ending : std::uint8_t {
  fin,
  rst_linger0,
  rst_unread,
  rst_linger2,
  rst_late_data,
  rst_received,
  timeout,
  fin_timeout,
  refused,
  unreachable,
  abandoned,
  never_accepted,
  killed,
  disconnected,
  unknown,
};

/// Ended otherwise than by FINs: by a RST of either side, a timeout, a refusal. What its own program gave up before it
/// was a connection, or by connect(AF_UNSPEC), is none.
[[nodiscard]] bool is_abort(Ending ending);

/// What became of the connection at the kernel's change to CLOSE.
enum class Bucket : std::uint8_t { unknown, none, time_wait, fin_wait2 };

enum class Family : std::uint8_t { ipv4, ipv6 };

/// Network order; IPv4 in the first four bytes.
using Address = std::array<std::uint8_t, 16>;

struct Endpoint {
  Address address{};
  std::uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};

/// An IPv4-mapped IPv6 address is Family::ipv4 here, as everywhere in closewatch.
struct Tuple {
  std::uint32_t netns = 0;  ///< inode of the network namespace
  Family family = Family::ipv4;
  Role role = Role::unknown;
  Endpoint local;
  Endpoint peer;
  bool operator==(const Tuple&) const = default;
};

/// With an IPv4-mapped address in either place: as Family::ipv4. Where the other is no IPv4 address, it is 0.0.0.0.
[[nodiscard]] Tuple unmapped(const Tuple& tuple);

/// Names a connection: never its addresses or a pointer, which come back.
struct ConnectionId {
  std::uint32_t netns = 0;
  std::uint64_t cookie = 0;
  bool operator==(const ConnectionId&) const = default;
};

/// Names a process: a pid used again is another process. The pid is the host's.
struct ProcessKey {
  std::uint32_t pid = 0;
  std::uint64_t start_ns = 0;  ///< after boot (task_struct.start_boottime)
  bool operator==(const ProcessKey&) const = default;
};

/// A process as /proc names it: its start time is only told in clock ticks of 10 ms there.
struct ProcessTicks {
  std::uint32_t pid = 0;
  std::uint64_t start_ticks = 0;
};
inline constexpr std::uint64_t ns_per_tick = 10'000'000;

/// The thread group leader's, as last seen in a call on the socket. Any bytes: 15 and a zero.
using Comm = std::array<char, 16>;

struct Identity {
  ProcessKey key;
  std::uint32_t uid = 0;
  std::uint32_t exec_id = 0;  ///< how often it has called exec(): another program is another command line
  std::uint64_t cgroup_id = 0;
  Comm comm{};
  bool operator==(const Identity&) const = default;
};

/// What /proc says of a process. Empty where it could not be asked in time.
struct ProcessDetails {
  std::optional<std::string> exe;
  std::optional<std::string> cmdline;  ///< arguments joined by blanks
  std::optional<std::string> cgroup;
  std::optional<std::string> container;  ///< first twelve digits of its id
};

/// What is known of a process beyond the socket. Shared: facts point at it, the engine alone writes it.
struct ProcessEntry {
  std::uint32_t exec_id = 0;
  ProcessDetails details;
  bool exited = false;
  bool unanswered = false;  ///< not looked up when it was asked for
};

/// A process as a fact names it.
struct Process {
  Identity identity;
  std::shared_ptr<const ProcessEntry> entry;
  /// When the fact came to be; none: as its entry has it, for one that is being asked for.
  std::optional<bool> exited = std::nullopt;
  [[nodiscard]] bool has_exited() const { return exited.value_or(entry->exited); }
};

[[nodiscard]] std::string_view name(State state);
[[nodiscard]] std::string_view name(Role role);
[[nodiscard]] std::string_view name(Attribution attribution);
[[nodiscard]] std::string_view name(Cause cause);
[[nodiscard]] std::string_view name(FirstFin first);
[[nodiscard]] std::string_view name(Ending ending);
[[nodiscard]] std::string_view name(Bucket bucket);

[[nodiscard]] constexpr bool is_end_of_bucket(Cause cause) {
  return cause == Cause::expired || cause == Cause::reused || cause == Cause::overflow || cause == Cause::gone;
}

/// On the close path: out of ESTABLISHED and not yet over.
[[nodiscard]] bool is_closing(State state);

[[nodiscard]] std::string_view text(const Comm& comm);

/// Nanoseconds from `then_ns` to `now_ns`; none where `then_ns` is not known (0) or later.
[[nodiscard]] inline std::optional<std::uint64_t> since(std::uint64_t now_ns, std::uint64_t then_ns) {
  if (then_ns == 0 || then_ns > now_ns) return std::nullopt;
  return now_ns - then_ns;
}

struct ProcessKeyHash {
  std::size_t operator()(const ProcessKey& key) const noexcept {
    return static_cast<std::size_t>((key.start_ns ^ key.pid) * 0x9e3779b97f4a7c15ULL);
  }
};

/// Why something could not be done: the operation, the errno (0 where there is none) and what would help.
struct Error {
  std::string operation;
  int code = 0;
  std::string remedy;
};

}  // namespace closewatch

#endif
