// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/ledger.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace closewatch {
namespace {

/// A timer fires at the next jiffy, and its time is only known to one.
constexpr std::uint64_t timer_slack_ns = 50'000'000;
/// What no walk can tell of (a namespace that may not be entered) is let go so long after its time.
constexpr std::uint64_t unseen_slack_ns = 10'000'000'000;
/// An orphan that no walk has met: TCP_LINGER2 is for 120 s at most (TCP_FIN_TIMEOUT_MAX), and 60 s more of TIME_WAIT.
constexpr std::uint64_t orphan_at_most_ns = 120'000'000'000 + time_wait_ns;
/// Namespaces without buckets whose overflows are remembered: they come and go without end.
constexpr std::size_t namespaces_kept = 1024;
/// What has not grown for so long stands.
constexpr std::uint64_t pace_of_late_ns = 5'000'000'000;

/// It went out from here: of an unknown one services have the lower port.
bool is_outgoing(const Tuple& tuple, Role role) {
  return role == Role::connect || (role == Role::unknown && tuple.local.port > tuple.peer.port);
}

/// An orphan that moves to TIME_WAIT takes no other port than before: where it was one already at a checkpoint, it is
/// no growth since then. `since_ns`: 0 where that is not known.
template <typename Paces>
void had_its_port(Paces& paces, const Tuple& tuple, const Ledger::Bucket& bucket, std::uint64_t since_ns) {
  if (bucket.owner == nullptr || !is_outgoing(tuple, bucket.role)) return;
  const auto found = paces.find(route_of(tuple));
  if (found == paces.end()) return;
  for (auto* checkpoint : {&found->second.older, &found->second.newer})
    if (since_ns < checkpoint->time_ns) ++checkpoint->now;
}

}  // namespace

std::size_t Ledger::Ends::operator()(const Tuple& tuple) const noexcept {
  return Hash{}
      .add(std::uint64_t{tuple.netns} << 32U | std::uint64_t{tuple.local.port} << 16U | tuple.peer.port)
      .add(tuple.local.address)
      .add(tuple.peer.address)
      .value();
}

bool Ledger::Ends::operator()(const Tuple& left, const Tuple& right) const noexcept {
  return left.netns == right.netns && left.family == right.family && left.local == right.local &&
         left.peer == right.peer;
}

void Ledger::enter(const Tuple& tuple, const Bucket& bucket, Changes& changes) {
  taken(tuple, bucket.cookie, bucket.known_ns, false, changes);
  const auto found = buckets_.find(tuple);
  if (found == buckets_.end()) {
    if (Bucket* added = add(tuple, bucket); added != nullptr) count(tuple, *added, Step::entered, bucket.known_ns);
    return;
  }
  if (found->second.cookie != bucket.cookie) {
    // Its event was held back, and a walk has met the next one.
    count(tuple, bucket, Step::entered, bucket.known_ns);
    count(tuple, bucket, Step::left, bucket.known_ns);
    tell_end(tuple, bucket, bucket.unsure ? Cause::overflow : Cause::reused, found->second.entered_ns, true, changes);
    return;
  }
  // A walk has met it before its event was read.
  const Bucket row = std::exchange(found->second, bucket);
  count(tuple, row, Step::left, bucket.known_ns);
  count(tuple, found->second, Step::entered, bucket.known_ns);
  confirm(tuple, found->second, row.substate, row.expires_ns, changes);
  found->second.known_ns = std::max(row.known_ns, bucket.known_ns);
}

void Ledger::taken(const Tuple& tuple, std::uint64_t cookie, std::uint64_t time_ns, bool by_sweep, Changes& changes) {
  if (buckets_.empty()) return;
  const auto found = buckets_.find(tuple);
  if (found == buckets_.end() || found->second.cookie == cookie) return;
  if (time_ns < found->second.known_ns) return;  // what tells of it is older than the bucket
  Bucket& bucket = found->second;
  // While it is in FIN_WAIT2 a bucket refuses a SYN, and connect() leaves it (tcp_timewait_state_process(),
  // tcp_twsk_unique()): it was promoted, unseen.
  if (bucket.substate == State::fin_wait2 && !bucket.unsure && bucket.owner != nullptr)
    promote_unseen(tuple, bucket, changes);
  end(tuple, bucket, bucket.unsure ? Cause::overflow : Cause::reused, time_ns, by_sweep, changes);
  // Without room the row of a walk may bring it back, until the next walk.
  if (!by_sweep && taken_.size() < settings_.buckets) taken_.insert(bucket.cookie);
  buckets_.erase(found);
}

void Ledger::row(const BucketRow& row, Changes& changes) {
  if (taken_.contains(row.cookie)) return;
  const std::uint64_t expires_ns =
      row.expires_in_ns > 0 ? row.time_ns + static_cast<std::uint64_t>(row.expires_in_ns) : row.time_ns;
  const auto found = buckets_.find(row.tuple);
  if (found != buckets_.end() && found->second.cookie == row.cookie) {
    confirm(row.tuple, found->second, row.substate, expires_ns, changes);
    found->second.known_ns = std::max(row.time_ns, found->second.known_ns);
    return;
  }
  if (found != buckets_.end()) {
    taken(row.tuple, row.cookie, row.time_ns, true, changes);
    if (buckets_.contains(row.tuple)) return;  // the row is older
  }
  Bucket bucket;
  bucket.cookie = row.cookie;
  bucket.expires_ns = expires_ns;
  bucket.known_ns = row.time_ns;
  bucket.substate = row.substate;
  bucket.role = row.tuple.role;
  // The timer is set for 60 s at the entry into TIME_WAIT; an orphan's in FIN_WAIT2 for a time that is not told. It may
  // fire seconds late (the wheel of timers is coarse).
  if (row.substate == State::time_wait && row.expires_in_ns <= static_cast<std::int64_t>(time_wait_ns)) {
    const std::uint64_t age_ns = time_wait_ns - static_cast<std::uint64_t>(row.expires_in_ns);  // of a time below 0 too
    bucket.entered_ns = row.time_ns - std::min(row.time_ns, age_ns);
  }
  add(row.tuple, bucket);
}

void Ledger::confirm(const Tuple& tuple, Bucket& bucket, State substate, std::uint64_t expires_ns, Changes& changes) {
  const bool promoted = substate == State::time_wait && bucket.substate == State::fin_wait2;
  const bool made_after_all = bucket.unsure && bucket.substate == State::time_wait;
  std::optional<Bucket> before;  // of a quarter of a million nothing has changed
  if (promoted || made_after_all) before = bucket;
  bucket.expires_ns = expires_ns;
  bucket.missed = false;
  bucket.unsure = false;
  if (!before) return;
  // Promotion sets the timer anew, for 60 s; but jiffies are coarse, and it was no bucket before its event, nor in
  // TIME_WAIT when last met.
  const std::uint64_t by_timer_ns = promoted && expires_ns > time_wait_ns ? expires_ns - time_wait_ns : 0;
  bucket.entered_ns = std::max(by_timer_ns, before->known_ns);
  bucket.substate = State::time_wait;
  // Where it has no owner yet this is how it was first met.
  if (before->owner != nullptr)
    tell_entry(tuple, *before, promoted ? State::fin_wait2 : before->from, bucket.entered_ns, changes);
  count(tuple, bucket, Step::entered, bucket.entered_ns);
  if (promoted) had_its_port(paces_, tuple, bucket, before->entered_ns);
}

// Not before it was last told of; since when it is not known.
void Ledger::promote_unseen(const Tuple& tuple, Bucket& bucket, Changes& changes) {
  const std::uint64_t orphan_ns = std::exchange(bucket.entered_ns, 0);
  tell_entry(tuple, bucket, State::fin_wait2, bucket.known_ns, changes);
  bucket.substate = State::time_wait;
  count(tuple, bucket, Step::entered, bucket.known_ns);
  had_its_port(paces_, tuple, bucket, orphan_ns);
}

void Ledger::tell_entry(const Tuple& tuple, const Bucket& before, State from, std::uint64_t time_ns, Changes& changes) {
  changes.push_back({.tuple = tuple,
                     .bucket = before,
                     .from = from,
                     .to = State::time_wait,
                     .cause = Cause::network,
                     .time_ns = time_ns,
                     .by_sweep = true});
}

void Ledger::walked(const TablesWalked& walk) {
  walks_[walk.netns] = {walk.began_ns, walk.time_ns};
  if (!walk.overflows) return;
  Overflows& here = overflows_[walk.netns];
  here.unclaimed += *walk.overflows - std::min(here.told, *walk.overflows);
  here.told = *walk.overflows;
}

void Ledger::gone(std::uint32_t netns, std::uint64_t time_ns, Changes& changes) {
  for (auto at = buckets_.begin(); at != buckets_.end();) {
    if (at->first.netns != netns) {
      ++at;
      continue;
    }
    const std::uint64_t due = at->second.due_ns();
    const bool in_time = due != 0 && due <= time_ns;
    end(at->first, at->second, in_time ? Cause::expired : Cause::gone, in_time ? due : time_ns, true, changes);
    at = buckets_.erase(at);
  }
  overflows_.erase(netns);
}

bool Ledger::is_over(const Tuple& tuple, Bucket& bucket, std::uint64_t now_ns, Changes& changes) {
  const auto walk = walks_.find(tuple.netns);
  if (walk != walks_.end()) {
    if (bucket.known_ns >= walk->second.began_ns) return false;  // met, or younger
    return is_over_unmet(tuple, bucket, walk->second.time_ns, changes);
  }
  const std::uint64_t due = bucket.due_ns();
  const std::uint64_t last = due != 0 ? due : bucket.known_ns + orphan_at_most_ns;
  // An orphan may have been promoted since a walk met it.
  const std::uint64_t promoted_ns = due != 0 && bucket.substate == State::fin_wait2 ? time_wait_ns : 0;
  if (now_ns < last + promoted_ns + unseen_slack_ns) return false;
  if (bucket.unsure)
    end(tuple, bucket, Cause::overflow, bucket.known_ns, true, changes);
  else
    end(tuple, bucket, Cause::expired, last, true, changes);
  return true;
}

bool Ledger::is_over_unmet(const Tuple& tuple, Bucket& bucket, std::uint64_t walked_ns, Changes& changes) {
  if (bucket.unsure) {
    std::uint64_t& overflows = overflows_[tuple.netns].unclaimed;
    const bool overflowed = overflows > 0;
    if (overflowed) --overflows;
    end(tuple, bucket, overflowed ? Cause::overflow : Cause::gone, bucket.known_ns, true, changes);
    return true;
  }
  const std::uint64_t due = bucket.due_ns();
  if (due != 0 && due <= walked_ns + timer_slack_ns) {
    end(tuple, bucket, Cause::expired, std::min(due, walked_ns), true, changes);
    return true;
  }
  // An absence is believed when two walks agree: its owner would be lost for good.
  if (!std::exchange(bucket.missed, true)) {
    ++differences_.early;
    return false;
  }
  end(tuple, bucket, Cause::gone, walked_ns, true, changes);
  return true;
}

void Ledger::end(const Tuple& tuple, const Bucket& bucket, Cause cause, std::uint64_t time_ns, bool by_sweep,
                 Changes& changes) {
  tell_end(tuple, bucket, cause, time_ns, by_sweep, changes);
  forget(tuple, bucket, time_ns);
}

void Ledger::tell_end(const Tuple& tuple, const Bucket& bucket, Cause cause, std::uint64_t time_ns, bool by_sweep,
                      Changes& changes) {
  if (bucket.owner == nullptr) return;
  changes.push_back({.tuple = tuple,
                     .bucket = bucket,
                     .from = bucket.unsure ? bucket.from : bucket.substate,
                     .to = State::close,
                     .cause = cause,
                     .time_ns = std::max(time_ns, bucket.known_ns),  // timers of 60 s fire up to seconds late
                     .by_sweep = by_sweep});
}

Ledger::Bucket* Ledger::add(const Tuple& tuple, const Bucket& bucket) {
  if (buckets_.size() >= settings_.buckets) {
    ++differences_.refused;
    return nullptr;
  }
  ++by_namespace_[tuple.netns];
  if (bucket.owner == nullptr) has_unresolved_ = true;
  return &buckets_.emplace(tuple, bucket).first->second;
}

void Ledger::forget(const Tuple& tuple, const Bucket& bucket, std::uint64_t time_ns) {
  count(tuple, bucket, Step::left, time_ns);
  const auto here = by_namespace_.find(tuple.netns);
  if (here != by_namespace_.end() && --here->second == 0) by_namespace_.erase(here);
}

std::vector<std::uint32_t> Ledger::namespaces() const {
  std::vector<std::uint32_t> all;
  all.reserve(by_namespace_.size());
  for (const auto& [netns, buckets] : by_namespace_) all.push_back(netns);
  return all;
}

void Ledger::count(const Tuple& tuple, const Bucket& bucket, Step step, std::uint64_t time_ns) {
  const bool is_counted = bucket.owner != nullptr && !bucket.unsure && bucket.substate == State::time_wait;
  if (!settings_.keeps_paces || !is_counted || !is_outgoing(tuple, bucket.role)) return;
  auto found = paces_.find(route_of(tuple));
  if (found == paces_.end()) {
    if (step == Step::left) return;
    if (paces_.size() >= settings_.routes) {
      ++differences_.routes_refused;
      return;
    }
    RoutePace fresh;
    fresh.older.time_ns = fresh.newer.time_ns = time_ns;
    found = paces_.emplace(route_of(tuple), fresh).first;
  }
  RoutePace& pace = found->second;
  switch (step) {
    case Step::entered:
      ++pace.entered;
      ++pace.now;
      return;
    case Step::found:  // it was there before: no growth
      ++pace.now;
      ++pace.older.now;
      ++pace.newer.now;
      return;
    case Step::left:
      if (pace.now > 0) --pace.now;
      return;
  }
}

void Ledger::forget_namespaces() {
  if (overflows_.size() < namespaces_kept) return;
  std::erase_if(overflows_, [&](const auto& entry) { return !by_namespace_.contains(entry.first); });
}

void Ledger::keep_paces(std::uint64_t now_ns) {
  for (auto at = paces_.begin(); at != paces_.end();) {
    RoutePace& pace = at->second;
    const bool idle = pace.now == 0 && pace.entered == pace.newer.entered;
    if (now_ns >= pace.newer.time_ns + pace_takes_ns) {
      pace.older = pace.newer;
      pace.newer = {now_ns, pace.entered, pace.now};
    }
    at = idle ? paces_.erase(at) : std::next(at);
  }
}

std::optional<Pace> Ledger::pace(const Route& route, std::uint64_t now_ns) const {
  const auto found = paces_.find(route);
  if (found == paces_.end()) return std::nullopt;
  const RoutePace& pace = found->second;
  const Checkpoint& base = now_ns >= pace.newer.time_ns + pace_takes_ns ? pace.newer : pace.older;
  if (now_ns < base.time_ns + pace_takes_ns) return std::nullopt;
  const double seconds = static_cast<double>(now_ns - base.time_ns) / 1e9;
  const double net = (static_cast<double>(pace.now) - static_cast<double>(base.now)) / seconds;
  // What stood still of late has grown by a burst.
  const bool tells_more = pace.newer.time_ns > base.time_ns && now_ns >= pace.newer.time_ns + pace_of_late_ns;
  const bool stands = tells_more && pace.now <= pace.newer.now;
  return Pace{.entered_per_second = static_cast<double>(pace.entered - base.entered) / seconds,
              .net_per_second = stands ? std::min(net, 0.0) : net,
              .other_per_second = 0};
}

std::shared_ptr<const Responsible> Ledger::shared(const Responsible& owner) {
  const std::uint32_t pid = owner.process ? owner.process->identity.key.pid : 0;
  std::shared_ptr<const Responsible>& slot = owners_[pid % owners_.size()];
  const auto same = [&] {
    if (slot == nullptr || slot->attribution != owner.attribution) return false;
    if (slot->process.has_value() != owner.process.has_value()) return false;
    return !owner.process ||
           (slot->process->identity == owner.process->identity && slot->process->entry == owner.process->entry);
  };
  if (!same()) slot = std::make_shared<const Responsible>(owner);
  return slot;
}

}  // namespace closewatch
