// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_FINDING_HPP
#define CLOSEWATCH_CORE_FINDING_HPP

// The words in which sockets that their program did not close are judged (contract, section 4).

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// What became of the peer's FIN.
enum class EndOfFile : std::uint8_t {
  unknown,   ///< kTLS or a sockmap reads in the kernel
  unread,    ///< the FIN, or data before it, is not read
  peeked,    ///< a read with MSG_PEEK returned 0
  consumed,  ///< its sequence number is consumed; no proof that a read returned 0
  read,      ///< a read returned 0 with nothing left
};

/// Why a socket is in CLOSE_WAIT, or dead with its descriptor open. In the order of the contract: the first that
/// matches.
enum class Kind : std::uint8_t {
  mptcp,
  never_accepted,
  kernel,
  dead_unclosed,
  write_blocked,
  replying,
  inherited,
  in_flight,
  eof_unread,
  eof_ignored,
};

enum class Verdict : std::uint8_t { ok, stuck, leak };

enum class Trend : std::uint8_t { growing, steady, draining };

/// How a finding ended. closed and accepted clear it, the others do not.
enum class Resolution : std::uint8_t { closed, accepted, exit, reset_still_open, killed };
[[nodiscard]] constexpr bool clears(Resolution resolution) {
  return resolution == Resolution::closed || resolution == Resolution::accepted;
}

[[nodiscard]] std::string_view name(EndOfFile eof);
[[nodiscard]] std::string_view name(Kind kind);
[[nodiscard]] std::string_view name(Verdict verdict);
[[nodiscard]] std::string_view name(Trend trend);
[[nodiscard]] std::string_view name(Resolution resolution);

/// What the user is told of a kind: one sentence of what it means, and one of what to do.
struct Advice {
  std::string_view meaning;
  std::string_view remedy;
};
[[nodiscard]] Advice advice(Kind kind);

/// How a socket stands, as a walk found it. Bytes without the FIN's sequence number.
struct Condition {
  EndOfFile eof = EndOfFile::unknown;
  std::uint32_t unread_bytes = 0;
  std::uint32_t unsent_bytes = 0;  ///< written and not acknowledged yet (write_seq - snd_una)
  std::uint64_t acked_bytes = 0;   ///< tcp_sock.bytes_acked
  std::uint32_t retransmits = 0;   ///< in a row, without an answer (icsk_retransmits)
  std::uint32_t probes = 0;        ///< of a closed window, without an answer (icsk_probes_out)
  std::uint64_t received_ns = 0;   ///< the last segment of the peer's (rcv_tstamp), after boot; 0: not known
  std::uint64_t used_ns = 0;       ///< the last read or write seen, after boot; 0: none
  bool use_observed = false;       ///< no read or write since it was opened went unseen
  bool was_used = false;           ///< by somebody
  bool too_many_users = false;     ///< more than are kept: any holder may have used it
  bool no_file = false;            ///< has a struct socket and no file: the kernel's own
};

/// A descriptor of a socket.
struct Holder {
  Identity process;
  std::uint32_t fd = 0;
  bool used = false;       ///< this process, with the program that it is now, has read or written it
  bool used_last = false;  ///< and was the last to do so
};

struct AcceptQueue {
  std::uint32_t length = 0;
  std::uint32_t most = 0;
};

/// An address of a user stack, in words. Empty function: no symbol was found.
struct Frame {
  std::uint64_t address = 0;
  std::string function;
  std::string file;  ///< of the source
  std::uint32_t line = 0;
  std::string module;         ///< file name of the mapped object
  std::string build_id;       ///< hexadecimal; empty where it has none
  std::uint64_t offset = 0;   ///< in the module
  bool operator==(const Frame&) const = default;
};

/// A user stack, the innermost frame first.
struct Stack {
  std::vector<Frame> frames;
  bool cut_short = false;  ///< no frame pointers: there is more above than can be seen
  bool operator==(const Stack&) const = default;
};

struct Stacks {
  std::optional<Stack> opened;    ///< connect(), or the first use after accept()
  std::optional<Stack> end_read;  ///< the last read that returned the end
  bool operator==(const Stacks&) const = default;
};

}  // namespace closewatch

#endif
