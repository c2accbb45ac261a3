// SPDX-License-Identifier: BSD-2-Clause
#include "app/session.hpp"

#include "app/clock.hpp"
#include "host/machine.hpp"
#include "host/namespaces.hpp"
#include "host/processes.hpp"
#include "host/signals.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace closewatch {
namespace {

/// Records taken between two looks at signals and the output.
constexpr std::size_t round_size = 16'384;
/// While an event waits for its reset, or for its owner.
constexpr int short_pulse_ms = 5;
constexpr std::uint64_t stats_every_ns = 10'000'000'000;
/// Where each sweep is a census: at the namespaces' settings and counters, and for whatever is in none that had
/// buckets.
constexpr std::uint64_t look_every_ns = 10'000'000'000;
/// However many namespaces there are, that takes no more than a tenth of the time.
constexpr std::uint64_t look_share = 10;
/// Rounds after which what is not the ring's gets its turn, however much is still in it.
constexpr int rounds_of_patience = 8;
/// Looking up a process takes some 30 us: whoever forks without end gets no more than a share of our time. A walk
/// begins no new second: where there are tens of thousands, and others have the CPUs, the next ones go on with it.
constexpr std::uint64_t lookups_a_second = 3000;
/// Rows of a walk between two looks at the ring.
constexpr std::uint64_t rows_at_a_time = 64;
constexpr std::chrono::milliseconds patience_at_end{2000};

std::string others_lost(const KernelLosses& losses) {
  return fmt::format("of what was lost {} were resets, late closings, listeners or ends of processes",
                     losses.ring_others);
}

std::string processes_missed(const KernelLosses& losses) {
  return fmt::format("{} processes were announced late, or could not be followed", losses.processes);
}

}  // namespace

Session::Session(KernelSource& source, Feed& feed, const Settings& settings)
    : source_(source),
      feed_(feed),
      engine_(feed.engine()),
      writer_(feed.writer()),
      settings_(settings),
      descriptors_(feed, settings.root, settings.looks_up_pids, [this] { attend(); }) {
  feed_.answers_by([this](const Identity& who) { return answer(who); });
}

void Session::record_to(RecordingWriter& recording, RecordingHead head) {
  recording_ = &recording;
  recording_head_ = std::move(head);
}

std::expected<void, Error> Session::run(Started started) {
  // From here on: a Ctrl-C during the first walk ends the watching as any other.
  const Signals signals{static_cast<bool>(on_signal_), static_cast<bool>(on_stop_)};
  if (auto done = start(std::move(started)); !done) return done;
  auto looped = loop(signals);
  if (on_ending_) on_ending_();
  companions_.clear();
  signals.release();
  auto stopped = stop();
  return looped ? std::move(stopped) : std::move(looped);
}

std::expected<void, Error> Session::start(Started started) {
  began_ns_ = now_ns();
  if (recording_ != nullptr) {
    recording_head_.began_ns = began_ns_;
    recording_->begin(recording_head_);
    feed_.record_to(recording_);
  }
  tick(began_ns_);
  if (auto walked = walk(Walk::everything, true); !walked) return walked;
  check_losses();
  next_look_ns_ = now_ns() + look_every_ns;
  started.time_ns = now_ns();
  last_usage_ns_ = started.time_ns;
  feed_.step(started);
  count_descriptors();
  next_sweep_ns_ = now_ns() + nanoseconds(settings_.sweep);
  return {};
}

std::expected<void, Error> Session::loop(const Signals& signals) {
  const std::uint64_t began_ns = now_ns();
  const auto over = [&] { return settings_.duration && now_ns() - began_ns >= nanoseconds(*settings_.duration); };
  if (!settings_.quiet) spdlog::info("watching the TCP close path; Ctrl-C ends it");
  if (on_started_) on_started_();
  int behind = 0;  // rounds in a row that left something in the ring
  for (bool more = false;;) {
    if (auto pumped = pump(); !pumped) return pumped;
    if (over()) return {};
    // A pipe whose reader has gone says so (POLLERR) also while nothing is to be written.
    constexpr std::size_t ours = 4;
    std::vector<pollfd> entries{{source_.event_fd(), POLLIN, 0},
                                {signals.fd(), POLLIN, 0},
                                {writer_.fd(), static_cast<short>(writer_.waiting() ? POLLOUT : 0), 0},
                                {end_fd_, POLLIN, 0}};
    add_companions(entries);
    if (poll(entries.data(), entries.size(), patience(more)) < 0 && errno != EINTR)
      return std::unexpected(Error{"wait for events", errno, ""});
    if (!take_signals(signals)) return {};
    if (entries[3].revents != 0) return {};
    begin_lookups();
    if ((entries[2].revents & POLLERR) != 0) return std::unexpected(Error{"write the output", EPIPE, ""});
    more = drain();
    check_losses();  // before it is judged by a sweep: an end that went unseen proves nothing
    serve_companions(std::span{entries}.subspan(ours));
    behind = more ? behind + 1 : 0;
    if (!ended_ && on_pulse_ && behind % rounds_of_patience == 0) on_pulse_();
    if (!ended_) sweep_when_due();
    if (ended_) return {};
    check_losses();
    check_output();
    check_recording();
  }
}

void Session::add_companions(std::vector<pollfd>& entries) const {
  for (const Companion& one : companions_) entries.push_back({one.fd, one.wanted(), 0});
}

void Session::serve_companions(std::span<const pollfd> entries) {
  for (std::size_t at = 0; at < companions_.size() && !ended_; ++at)
    if (const short come = entries[at].revents; come != 0) ended_ = !companions_[at].come(come);
}

void Session::attend() {
  drain();
  attend_companions();
}

// A key is answered with what was shown before: in the middle of a walk there is nothing to be told yet.
void Session::attend_companions() {
  std::vector<pollfd> entries;
  add_companions(entries);
  if (!entries.empty() && poll(entries.data(), entries.size(), 0) > 0) serve_companions(entries);
}

/// False: one of them ends the watching.
bool Session::take_signals(const Signals& signals) {
  while (const auto signal = signals.next()) {
    if (signal->ssi_signo == SIGWINCH) {
      if (on_resize_) on_resize_();
    } else if (on_signal_) {
      on_signal_(*signal);
    } else if (signal->ssi_signo == SIGTSTP) {
      on_stop_();
      signals.stop();
      on_continue_();
    } else if (signal->ssi_signo == SIGCONT) {
      on_continue_();
    } else {
      return false;
    }
  }
  return true;
}

std::expected<void, Error> Session::pump() {
  if (feed_.output_error()) return std::unexpected(*feed_.output_error());
  return writer_.pump();
}

std::expected<void, Error> Session::stop() {
  drain_all();
  check_losses();
  if (settings_.walks_at_end) walk_at_end();
  check_losses();
  writer_.lift_limit();
  if (const std::uint64_t lines = writer_.resume(); lines > 0) feed_.step(OutputLost{now_ns(), lines});
  const OwnUsage used = own_usage(settings_.root);
  feed_.step(Stopped{now_ns(), used.cpu_ms, used.rss_bytes});
  spdlog::debug("{} transitions were caught by the second copy of the program", losses_.nested);
  spdlog::debug("{} transitions found no storage, {} did not fit the state kept", losses_.storage, losses_.missed);
  if (losses_.ring_others > 0) spdlog::debug("{}", others_lost(losses_));
  if (losses_.processes > 0) spdlog::warn("{}", processes_missed(losses_));
  const Engine::Refusals refusals = engine_.refusals();
  spdlog::debug("no room in the tables: {} connections, {} listeners; {} processes forgotten", refusals.connections,
                refusals.listeners, refusals.processes);
  spdlog::debug(
      "no room in the tables: {} routes' paces, {} processes' descriptors, {} stacks; {} workloads forgotten, "
      "{} events told before their time",
      refusals.routes, refusals.descriptors, refusals.stacks, refusals.workloads_forgotten, refusals.hurried);
  const Ledger::Differences& differences = engine_.differences();
  spdlog::debug(
      "TIME_WAIT, against the kernel's own list: {} found that no event had told of, {} gone before their time",
      differences.unannounced, differences.early);
  if (losses_.stacks > 0) spdlog::warn("{} stacks found no room", losses_.stacks);
  if (feed_.bad_records() > 0) spdlog::warn("{} records could not be understood", feed_.bad_records());
  if (const std::uint64_t unanswered = engine_.unanswered(); unanswered > 0)
    spdlog::warn("{} processes were too many to look up: their program and command line are not shown", unanswered);
  if (recording_ != nullptr) {
    recording_->end({.blind_spots = blind_spots(), .at_limit = false});
    check_recording();
  }
  return writer_.finish(patience_at_end);
}

// It is the one that rebuilds the tables after what was lost, and the last that asks who has not been looked up.
void Session::walk_at_end() {
  looks_up_all_ = true;
  if (auto walked = walk(Walk::everything, true); !walked) {
    ++failed_walks_;
    spdlog::warn("cannot {}: {}; what there is at the end is not told", walked.error().operation,
                 std::strerror(walked.error().code));
  }
  if (settings_.census) descriptors_.count_all();
}

void Session::sweep_when_due() {
  const bool due = now_ns() >= next_sweep_ns_ && !gives_way();
  const std::optional<WalkWanted> wanted = feed_.take_wanted_walk();
  if (!due && !wanted) return;
  // What was lost is found by a walk over all: where it failed, the next sweep is one.
  const bool tables = (wanted && wanted->tables) || (due && owes_tables_);
  const bool owners = wanted && !tables;
  const bool census = due && settings_.census && settings_.census_at_sweeps;
  const bool looks = census && now_ns() >= next_look_ns_;
  const std::uint64_t began_ns = now_ns();
  const Walk what = tables || looks ? Walk::everything : owners ? Walk::owners : Walk::sweep;
  if (auto walked = walk(what, census || what == Walk::everything); !walked) {
    ++failed_walks_;
    spdlog::warn("cannot {}: {}; what was to be seen by it is not", walked.error().operation,
                 std::strerror(walked.error().code));
    owes_tables_ = owes_tables_ || tables;
  } else if (tables) {
    owes_tables_ = false;
  }
  if (due) count_descriptors();
  // From the end of one to the next: a machine on which a sweep takes long is not to be kept at it.
  if (due) next_sweep_ns_ = now_ns() + std::max(nanoseconds(settings_.sweep), look_share * rows_took_ns_);
  if (looks) next_look_ns_ = now_ns() + std::max(look_every_ns, look_share * (now_ns() - began_ns));
  if (due) gave_way_ = false;
  if (due) sweep_took_ns_ = now_ns() - began_ns;
}

// One that would last longer than until the next frame begins after it instead; but once, since some take longer than
// from frame to frame.
bool Session::gives_way() {
  if (!next_frame_ || gave_way_) return false;
  const std::uint64_t frame_ns = next_frame_();
  if (frame_ns <= now_ns()) return true;  // it comes in one of the next rounds
  gave_way_ = now_ns() + sweep_took_ns_ > frame_ns;
  if (gave_way_) next_sweep_ns_ = frame_ns;
  return gave_way_;
}

std::expected<void, Error> Session::walk(Walk what, bool with_census) {
  begin_lookups();
  const std::uint64_t began_ns = now_ns();
  const bool census = with_census && settings_.census;
  if (what != Walk::owners)
    if (auto walked = walk_tables(what == Walk::everything); !walked) return walked;
  const std::uint64_t rows_before = rows_;
  const auto record = [&](std::span<const std::byte> bytes) { take_row(bytes); };
  const auto between = [&] { attend(); };
  WalkDone done{.time_ns = 0, .began_ns = began_ns, .census = census, .by_tables = source_.walks_by_tables()};
  const auto everywhere = [&](const KernelSource::Namespaces& held, const KernelSource::Walk& body) {
    auto entered = in_each_namespace(held, body);
    if (entered) done.entered = *entered;
    return entered;
  };
  // Asked for an owner that is gone: the kernel side believes an absence when two walks agree. One is told of.
  if (what == Walk::owners)
    if (auto walked = source_.walk_sockets(false, everywhere, [](std::span<const std::byte>) {}, between); !walked)
      return walked;
  if (auto walked = source_.walk_sockets(census, everywhere, record, between); !walked) return walked;
  // What happened while it was walked is in the ring, and newer than the rows.
  drain_all();
  answer_stacks();
  check_losses();  // of what happened meanwhile
  done.time_ns = now_ns();
  feed_.step(std::move(done));
  spdlog::debug("a {} took {:.3f} ms, {} rows", what == Walk::sweep ? "sweep" : "walk",
                static_cast<double>(now_ns() - began_ns) / 1e6, rows_ - rows_before);
  return {};
}

// Whoever is met for the first time is looked up, and there may be thousands of them. What happens meanwhile is newer
// than the rows that are still to come, and is looked at behind them.
void Session::take_row(std::span<const std::byte> bytes) {
  feed_.take_record(bytes);
  if (++rows_ % rows_at_a_time != 0) return;
  hold();
  attend_companions();
}

// On a screen all are told anew as soon as may be; elsewhere how they grow is told at the end, with whoever has begun
// since the start.
void Session::count_descriptors() {
  if (!settings_.census) return;
  if (settings_.census_at_sweeps)
    descriptors_.count_on();
  else
    descriptors_.count_open_when_due();
}

std::vector<std::string> Session::blind_spots() const {
  std::vector<std::string> spots = settings_.limits;
  if (!settings_.looks_up_pids)
    spots.emplace_back(
        "not in the initial pid namespace: holders are seen only in this one, and nothing is looked up by pid");
  if (!closed_namespaces_.empty())
    spots.push_back(
        fmt::format("{} network namespaces could not be entered (CAP_SYS_ADMIN): their sockets{} are seen only where a "
                    "process holds them",
                    closed_namespaces_.size(), source_.walks_by_tables() ? "" : " from before the start"));
  if (failed_walks_ > 0) spots.push_back(fmt::format("{} walks over the sockets failed", failed_walks_));
  if (feed_.bad_records() > 0) spots.push_back(fmt::format("{} records could not be understood", feed_.bad_records()));
  if (losses_.ring_others > 0) spots.push_back(others_lost(losses_));
  if (losses_.processes > 0) spots.push_back(processes_missed(losses_));
  return spots;
}

ProcessResolved Session::answer(const Identity& who) {
  ProcessResolved resolved{.key = who.key, .exec_id = who.exec_id, .skipped = false, .exited = false, .details = {}};
  // Outside the initial pid namespace its pid is the host's: this /proc has another process by that number, or none.
  if (!settings_.looks_up_pids) return resolved;
  if (!may_look_up()) {
    resolved.skipped = true;
    return resolved;
  }
  if (on_process_) on_process_(who);
  const ProcessTicks process{who.key.pid, who.key.start_ns / ns_per_tick};
  if (auto details = describe(settings_.root, process))
    resolved.details = *std::move(details);
  else
    resolved.exited = has_ended(settings_.root, process);
  return resolved;
}

void Session::begin_lookups() {
  const std::uint64_t second = now_ns() / 1'000'000'000;
  if (std::exchange(lookups_second_, second) != second) lookups_left_ = lookups_a_second;
}

bool Session::may_look_up() {
  if (looks_up_all_) return true;
  if (lookups_left_ == 0) return false;
  --lookups_left_;
  return true;
}

// Names take their time: what happens meanwhile is read in between.
void Session::answer_stacks() {
  for (const StackWanted& wanted : feed_.take_wanted_stacks()) {
    if (!name_stack_) return;
    feed_.step(StackResolved{wanted.cookie, wanted.end_read, name_stack_(wanted.stack)});
    drain();
  }
}

void Session::hold() {
  if (backlog_.is_full()) return;
  source_.drain(round_size, [this](std::span<const std::byte> bytes) { backlog_.add(bytes); });
}

bool Session::drain() {
  const std::uint64_t before_ns = now_ns();
  if (!backlog_.is_empty()) backlog_.hand_over([this](std::span<const std::byte> bytes) { feed_.take_record(bytes); });
  const std::size_t taken =
      source_.drain(round_size, [&](std::span<const std::byte> bytes) { feed_.take_record(bytes); });
  const bool more = taken >= round_size;
  tick(more ? 0 : before_ns);
  drains_took_ns_ += now_ns() - before_ns;
  return more;
}

void Session::drain_all() {
  constexpr std::size_t smallest_record = 32;  // with the ring's own header
  const std::size_t rounds = settings_.ring_bytes / smallest_record / round_size + 1;
  for (std::size_t round = 0; round < rounds && drain(); ++round) {
  }
}

void Session::tick(std::uint64_t read_until_ns) {
  const std::uint64_t now = now_ns();
  feed_.step(
      Tick{read_until_ns, static_cast<std::int64_t>(nanoseconds(CLOCK_REALTIME)) - static_cast<std::int64_t>(now)});
  if (recording_ != nullptr) recording_->pulse(now);
  if (last_usage_ns_ == 0 || now < last_usage_ns_ + stats_every_ns) return;
  last_usage_ns_ = now;
  const OwnUsage used = own_usage(settings_.root);
  feed_.step(Usage{now, used.cpu_ms, used.rss_bytes});
}

void Session::check_losses() {
  const KernelLosses losses = source_.losses();
  const auto all = [](const KernelLosses& of) { return of.ring + of.ring_others + of.storage + of.missed; };
  if (all(losses) != all(losses_))
    feed_.step(LossSeen{now_ns(), losses.ring, losses.storage + losses.missed, losses.ring_others});
  losses_ = losses;
}

void Session::check_output() {
  if (writer_.dropped_before_room() > 0) feed_.step(OutputLost{now_ns(), writer_.resume()});
}

// Said once; the run goes on without.
void Session::check_recording() {
  if (recording_ == nullptr || recording_->is_open() || std::exchange(recording_ended_, true)) return;
  if (const auto& error = recording_->error())
    spdlog::error("cannot {}: {}; {}", error->operation, std::strerror(error->code), error->remedy);
  else if (recording_->reached_limit())
    spdlog::warn("the recording {} is at its limit (--record-max): what happens from here on is not in it",
                 recording_->name());
}

int Session::patience(bool more) const {
  if (more) return 0;
  const int pulse = engine_.holds_back() ? short_pulse_ms : static_cast<int>(settings_.pulse.count());
  // A sweep that comes late is a finding that comes late.
  const std::uint64_t now = now_ns();
  if (now >= next_sweep_ns_) return 0;
  return static_cast<int>(
      std::min<std::uint64_t>(static_cast<std::uint64_t>(pulse), (next_sweep_ns_ - now) / 1'000'000 + 1));
}

}  // namespace closewatch
