// SPDX-License-Identifier: BSD-2-Clause
// What walks bring: rows, holders, buckets; and what rests on them: the snapshot, owners, findings, the report.
#include <closewatch/core/closing.hpp>
#include <closewatch/core/engine.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace closewatch {
namespace {

/// Walks cost a look at every descriptor of the machine: not more often than so, and a tenth of the time at most.
constexpr std::uint64_t walk_pause_ns = 100'000'000;
constexpr std::uint64_t walk_share = 10;

/// Descriptors are counted every ten seconds: of whoever was left out for so long nothing is to be told.
constexpr std::uint64_t forgotten_ns = 60'000'000'000;

}  // namespace

void Engine::on(const SocketRow& row, std::vector<Fact>& facts) {
  if (settings_.keeps_accounts && !row.evidence.hidden) {
    keep_of_walk(rows_, row);
    if (row.process.key.pid != 0) (void)entry_of(row.process, facts);
  }
  if (row.state == State::listen) {
    listeners_.opened({row.cookie, row.tuple, row.process, {}, row.evidence.matched, row.time_ns});
    detector_.row(row);
    return;
  }
  if (row.state == State::close_wait || row.state == State::close) {
    // Its workload is named by its program, which is to be known when the walk is done.
    if (row.process.key.pid != 0) (void)entry_of(row.process, facts);
    detector_.row(row);
  }
  if (is_closing(row.state)) keep_row(row);
}

void Engine::on(const HolderRow& row, std::vector<Fact>& facts) {
  (void)entry_of(row.holder.process, facts);
  detector_.holder(row);
}

void Engine::on(const DescriptorClosed& seen, std::vector<Fact>& facts) {
  judge(facts, [&](auto& judgements) { detector_.released(seen, judgements); });
}

void Engine::on(const DescriptorsSeen& seen, std::vector<Fact>&) {
  if (descriptors_.size() >= settings_.processes_limit && !descriptors_.contains(seen.key)) {
    // Who was not met by the last countings has ended, or has no socket any more.
    std::erase_if(descriptors_,
                  [&](const auto& entry) { return entry.second.last.time_ns + forgotten_ns < seen.time_ns; });
    if (descriptors_.size() >= settings_.processes_limit) {
      ++descriptors_refused_;
      return;
    }
  }
  Descriptors& known = descriptors_[seen.key];
  const std::uint64_t sockets = known.last.sockets;
  known.last = seen;
  if (seen.sockets == 0) known.last.sockets = std::min(sockets, seen.open);
  known.growth.add(seen.time_ns, seen.open);
}

void Engine::on(const StacksSeen& seen, std::vector<Fact>& facts) {
  const auto found = stacks_.find(seen.cookie);
  if (found == stacks_.end() && stacks_.size() >= settings_.stacks_limit) {
    ++stacks_refused_;
    return;
  }
  KnownStacks& known = found == stacks_.end() ? stacks_[seen.cookie] : found->second;
  for (const bool end_read : {false, true}) {
    const auto& now = end_read ? seen.end_read : seen.opened;
    auto& before = end_read ? known.raw_end_read : known.raw_opened;
    if (!now || before == now) continue;
    before = now;
    facts.emplace_back(StackWanted{seen.cookie, end_read, *now});
  }
}

void Engine::on(const StackResolved& answer, std::vector<Fact>&) {
  const auto found = stacks_.find(answer.cookie);
  if (found == stacks_.end()) return;
  (answer.end_read ? found->second.resolved.end_read : found->second.resolved.opened) = answer.stack;
}

void Engine::keep_row(const SocketRow& row) {
  Known* known = room_for(row.cookie);
  if (known == nullptr) {
    if (!started_) ++table_lost_;  // later it was counted already, with the transition that found no room
    return;
  }
  known->walk = walk_;
  known->missed = false;
  if (known->changed_ns > row.time_ns) return;  // a transition that came after the row was read first
  *known = {
      .tuple = row.tuple,
      .state = row.state,
      .mptcp = row.evidence.mptcp,
      .changed_ns = row.time_ns,
      .entered_ns = row.entered_ns,
      .listener_cookie = row.listener_cookie,
      .attribution = row.attribution,
      .process = row.process,
      .no_socket = row.evidence.no_socket,
      .owner_met = row.evidence.owner_met,
      .walk = walk_,
  };
}

void Engine::on(const WalkDone& done, std::vector<Fact>& facts) {
  const std::vector<std::pair<std::uint64_t, Known>> vanished = take_vanished(done);
  listeners_.forget_unseen(done, lost_since_walk_);
  lost_since_walk_ = false;
  answer_owners();
  ++walk_;
  // Rows from before are those of a walk that met an error on its way.
  std::erase_if(rows_, [&](const SocketRow& row) { return row.time_ns < done.began_ns; });
  if (done.census) {
    census_ = std::move(rows_);
    keep_others(done.time_ns);
    census_bound_ = std::move(bound_);
    forget_namespaces(done.began_ns);
  }
  rows_.clear();
  bound_.clear();
  rows_refused_now_ = 0;
  if (started_) walk_pause_until_ns_ = now_ns_ + std::max(walk_pause_ns, walk_share * (done.time_ns - done.began_ns));
  release(facts);
  conclude_buckets(facts);
  if (started_ && snapshot_wanted_)
    snapshot(facts);
  else if (started_ && !snapshot_due_ && seen_losses_ == told_losses_)
    for (const auto& [cookie, known] : vanished) tell_vanished(cookie, known, facts);
  judge(facts, [&](auto& judgements) { detector_.sweep_done(done, judgements); });
  forget_gone();
  forget_stacks();
  if (workloads_.is_nearly_full()) forget_workloads();
}

void Engine::forget_gone() {
  if (!settings_.gone_kept_ns || now_ns_ < *settings_.gone_kept_ns) return;
  detector_.forget_ended();
  accounts_.forget_gone(now_ns_ - *settings_.gone_kept_ns,
                        [&](const ProcessKey& key) { return processes_.lives(key); });
}

// Whoever runs programs by odd names makes workloads without end. An account is a part of the report: it stays, and
// with it its workload.
void Engine::forget_workloads() {
  std::vector<bool> in_use(workloads_.size());
  in_use[0] = true;
  detector_.mark_workloads(in_use);
  for (const auto& [tuple, bucket] : ledger_.buckets()) in_use[bucket.workload] = true;
  for (const auto& [id, account] : accounts_.by_workload()) in_use[id] = true;
  for (const Accounts::Member& member : accounts_.members()) in_use[member.workload] = true;
  workloads_.forget(in_use);
  detector_.forget_workloads(in_use);
}

// What no walk meets any more has ended unseen.
std::vector<std::pair<std::uint64_t, Engine::Known>> Engine::take_vanished(const WalkDone& done) {
  std::vector<std::pair<std::uint64_t, Known>> vanished;
  for (auto at = connections_.begin(); at != connections_.end();) {
    Known& known = at->second;
    // What was lost may have been the end of what could not be met. Without a loss one absence from the tables says
    // little: the kernel takes a socket out of them before it makes the transition to CLOSE (tcp_set_state()).
    const bool is_there = known.walk == walk_ || known.changed_ns >= done.began_ns ||
                          (!lost_since_walk_ && (!done.meets(known.tuple.netns, known.state) ||
                                                 (done.by_tables && !std::exchange(known.missed, true))));
    if (!is_there) vanished.emplace_back(at->first, known);
    at = is_there ? std::next(at) : connections_.erase(at);
  }
  std::sort(vanished.begin(), vanished.end(),
            [](const auto& one, const auto& other) { return one.first < other.first; });
  return vanished;
}

std::vector<std::uint32_t> Engine::namespaces_of_connections() const {
  std::vector<std::uint32_t> out;
  for (const auto& [cookie, known] : connections_)
    if (out.empty() || out.back() != known.tuple.netns) out.push_back(known.tuple.netns);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// No loss was counted: a kernel that shows a program nothing for a moment (while another is attached or detached)
// counts nothing either. Whoever reads the stream is not left with a connection that is no more.
void Engine::tell_vanished(std::uint64_t cookie, const Known& known, std::vector<Fact>& facts) {
  const Ledger::Bucket* bucket = ledger_.find(known.tuple, cookie);
  if (bucket != nullptr && bucket->substate == known.state) return;
  tell(Transition{.time_ns = realtime(now_ns_),
                  .connection = connection({known.tuple.netns, cookie}, known.tuple, known.mptcp),
                  .from = known.state,
                  .to = bucket != nullptr ? bucket->substate : State::close,
                  .in_state_ns = since(now_ns_, known.entered_ns),
                  .responsible = responsible(known.attribution, known.process, facts),
                  .actor = std::nullopt,
                  .cause = bucket != nullptr ? Cause::network : Cause::gone,
                  .ending = std::nullopt,
                  .by_sweep = true},
       facts);
}

void Engine::answer_owners() {
  for (Pending& pending : pending_) {
    if (!pending.awaits_owner) continue;
    auto& seen = std::get<TransitionSeen>(pending.what);
    const auto found = connections_.find(seen.cookie);
    const bool met = found != connections_.end() && found->second.walk == walk_;
    if (met) {
      seen.attribution = found->second.attribution;
      seen.process = found->second.process;
    }
    settle(pending, seen, met && found->second.owner_met);
  }
}

void Engine::snapshot(std::vector<Fact>& facts) {
  snapshot_wanted_ = false;
  const std::int64_t time_ns = realtime(now_ns_);
  snapshot_connections(time_ns, facts);
  snapshot_buckets(time_ns, facts);
  tell(SnapshotEnd{time_ns}, facts);
}

void Engine::snapshot_connections(std::int64_t time_ns, std::vector<Fact>& facts) {
  for (const auto& [cookie, known] : connections_) {
    Snapshot row{
        .time_ns = time_ns,
        .connection = connection({known.tuple.netns, cookie}, known.tuple, known.mptcp),
        .state = known.state,
        .age_ns = since(now_ns_, known.entered_ns),
        .responsible =
            known.attribution == Attribution::listener
                ? responsible(Attribution::listener, acceptor_or(known.listener_cookie, known.process), facts)
                : responsible(known.attribution, known.process, facts),
    };
    // Not accepted yet: nobody holds it but its listener.
    if (!row.responsible.process && known.no_socket && known.state == State::close_wait)
      row.responsible = by_listener(listeners_.by_local_end(known.tuple), facts);
    tell(std::move(row), facts);
  }
}

void Engine::want_snapshot(std::vector<Fact>& facts) {
  if (snapshot_wanted_) return;
  snapshot_due_ = now_ns_ < walk_pause_until_ns_;
  if (snapshot_due_) return;
  snapshot_wanted_ = true;
  facts.emplace_back(WalkWanted{true});
}

bool Engine::want_owner_walk(std::vector<Fact>& facts) {
  if (now_ns_ < walk_pause_until_ns_) return false;
  facts.emplace_back(WalkWanted{false});
  return true;
}

Finding Engine::finding_of(const Judgement& judgement, std::vector<Fact>& facts) {
  const Judged& socket = judgement.socket;
  // Judged anew when the watching ends, it may have ended long before.
  const std::uint64_t until_ns = socket.resolution ? socket.resolved_ns : judgement.time_ns;
  Finding finding{
      .time_ns = realtime(judgement.time_ns),
      .connection = connection({socket.tuple.netns, socket.cookie}, socket.tuple, socket.mptcp),
      .responsible = responsible(socket.attribution, socket.process, facts),
      .status = judgement.status,
      .kind = socket.kind,
      .verdict = socket.verdict,
      .resolution = socket.resolution,
      .age_ns = until_ns > socket.since_ns ? until_ns - socket.since_ns : 0,
      .age_is_lower_bound = socket.since_is_lower_bound,
      .condition = socket.condition,
      .holders = socket.holders,
      .stacks = std::nullopt,
  };
  if (const auto found = stacks_.find(socket.cookie); found != stacks_.end()) finding.stacks = found->second.resolved;
  return finding;
}

std::vector<Identity> Engine::owners() const {
  std::vector<Identity> all;
  std::unordered_map<ProcessKey, bool, ProcessKeyHash> met;
  for (const SocketRow& row : census_)
    if (row.process.key.pid != 0 && !processes_.has_exited(row.process.key) &&
        met.emplace(row.process.key, true).second)
      all.push_back(row.process);
  for (const Judged& socket : detector_.sockets())
    for (const Holder& holder : socket.holders)
      if (!processes_.has_exited(holder.process.key) && met.emplace(holder.process.key, true).second)
        all.push_back(holder.process);
  return all;
}

// TIME_WAIT is counted over some ten seconds, too (Ledger::pace()): what moves there from another state is no growth
// only where both are of the same time.
void Engine::keep_others(std::uint64_t time_ns) {
  if (newer_others_.time_ns == 0) newer_others_ = {time_ns, others_by_route(census_)};
  if (!settings_.gone_kept_ns || time_ns < newer_others_.time_ns + pace_takes_ns) return;
  older_others_ = std::exchange(newer_others_, {time_ns, others_by_route(census_)});
}

Report Engine::report(ReportHead head) {
  const bool newer_will_do = older_others_.time_ns == 0 || now_ns_ >= newer_others_.time_ns + pace_takes_ns;
  const Others& others = newer_will_do ? newer_others_ : older_others_;
  ReportInput input{
      .host = std::move(head.host),
      .kernel = std::move(head.kernel),
      .from_ns = realtime(head.from_ns),
      .to_ns = realtime(now_ns_),
      .realtime_offset_ns = realtime_offset_ns_,
      .incomplete_reasons = std::move(head.incomplete_reasons),
      .lost = totals(0, 0).lost,
      .rows = census_,
      .bound = census_bound_,
      .namespaces = settings_.sees_all_sockets ? namespaces_ : std::map<std::uint32_t, NamespaceHealth>{},
      .others_before = others.by_route,
      .others_before_ns = others.time_ns,
      .judged = detector_.sockets(),
      .ended = detector_.ended(),
      .trend = [this](WorkloadId workload, Kind kind) { return detector_.trend(workload, kind); },
      .mended = {detector_.cleared(), longest_mended_ns_},
      .descriptors = {},
      .with_stacks = head.with_stacks,
      .stacks = {},
      .verbose = head.verbose,
      .between = std::move(head.between),
      .ledger = ledger_,
      .accounts = accounts_,
      .workloads = workloads_,
      .processes = processes_,
      .listeners = listeners_,
  };
  for (auto& [netns, health] : input.namespaces) {
    const auto without_port = without_port_.find(netns);
    health.without_port = without_port == without_port_.end() ? 0 : without_port->second;
    if (health.before) health.watched_ns = now_ns_ - std::min(now_ns_, head.from_ns);
  }
  // Of who has ended, or has no socket any more, the last count says nothing of today; it may have no limit, too.
  for (const Identity& owner : owners())
    if (const auto seen = descriptors_.find(owner.key); seen != descriptors_.end() && seen->second.last.soft_limit != 0)
      input.descriptors.emplace(owner.key, seen->second.use());
  if (input.lost > 0) input.incomplete_reasons.push_back(std::to_string(input.lost) + " events were lost");
  for (const auto& [cookie, known] : stacks_) input.stacks.emplace(cookie, known.resolved);
  return build(input);
}

void Engine::note_mended(const Judgement& judgement) {
  const Judged& socket = judgement.socket;
  if (judgement.status != Finding::Status::resolved || !socket.resolution || !clears(*socket.resolution)) return;
  const std::uint64_t took_ns = socket.resolved_ns > socket.since_ns ? socket.resolved_ns - socket.since_ns : 0;
  longest_mended_ns_ = std::max(longest_mended_ns_.value_or(0), took_ns);
}

// The stacks of what has been closed are of no use: only what is judged, or ended unmended, is told again.
void Engine::forget_stacks() {
  if (stacks_.size() < settings_.stacks_limit / 2) return;
  std::unordered_set<std::uint64_t> told;
  for (const Judged& socket : detector_.sockets()) told.insert(socket.cookie);
  for (const Judged& socket : detector_.ended()) told.insert(socket.cookie);
  std::erase_if(stacks_, [&](const auto& entry) { return !told.contains(entry.first); });
}

DescriptorUse Engine::Descriptors::use() const {
  DescriptorUse use{last.open, last.soft_limit, last.sockets, std::nullopt};
  const std::optional<double> per_second = growth.per_second();
  const std::uint64_t left = last.soft_limit - std::min(last.open, last.soft_limit);
  if (left == 0)
    use.seconds_left = 0;
  else if (per_second)
    use.seconds_left = static_cast<double>(left) / *per_second;
  return use;
}

}  // namespace closewatch
