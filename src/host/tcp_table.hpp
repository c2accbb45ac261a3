// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_TCP_TABLE_HPP
#define CLOSEWATCH_HOST_TCP_TABLE_HPP

// The sockets of a network namespace as anybody may see them: /proc/net/tcp and tcp6 (proc(5), tcp4_seq_show()).

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

namespace closewatch {

struct TcpSocket {
  Tuple tuple;  ///< its role is unknown
  State state = State::close;
  bool bucket = false;  ///< all that is left of it is a timewait bucket; in FIN_WAIT2 that of an orphan
  /// Until the timer that runs goes off, in steps of 10 ms: a bucket's end, or the next probe or retransmission.
  std::optional<std::uint64_t> timer_ns;
  std::uint32_t uid = 0;    ///< 0 for a bucket
  std::uint64_t inode = 0;  ///< of its file; 0: a bucket, an orphan, or never accepted
};

/// A line of these files; empty for what is none, their heading too. A connection in NEW_SYN_RECV is in SYN_RECV.
[[nodiscard]] std::optional<TcpSocket> parse_tcp_socket(std::string_view line, std::uint32_t netns);

/// All that the calling thread's network namespace has, listeners first; `netns` is its inode. It is not one moment:
/// while sockets come and go, one can be missed or told twice. A kernel without IPv6 has no tcp6. Needs no privileges.
[[nodiscard]] std::expected<void, Error> each_tcp_socket(const std::filesystem::path& root, std::uint32_t netns,
                                                         const std::function<void(const TcpSocket&)>& take);

}  // namespace closewatch

#endif
