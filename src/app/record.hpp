// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_RECORD_HPP
#define CLOSEWATCH_APP_RECORD_HPP

#include "app/options.hpp"
#include "app/session.hpp"
#include "source/recording.hpp"

#include <closewatch/core/engine.hpp>

#include <expected>
#include <optional>

namespace closewatch {

class Output;

inline constexpr const char* recorded_over_results = "--record and the results are to go into the same file";

/// The recording that --record asks for, or none. The file is opened before anything starts, and emptied with it.
class Record {
 public:
  [[nodiscard]] static std::expected<Record, Error> open(const Options& options);

  /// It would be written where the results go, by whatever name.
  [[nodiscard]] bool is_in(const Output& output) const;
  /// The session will keep its inputs there.
  void serve(Session& session, const Options& options, const Engine::Settings& engine);
  /// All of the run is in it, or as much as --record-max lets; or nobody asked for it.
  [[nodiscard]] bool is_good() const { return !writer_ || !writer_->error(); }

 private:
  Descriptor file_;
  std::optional<RecordingWriter> writer_;
};

}  // namespace closewatch

#endif
