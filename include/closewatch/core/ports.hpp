// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_PORTS_HPP
#define CLOSEWATCH_CORE_PORTS_HPP

// How near connect() is to EADDRNOTAVAIL (contract, section 5).

#include <closewatch/core/route.hpp>
#include <closewatch/core/tcp_settings.hpp>

#include <bitset>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// What is known for a shorter time has no pace (contract, section 5).
inline constexpr std::uint64_t pace_takes_ns = 10'000'000'000;

/// How fast the ports of a route come into use, over `pace_takes_ns` at least.
struct Pace {
  double entered_per_second = 0;  ///< connections that went into TIME_WAIT
  double net_per_second = 0;      ///< growth of what is in use, TIME_WAIT and all other states
  double other_per_second = 0;    ///< of it: of the other states; 0 where it is too little to tell from chance
};

struct RouteUse {
  Route route;
  std::uint64_t usable = 0;  ///< of ip_local_port_range, less the reserved, and those bound by listeners or bind()
  std::uint64_t in_use = 0;  ///< TIME_WAIT that connect() may reuse (tcp_tw_reuse) is not in use
  std::uint64_t time_wait = 0;  ///< in all
  /// Connections that can be made and closed a second for good.
  double sustainable_per_second = 0;
  /// Until EADDRNOTAVAIL; 0 where all are in use. None: no pace is known, or it can go on for good.
  std::optional<double> seconds_left;
  /// No port is left: connect() fails.
  [[nodiscard]] bool is_full() const { return in_use >= usable; }
};

/// Adds up who takes which local ports. All that is put in is of one moment, and in this order: the settings, what is
/// bound, who uses the rest.
class Ports {
 public:
  void set(std::uint32_t netns, const TcpSettings& settings);
  /// A listener has it, or bind() was called for it, or it came with a connection that was accepted: connect() does
  /// not choose it, whatever the route (inet_bind_bucket::fastreuse).
  void bind(std::uint32_t netns, std::uint16_t port);
  /// A connection in another state than TIME_WAIT; an orphan in FIN_WAIT2 too.
  void use(const Route& route, std::uint16_t port);
  /// `age_ns` in TIME_WAIT; none: not known, and so taken for old.
  void wait(const Route& route, std::uint16_t port, std::optional<std::uint64_t> age_ns);

  /// None where the namespace's settings are not known, or the route uses nothing in its range.
  [[nodiscard]] std::optional<RouteUse> of(const Route& route, const std::optional<Pace>& pace) const;
  /// All that have something in use, the nearest to the end first.
  [[nodiscard]] std::vector<Route> routes() const;

  /// How long a port is held by TIME_WAIT on this route: 60 s, or less where connect() may reuse it
  /// (tcp_twsk_unique(): tcp_tw_reuse 1, or 2 over loopback, with tcp_timestamps, after tcp_tw_reuse_delay, 1 s before
  /// 6.14). Where the peer sends no timestamps it is 60 s all the same, which is not seen.
  [[nodiscard]] std::uint64_t hold_ns(const Route& route) const;
  [[nodiscard]] std::uint64_t usable(std::uint32_t netns) const;

 private:
  struct Namespace {
    TcpSettings settings;
    /// In the range and not reserved: connect() may choose them (inet_sk_get_local_port_range(),
    /// inet_is_local_reserved_port()). The list of the reserved can have tens of thousands of ranges.
    std::size_t candidates_in_all = 0;  ///< asked for of each route
    std::bitset<65536> candidates;
    std::set<std::uint16_t> bound;  ///< of these
  };
  struct Use {
    std::uint64_t other = 0;
    std::uint64_t time_wait = 0;
    std::uint64_t held = 0;  ///< of it: too young to be reused
  };
  [[nodiscard]] static bool is_usable(const Namespace& where, std::uint16_t port);
  Use* use_of(const Route& route, std::uint16_t port);

  std::map<std::uint32_t, Namespace> namespaces_;
  std::unordered_map<Route, Use, RouteHash> uses_;
};

}  // namespace closewatch

#endif
