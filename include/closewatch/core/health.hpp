// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_HEALTH_HPP
#define CLOSEWATCH_CORE_HEALTH_HPP

// How near a machine is to trouble on the close path, and what really helps (contract, section 5). Used by `doctor`,
// which looks once, and by `report`, which has watched.

#include <closewatch/core/ports.hpp>
#include <closewatch/core/tcp_settings.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// Something that tracing needs, or is better with.
struct Check {
  enum class Status : std::uint8_t { ok, degraded, missing, unknown };  ///< degraded: it works, and less is seen
  std::string id;
  Status status = Status::unknown;
  std::string text;    ///< what was found, and what it means where it is not ok
  std::string remedy;  ///< how to get it; empty where it is ok
};
[[nodiscard]] std::string_view name(Check::Status status);

struct HostFinding {
  enum class Severity : std::uint8_t { info, warning, critical };
  std::string id;
  Severity severity = Severity::info;
  std::string text;    ///< one sentence: what it means
  std::string remedy;
  std::string avoid;   ///< the bad advice that circulates, and why not; empty where there is none
};
[[nodiscard]] std::string_view name(HostFinding::Severity severity);

/// A port that a server could not bind again without SO_REUSEADDR: nobody listens on it, and connections that came in
/// there are in TIME_WAIT (inet_csk_get_port()).
struct HeldPort {
  std::uint16_t port = 0;
  std::uint64_t time_wait = 0;
  std::optional<std::uint64_t> free_in_ns;  ///< when the last of them ends
  std::string owner;                        ///< "server (pid 812, exited)", made printable; empty: not known
};

struct NamespaceHealth {
  std::uint32_t netns = 0;
  TcpLook now;
  std::optional<TcpLook> before;             ///< where it was watched: when that began
  std::vector<std::uint16_t> listening;      ///< ports, each once
  std::vector<RouteUse> routes;              ///< the nearest to the end first
  std::vector<HeldPort> held;
  std::uint64_t without_port = 0;            ///< connect() that found no port, while it was watched
  std::uint64_t time_wait = 0;               ///< sockets
  std::uint64_t close_wait = 0;
  std::uint64_t watched_ns = 0;              ///< 0: one look
};

/// A line of /etc/sysctl.conf or sysctl.d that was found.
struct SysctlLine {
  std::string file;
  std::string name;   ///< net.ipv4.tcp_tw_recycle
  std::string value;
};

struct MachineHealth {
  std::vector<NamespaceHealth> namespaces;
  std::vector<SysctlLine> configured;
};

/// The worst first, then in a fixed order. What could not be read raises nothing.
[[nodiscard]] std::vector<HostFinding> findings_of(const MachineHealth& machine);

}  // namespace closewatch

#endif
