// SPDX-License-Identifier: BSD-2-Clause
#include "report_draft.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>

namespace closewatch {
namespace {

/// Of the sockets and the holders of a group, unless all were asked for.
constexpr std::size_t shown_of_a_group = 20;

/// Tells stacks apart by the code that they name: addresses differ from process to process.
void append_key(std::string& key, const std::optional<Stack>& stack) {
  if (!stack) return;
  for (const Frame& frame : stack->frames) {
    for (const std::string_view text : {std::string_view{frame.function}, std::string_view{frame.module}}) {
      key.append(text);
      key.push_back('\0');
    }
    key.append(std::to_string(frame.module.empty() && frame.function.empty() ? frame.address : frame.offset));
    key.push_back('\n');
  }
}

std::string stack_key(const ReportInput& input, std::uint64_t cookie) {
  const auto found = input.stacks.find(cookie);
  if (!input.with_stacks || found == input.stacks.end()) return {};
  const Stacks& stacks = found->second;
  if (!stacks.end_read && !stacks.opened) return {};
  std::string key = stacks.end_read ? "r" : "o";
  append_key(key, stacks.end_read ? stacks.end_read : stacks.opened);
  return key;
}

/// What all members have in common.
template <typename Value>
void keep_common(std::optional<Value>& common, const Value& value, bool first) {
  if (first)
    common = value;
  else if (common && *common != value)
    common.reset();
}

/// An accepted connection has its listener's port in common with the others of its group, one that was opened its
/// peer and the address it goes out from: only these are told.
void set_patterns(GroupReport& group, const std::vector<Member>& members) {
  bool one_family = true;
  bool one_role = true;
  const Tuple& sample = members.front().socket->tuple;
  for (const Member& member : members) {
    const Tuple& tuple = member.socket->tuple;
    const bool first = &member == &members.front();
    one_family = one_family && tuple.family == sample.family;
    one_role = one_role && tuple.role == sample.role;
    keep_common(group.local.address, tuple.local.address, first);
    keep_common(group.local.port, tuple.local.port, first);
    keep_common(group.peer.address, tuple.peer.address, first);
    keep_common(group.peer.port, tuple.peer.port, first);
  }
  group.local.family = group.peer.family = sample.family;
  group.side = one_role ? sample.role : Role::unknown;
  if (!one_family || group.side == Role::accept) {
    group.local.address.reset();
    group.peer.address.reset();
  }
  if (group.side == Role::accept) group.peer.port.reset();
  if (group.side == Role::connect) group.local.port.reset();
}

// With room for some only, no process is to be hidden behind the many descriptors of another.
void set_holders(GroupReport& group, const std::vector<Member>& members, std::size_t most) {
  std::unordered_set<ProcessKey, ProcessKeyHash> met;
  std::vector<Holder> others;
  for (const Member& member : members)
    for (const Holder& holder : member.socket->holders) {
      ++group.holders_in_all;
      std::vector<Holder>& place = met.insert(holder.process.key).second ? group.holders : others;
      if (place.size() < most) place.push_back(holder);
    }
  for (const Holder& holder : others)
    if (group.holders.size() < most) group.holders.push_back(holder);
}

SocketReport socket_report(const Member& member) {
  const Judged& socket = *member.socket;
  SocketReport out;
  out.connection = {{socket.tuple.netns, socket.cookie}, socket.tuple, socket.mptcp};
  out.age_ns = member.age_ns;
  out.age_is_lower_bound = socket.since_is_lower_bound;
  out.condition = socket.condition;
  out.process = socket.process;
  out.attribution = socket.attribution;
  out.holders = socket.holders;
  return out;
}

int alarm(std::optional<Trend> trend) {
  if (!trend) return 0;
  switch (*trend) {
    case Trend::draining: return 1;
    case Trend::steady: return 2;
    case Trend::growing: return 3;
  }
  std::unreachable();
}

/// Trends are known by workload; a process may be of several, and then the worst counts.
std::optional<Trend> trend_of(const ReportInput& input, Kind kind, const std::vector<Member>& members) {
  if (!input.trend) return std::nullopt;
  std::optional<Trend> worst;
  std::set<WorkloadId> asked;
  for (const Member& member : members) {
    if (!asked.insert(member.socket->workload).second) continue;
    const auto trend = input.trend(member.socket->workload, kind);
    if (alarm(trend) > alarm(worst)) worst = trend;
  }
  return worst;
}

bool is_older(const Member& left, const Member& right) {
  return std::tuple{~left.age_ns, left.socket->cookie} < std::tuple{~right.age_ns, right.socket->cookie};
}

GroupReport group_of(const ReportInput& input, std::vector<Member> members) {
  std::sort(members.begin(), members.end(), is_older);
  const std::size_t most = input.verbose ? std::numeric_limits<std::size_t>::max() : shown_of_a_group;
  const Judged& oldest = *members.front().socket;
  GroupReport group;
  group.kind = oldest.kind;
  group.verdict = oldest.verdict;
  group.count = members.size();
  group.trend = trend_of(input, group.kind, members);
  set_patterns(group, members);
  set_holders(group, members, most);
  for (const Member& member : members) {
    if (member.ended) ++group.ended;
    group.unread_bytes += member.socket->condition.unread_bytes;
    const auto& queue = member.socket->accept_queue;
    if (queue && (!group.accept_queue || queue->length > group.accept_queue->length)) group.accept_queue = queue;
    if (group.sockets.size() < most) group.sockets.push_back(socket_report(member));
  }
  const auto stacks = input.stacks.find(oldest.cookie);
  if (input.with_stacks && stacks != input.stacks.end()) group.stacks = stacks->second;
  return group;
}

bool is_worse(const GroupReport& left, const GroupReport& right) {
  const auto rank = [](const GroupReport& group) {
    return std::tuple{-std::to_underlying(group.verdict), ~group.count, ~group.sockets.front().age_ns};
  };
  return rank(left) < rank(right);
}

EndPattern whole(Family family, const Endpoint& end) { return {family, end.address, end.port}; }

}  // namespace

void Draft::meet(const Identity& process) {
  if (process.key.pid == 0) return;
  const auto order = [](const Identity& one) { return std::tuple{one.key.start_ns, one.key.pid, ~one.exec_id}; };
  if (first.key.pid == 0 || order(process) < order(first)) first = process;
}

Place place_of(const Tuple& tuple) {
  if (tuple.role != Role::accept) return {false, route_of(tuple), 0};
  Place place;
  place.accepted = true;
  place.route.netns = tuple.netns;
  place.local_port = tuple.local.port;
  return place;
}

CloseWaitReport close_wait_of(const Draft& draft, const ReportInput& input) {
  CloseWaitReport out;
  out.now = draft.close_waits;
  std::map<std::tuple<Kind, Verdict, std::string>, std::vector<Member>> groups;
  for (const Member& member : draft.sockets) {
    const Judged& socket = *member.socket;
    if (socket.verdict == Verdict::leak) ++out.leaked;
    if (socket.verdict == Verdict::stuck) ++out.stuck;
    if (member.age_ns >= out.oldest_ns) {
      out.oldest_ns = member.age_ns;
      out.oldest_is_lower_bound = socket.since_is_lower_bound;
    }
    groups[{socket.kind, socket.verdict, stack_key(input, socket.cookie)}].push_back(member);
  }
  out.groups.reserve(groups.size());
  for (auto& [key, members] : groups) out.groups.push_back(group_of(input, std::move(members)));
  std::stable_sort(out.groups.begin(), out.groups.end(), is_worse);
  return out;
}

TimeWaitReport time_wait_of(const Draft& draft, double seconds, const PortUse& ports) {
  TimeWaitReport out;
  for (const auto& [place, now] : draft.time_wait) {
    TimeWaitEndpoint endpoint;
    endpoint.now = now;
    if (place.accepted) {
      endpoint.side = Role::accept;
      endpoint.local.port = place.local_port;
    } else {
      endpoint.local = {place.route.family, place.route.local, std::nullopt};
      endpoint.peer = whole(place.route.family, place.route.peer);
      endpoint.ports = ports.of(place.route);
    }
    out.now += now;
    out.by_endpoint.push_back(endpoint);
  }
  std::stable_sort(out.by_endpoint.begin(), out.by_endpoint.end(),
                   [](const auto& left, const auto& right) { return left.now > right.now; });
  out.entered = draft.account != nullptr ? draft.account->time_wait_entered : 0;
  if (seconds > 0) out.per_second = static_cast<double>(out.entered) / seconds;
  return out;
}

}  // namespace closewatch
