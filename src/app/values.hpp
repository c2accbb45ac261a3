// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_VALUES_HPP
#define CLOSEWATCH_APP_VALUES_HPP

// How the values on a command line are written.

#include <closewatch/base/number.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// 10, 10s, 500ms, 2m, 1h.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_time(std::string_view text);

/// As parse_time() reads it, in the largest unit that says it in whole numbers.
[[nodiscard]] std::string time_text(std::chrono::milliseconds time);

/// Bytes, or with K, M, G (powers of 1024; KiB and KB are taken too).
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// Between commas. An empty text is one empty part.
[[nodiscard]] std::vector<std::string> split(std::string_view text);

/// The candidate nearest to what was typed, if any is near.
[[nodiscard]] std::optional<std::string> suggestion(std::string_view typed, const std::vector<std::string>& candidates);

}  // namespace closewatch

#endif
