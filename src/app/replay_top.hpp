// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_REPLAY_TOP_HPP
#define CLOSEWATCH_APP_REPLAY_TOP_HPP

#include "app/options.hpp"
#include "source/recording.hpp"

#include <closewatch/core/engine.hpp>

namespace closewatch {

class Output;

/// Plays a recording at its own pace, and lets the picture stand at its end; without a terminal it prints the last one.
[[nodiscard]] Exit replay_top(const Options& options, RecordingReader& recording, const Engine::Settings& rules,
                              const Output& output);

}  // namespace closewatch

#endif
