// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/closing.hpp>
#include <closewatch/core/engine.hpp>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace closewatch {
namespace {

/// A RST behind FIN_WAIT → CLOSE goes out in the handling of the same segment, microseconds later.
constexpr std::uint64_t reset_wait_ns = 20'000'000;
/// How long an event waits for a walk to say who holds its socket.
constexpr std::uint64_t owner_wait_ns = 100'000'000;
/// A snapshot can be what a slow reader cannot take: after a loss of output not more often than so.
constexpr std::uint64_t output_snapshot_pause_ns = 60'000'000'000;
/// Losses are told at most so often while they go on.
constexpr std::uint64_t gap_pause_ns = 1'000'000'000;

/// A listener also ends by shutdown(), by connect(AF_UNSPEC), or by SOCK_DESTROY; `closer.by` knows three words.
Cause closing_call(Cause call) {
  if (call == Cause::exit || call == Cause::close) return call;
  return call == Cause::kill ? Cause::close : Cause::shutdown;
}

/// What comes from the ring in the order of time (to microseconds), and the clock that says how far it has been read.
/// The times of all others may be later than what is still to be read.
template <typename What>
constexpr bool is_of_the_stream =
    std::is_same_v<What, TransitionSeen> || std::is_same_v<What, ResetSeen> || std::is_same_v<What, ProcessSeen> ||
    std::is_same_v<What, ProcessExited> || std::is_same_v<What, DescriptorClosed> || std::is_same_v<What, Tick>;

bool is_over(const TransitionSeen& seen) { return seen.to == State::close && seen.totals.has_value(); }

}  // namespace

std::string_view name(Gap::Where where) {
  switch (where) {
    case Gap::Where::ring: return "ring";
    case Gap::Where::output: return "output";
    case Gap::Where::table: return "table";
    case Gap::Where::storage: return "storage";
  }
  std::unreachable();
}

Engine::Engine(const Settings& settings)
    : settings_(settings),
      processes_(settings.processes_limit),
      listeners_(settings.listeners_limit),
      workloads_(processes_, listeners_, settings.workloads_limit),
      detector_(settings.detector, workloads_),
      accounts_(workloads_, {}),
      ledger_({.buckets = settings.buckets_limit, .keeps_paces = settings.keeps_accounts}) {}

void Engine::step(const Event& event, std::vector<Fact>& facts) {
  std::visit(
      [&](const auto& what) {
        if constexpr (requires { what.time_ns; }) now_ns_ = std::max(now_ns_, what.time_ns);
        if constexpr (is_of_the_stream<std::remove_cvref_t<decltype(what)>>) {
          read_ns_ = std::max(read_ns_, what.time_ns);
          // First what was to be told by then: between two records it is the same whether the clock is asked or not.
          release(facts);
        }
        on(what, facts);
      },
      event);
}

void Engine::on(const TransitionSeen& seen, std::vector<Fact>& facts) {
  keep_listener(seen);
  if (seen.evidence.hidden) return;
  keep_connection(seen);
  end_bucket_of(seen, facts);
  if (!started_) {
    keep_early_end(seen, facts);
    judge(facts, [&](auto& judgements) { detector_.transition(seen, judgements); });
    return;
  }
  ++events_;
  answer_by_closer(seen);
  Wait wait;
  if (awaits_reset(seen)) wait.until_ns = seen.time_ns + reset_wait_ns;
  ask_for_owner(wait, seen, facts);
  const Listener* listener = listener_of_unaccepted(seen);
  if (listener == nullptr && wait.until_ns == 0 && pending_.empty()) {
    conclude(wait, seen, facts);  // as nearly all, without a copy
  } else {
    Pending pending{wait, seen};
    if (listener != nullptr) {
      auto& named = std::get<TransitionSeen>(pending.what);
      named.listener_cookie = listener->cookie;
      named.process = listener->process;
      named.attribution = Attribution::listener;
    }
    pending_.push_back(std::move(pending));
    keep_few_pending(facts);
    release(facts);
  }
  judge(facts, [&](auto& judgements) { detector_.transition(seen, judgements); });
}

void Engine::on(const ResetSeen& seen, std::vector<Fact>& facts) {
  const auto found = std::find_if(pending_.rbegin(), pending_.rend(), [&](const Pending& pending) {
    const auto* transition = std::get_if<TransitionSeen>(&pending.what);
    return transition != nullptr && transition->cookie == seen.cookie && awaits_reset(*transition);
  });
  if (found != pending_.rend()) {
    found->reset_after = true;
    found->until_ns = found->awaits_owner ? found->until_ns : 0;
  }
  release(facts);
}

void Engine::on(const ProcessSeen& seen, std::vector<Fact>& facts) {
  // Now, and not at its first event: it may be gone by then.
  (void)entry_of(seen.process, facts);
}

void Engine::on(const ProcessExited& seen, std::vector<Fact>&) {
  processes_.exited(seen.key);
  descriptors_.erase(seen.key);
}

void Engine::on(const Started& started, std::vector<Fact>& facts) {
  started_ = true;
  facts.emplace_back(Hello{realtime(now_ns_), started.run, started.version, started.host, started.kernel,
                           started.boot_id, started.options});
  ledger_.begin();
  snapshot(facts);
  for (const Judgement& judgement : std::exchange(early_judgements_, {})) tell(finding_of(judgement, facts), facts);
  // During the first walk: an end that went unseen leaves a connection in the snapshot that is no more.
  report_losses(facts, false);
}

void Engine::on(const Tick& tick, std::vector<Fact>& facts) {
  realtime_offset_ns_ = tick.realtime_offset_ns;
  if (snapshot_due_) want_snapshot(facts);
  snapshot_for_output(facts);
  report_losses(facts, false);
}

void Engine::on(const LossSeen& seen, std::vector<Fact>& facts) {
  if (seen.storage != seen_losses_.storage) detector_.rows_lost();
  if (seen.ring + seen.storage + seen.others > seen_losses_.ring + seen_losses_.storage + seen_losses_.others) {
    detector_.events_lost();
    lost_ns_ = seen.time_ns;
    lost_since_walk_ = true;
  }
  seen_losses_ = seen;
  report_losses(facts, false);
}

void Engine::on(const OutputLost& lost, std::vector<Fact>& facts) {
  output_lost_ += lost.lines;
  tell(Gap{realtime(now_ns_), lost.lines, Gap::Where::output}, facts);
  output_snapshot_due_ = true;
  snapshot_for_output(facts);
}

void Engine::snapshot_for_output(std::vector<Fact>& facts) {
  if (!output_snapshot_due_) return;
  if (output_snapshot_ns_ != 0 && now_ns_ - output_snapshot_ns_ < output_snapshot_pause_ns) return;
  output_snapshot_ns_ = now_ns_;
  output_snapshot_due_ = false;
  want_snapshot(facts);
}

void Engine::on(const ProcessResolved& answer, std::vector<Fact>&) { processes_.resolve(answer); }

void Engine::on(const Usage& usage, std::vector<Fact>& facts) {
  release(facts);
  tell(Stats{realtime(now_ns_), totals(usage.cpu_ms, usage.rss_bytes)}, facts);
}

void Engine::on(const Stopped& stopped, std::vector<Fact>& facts) {
  release(facts, true);
  report_losses(facts, true);
  judge(facts, [&](auto& judgements) { detector_.finish(stopped.time_ns, judgements); });
  facts.emplace_back(Bye{realtime(now_ns_), totals(stopped.cpu_ms, stopped.rss_bytes), detector_.raised()});
}

void Engine::keep_listener(const TransitionSeen& seen) {
  if (seen.attribution == Attribution::opener && seen.tuple.role == Role::accept)
    listeners_.accepted(seen.listener_cookie, seen.process);
  if (seen.to == State::listen) {
    listeners_.opened({seen.cookie, seen.tuple, seen.process, {}, seen.evidence.matched, seen.time_ns});
  } else if (seen.from == State::listen && seen.to == State::close) {
    std::optional<Closer> closer;
    if (seen.actor.key.pid != 0 && seen.call) closer = Closer{seen.actor, closing_call(*seen.call)};
    listeners_.closed(seen.cookie, seen.tuple, closer);
  }
}

void Engine::keep_connection(const TransitionSeen& seen) {
  if (!is_closing(seen.to)) {
    connections_.erase(seen.cookie);
    return;
  }
  Known* known = room_for(seen.cookie);
  if (known == nullptr) {
    ++table_lost_;
    return;
  }
  if (known->changed_ns > seen.time_ns) return;  // older than the row of a walk
  *known = {
      .tuple = seen.tuple,
      .state = seen.to,
      .mptcp = seen.evidence.mptcp,
      .changed_ns = seen.time_ns,
      // A close() after shutdown() leaves the state as it is.
      .entered_ns = seen.from == seen.to ? seen.entered_ns : seen.time_ns,
      .listener_cookie = seen.listener_cookie,
      .attribution = seen.attribution,
      .process = seen.process,
      .no_socket = seen.evidence.no_socket,
      .owner_met = false,
      .walk = known->walk,
  };
}

Engine::Known* Engine::room_for(std::uint64_t cookie) {
  const auto found = connections_.find(cookie);
  if (found != connections_.end()) return &found->second;
  if (connections_.size() >= settings_.connections_limit) return nullptr;
  return &connections_[cookie];
}

// Behind the back of the first walk, perhaps: whose its bucket is, is known from here alone.
void Engine::keep_early_end(const TransitionSeen& seen, std::vector<Fact>& facts) {
  if (!is_over(seen)) return;
  const Closed closed = closed_of(transition_of({}, seen, facts), seen, false, facts);
  if (settings_.keeps_accounts && closed.bucket != Bucket::none) accounts_.take(closed, now_ns_);
  keep_bucket(seen, closed);
  tell_changes(facts);
}

// Not accepted yet, and from before the start: nobody has it but the listener of its port.
const Listener* Engine::listener_of_unaccepted(const TransitionSeen& seen) const {
  if (seen.attribution != Attribution::unknown || !seen.evidence.no_socket || seen.evidence.dead) return nullptr;
  const Listener* listener =
      seen.listener_cookie != 0 ? listeners_.by_cookie(seen.listener_cookie) : listeners_.by_local_end(seen.tuple);
  // That it was closed, and another opened there, may be among what was lost.
  return listener != nullptr && listener->seen_ns >= lost_ns_ ? listener : nullptr;
}

bool Engine::owner_is_gone(const TransitionSeen& seen) const {
  return seen.attribution != Attribution::closer && seen.process.key.pid != 0 &&
         processes_.has_exited(seen.process.key);
}

// Whoever opened it, or listened, has ended, and the socket lives: a child or a friend has it. Only a walk tells who.
void Engine::ask_for_owner(Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts) {
  if (!owner_is_gone(seen) || !is_closing(seen.to) || !want_owner_walk(facts)) return;
  wait.awaits_owner = true;
  ++awaiting_owner_;
  wait.until_ns = seen.time_ns + owner_wait_ns;
}

// Whoever closes it had it when its peer did so, moments ago.
void Engine::answer_by_closer(const TransitionSeen& closing) {
  // Of thousands that wait for a reset or behind one, none as a rule waits for its owner.
  if (awaiting_owner_ == 0) return;
  if (closing.attribution != Attribution::closer || processes_.has_exited(closing.process.key)) return;
  for (Pending& pending : pending_) {
    if (!pending.awaits_owner) continue;
    auto& seen = std::get<TransitionSeen>(pending.what);
    if (seen.cookie != closing.cookie) continue;
    seen.process = closing.process;
    seen.attribution = Attribution::holder;
    settle(pending, seen, true);
  }
}

void Engine::settle(Wait& wait, const TransitionSeen& seen, bool owner_settled) {
  wait.awaits_owner = false;
  --awaiting_owner_;
  wait.owner_settled = owner_settled;
  wait.until_ns = awaits_reset(seen) ? seen.time_ns + reset_wait_ns : 0;
}

void Engine::tell(Fact fact, std::vector<Fact>& facts) {
  if (pending_.empty())
    facts.push_back(std::move(fact));
  else
    pending_.push_back({{}, std::move(fact)});
  keep_few_pending(facts);
}

// A snapshot of a hundred thousand, or a flood, behind one that waits.
void Engine::keep_few_pending(std::vector<Fact>& facts) {
  if (pending_.size() <= settings_.pending_limit) return;
  hurried_ += static_cast<std::uint64_t>(
      std::count_if(pending_.begin(), pending_.end(), [&](const Pending& one) { return one.until_ns > read_ns_; }));
  release(facts, true);
}

void Engine::release(std::vector<Fact>& facts, bool all) {
  while (!pending_.empty() && (all || pending_.front().until_ns <= read_ns_)) {
    // Out of the queue first: what is concluded from it may have something to add there.
    Pending pending = std::move(pending_.front());
    pending_.pop_front();
    if (pending.awaits_owner) --awaiting_owner_;
    if (auto* fact = std::get_if<Fact>(&pending.what))
      facts.push_back(std::move(*fact));
    else
      conclude(pending, std::get<TransitionSeen>(pending.what), facts);
  }
}

Transition Engine::transition_of(const Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts) {
  Responsible who;
  if (owner_is_gone(seen) && !wait.owner_settled)
    who = by_listener(seen.attribution == Attribution::listener ? listeners_.by_cookie(seen.listener_cookie) : nullptr,
                      facts);
  else
    who = seen.attribution == Attribution::listener
              ? responsible(Attribution::listener, acceptor_or(seen.listener_cookie, seen.process), facts)
              : responsible(seen.attribution, seen.process, facts);

  Transition transition{
      .time_ns = realtime(seen.time_ns),
      .connection = connection({seen.tuple.netns, seen.cookie}, seen.tuple, seen.evidence.mptcp),
      .from = seen.from,
      .to = seen.to,
      .in_state_ns = since(seen.time_ns, seen.entered_ns),
      .responsible = std::move(who),
      .actor = std::nullopt,
      .cause = cause_of(seen),
      .ending = std::nullopt,
  };
  if (seen.actor.key.pid != 0) transition.actor = seen.actor;
  return transition;
}

void Engine::conclude(const Wait& wait, const TransitionSeen& seen, std::vector<Fact>& facts) {
  Transition transition = transition_of(wait, seen, facts);
  if (!is_over(seen)) {
    if (settings_.keeps_accounts) accounts_.take(transition, now_ns_);
    facts.emplace_back(std::move(transition));
    return;
  }
  count_without_port(seen);
  Closed closed = closed_of(transition, seen, wait.reset_after, facts);
  transition.responsible = closed.responsible;
  if (closed.ending == Ending::never_accepted && closed.closer && !transition.actor)
    transition.actor = closed.closer->process;
  if (closed.bucket == Bucket::time_wait) transition.to = State::time_wait;
  transition.ending = closed.ending;
  if (settings_.keeps_accounts) {
    accounts_.take(transition, now_ns_);
    accounts_.take(closed, now_ns_);
  }
  // An orphan's bucket is still FIN_WAIT2: nothing has changed but that no process has it. Where the table was full a
  // walk will tell.
  if (closed.bucket != Bucket::fin_wait2 && closed.bucket != Bucket::unknown) facts.emplace_back(std::move(transition));
  keep_bucket(seen, closed);
  facts.emplace_back(std::move(closed));
  tell_changes(facts);
}

Closed Engine::closed_of(const Transition& transition, const TransitionSeen& seen, bool reset_after,
                         std::vector<Fact>& facts) {
  Closed closed{
      .time_ns = transition.time_ns,
      .connection = transition.connection,
      .responsible = transition.responsible,
      .closer = std::nullopt,
      .first_fin = first_fin_of(seen),
      .ending = ending_of(seen, reset_after),
      .error = seen.evidence.error,
      .bucket = Bucket::unknown,
      .states_ns = seen.totals->states_ns,
      .in_state_ns = transition.in_state_ns,
      .duration_ns = since(seen.time_ns, seen.totals->opened_ns),
      .bytes_sent = seen.totals->bytes_sent,
      .bytes_received = seen.totals->bytes_received,
  };
  closed.bucket = bucket_of(seen, closed.ending);
  // tcp_rcv_nxt_update() counts the peer's FIN as a byte.
  if ((seen.evidence.done || seen.peer_fin) && closed.bytes_received > 0) --closed.bytes_received;
  if (seen.closer_by)
    closed.closer = Closer{seen.process, *seen.closer_by};
  else if (closed.ending == Ending::never_accepted)
    closed.closer = seen.listener_cookie != 0 ? listeners_.closer_of(seen.listener_cookie)
                                              : listeners_.closer_of_local_end(seen.tuple);
  if (closed.closer) closed.responsible = responsible(Attribution::closer, closed.closer->process, facts);
  return closed;
}

void Engine::report_losses(std::vector<Fact>& facts, bool now) {
  if (!started_) return;
  const std::uint64_t ring = seen_losses_.ring + seen_losses_.others - told_losses_.ring - told_losses_.others;
  const std::uint64_t storage = seen_losses_.storage - told_losses_.storage;
  const std::uint64_t table = table_lost_ - told_table_lost_;
  if (ring + storage + table == 0) return;
  if (!now && told_ns_ != 0 && now_ns_ - told_ns_ < gap_pause_ns) return;
  for (const auto& [lost, where] : {std::pair{ring, Gap::Where::ring}, std::pair{storage, Gap::Where::storage},
                                    std::pair{table, Gap::Where::table}})
    if (lost > 0) tell(Gap{realtime(now_ns_), lost, where}, facts);
  told_losses_ = seen_losses_;
  told_table_lost_ = table_lost_;
  told_ns_ = now_ns_;
  // A table that is full is full after a walk too.
  if (!now && ring + storage > 0) want_snapshot(facts);
}

Connection Engine::connection(ConnectionId id, const Tuple& tuple, bool mptcp) const {
  Connection connection{id, tuple, mptcp};
  // From before the start: on the port of a listener it came in there; of the others nothing is certain.
  if (tuple.role == Role::unknown && tuple.peer.port != 0 && listeners_.by_local_end(tuple) != nullptr)
    connection.tuple.role = Role::accept;
  return connection;
}

Responsible Engine::responsible(Attribution attribution, const Identity& process, std::vector<Fact>& facts) {
  if (attribution == Attribution::unknown || process.key.pid == 0) return {};
  Processes::Found found = processes_.find(process);
  std::optional<bool> exited;
  if (found.wanted)
    facts.emplace_back(ProcessWanted{process});
  else
    exited = found.entry->exited;
  return {Process{process, std::move(found.entry), exited}, attribution};
}

Responsible Engine::by_listener(const Listener* listener, std::vector<Fact>& facts) {
  if (listener == nullptr) return {};
  const Identity& who = acceptor_or(listener->cookie, listener->process);
  if (processes_.has_exited(who.key)) return {};
  return responsible(Attribution::listener, who, facts);
}

// Of those who hold a listener the one that accepts from it stands before the one that called listen(): of a prefork
// server it is a worker that does not come round to it, and not the master.
const Identity& Engine::acceptor_or(std::uint64_t listener_cookie, const Identity& otherwise) const {
  const Listener* listener = listeners_.by_cookie(listener_cookie);
  const bool known = listener != nullptr && listener->acceptor.key.pid != 0;
  return known && !processes_.has_exited(listener->acceptor.key) ? listener->acceptor : otherwise;
}

std::shared_ptr<const ProcessEntry> Engine::entry_of(const Identity& identity, std::vector<Fact>& facts) {
  Processes::Found found = processes_.find(identity);
  if (found.wanted) facts.emplace_back(ProcessWanted{identity});
  return std::move(found.entry);
}

// The times of a recording are anybody's: what is not between 1970 and 2262 is 1970.
std::int64_t Engine::realtime(std::uint64_t time_ns) const {
  const std::uint64_t sum = time_ns + static_cast<std::uint64_t>(realtime_offset_ns_);
  return std::max(static_cast<std::int64_t>(sum), std::int64_t{0});
}

TotalsSoFar Engine::totals(std::uint64_t cpu_ms, std::uint64_t rss_bytes) const {
  const std::uint64_t kernel = seen_losses_.ring + seen_losses_.others + seen_losses_.storage;
  return {events_, kernel + table_lost_ + output_lost_, connections_.size(), cpu_ms, rss_bytes};
}

}  // namespace closewatch
