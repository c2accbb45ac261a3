// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/address.hpp>

#include "health_remarks.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace closewatch {
namespace {

using Severity = HostFinding::Severity;

constexpr double critical_seconds = 60;
constexpr double far_off_seconds = 24 * 3600;
constexpr std::uint64_t nearly_all_percent = 80;
constexpr std::size_t ports_named = 5;

std::string route_text(const Route& route) {
  return "from " + address_text(route.local, route.family) + " to " + endpoint_text(route.peer, route.family);
}

/// "9.3", "470": two digits are all that is known of a rate.
std::string rate_text(double rate) {
  if (rate >= 10) return std::to_string(std::llround(rate));
  const long long tenths = std::llround(rate * 10);
  return std::to_string(tenths / 10) + (tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10));
}

std::string use_text(const RouteUse& use) {
  return std::to_string(use.in_use) + " of " + count_text(use.usable, "usable port") + " " + route_text(use.route) +
         " are in use (" + std::to_string(use.time_wait) + " in TIME_WAIT in all)";
}

std::string sustainable_text(const RouteUse& use) {
  return ", and " + rate_text(use.sustainable_per_second) + " connections a second can be made and closed for good";
}

/// What tcp_tw_reuse could do for this route on this kernel.
std::string reuse_text(const NamespaceHealth& where, const Route& route) {
  const std::uint64_t reuse = setting(where, "tcp_tw_reuse", 0);
  const bool is_local = is_loopback(route.local, route.family) || is_loopback(route.peer.address, route.family);
  if (setting(where, "tcp_timestamps", 1) == 0)
    return " tcp_tw_reuse has no effect while tcp_timestamps is 0: turn timestamps on.";
  if (reuse == 1 || (reuse == 2 && is_local)) return "";
  const std::uint64_t delay_ms = setting(where, "tcp_tw_reuse_delay", 1000);
  return std::string{" net.ipv4.tcp_tw_reuse="} + (is_local ? "2" : "1") +
         " lets connect() take a port out of TIME_WAIT after " +
         (delay_ms % 1000 == 0 ? std::to_string(delay_ms / 1000) + " s" : std::to_string(delay_ms) + " ms") +
         ", where both ends use timestamps.";
}

constexpr const char* avoid_for_ports =
    "tcp_fin_timeout does not shorten TIME_WAIT, which is 60 s and compiled in; tcp_tw_recycle is gone since Linux "
    "4.12; a lower tcp_max_tw_buckets and SO_LINGER 0 end connections without the protection that TIME_WAIT gives.";

Remark of_route(const NamespaceHealth& where, const RouteUse& use) {
  Remark remark;
  remark.netns = where.netns;
  // TIME_WAIT ends by itself; what is open does not.
  const bool is_of_open_ones = use.time_wait * 2 < use.in_use;
  remark.remedy =
      std::string{is_of_open_ones
                      ? "Most of these connections are open, and no setting helps: close those that are done with, "
                        "or bound the pool that grows; a"
                      : "Reuse connections (keep-alive, a pool), or let the other side close first; a"} +
      " wider ip_local_port_range, more addresses on either side, and IP_BIND_ADDRESS_NO_PORT where bind() comes "
      "before connect() give more room.";
  if (is_of_open_ones) return remark;
  remark.remedy += reuse_text(where, use.route);
  remark.avoid = avoid_for_ports;
  return remark;
}

void remark_route(const NamespaceHealth& where, const RouteUse& use, Remarks& remarks) {
  Remark remark = of_route(where, use);
  if (use.is_full()) {
    remark.id = "ports_exhausted";
    remark.severity = Severity::critical;
    remark.what = use_text(use) + sustainable_text(use);
    remark.meaning = "connect() fails there with EADDRNOTAVAIL (\"Cannot assign requested address\")";
  } else {
    const bool is_full = use.in_use * 100 >= use.usable * nearly_all_percent;
    if (!use.seconds_left && !is_full) return;
    const double left = use.seconds_left.value_or(far_off_seconds);
    remark.id = "ports_soon";
    remark.severity = left <= critical_seconds            ? Severity::critical
                      : left < far_off_seconds || is_full ? Severity::warning
                                                          : Severity::info;
    remark.what = use_text(use) +
                  (use.seconds_left ? ", none is left in " + span_text(*use.seconds_left) + " at this pace" : "") +
                  sustainable_text(use);
    remark.meaning = "once none is left, connect() fails there with EADDRNOTAVAIL";
  }
  remarks.push_back(std::move(remark));
}

/// connect() may choose it as long as nobody listens on it.
bool may_be_taken(const TcpSettings& settings, std::uint16_t port) {
  return settings.port_range && settings.port_range->contains(port) &&
         std::none_of(settings.reserved_ports.begin(), settings.reserved_ports.end(),
                      [port](const PortRange& range) { return range.contains(port); });
}

void remark_listeners_in_range(const NamespaceHealth& where, Remarks& remarks) {
  std::vector<std::uint16_t> ports;
  std::copy_if(where.listening.begin(), where.listening.end(), std::back_inserter(ports),
               [&](std::uint16_t port) { return may_be_taken(where.now.settings, port); });
  if (ports.empty()) return;
  std::sort(ports.begin(), ports.end());
  std::vector<std::string> names;
  std::transform(ports.begin(), ports.end(), std::back_inserter(names),
                 [](std::uint16_t port) { return std::to_string(port); });
  const PortRange& range = *where.now.settings.port_range;
  Remark remark;
  remark.id = "listener_in_port_range";
  remark.netns = where.netns;
  remark.what = (ports.size() == 1 ? "port " : "ports ") + list_text(names, ports_named) + ", which " +
                (ports.size() == 1 ? "is" : "are") + " listened on, " + (ports.size() == 1 ? "lies" : "lie") +
                " in ip_local_port_range (" + std::to_string(range.first) + " to " + std::to_string(range.last) +
                "), not reserved";
  remark.meaning =
      "while the server is down connect() may be given its port, and then its restart fails with EADDRINUSE "
      "(\"Address already in use\")";
  remark.remedy =
      "Add fixed ports of servers to net.ipv4.ip_local_reserved_ports, or move them below the range; a program that "
      "asked for any port (bind() to 0) needs nothing.";
  remarks.push_back(std::move(remark));
}

void remark_held(const NamespaceHealth& where, const HeldPort& held, Remarks& remarks) {
  Remark remark;
  remark.id = "port_held";
  remark.severity = Severity::warning;
  remark.netns = where.netns;
  remark.what = "port " + std::to_string(held.port) + ", on which nobody listens, is held by " +
                count_text(held.time_wait, "connection") + " in TIME_WAIT" +
                (held.owner.empty() ? "" : " of " + held.owner) +
                (held.free_in_ns ? " for another " + span_text(static_cast<double>(*held.free_in_ns) / 1e9) : "");
  remark.meaning =
      "until they end a server that is started on it without SO_REUSEADDR fails with EADDRINUSE (\"Address already in "
      "use\")";
  // inet_bind_conflict(): a bucket keeps what its socket had set, and both have to have it.
  remark.remedy =
      "Set SO_REUSEADDR on the listening socket before bind(), as servers do; where the server that left these had not "
      "set it, they hold the port against that one too, until they end.";
  remark.avoid =
      "Neither tcp_fin_timeout nor tcp_tw_reuse frees a port for bind(), and SO_LINGER 0 loses data to avoid what "
      "SO_REUSEADDR permits.";
  remarks.push_back(std::move(remark));
}

void remark_without_port(const NamespaceHealth& where, Remarks& remarks) {
  if (where.without_port == 0) return;
  Remark remark;
  remark.id = "ports_exhausted";
  remark.severity = Severity::critical;
  remark.netns = where.netns;
  remark.what = "no port was left for connect() " + count_text(where.without_port, "time") + " while it was watched";
  remark.meaning = "it failed with EADDRNOTAVAIL (\"Cannot assign requested address\")";
  remark.remedy =
      "Reuse connections (keep-alive, a pool), close those that are done with, or let the other side close first; a "
      "wider ip_local_port_range and more addresses on either side give more room.";
  remark.avoid = avoid_for_ports;
  remarks.push_back(std::move(remark));
}

}  // namespace

void remark_ports(const NamespaceHealth& where, Remarks& remarks) {
  remark_without_port(where, remarks);
  for (const RouteUse& use : where.routes)
    if (use.usable != 0) remark_route(where, use, remarks);
  for (const HeldPort& held : where.held) remark_held(where, held, remarks);
  remark_listeners_in_range(where, remarks);
}

}  // namespace closewatch
