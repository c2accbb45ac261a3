// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_FEED_HPP
#define CLOSEWATCH_APP_FEED_HPP

// The way from an input to the sinks, the same for the kernel's and for a recording's.

#include "sink/sink.hpp"
#include "sink/writer.hpp"
#include "source/recording.hpp"

#include <closewatch/core/engine.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace closewatch {

/// Hands each input to the engine, and what the engine concludes to the sink. Keeps each input where it is to be
/// recorded: all that the engine is told goes through here.
class Feed {
 public:
  using Answer = std::function<ProcessResolved(const Identity&)>;

  Feed(Engine& engine, Sink& sink, Writer& writer) : engine_(engine), sink_(sink), writer_(writer) {}

  /// Answers who a process is. To be set before the first step.
  void answers_by(Answer answer) { answer_ = std::move(answer); }
  /// Null: nothing is recorded.
  void record_to(RecordingWriter* recording) { recording_ = recording; }
  /// The end of what is shown is not the end of the run: no `bye`.
  void withhold_bye() { withholds_bye_ = true; }

  /// A record of the kernel's. What cannot be understood is counted and skipped.
  void take_record(std::span<const std::byte> bytes);
  void step(const Event& event);

  /// What the engine has asked for since the last time.
  [[nodiscard]] std::optional<WalkWanted> take_wanted_walk() { return std::exchange(walk_wanted_, std::nullopt); }
  [[nodiscard]] std::vector<StackWanted> take_wanted_stacks() { return std::exchange(stacks_wanted_, {}); }

  /// The head of the stream, once it is known.
  [[nodiscard]] const Started& started() const { return started_; }
  [[nodiscard]] bool has_started() const { return started_.time_ns != 0; }
  [[nodiscard]] std::uint64_t bad_records() const { return bad_records_; }
  /// Why the output can no longer be written.
  [[nodiscard]] const std::optional<Error>& output_error() const { return output_error_; }
  [[nodiscard]] Engine& engine() { return engine_; }
  [[nodiscard]] Writer& writer() { return writer_; }

 private:
  void apply(const Event& event);
  void answer(const Identity& process);
  void show(const Fact& fact);

  Engine& engine_;
  Sink& sink_;
  Writer& writer_;
  Answer answer_;
  RecordingWriter* recording_ = nullptr;
  bool withholds_bye_ = false;
  std::vector<Fact> facts_;
  std::optional<WalkWanted> walk_wanted_;
  std::vector<StackWanted> stacks_wanted_;  ///< of the walk under way
  Started started_;
  std::uint64_t bad_records_ = 0;
  std::optional<Error> output_error_;
};

/// What the engine's tables had no room for, in sentences.
[[nodiscard]] std::vector<std::string> blind_spots(const Engine::Refusals& refused);

}  // namespace closewatch

#endif
