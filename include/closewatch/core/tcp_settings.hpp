// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_TCP_SETTINGS_HPP
#define CLOSEWATCH_CORE_TCP_SETTINGS_HPP

// How a network namespace is set and what its kernel has counted, in the kernel's own names.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// TCP_TIMEWAIT_LEN (include/net/tcp.h): a compile-time constant of the kernel's.
inline constexpr std::uint64_t time_wait_ns = 60'000'000'000;

/// Numbers by the kernel's names for them.
using Numbers = std::map<std::string, std::uint64_t, std::less<>>;

[[nodiscard]] inline std::optional<std::uint64_t> number(const Numbers& numbers, std::string_view name) {
  const auto found = numbers.find(name);
  if (found == numbers.end()) return std::nullopt;
  return found->second;
}

/// Both ends belong to it.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  [[nodiscard]] constexpr bool contains(std::uint16_t port) const { return first <= port && port <= last; }
  bool operator==(const PortRange&) const = default;
};

struct TcpSettings {
  /// By the file's name in /proc/sys/net/ipv4 or /proc/sys/net/core (tcp_fin_timeout, somaxconn), in the unit of that
  /// file (Documentation/networking/ip-sysctl.rst). Missing: this kernel has none, or it could not be read.
  Numbers values;
  std::optional<PortRange> port_range;  ///< ip_local_port_range
  std::vector<PortRange> reserved_ports;  ///< ip_local_reserved_ports
};

/// A network namespace as one look found it.
struct TcpLook {
  TcpSettings settings;
  /// Since the namespace was made: /proc/net/netstat by its names (TCPTimeWaitOverflow). Now: /proc/net/sockstat
  /// as `orphan` and `tw`.
  Numbers counters;
  /// By the file's name in /proc/sys/net/netfilter, in its unit (nf_conntrack_count); empty where it is not loaded.
  Numbers conntrack;
};

}  // namespace closewatch

#endif
