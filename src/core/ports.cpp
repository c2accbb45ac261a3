// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/ports.hpp>

#include <closewatch/core/address.hpp>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace closewatch {
namespace {

constexpr double second_ns = 1e9;
constexpr std::uint64_t ms_ns = 1'000'000;
/// Before 6.14, which has tcp_tw_reuse_delay: a second, by a clock of seconds.
constexpr std::uint64_t usual_reuse_delay_ms = 1000;

// tcp_twsk_unique(): one of its addresses is enough. A socket bound to the device `lo` counts there too; it is not seen
// here, and has such addresses as a rule.
bool may_reuse(const TcpSettings& settings, const Route& route) {
  if (number(settings.values, "tcp_timestamps").value_or(1) == 0) return false;
  switch (number(settings.values, "tcp_tw_reuse").value_or(0)) {
    case 0: return false;
    case 2: return is_loopback(route.local, route.family) || is_loopback(route.peer.address, route.family);
    default: return true;
  }
}

std::uint64_t hold_of(const TcpSettings& settings, const Route& route) {
  if (!may_reuse(settings, route)) return time_wait_ns;
  const std::uint64_t delay = number(settings.values, "tcp_tw_reuse_delay").value_or(usual_reuse_delay_ms);
  return std::clamp(delay * ms_ns, ms_ns, time_wait_ns);  // as the kernel bounds it
}

/// What TIME_WAIT will take at this pace for good, and the other states now.
std::optional<double> seconds_until_full(const RouteUse& use, const Pace& pace, double other, double hold_seconds) {
  const auto usable = static_cast<double>(use.usable);
  const auto in_use = static_cast<double>(use.in_use);
  const double steady = pace.entered_per_second * hold_seconds + other;
  if (steady > usable) {
    if (pace.net_per_second <= 0) return std::nullopt;
    return (usable - in_use) / pace.net_per_second;
  }
  // TIME_WAIT ends by itself; what grows beside it does not.
  if (pace.other_per_second <= 0) return std::nullopt;
  return (usable - std::max(steady, in_use)) / pace.other_per_second;
}

}  // namespace

void Ports::set(std::uint32_t netns, const TcpSettings& settings) {
  Namespace& where = namespaces_[netns];
  where = {};
  where.settings = settings;
  const auto mark = [&](const PortRange& range, bool value) {
    for (std::uint32_t port = range.first; port <= range.last; ++port) where.candidates.set(port, value);
  };
  if (settings.port_range) mark(*settings.port_range, true);
  for (const PortRange& range : settings.reserved_ports) mark(range, false);
  where.candidates_in_all = where.candidates.count();
}

void Ports::bind(std::uint32_t netns, std::uint16_t port) {
  const auto found = namespaces_.find(netns);
  if (found != namespaces_.end() && found->second.candidates.test(port)) found->second.bound.insert(port);
}

bool Ports::is_usable(const Namespace& where, std::uint16_t port) {
  return where.candidates.test(port) && !where.bound.contains(port);
}

Ports::Use* Ports::use_of(const Route& route, std::uint16_t port) {
  const auto found = namespaces_.find(route.netns);
  if (found == namespaces_.end() || !is_usable(found->second, port)) return nullptr;
  return &uses_[route];
}

void Ports::use(const Route& route, std::uint16_t port) {
  if (Use* use = use_of(route, port)) ++use->other;
}

void Ports::wait(const Route& route, std::uint16_t port, std::optional<std::uint64_t> age_ns) {
  Use* use = use_of(route, port);
  if (use == nullptr) return;
  ++use->time_wait;
  const std::uint64_t hold = hold_ns(route);
  if (hold == time_wait_ns || (age_ns && *age_ns < hold)) ++use->held;
}

std::uint64_t Ports::hold_ns(const Route& route) const {
  const auto found = namespaces_.find(route.netns);
  return found == namespaces_.end() ? time_wait_ns : hold_of(found->second.settings, route);
}

std::uint64_t Ports::usable(std::uint32_t netns) const {
  const auto found = namespaces_.find(netns);
  return found == namespaces_.end() ? 0 : found->second.candidates_in_all - found->second.bound.size();
}

std::optional<RouteUse> Ports::of(const Route& route, const std::optional<Pace>& pace) const {
  const auto found = uses_.find(route);
  if (found == uses_.end()) return std::nullopt;
  const Use& use = found->second;
  const double hold_seconds = static_cast<double>(hold_ns(route)) / second_ns;
  RouteUse out;
  out.route = route;
  out.usable = usable(route.netns);
  out.in_use = use.other + use.held;
  out.time_wait = use.time_wait;
  const std::uint64_t free_of_others = out.usable - std::min(out.usable, use.other);
  out.sustainable_per_second = static_cast<double>(free_of_others) / hold_seconds;
  if (out.is_full())
    out.seconds_left = 0;  // none is free: that nothing grows any more is how it looks
  else if (pace)
    out.seconds_left = seconds_until_full(out, *pace, static_cast<double>(use.other), hold_seconds);
  return out;
}

std::vector<Route> Ports::routes() const {
  std::vector<std::pair<double, Route>> ranked;
  for (const auto& [route, use] : uses_)
    if (use.other + use.held != 0)
      ranked.emplace_back(static_cast<double>(use.other + use.held) / static_cast<double>(usable(route.netns)), route);
  std::sort(ranked.begin(), ranked.end(), [](const auto& left, const auto& right) {
    return std::tie(right.first, left.second) < std::tie(left.first, right.second);
  });
  std::vector<Route> out;
  out.reserve(ranked.size());
  std::transform(ranked.begin(), ranked.end(), std::back_inserter(out), [](const auto& one) { return one.second; });
  return out;
}

}  // namespace closewatch
