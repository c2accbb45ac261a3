// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/detector.hpp>

#include <algorithm>
#include <utility>

// How sockets in CLOSE_WAIT, and dead ones, end, and what that teaches.

namespace closewatch {
namespace {

/// Rows of a sweep and transitions overtake each other by microseconds: a short memory is enough.
constexpr std::size_t over_kept = 4096;

/// By the program's own doing, while it runs.
bool closes_itself(const std::optional<Cause>& call) {
  return call == Cause::close || call == Cause::shutdown || call == Cause::disconnect;
}

bool descriptor_stays(const TransitionSeen& seen) {
  const bool ended_from_outside = !seen.call || seen.call == Cause::kill;
  return seen.to == State::close && ended_from_outside && !seen.evidence.dead && !seen.evidence.no_socket;
}

/// connect() or listen() on a dead one: the program has not forgotten its descriptor.
bool is_used_anew(const TransitionSeen& seen) {
  return seen.to == State::syn_sent || seen.to == State::listen || seen.call == Cause::disconnect;
}

const Identity& closer_of(const TransitionSeen& seen) { return seen.actor.key.pid != 0 ? seen.actor : seen.process; }

}  // namespace

void Detector::transition(const TransitionSeen& seen, std::vector<Judgement>& judgements) {
  if (seen.from == State::listen && seen.to == State::close) listeners_.erase(seen.cookie);
  if (seen.from == State::close_wait) leaves_close_wait(seen, judgements);
  if (seen.from != State::close || !is_used_anew(seen)) return;
  const auto found = sockets_.find(seen.cookie);
  if (found == sockets_.end() || seen.time_ns < found->second.changed_ns) return;
  resolve(found->second, seen.time_ns, Resolution::closed, judgements);
  drop_ended(seen.cookie);
  sockets_.erase(found);
}

void Detector::leaves_close_wait(const TransitionSeen& seen, std::vector<Judgement>& judgements) {
  const auto found = sockets_.find(seen.cookie);
  if (!seen.evidence.hidden) learn(seen, found == sockets_.end() ? nullptr : &found->second);
  if (found == sockets_.end()) {
    exits_unmet(seen, judgements);
    remember_over(seen.cookie, seen.time_ns);
    return;
  }
  Watched& watched = found->second;
  if (seen.attribution == Attribution::closer) {
    watched.judged.process = seen.process;
    watched.judged.attribution = Attribution::closer;
  }
  if (watched.no_socket && !seen.evidence.no_socket && !closes_itself(seen.call))
    was_accepted(watched, seen.time_ns, judgements);
  if (seen.call == Cause::exit) exits(watched, seen.time_ns, seen.evidence.unread, judgements);
  resolve(watched, seen.time_ns, resolution_of(seen), judgements);
  if (descriptor_stays(seen)) {
    stays_open(watched, seen);
  } else {
    remember_over(seen.cookie, seen.time_ns);
    sockets_.erase(found);
  }
}

// How fast the program closes, and whether it ever closes what has waited for long.
void Detector::learn(const TransitionSeen& seen, const Watched* watched) {
  if (!closes_itself(seen.call) || seen.evidence.mptcp || seen.evidence.no_socket) return;
  const WorkloadId workload = workloads_.of(closer_of(seen), seen.tuple);
  if (seen.entered_ns != 0 && seen.entered_ns <= seen.time_ns && seen.call != Cause::disconnect)
    habits_[workload].add(seen.time_ns - seen.entered_ns);
  const std::uint64_t since_ns =
      seen.entered_ns == 0 && watched != nullptr ? watched->judged.since_ns : seen.entered_ns;
  if (since_ns == 0 || since_ns + settings_.leak_after_ns > seen.time_ns) return;
  growth_.closed_late(workload, seen.time_ns);
  // It counted with another, where another program had it: a child, or one that got it over a unix socket.
  if (watched != nullptr) growth_.closed_late(watched->judged.workload, seen.time_ns);
}

std::optional<Resolution> Detector::resolution_of(const TransitionSeen& seen) const {
  if (closes_itself(seen.call)) return Resolution::closed;
  if (seen.call == Cause::exit) return Resolution::exit;
  if (seen.call == Cause::kill) return Resolution::killed;
  if (seen.call == Cause::listener_closed) {
    const Listeners& listeners = workloads_.listeners();
    const std::optional<Closer> closer = seen.listener_cookie != 0 ? listeners.closer_of(seen.listener_cookie)
                                                                   : listeners.closer_of_local_end(seen.tuple);
    return closer && closer->by == Cause::exit ? Resolution::exit : Resolution::closed;
  }
  // Else a worker of the kernel's has closed it (io_uring's, the collector of unix sockets): for whom is not known.
  return descriptor_stays(seen) ? std::optional{Resolution::reset_still_open} : std::nullopt;
}

void Detector::resolve(Watched& watched, std::uint64_t time_ns, std::optional<Resolution> resolution,
                       std::vector<Judgement>& judgements) {
  if (!watched.raised) return;
  Judged& judged = watched.judged;
  judged.resolution = resolution;
  judged.resolved_ns = time_ns;
  watched.raised = false;
  judgements.push_back({Finding::Status::resolved, time_ns, judged});
  if (resolution && clears(*resolution))
    ++cleared_;
  else if (resolution && judged.verdict != Verdict::ok)
    keep_ended(judged);
  judged.verdict = Verdict::ok;
}

// Between two sweeps, no earlier than the one that met it in its queue. Then it ended, but that is another matter.
void Detector::was_accepted(Watched& watched, std::uint64_t time_ns, std::vector<Judgement>& judgements) {
  if (watched.judged.kind == Kind::never_accepted) resolve(watched, time_ns, Resolution::accepted, judgements);
  watched.judged.resolution.reset();
  watched.judged.resolved_ns = 0;
  watched.no_socket = false;
  watched.accepted_ns = time_ns;
}

// TCP is over and the descriptor is open: from now on it is another kind, of another age.
void Detector::stays_open(Watched& watched, const TransitionSeen& seen) {
  Watched dead;
  dead.judged = watched.judged;
  dead.judged.state = State::close;
  dead.judged.since_ns = seen.time_ns;
  dead.judged.since_is_lower_bound = false;
  dead.judged.kind = Kind::dead_unclosed;
  dead.judged.verdict = Verdict::ok;
  dead.judged.resolution.reset();
  dead.judged.resolved_ns = 0;
  dead.told = watched.told;
  dead.listener_cookie = watched.listener_cookie;
  dead.changed_ns = seen.time_ns;
  dead.sweep = watched.sweep;
  dead.looked_at = watched.looked_at;
  watched = std::move(dead);
}

// Only the end of its process has ended it. By then it may have passed the limit, or have been read, since the last
// sweep.
void Detector::exits(Watched& watched, std::uint64_t time_ns, std::optional<std::uint32_t> unread,
                     std::vector<Judgement>& judgements) {
  if (!settings_.sanitizer) return;
  Judged& judged = watched.judged;
  if (unread && judged.condition.eof != EndOfFile::unknown) {
    const bool read = judged.condition.eof == EndOfFile::consumed || judged.condition.eof == EndOfFile::read;
    if (read != (*unread == 0)) judged.condition.eof = *unread == 0 ? EndOfFile::consumed : EndOfFile::unread;
    judged.condition.unread_bytes = *unread == 0 ? 0 : *unread - 1;
  }
  if (!watched.looked_at) judged.workload = workloads_.of(judged.process, judged.tuple);
  const Standing standing{.kind = kind_now(watched, time_ns),
                          .eof = judged.condition.eof,
                          .past_limit = is_past(watched, time_ns),
                          .grows = judged.verdict == Verdict::leak};
  pass(watched, standing.kind, verdict_of(standing), time_ns, judgements);
}

void Detector::exits_unmet(const TransitionSeen& seen, std::vector<Judgement>& judgements) {
  if (!settings_.sanitizer || seen.call != Cause::exit || seen.evidence.hidden || seen.evidence.mptcp ||
      seen.evidence.no_socket || seen.entered_ns == 0)
    return;
  Watched watched;
  Judged& judged = watched.judged;
  judged.cookie = seen.cookie;
  judged.tuple = seen.tuple;
  judged.since_ns = seen.entered_ns;
  judged.process = closer_of(seen);
  judged.attribution = seen.attribution;
  judged.condition.eof = EndOfFile::unread;
  exits(watched, seen.time_ns, seen.evidence.unread, judgements);
  resolve(watched, seen.time_ns, Resolution::exit, judgements);
}

void Detector::released(const DescriptorClosed& seen, std::vector<Judgement>& judgements) {
  const auto found = sockets_.find(seen.cookie);
  remember_over(seen.cookie, seen.time_ns);
  if (found == sockets_.end()) return;
  Watched& watched = found->second;
  Judged& judged = watched.judged;
  if (seen.actor.key.pid != 0) {
    judged.process = seen.actor;
    judged.attribution = Attribution::closer;
  }
  const bool nobody = seen.actor.key.pid == 0;
  const bool by_exit = seen.by == Cause::exit;
  if (!by_exit && !nobody) {
    drop_ended(seen.cookie);
    if (is_past(watched, seen.time_ns)) growth_.closed_late(judged.workload, seen.time_ns);
  }
  if (by_exit) exits(watched, seen.time_ns, std::nullopt, judgements);
  std::optional<Resolution> resolution;
  if (!nobody) resolution = by_exit ? Resolution::exit : Resolution::closed;
  resolve(watched, seen.time_ns, resolution, judgements);
  sockets_.erase(found);
}

void Detector::finish(std::uint64_t time_ns, std::vector<Judgement>& judgements) {
  if (!settings_.sanitizer) return;
  const auto told_before = static_cast<std::ptrdiff_t>(judgements.size());
  for (auto& [cookie, watched] : sockets_) {
    // What the last sweep did not meet may have ended unseen.
    if (!watched.looked_at || !is_met(watched)) continue;
    const Kind kind = kind_now(watched, time_ns);
    const Standing standing{.kind = kind,
                            .eof = watched.judged.condition.eof,
                            .past_limit = is_past(watched, time_ns),
                            .grows = watched.judged.verdict == Verdict::leak || leaks_if_left_open(kind)};
    pass(watched, kind, verdict_of(standing), time_ns, judgements);
  }
  std::stable_sort(judgements.begin() + told_before, judgements.end(),
                   [](const Judgement& one, const Judgement& other) {
                     return std::pair{one.socket.since_ns, one.socket.cookie} <
                            std::pair{other.socket.since_ns, other.socket.cookie};
                   });
  for (Judged& judged : ended_) {
    if (judged.verdict != Verdict::stuck || !leaks_if_left_open(judged.kind)) continue;
    if (judged.resolution != Resolution::exit && judged.resolution != Resolution::reset_still_open) continue;
    if (const auto dead = sockets_.find(judged.cookie); dead != sockets_.end() && !is_met(dead->second)) continue;
    judged.verdict = Verdict::leak;
    judgements.push_back({Finding::Status::changed, time_ns, judged});
  }
}

void Detector::keep_ended(const Judged& judged) {
  if (ended_.size() >= settings_.ended_limit) {
    ++ended_refused_;
    return;
  }
  if (judged.resolution == Resolution::reset_still_open || judged.resolution == Resolution::killed)
    ended_open_[judged.cookie] = ended_.size();
  ended_.push_back(judged);
}

void Detector::drop_ended(std::uint64_t cookie) {
  const auto found = ended_open_.find(cookie);
  if (found == ended_open_.end()) return;
  const std::size_t place = found->second;
  ended_open_.erase(found);
  if (place != ended_.size() - 1) {
    ended_[place] = std::move(ended_.back());
    const auto moved = ended_open_.find(ended_[place].cookie);
    if (moved != ended_open_.end() && moved->second == ended_.size() - 1) moved->second = place;
  }
  ended_.pop_back();
}

void Detector::forget_ended() {
  ended_.clear();
  ended_open_.clear();
}

// Its descriptor is gone, closed by whom is not known: the program is not to be accused of what it may have mended.
void Detector::drop_vanished(std::uint64_t cookie) {
  const auto found = ended_open_.find(cookie);
  if (found != ended_open_.end() && ended_[found->second].verdict != Verdict::leak) drop_ended(cookie);
}

/// By the last sweep, or by a transition since it began.
bool Detector::is_met(const Watched& watched) const {
  return watched.sweep + 1 == sweep_ || watched.changed_ns >= sweep_began_ns_;
}

void Detector::remember_over(std::uint64_t cookie, std::uint64_t time_ns) {
  if (over_ns_.insert_or_assign(cookie, time_ns).second) over_.push_back(cookie);
  if (over_.size() <= over_kept) return;
  over_ns_.erase(over_.front());
  over_.pop_front();
}

}  // namespace closewatch
