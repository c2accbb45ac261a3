// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_SESSION_HPP
#define CLOSEWATCH_APP_SESSION_HPP

// The loop between the kernel and the sinks: the one place with a clock, signals and sight of every room.

#include "app/backlog.hpp"
#include "app/counted_descriptors.hpp"
#include "app/feed.hpp"
#include "host/namespaces.hpp"
#include "source/kernel.hpp"

#include <closewatch/core/engine.hpp>

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

struct signalfd_siginfo;

namespace closewatch {

class Signals;

class Session {
 public:
  struct Settings {
    std::filesystem::path root = "/";  ///< where /proc and /sys are
    std::uint32_t netns = 0;           ///< the only network namespace of interest; 0: all
    bool looks_up_pids = true;         ///< false outside the initial pid namespace
    bool quiet = false;
    bool census = false;  ///< the first and the last walk bring rows of every state
    bool census_at_sweeps = false;  ///< and each sweep does; now and then one looks at every network namespace
    bool walks_at_end = true;  ///< what there is then is to be told; a walk over a million sockets takes seconds
    std::uint32_t ring_bytes = 0;
    std::chrono::milliseconds sweep{5000};  ///< from one walk over the sockets to the next
    /// The kernel side wakes nobody for a little data, and lines are owed within 100 ms.
    std::chrono::milliseconds pulse{80};
    std::optional<std::chrono::milliseconds> duration;
    std::vector<std::string> limits;  ///< what a missing privilege keeps from us, in sentences
  };

  Session(KernelSource& source, Feed& feed, const Settings& settings);

  /// Keeps every input there. `head` but for when the watching began.
  void record_to(RecordingWriter& recording, RecordingHead head);

  /// Walks what is there, says hello, and goes on until a signal, the end of the time, or nobody reads any more.
  [[nodiscard]] std::expected<void, Error> run(Started started);

  /// Called when the screen's size has changed.
  void on_resize(std::function<void()> callback) { on_resize_ = std::move(callback); }

  /// The program is to be stopped (Ctrl-Z) and goes on: `stop` gives a screen back, `go_on` takes it again.
  void gives_way(std::function<void()> stop, std::function<void()> go_on) {
    on_stop_ = std::move(stop);
    on_continue_ = std::move(go_on);
  }

  /// Somebody else's descriptor, looked at in each round once the ring has been read.
  struct Companion {
    int fd = -1;
    std::function<short()> wanted;  ///< what to wait for, as poll(2) has it
    std::function<bool(short)> come;  ///< what has come; false ends the watching
  };
  void looks_at(Companion companion) { companions_.push_back(std::move(companion)); }

  /// Called once everything is attached and what was there before has been walked.
  void on_started(std::function<void()> callback) { on_started_ = std::move(callback); }

  /// Called some ten times a second while it watches.
  void on_pulse(std::function<void()> callback) { on_pulse_ = std::move(callback); }

  /// When what on_pulse() does is to be done in time, after boot.
  void next_frame_by(std::function<std::uint64_t()> when) { next_frame_ = std::move(when); }

  /// Called when the watching is over, before what is left to be done at its end.
  void on_ending(std::function<void()> callback) { on_ending_ = std::move(callback); }

  /// Answers what the addresses of a stack are; without it nobody does. `meet` is called for each process at its first
  /// sight, since it may be gone when it is asked for.
  void names_stacks_by(std::function<Stack(const RawStack&)> answer, std::function<void(const Identity&)> meet) {
    name_stack_ = std::move(answer);
    on_process_ = std::move(meet);
  }

  /// Watches until `fd` is readable, and hands the signals that come in meanwhile to `signal` instead of ending.
  void lasts_as_long_as(int fd, std::function<void(const signalfd_siginfo&)> signal) {
    end_fd_ = fd;
    on_signal_ = std::move(signal);
  }

  /// Makes room in the ring while the engine must not be stepped: what is taken out is looked at later.
  void hold();

  /// What the kernel or the machine kept from us, in sentences. To be asked once it has run.
  [[nodiscard]] std::vector<std::string> blind_spots() const;
  /// When the watching began, after boot.
  [[nodiscard]] std::uint64_t began_ns() const { return began_ns_; }

 private:
  [[nodiscard]] std::expected<void, Error> start(Started started);
  [[nodiscard]] std::expected<void, Error> loop(const Signals& signals);
  [[nodiscard]] bool take_signals(const Signals& signals);
  [[nodiscard]] std::expected<void, Error> pump();
  [[nodiscard]] std::expected<void, Error> stop();
  /// sweep: the TCP tables of the network namespaces that have TIME_WAIT buckets too; everything: of all of them, and
  /// every state where asked for.
  enum class Walk { owners, sweep, everything };
  [[nodiscard]] std::expected<void, Error> walk(Walk what, bool with_census);
  void take_row(std::span<const std::byte> bytes);
  void sweep_when_due();
  [[nodiscard]] bool gives_way();
  void walk_at_end();
  void count_descriptors();
  /// Of every network namespace, or of those that have TIME_WAIT buckets.
  [[nodiscard]] std::expected<void, Error> walk_tables(bool all);
  [[nodiscard]] std::expected<void, Error> walk_tables_of(const NetworkNamespace& where, bool look);
  /// KernelSource::Everywhere
  [[nodiscard]] std::expected<KernelSource::Namespaces, Error> in_each_namespace(const KernelSource::Namespaces& held,
                                                                                 const KernelSource::Walk& body);
  /// gone: this way leads to it no more.
  enum class Way { open, closed, gone };
  [[nodiscard]] std::expected<Way, Error> enter(const NetworkNamespace& where, const KernelSource::Walk& body);

  [[nodiscard]] ProcessResolved answer(const Identity& who);
  [[nodiscard]] bool may_look_up();
  void begin_lookups();
  void answer_stacks();
  void add_companions(std::vector<pollfd>& entries) const;
  void serve_companions(std::span<const pollfd> entries);
  /// Now and then while something takes long: to the ring first.
  void attend();
  void attend_companions();
  bool drain();
  /// Until nothing is left in the ring of what was there at the call; what comes meanwhile may stay.
  void drain_all();
  void check_losses();
  void check_output();
  void check_recording();
  /// `read_until_ns`: what happened before has been read; 0 where that is not known.
  void tick(std::uint64_t read_until_ns);
  [[nodiscard]] int patience(bool more) const;

  KernelSource& source_;
  Feed& feed_;
  Engine& engine_;
  Writer& writer_;
  Settings settings_;
  std::function<void()> on_resize_;
  std::function<void()> on_started_;
  std::function<void()> on_pulse_;
  std::function<void()> on_ending_;
  std::function<void()> on_stop_;
  std::function<void()> on_continue_;
  std::vector<Companion> companions_;
  bool ended_ = false;  ///< by one of them
  std::function<Stack(const RawStack&)> name_stack_;
  std::function<void(const Identity&)> on_process_;
  std::function<void(const signalfd_siginfo&)> on_signal_;
  int end_fd_ = -1;
  std::uint64_t began_ns_ = 0;
  std::uint64_t next_sweep_ns_ = 0;
  std::function<std::uint64_t()> next_frame_;
  std::uint64_t sweep_took_ns_ = 0;
  bool gave_way_ = false;  ///< the next one, to a frame
  std::uint64_t next_look_ns_ = 0;
  std::uint64_t failed_walks_ = 0;
  std::uint64_t rows_ = 0;  ///< of all walks
  bool owes_tables_ = false;  ///< a walk over all failed
  CountedDescriptors descriptors_;
  Backlog backlog_;
  KernelLosses losses_;
  RecordingWriter* recording_ = nullptr;
  RecordingHead recording_head_;
  bool recording_ended_ = false;  ///< and that was said
  std::uint64_t lookups_left_ = 0;  ///< of this second; a walk stays in the one in which it began
  std::uint64_t lookups_second_ = 0;
  bool looks_up_all_ = false;  ///< it is the end
  std::uint64_t last_usage_ns_ = 0;
  std::set<std::uint32_t> closed_namespaces_;  ///< that could not be entered, told once
  std::map<std::uint32_t, std::uint64_t> tables_walked_ns_;  ///< when the last walk of a namespace's tables began
  std::uint64_t next_tables_ns_ = 0;
  std::vector<NetworkNamespace> ways_;  ///< into those that the last walk over everything has found, and others since
  std::uint64_t drains_took_ns_ = 0;
  std::uint64_t rows_took_ns_ = 0;  ///< by the tables of every namespace, the last time; 0 where there is no need
};

}  // namespace closewatch

#endif
