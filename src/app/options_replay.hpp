// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_OPTIONS_REPLAY_HPP
#define CLOSEWATCH_APP_OPTIONS_REPLAY_HPP

// `replay FILE -- COMMAND …`: what is before COMMAND, and what may be behind it.

#include "app/options.hpp"

#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace closewatch {

/// Takes `replay FILE [--]` off the arguments; what is left is the command that is fed with it.
[[nodiscard]] std::expected<std::string, NoStart> cut_replay(std::vector<std::string>& arguments);

/// Why what was given makes no sense with a recording.
[[nodiscard]] std::optional<std::string> misplaced_in_replay(const Options& options);

}  // namespace closewatch

#endif
