// SPDX-License-Identifier: BSD-2-Clause
// TIME_WAIT: who enters the ledger, and what is told of what it finds out.
#include <closewatch/core/closing.hpp>
#include <closewatch/core/engine.hpp>

#include <algorithm>
#include <tuple>
#include <utility>

namespace closewatch {

void Engine::keep_bucket(const TransitionSeen& seen, const Closed& closed) {
  // Its end is told before the descriptors that it closes are.
  if (closed.closer && closed.closer->by == Cause::exit) processes_.exited(closed.closer->process.key);
  if (closed.bucket == Bucket::none) return;
  const State substate = substate_of(seen);
  Ledger::Bucket bucket;
  bucket.cookie = seen.cookie;
  bucket.known_ns = seen.time_ns;
  if (substate == State::fin_wait2 && seen.orphan_ns != 0) bucket.expires_ns = seen.time_ns + seen.orphan_ns;
  bucket.owner = ledger_.shared(closed.responsible);
  bucket.from = seen.from;
  bucket.substate = substate;
  bucket.role = closed.connection.tuple.role;
  bucket.mptcp = seen.evidence.mptcp;
  bucket.port_bound = seen.evidence.port_bound;
  bucket.unsure = closed.bucket == Bucket::unknown;
  // An orphan has been in FIN_WAIT2 before it was handed over.
  bucket.entered_ns = substate == State::time_wait && !bucket.unsure ? seen.time_ns : seen.entered_ns;
  if (settings_.keeps_accounts)
    bucket.workload = workloads_.of(closed.responsible.process ? closed.responsible.process->identity : Identity{},
                                    closed.connection.tuple);
  ledger_.enter(seen.tuple, bucket, changes_);
}

void Engine::count_without_port(const TransitionSeen& seen) {
  if (!settings_.keeps_accounts || !found_no_port(seen)) return;
  if (without_port_.size() < settings_.namespaces_limit || without_port_.contains(seen.tuple.netns))
    ++without_port_[seen.tuple.netns];
  else
    ++namespaces_refused_;
}

void Engine::end_bucket_of(const TransitionSeen& seen, std::vector<Fact>& facts) {
  // Its first steps are enough; where they were not seen, its own bucket tells.
  const bool opens = seen.from == State::syn_sent || seen.from == State::syn_recv;
  if (!opens && seen.from != State::established) return;
  if (seen.tuple.local.port == 0 || seen.tuple.peer.port == 0) return;
  const std::uint64_t since_ns = !opens && seen.entered_ns != 0 ? seen.entered_ns : seen.time_ns;
  ledger_.taken(seen.tuple, seen.cookie, since_ns, false, changes_);
  tell_changes(facts);
}

void Engine::on(const BucketRow& row, std::vector<Fact>& facts) {
  ledger_.row(row, changes_);
  tell_changes(facts);
}

void Engine::on(const PortRow& row, std::vector<Fact>& facts) {
  if (row.tuple.peer.port == 0) {
    if (settings_.keeps_accounts) keep_of_walk(bound_, row);
    return;
  }
  ledger_.taken(row.tuple, row.cookie, row.opened_ns != 0 ? row.opened_ns : row.time_ns, true, changes_);
  tell_changes(facts);
}

void Engine::on(const TablesWalked& walk, std::vector<Fact>&) { ledger_.walked(walk); }

void Engine::on(const NamespaceGone& gone, std::vector<Fact>& facts) {
  ledger_.gone(gone.netns, gone.time_ns, changes_);
  tell_changes(facts);
  namespaces_.erase(gone.netns);
  namespaces_seen_ns_.erase(gone.netns);
  without_port_.erase(gone.netns);
}

// A census that looks at namespaces looks at all that can be entered: whoever is not among them is gone, and its number
// is given out again. One that looks at none (a sweep's) tells nothing of them.
void Engine::forget_namespaces(std::uint64_t before_ns) {
  const bool looked = std::any_of(namespaces_seen_ns_.begin(), namespaces_seen_ns_.end(),
                                  [&](const auto& entry) { return entry.second >= before_ns; });
  if (!looked) return;
  std::erase_if(namespaces_seen_ns_, [&](const auto& entry) {
    if (entry.second >= before_ns) return false;
    namespaces_.erase(entry.first);
    without_port_.erase(entry.first);
    return true;
  });
}

void Engine::on(const NamespaceSeen& seen, std::vector<Fact>&) {
  if (namespaces_.size() >= settings_.namespaces_limit && !namespaces_.contains(seen.netns)) {
    ++namespaces_refused_;
    return;
  }
  const auto [found, first] = namespaces_.try_emplace(seen.netns);
  namespaces_seen_ns_[seen.netns] = seen.time_ns;
  NamespaceHealth& health = found->second;
  health.netns = seen.netns;
  if (!first && !health.before) health.before = std::move(health.now);
  health.now = seen.look;
}

// From before the start, or the event of its end was lost: its port's listener tells, where there is one.
Ledger::Found Engine::resolve_bucket(const Tuple& tuple, Ledger::Bucket& bucket, std::vector<Fact>& facts) {
  const Listener* listener = listeners_.by_local_end(tuple);
  if (settings_.filters_processes && (listener == nullptr || !listener->matched)) return Ledger::Found::unwanted;
  const Responsible owner = by_listener(listener, facts);
  bucket.role = listener != nullptr ? Role::accept : is_served(tuple) ? Role::connect : side_by_range(tuple);
  bucket.owner = ledger_.shared(owner);
  if (settings_.keeps_accounts) {
    Tuple known = tuple;
    known.role = bucket.role;
    bucket.workload = workloads_.of(owner.process ? owner.process->identity : Identity{}, known);
  }
  return Ledger::Found::owned;
}

/// Its other end is on this machine, and somebody listens there.
bool Engine::is_served(const Tuple& tuple) const {
  Tuple turned = tuple;
  std::swap(turned.local, turned.peer);
  return listeners_.by_local_end(turned) != nullptr;
}

// connect() takes its port from ip_local_port_range, a service has one outside of it as a rule.
Role Engine::side_by_range(const Tuple& tuple) const {
  const auto found = namespaces_.find(tuple.netns);
  if (found == namespaces_.end() || !found->second.now.settings.port_range) return Role::unknown;
  const PortRange& range = *found->second.now.settings.port_range;
  if (range.contains(tuple.local.port) == range.contains(tuple.peer.port)) return Role::unknown;
  return range.contains(tuple.local.port) ? Role::connect : Role::accept;
}

void Engine::conclude_buckets(std::vector<Fact>& facts) {
  std::unordered_set<std::uint64_t> held_back;
  for (const Pending& pending : pending_)
    if (const auto* seen = std::get_if<TransitionSeen>(&pending.what)) held_back.insert(seen->cookie);
  ledger_.conclude(
      now_ns_,
      [&](const Tuple& tuple, Ledger::Bucket& bucket) {
        return held_back.contains(bucket.cookie) ? Ledger::Found::awaited : resolve_bucket(tuple, bucket, facts);
      },
      changes_);
  tell_changes(facts);
}

void Engine::tell_changes(std::vector<Fact>& facts) {
  if (changes_.empty()) return;
  Ledger::Changes changes = std::exchange(changes_, {});
  std::sort(changes.begin(), changes.end(), [](const Ledger::Change& left, const Ledger::Change& right) {
    // Of one bucket the entry comes before the end.
    const bool left_ends = left.to == State::close;
    const bool right_ends = right.to == State::close;
    return std::tie(left.time_ns, left.bucket.cookie, left_ends) <
           std::tie(right.time_ns, right.bucket.cookie, right_ends);
  });
  for (const Ledger::Change& change : changes) {
    Tuple tuple = change.tuple;
    tuple.role = change.bucket.role;
    if (change.to == State::time_wait && settings_.keeps_accounts)
      accounts_.entered_time_wait(*change.bucket.owner, tuple, now_ns_);
    if (!started_) continue;  // the snapshot will have it as it is then
    Responsible owner = *change.bucket.owner;
    if (owner.process) owner.process->exited.reset();  // by now, and not when it closed
    tell(Transition{.time_ns = realtime(change.time_ns),
                    .connection = connection({tuple.netns, change.bucket.cookie}, tuple, change.bucket.mptcp),
                    .from = change.from,
                    .to = change.to,
                    .in_state_ns = since(change.time_ns, change.bucket.entered_ns),
                    .responsible = std::move(owner),
                    .actor = std::nullopt,
                    .cause = change.cause,
                    .ending = std::nullopt,
                    .by_sweep = change.by_sweep},
         facts);
  }
}

void Engine::snapshot_buckets(std::int64_t time_ns, std::vector<Fact>& facts) {
  for (const auto& [ends, bucket] : ledger_.buckets()) {
    if (!bucket.exists()) continue;
    Tuple tuple = ends;
    tuple.role = bucket.role;
    Responsible owner = *bucket.owner;
    if (owner.process) owner.process->exited.reset();
    tell(Snapshot{.time_ns = time_ns,
                  .connection = connection({tuple.netns, bucket.cookie}, tuple, bucket.mptcp),
                  .state = bucket.substate,
                  .age_ns = since(now_ns_, bucket.entered_ns),
                  .responsible = std::move(owner)},
         facts);
  }
}

}  // namespace closewatch
