// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/detector.hpp>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

// Sweeps: what the rows say, and the judgement at their end. How sockets end is in detector_end.cpp.

namespace closewatch {
namespace {

/// So many closings make a habit (contract, section 4), and so much slower than nearly all of them is out of it.
constexpr std::uint64_t habit_least = 20;
constexpr std::uint64_t habit_factor = 20;
constexpr double nearly_all = 0.99;

constexpr std::size_t least_sweeps = 3;
constexpr std::size_t least_sweeps_of_sanitizer = 6;
/// A prefork server's listener has a holder in every child: of a socket's holders no more than so many are shown.
constexpr std::size_t holders_kept = 64;
/// Descriptors met by one sweep, for each socket that there is room for.
constexpr std::size_t holders_each = 4;
constexpr std::size_t listeners_limit = 65'536;

void count_up(std::uint8_t& number) {
  if (number != std::numeric_limits<std::uint8_t>::max()) ++number;
}

auto order(const Holder& holder) { return std::tuple{holder.process.key.start_ns, holder.process.key.pid, holder.fd}; }

bool same_program(const Identity& one, const Identity& other) {
  return one.key == other.key && one.exec_id == other.exec_id;
}

}  // namespace

Detector::Detector(const Settings& settings, Workloads& workloads)
    : settings_(settings),
      workloads_(workloads),
      growth_({.leak_after_ns = settings.leak_after_ns,
               .sweep_ns = settings.sweep_ns,
               .least_sweeps = settings.sanitizer ? least_sweeps_of_sanitizer : least_sweeps}) {}

void Detector::row(const SocketRow& row) {
  if (row.state == State::listen) {
    listener_row(row);
    return;
  }
  if (row.state != State::close_wait && row.state != State::close) return;
  // An orphan; or one that was reset in its accept queue, and so is nobody's descriptor.
  if (row.evidence.dead || (row.state == State::close && row.evidence.no_socket)) return;
  const auto over = over_ns_.find(row.cookie);
  if (over != over_ns_.end() && row.time_ns <= over->second) return;
  if (Watched* watched = room_for(row)) take(*watched, row);
}

void Detector::listener_row(const SocketRow& row) {
  if (listeners_.size() >= listeners_limit && !listeners_.contains(row.cookie)) return;
  WatchedListener& listener = listeners_[row.cookie];
  listener.netns = row.tuple.netns;
  listener.queue = row.accept_queue;
  listener.process = row.process;
  listener.sweep = sweep_;
}

Detector::Watched* Detector::room_for(const SocketRow& row) {
  const auto found = sockets_.find(row.cookie);
  if (found != sockets_.end()) return row.time_ns < found->second.changed_ns ? nullptr : &found->second;
  if (sockets_.size() >= settings_.sockets_limit) {
    refused_ = std::max(refused_, ++refused_now_);
    return nullptr;
  }
  Watched& watched = sockets_[row.cookie];
  watched.judged.cookie = row.cookie;
  return &watched;
}

void Detector::take(Watched& watched, const SocketRow& row) const {
  Judged& judged = watched.judged;
  const bool anew = watched.sweep == 0 || judged.state != row.state;
  const bool queued = row.evidence.no_socket && !row.evidence.mptcp;
  if (!anew && row.condition.acked_bytes > judged.condition.acked_bytes) watched.advanced_ns = row.time_ns;
  if (!anew && watched.no_socket && !queued) watched.accepted_ns = row.time_ns;
  take_age(watched, row, anew);
  if (watched.sweep == 0) watched.from_before = sweep_ == 1 && judged.since_is_lower_bound;
  judged.tuple = row.tuple;
  judged.state = row.state;
  judged.mptcp = row.evidence.mptcp;
  judged.condition = row.condition;
  watched.no_socket = queued;
  watched.told = {row.process, row.attribution};
  watched.listener_cookie = row.listener_cookie;
  watched.changed_ns = row.time_ns;
  watched.sweep = sweep_;
  watched.missed = 0;
}

// The last segment of the peer's is its FIN, or came after it: CLOSE_WAIT has lasted for as long at least. Of a dead
// one it says nothing, since a timer may have ended it long after.
void Detector::take_age(Watched& watched, const SocketRow& row, bool anew) {
  Judged& judged = watched.judged;
  if (row.entered_ns != 0) {
    judged.since_ns = row.entered_ns;
    judged.since_is_lower_bound = false;
  } else if (anew) {
    judged.since_ns = row.time_ns;
    judged.since_is_lower_bound = true;
    if (row.state == State::close_wait && row.condition.received_ns != 0)
      judged.since_ns = std::min(judged.since_ns, row.condition.received_ns);
  }
}

void Detector::holder(const HolderRow& row) {
  if (met_.size() >= settings_.sockets_limit * holders_each) {
    rows_lost_ = true;
    return;
  }
  met_.push_back({row.cookie, row.holder});
}

void Detector::events_lost() { events_lost_ = true; }

void Detector::sweep_done(const WalkDone& done, std::vector<Judgement>& judgements) {
  const auto told_before = static_cast<std::ptrdiff_t>(judgements.size());
  give_holders();
  if (events_lost_) growth_.restart();
  growth_.begin_sweep(done.time_ns);
  unread_.clear();
  for (auto& [cookie, watched] : sockets_)
    if (watched.sweep == sweep_) look(watched, done.time_ns, judgements);
  growth_.end_sweep();
  patience_ns_.clear();
  for (auto& [cookie, watched] : sockets_)
    if (watched.sweep == sweep_) judge(watched, done.time_ns, judgements);
  forget_missed(done, judgements);
  // Whatever the order of the table is, that of the stream is its own. One socket's stay in theirs.
  std::stable_sort(judgements.begin() + told_before, judgements.end(),
                   [](const Judgement& one, const Judgement& other) {
                     return std::pair{one.socket.since_ns, one.socket.cookie} <
                            std::pair{other.socket.since_ns, other.socket.cookie};
                   });
  // Not before: this sweep's own numbers are none to begin with.
  if (events_lost_) growth_.restart();
  refused_now_ = 0;
  sweep_began_ns_ = done.began_ns;
  events_lost_ = rows_lost_ = false;
  ++sweep_;
}

void Detector::give_holders() {
  std::sort(met_.begin(), met_.end(), [](const MetHolder& one, const MetHolder& other) {
    return std::pair{one.cookie, order(one.holder)} < std::pair{other.cookie, order(other.holder)};
  });
  // Where a walk is read in pieces, it meets a descriptor twice.
  const auto twice = std::unique(met_.begin(), met_.end(), [](const MetHolder& one, const MetHolder& other) {
    return one.cookie == other.cookie && order(one.holder) == order(other.holder);
  });
  met_.erase(twice, met_.end());
  for (auto at = met_.begin(); at != met_.end();) {
    const auto end = std::find_if(at, met_.end(), [&](const MetHolder& other) { return other.cookie != at->cookie; });
    give_holders(at->cookie, {at, end});
    at = end;
  }
  met_ = {};  // and gives the memory back: there may be a million of them, for a moment in every sweep
}

void Detector::give_holders(std::uint64_t cookie, std::span<const MetHolder> met) {
  std::vector<Holder> holders;
  for (const MetHolder& one : met.first(std::min(met.size(), holders_kept))) holders.push_back(one.holder);
  const auto used_last =
      std::find_if(met.begin(), met.end(), [](const MetHolder& one) { return one.holder.used_last; });
  // The one that matters most is among them.
  if (used_last - met.begin() >= static_cast<std::ptrdiff_t>(holders.size()) && used_last != met.end())
    holders.back() = used_last->holder;

  const auto socket = sockets_.find(cookie);
  if (socket != sockets_.end() && socket->second.sweep == sweep_) {
    socket->second.held_sweep = sweep_;
    socket->second.used_by_holder = std::any_of(
        met.begin(), met.end(), [](const MetHolder& one) { return one.holder.used || one.holder.used_last; });
    socket->second.judged.holders = std::move(holders);
    return;
  }
  const auto listener = listeners_.find(cookie);
  if (listener != listeners_.end()) listener->second.holders = std::move(holders);
}

void Detector::look(Watched& watched, std::uint64_t now_ns, std::vector<Judgement>& judgements) {
  if (watched.accepted_ns != 0 && watched.judged.kind == Kind::never_accepted && watched.raised)
    resolve(watched, watched.accepted_ns, Resolution::accepted, judgements);
  watched.judged.resolution.reset();
  watched.judged.resolved_ns = 0;
  count_absences(watched);
  find_responsible(watched);
  find_workload(watched);
  count(watched, now_ns);
}

void Detector::count_absences(Watched& watched) const {
  const bool held = watched.held_sweep == sweep_;
  if (held) watched.unheld = 0;
  if (held && watched.used_by_holder) watched.unused = 0;
  // A row that was lost may be that of the one who uses it.
  if (rows_lost_) return;
  if (held && !watched.used_by_holder) count_up(watched.unused);
  if (held) return;
  watched.unused = 0;
  count_up(watched.unheld);
  if (watched.unheld > 1) watched.judged.holders.clear();
}

void Detector::find_responsible(Watched& watched) {
  Judged& judged = watched.judged;
  judged.accept_queue.reset();
  ResponsibleOne one = watched.told;
  if (watched.no_socket) {
    const Listener* listener = workloads_.listeners().by_local_end(judged.tuple);
    const std::uint64_t cookie =
        watched.listener_cookie != 0 ? watched.listener_cookie : (listener != nullptr ? listener->cookie : 0);
    const auto found = listeners_.find(cookie);
    if (found != listeners_.end()) {
      judged.accept_queue = found->second.queue;
      const std::vector<Holder>& holders = found->second.holders;
      const Listener* known = workloads_.listeners().by_cookie(cookie);
      // Of its holders the one that accepts from it, before the one that called listen().
      const bool accepts = known != nullptr && std::any_of(holders.begin(), holders.end(), [&](const Holder& holder) {
                             return holder.process.key == known->acceptor.key;
                           });
      one = accepts ? ResponsibleOne{known->acceptor, Attribution::listener}
                    : responsible_of_listener(holders, found->second.process, one);
    }
  } else {
    // Holders met by the sweep before are still believed in: one absence is none.
    one = responsible_of(judged.holders, one);
  }
  judged.process = one.process;
  judged.attribution = one.attribution;
}

void Detector::find_workload(Watched& watched) {
  Judged& judged = watched.judged;
  if (watched.workload_known && same_program(watched.workload_process, judged.process)) return;
  judged.workload = workloads_.of(judged.process, judged.tuple);
  watched.workload_process = judged.process;
  watched.workload_known = workloads_[judged.workload].executable_known;
}

Kind Detector::kind_now(const Watched& watched, std::uint64_t now_ns) const {
  Look look;
  look.now_ns = now_ns;
  look.leak_after_ns = settings_.leak_after_ns;
  look.state = watched.judged.state;
  look.mptcp = watched.judged.mptcp;
  look.no_socket = watched.no_socket;
  look.since_ns = watched.judged.since_ns;
  look.advanced_ns = watched.advanced_ns;
  look.condition = watched.judged.condition;
  look.unused_by_holders = settings_.sees_all_processes && watched.unused > 1;
  look.nobody_holds = settings_.sees_all_processes && watched.unheld > 1;
  return kind_of(look);
}

// Whoever has just been taken out of an accept queue has the time that everybody has.
std::uint64_t Detector::due_since(const Watched& watched) {
  return std::max(watched.judged.since_ns, watched.accepted_ns);
}

bool Detector::is_past(const Watched& watched, std::uint64_t now_ns) const {
  return due_since(watched) + settings_.leak_after_ns <= now_ns;
}

void Detector::count(Watched& watched, std::uint64_t now_ns) {
  const Kind kind = kind_now(watched, now_ns);
  if (!watched.from_before) growth_.born(watched.judged.workload, kind, due_since(watched));
  if (!is_past(watched, now_ns)) return;
  if (watched.from_before)
    growth_.count_from_before(watched.judged.workload, kind, !watched.counted);
  else
    growth_.count(watched.judged.workload, kind, due_since(watched));
  watched.counted = true;
  if (kind == Kind::eof_unread) ++unread_[watched.judged.process.key];
}

void Detector::judge(Watched& watched, std::uint64_t now_ns, std::vector<Judgement>& judgements) {
  Standing standing;
  standing.kind = kind_now(watched, now_ns);
  standing.eof = watched.judged.condition.eof;
  standing.past_limit = is_past(watched, now_ns);
  if (standing.past_limit && needs_company(standing.kind)) {
    standing.grows = is_accused(watched, standing.kind, now_ns) && !is_busy_worker(watched.judged, standing.kind);
    standing.beyond_habit = is_beyond_habit(watched, now_ns);
  } else {
    watched.accused_ns = 0;
  }
  watched.looked_at = true;
  pass(watched, standing.kind, verdict_of(standing), now_ns, judgements);
}

// What has grown and then stands still is no less leaked, so the accusation stays: until the program closes one of
// them, and so shows that it gets round to it.
bool Detector::is_accused(Watched& watched, Kind kind, std::uint64_t now_ns) const {
  const WorkloadId workload = watched.judged.workload;
  if (growth_.last_closed_late(workload) >= watched.accused_ns) watched.accused_ns = 0;
  if (watched.accused_ns == 0 && growth_.grows(workload, kind)) watched.accused_ns = now_ns;
  return watched.accused_ns != 0;
}

// One that serves nobody but this peer has not forgotten it among others: it is busy (a fork-per-connection server
// whose clients have given up), and as many as there are of its like.
bool Detector::is_busy_worker(const Judged& judged, Kind kind) const {
  if (kind != Kind::eof_unread) return false;
  const auto found = unread_.find(judged.process.key);
  return found != unread_.end() && found->second == 1;
}

bool Detector::is_beyond_habit(const Watched& watched, std::uint64_t now_ns) {
  const WorkloadId workload = watched.judged.workload;
  const auto found = habits_.find(workload);
  if (workload == 0 || found == habits_.end() || found->second.count() < habit_least) return false;
  auto [patience, fresh] = patience_ns_.try_emplace(workload, 0);
  if (fresh) patience->second = habit_factor * found->second.quantile(nearly_all);
  return now_ns - due_since(watched) > patience->second;
}

void Detector::pass(Watched& watched, Kind kind, Verdict verdict, std::uint64_t now_ns,
                    std::vector<Judgement>& judgements) {
  Judged& judged = watched.judged;
  const bool other = judged.kind != kind || judged.verdict != verdict;
  judged.kind = kind;
  judged.verdict = verdict;
  if (!watched.raised && verdict != Verdict::ok) {
    watched.raised = true;
    ++raised_;
    // Now it is told as what it has become.
    if (judged.state == State::close) drop_ended(judged.cookie);
    judgements.push_back({Finding::Status::raised, now_ns, judged});
  } else if (watched.raised && other) {
    judgements.push_back({Finding::Status::changed, now_ns, judged});
  }
}

// An absence is believed when two sweeps agree; at once where its end may be among what was lost. Of what cannot be met
// the end is told: but for a dead one's the kernel may have shown it to nobody.
std::uint8_t Detector::absences_believed(const Watched& watched, const WalkDone& done) const {
  constexpr std::uint8_t of_dead = 12;
  if (events_lost_) return 0;
  if (done.meets(watched.judged.tuple.netns, watched.judged.state)) return 1;
  return watched.judged.state == State::close ? of_dead : std::numeric_limits<std::uint8_t>::max();
}

void Detector::forget_missed(const WalkDone& done, std::vector<Judgement>& judgements) {
  if (rows_lost_) return;
  std::erase_if(listeners_, [&](const auto& entry) {
    return entry.second.sweep != sweep_ && (events_lost_ || done.meets(entry.second.netns, State::listen));
  });
  for (auto at = sockets_.begin(); at != sockets_.end();) {
    Watched& watched = at->second;
    // What a transition changed behind the sweep's back could not be met as what it was.
    const bool met = watched.sweep == sweep_ || watched.changed_ns >= done.began_ns;
    if (!met) count_up(watched.missed);
    if (watched.missed > absences_believed(watched, done)) {
      resolve(watched, done.time_ns, std::nullopt, judgements);
      drop_vanished(at->first);
      at = sockets_.erase(at);
    } else {
      ++at;
    }
  }
}

std::vector<Judged> Detector::sockets() const {
  std::vector<Judged> out;
  for (const auto& [cookie, watched] : sockets_)
    if (watched.looked_at) out.push_back(watched.judged);
  std::sort(out.begin(), out.end(), [](const Judged& one, const Judged& other) { return one.cookie < other.cookie; });
  return out;
}

void Detector::mark_workloads(std::vector<bool>& in_use) const {
  for (const auto& [cookie, watched] : sockets_) in_use[watched.judged.workload] = true;
  for (const Judged& judged : ended_) in_use[judged.workload] = true;
}

void Detector::forget_workloads(const std::vector<bool>& in_use) {
  std::erase_if(habits_, [&](const auto& entry) { return !in_use[entry.first]; });
  patience_ns_.clear();
  growth_.forget(in_use);
}

std::optional<Trend> Detector::trend(WorkloadId workload, Kind kind) const { return growth_.trend(workload, kind); }

const Habit* Detector::habit(WorkloadId workload) const {
  const auto found = habits_.find(workload);
  return found == habits_.end() ? nullptr : &found->second;
}

}  // namespace closewatch
