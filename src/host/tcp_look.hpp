// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_TCP_LOOK_HPP
#define CLOSEWATCH_HOST_TCP_LOOK_HPP

#include <closewatch/core/tcp_settings.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace closewatch {

/// "32768-60999,8080", as ip_local_reserved_ports has it. What is no port or no range is left out.
[[nodiscard]] std::vector<PortRange> parse_port_ranges(std::string_view text);

/// What bears on the close path, of the network namespace that the calling thread is in: /proc/sys/net shows that one's
/// (net_ctl_header_lookup()), and so does /proc/thread-self/net. What cannot be read is missing. Needs no privileges.
///
/// Not of a namespace but of the whole machine are, among the counters, `orphan` and `alloc` of sockstat
/// (sockstat_seq_show()), and among the settings tcp_max_orphans, which only the first namespace has.
[[nodiscard]] TcpLook look_at_tcp(const std::filesystem::path& root);

/// TCPTimeWaitOverflow of that namespace: connections that got no bucket because there were tcp_max_tw_buckets of them.
[[nodiscard]] std::optional<std::uint64_t> time_wait_overflows(const std::filesystem::path& root);

}  // namespace closewatch

#endif
