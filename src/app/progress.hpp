// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_PROGRESS_HPP
#define CLOSEWATCH_APP_PROGRESS_HPP

#include "app/options.hpp"
#include "sink/sink.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace closewatch {

/// Takes the place of the stream while a report is in the making: a line on standard error, on a terminal alone, that
/// says how far it is and what it has found.
class Progress final : public Sink {
 public:
  explicit Progress(const Options& options);
  void take(const Fact& fact) override;
  /// At most once a second.
  void show();
  void clear();

 private:
  bool shown_ = false;  ///< there is a line to be cleared
  bool wanted_;
  std::optional<std::chrono::milliseconds> duration_;
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point last_;
  std::uint64_t transitions_ = 0;
  std::uint64_t findings_ = 0;
};

}  // namespace closewatch

#endif
