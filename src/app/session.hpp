// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_SESSION_HPP
#define CLOSEWATCH_APP_SESSION_HPP

// The loop between the kernel and the sinks: the one place with a clock, signals and sight of every room.

#include "app/options.hpp"
#include "sink/sink.hpp"
#include "sink/writer.hpp"
#include "source/kernel.hpp"

#include <closewatch/core/engine.hpp>

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <vector>

namespace closewatch {

class Signals;

class Session {
 public:
  struct Settings {
    std::filesystem::path root = "/";  ///< where /proc and /sys are
    std::uint32_t netns = 0;           ///< the only network namespace of interest; 0: all
    bool looks_up_pids = true;         ///< false outside the initial pid namespace
    bool quiet = false;
    std::uint32_t ring_bytes = 0;
    std::optional<std::chrono::milliseconds> duration;
  };

  Session(KernelSource& source, Engine& engine, Sink& sink, Writer& writer, const Settings& settings);

  /// Walks what is there, says hello, and goes on until a signal, the end of the time, or nobody reads any more.
  [[nodiscard]] std::expected<void, Error> run(Started started);

  /// Called when the screen's size has changed.
  void on_resize(std::function<void()> callback) { on_resize_ = std::move(callback); }

 private:
  [[nodiscard]] std::expected<void, Error> start(Started started);
  [[nodiscard]] std::expected<void, Error> loop(const Signals& signals);
  [[nodiscard]] std::expected<void, Error> pump();
  [[nodiscard]] std::expected<void, Error> stop();
  [[nodiscard]] std::expected<void, Error> walk(bool tables);
  [[nodiscard]] std::expected<void, Error> walk_tables();

  /// Decodes one record and lets the engine work on it.
  void take_record(std::span<const std::byte> bytes);
  void step(const Event& event);
  void answer(const ProcessWanted& wanted);
  bool drain();
  /// Until nothing is left in the ring of what was there at the call; what comes meanwhile may stay.
  void drain_all();
  void check_losses();
  void check_output();
  /// `read_until_ns`: what happened before has been read; 0 where that is not known.
  void tick(std::uint64_t read_until_ns);
  [[nodiscard]] int patience(bool more) const;

  KernelSource& source_;
  Engine& engine_;
  Sink& sink_;
  Writer& writer_;
  Settings settings_;
  std::function<void()> on_resize_;
  std::vector<Fact> facts_;
  std::optional<WalkWanted> walk_wanted_;
  KernelLosses losses_;
  std::uint64_t bad_records_ = 0;
  std::uint64_t lookups_left_ = 0;  ///< of this second
  std::uint64_t lookups_second_ = 0;
  std::uint64_t lookups_skipped_ = 0;
  std::uint64_t last_usage_ns_ = 0;
  std::optional<Error> output_error_;
  std::set<std::uint32_t> closed_namespaces_;  ///< that could not be entered, told once
};

}  // namespace closewatch

#endif
