// SPDX-License-Identifier: BSD-2-Clause
#include "report_ports.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace closewatch {
namespace {

constexpr double second_ns = 1e9;
/// A pool breathes: a few connections more than before are no growth, nor is a twentieth of what there is room for.
constexpr std::uint64_t few = 10;
constexpr std::uint64_t share_that_is_few = 20;

/// Its local port is nobody's to choose: a listener's or its children's, or bind() was called for it.
bool is_bound(const SocketRow& row) {
  return row.state == State::listen || row.tuple.role == Role::accept || row.evidence.port_bound;
}

// One that TCP has ended has given its port back, unless that was bound (tcp_set_state()).
bool takes_route(const SocketRow& row) { return !is_bound(row) && row.state != State::close; }

bool is_nearer(const RouteUse& left, const RouteUse& right) {
  const double never = std::numeric_limits<double>::infinity();
  const auto rank = [never](const RouteUse& use) {
    return std::tuple{use.seconds_left.value_or(never),
                      -static_cast<double>(use.in_use) / static_cast<double>(std::max(use.usable, std::uint64_t{1}))};
  };
  return std::tuple{rank(left), left.route} < std::tuple{rank(right), right.route};
}

}  // namespace

Role side_of(const Ledger::Bucket& bucket, const Workloads& workloads) {
  return bucket.role != Role::unknown ? bucket.role : workloads[bucket.workload].service.side;
}

std::uint64_t moment_of(const ReportInput& input) {
  return static_cast<std::uint64_t>(input.to_ns) - static_cast<std::uint64_t>(input.realtime_offset_ns);
}

std::unordered_map<Route, std::uint64_t, RouteHash> others_by_route(const std::vector<SocketRow>& rows) {
  std::unordered_map<Route, std::uint64_t, RouteHash> out;
  for (const SocketRow& row : rows)
    if (takes_route(row)) ++out[route_of(row.tuple)];
  return out;
}

PortUse::PortUse(const ReportInput& input)
    : input_(input), now_ns_(moment_of(input)), others_(others_by_route(input.rows)) {
  for (const auto& [netns, health] : input.namespaces) ports_.set(netns, health.now.settings);
  bind_all();
  use_all();
  for (const Route& route : ports_.routes()) {
    const auto use = of(route);
    if (use && (use->seconds_left || use->in_use * 2 > use->usable)) short_.emplace(route, *use);
  }
}

void PortUse::bind_all() {
  for (const SocketRow& row : input_.rows)
    if (is_bound(row)) ports_.bind(row.tuple.netns, row.tuple.local.port);
  for (const PortRow& row : input_.bound) ports_.bind(row.tuple.netns, row.tuple.local.port);
  for (const auto& [tuple, bucket] : input_.ledger.buckets())
    if (bucket.exists() && (bucket.port_bound || side_of(bucket, input_.workloads) == Role::accept))
      ports_.bind(tuple.netns, tuple.local.port);
}

void PortUse::use_all() {
  for (const SocketRow& row : input_.rows)
    if (takes_route(row)) ports_.use(route_of(row.tuple), row.tuple.local.port);
  for (const auto& [tuple, bucket] : input_.ledger.buckets()) {
    if (!bucket.exists()) continue;
    if (bucket.substate == State::time_wait)
      ports_.wait(route_of(tuple), tuple.local.port, since(now_ns_, bucket.entered_ns));
    else
      ports_.use(route_of(tuple), tuple.local.port);
  }
}

std::optional<RouteUse> PortUse::of(const Route& route) const { return ports_.of(route, pace_of(route)); }

// The ledger knows how TIME_WAIT grows; how the other states do, two walks tell.
std::optional<Pace> PortUse::pace_of(const Route& route) const {
  std::optional<Pace> pace = input_.ledger.pace(route, now_ns_);
  const std::uint64_t watched_ns = since(now_ns_, input_.others_before_ns).value_or(0);
  if (watched_ns < pace_takes_ns) return pace;
  const auto count = [&](const auto& counts) {
    const auto found = counts.find(route);
    return found == counts.end() ? std::uint64_t{0} : found->second;
  };
  const std::uint64_t before = count(input_.others_before);
  const std::uint64_t now = count(others_);
  const double per_second =
      (static_cast<double>(now) - static_cast<double>(before)) / (static_cast<double>(watched_ns) / second_ns);
  const bool grows = now > before + std::max(few, ports_.usable(route.netns) / share_that_is_few);
  if (!pace && !grows) return std::nullopt;
  if (!pace) pace = Pace{};
  pace->net_per_second += per_second;
  pace->other_per_second = grows ? per_second : 0;
  return pace;
}

std::vector<RouteUse> PortUse::short_of(std::uint32_t netns) const {
  std::vector<RouteUse> out;
  for (const auto& [route, use] : short_)
    if (route.netns == netns) out.push_back(use);
  std::sort(out.begin(), out.end(), is_nearer);
  return out;
}

}  // namespace closewatch
