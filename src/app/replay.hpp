// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_REPLAY_HPP
#define CLOSEWATCH_APP_REPLAY_HPP

#include "app/feed.hpp"
#include "app/options.hpp"
#include "source/recording.hpp"

#include <closewatch/core/event.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace closewatch {

/// `closewatch replay FILE -- trace|report|top`: everything from the options to the exit status.
[[nodiscard]] Exit run_replay(const Options& options);

/// Feeds a recording's inputs in the order in which they were recorded.
class Replay {
 public:
  /// `between` is called after each input; an error of its ends the replay.
  Replay(RecordingReader& recording, Feed& feed, std::function<std::expected<void, Error>()> between);

  struct Outcome {
    std::vector<std::string> blind_spots;  ///< of the run, and of its recording
    std::optional<Error> fault;   ///< of the recording: what came before has been fed
    std::optional<Error> failure; ///< of `between`
  };
  [[nodiscard]] Outcome run();

  /// Until when the recording has been fed, after boot.
  [[nodiscard]] std::uint64_t time_ns() const { return last_ns_; }

 private:
  /// An input that waits until the answers to its questions, which are behind it, have been read.
  using Input = std::variant<std::vector<std::byte>, Event>;
  using Asked = std::pair<ProcessKey, std::uint32_t>;  ///< with how often it has called exec()
  struct Before {
    bool operator()(const Asked& left, const Asked& right) const;
  };

  std::expected<void, Error> take(RecordingReader::Item item, Outcome& outcome);
  std::expected<void, Error> feed_waiting();
  [[nodiscard]] ProcessResolved answer(const Identity& process);
  void end_early();

  RecordingReader& recording_;
  Feed& feed_;
  std::function<std::expected<void, Error>()> between_;
  std::optional<Input> waiting_;
  std::vector<ProcessResolved> answers_;  ///< to what waits
  /// The latest of each. Where the recording is judged by other rules than the run was, others are asked for.
  std::map<Asked, ProcessResolved, Before> known_;
  std::uint64_t last_ns_ = 0;
  bool stopped_ = false;
};

/// The end of a replay whose result is `status`, unless something was wrong.
[[nodiscard]] Exit ended(const Replay::Outcome& outcome, Exit status);

}  // namespace closewatch

#endif
