// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/listeners.hpp>

#include <algorithm>
#include <ranges>
#include <vector>

namespace closewatch {
namespace {

/// The children that die with a listener do so within its closing call: a short memory is enough.
constexpr std::size_t closers_kept = 1024;

bool is_wildcard(const Address& address) {
  return std::all_of(address.begin(), address.end(), [](std::uint8_t byte) { return byte == 0; });
}

bool receives(const Tuple& listener, const Tuple& connection) {
  // A wildcard IPv6 listener takes IPv4 too, but for IPV6_V6ONLY, where another listener has the IPv4 port.
  if (is_wildcard(listener.local.address))
    return listener.family == connection.family || listener.family == Family::ipv6;
  return listener.family == connection.family && listener.local.address == connection.local.address;
}

/// Of several that could have taken it, the kernel prefers the more specific (inet_lookup_listener()).
int specificity(const Tuple& listener, const Tuple& connection) {
  return (is_wildcard(listener.local.address) ? 0 : 2) + (listener.family == connection.family ? 1 : 0);
}

}  // namespace

void Listeners::opened(const Listener& listener) {
  const auto found = listeners_.find(listener.cookie);
  if (found != listeners_.end()) {
    // The same socket may listen on another port by now (disconnected, bound again), where its end was lost.
    if (place(found->second.tuple) != place(listener.tuple)) {
      forget_place(found->second);
      places_.emplace(place(listener.tuple), listener.cookie);
    }
    const Identity acceptor = found->second.acceptor;
    found->second = listener;
    found->second.acceptor = acceptor;
    return;
  }
  if (listeners_.size() >= limit_) {
    ++refused_;
    return;
  }
  listeners_.emplace(listener.cookie, listener);
  places_.emplace(place(listener.tuple), listener.cookie);
}

void Listeners::accepted(std::uint64_t cookie, const Identity& acceptor) {
  const auto found = listeners_.find(cookie);
  if (found != listeners_.end()) found->second.acceptor = acceptor;
}

void Listeners::closed(std::uint64_t cookie, const Tuple& tuple, const std::optional<Closer>& closer) {
  erase(cookie);
  if (!closer || !gone_.emplace(cookie, Gone{tuple, *closer}).second) return;
  closed_.push_back(cookie);
  if (closed_.size() > closers_kept) {
    gone_.erase(closed_.front());
    closed_.pop_front();
  }
}

void Listeners::forget_unseen(const WalkDone& done, bool lost) {
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, listener] : listeners_)
    if (listener.seen_ns < done.began_ns && (lost || done.meets(listener.tuple.netns, State::listen)))
      gone.push_back(cookie);
  for (const std::uint64_t cookie : gone) erase(cookie);
}

void Listeners::erase(std::uint64_t cookie) {
  const auto found = listeners_.find(cookie);
  if (found == listeners_.end()) return;
  forget_place(found->second);
  listeners_.erase(found);
}

void Listeners::forget_place(const Listener& listener) {
  auto [at, end] = places_.equal_range(place(listener.tuple));
  at = std::find_if(at, end, [&](const auto& entry) { return entry.second == listener.cookie; });
  if (at != end) places_.erase(at);
}

const Listener* Listeners::by_cookie(std::uint64_t cookie) const {
  const auto found = listeners_.find(cookie);
  return found == listeners_.end() ? nullptr : &found->second;
}

const Listener* Listeners::by_local_end(const Tuple& tuple) const {
  const Listener* best = nullptr;
  auto [at, end] = places_.equal_range(place(tuple));
  for (; at != end; ++at) {
    const Listener& candidate = listeners_.at(at->second);
    if (!receives(candidate.tuple, tuple)) continue;
    const int more = best == nullptr ? 1 : specificity(candidate.tuple, tuple) - specificity(best->tuple, tuple);
    // One whose end was lost stands beside the one that has its port now, which was seen later.
    if (more > 0 || (more == 0 && candidate.seen_ns > best->seen_ns)) best = &candidate;
  }
  return best;
}

std::optional<Closer> Listeners::closer_of(std::uint64_t cookie) const {
  const auto found = gone_.find(cookie);
  if (found == gone_.end()) return std::nullopt;
  return found->second.closer;
}

std::optional<Closer> Listeners::closer_of_local_end(const Tuple& tuple) const {
  for (const std::uint64_t cookie : std::views::reverse(closed_)) {
    const Gone& gone = gone_.at(cookie);
    if (place(gone.tuple) == place(tuple) && receives(gone.tuple, tuple)) return gone.closer;
  }
  return std::nullopt;
}

}  // namespace closewatch
