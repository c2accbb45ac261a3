// SPDX-License-Identifier: BSD-2-Clause
#include "app/values.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace closewatch {

std::optional<std::chrono::milliseconds> parse_time(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = whole_number<std::uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  const std::string_view unit = text.substr(digits);
  std::uint64_t factor = 0;
  if (unit == "ms") factor = 1;
  if (unit.empty() || unit == "s") factor = 1000;
  if (unit == "m") factor = 60 * 1000;
  if (unit == "h") factor = 3600 * 1000;
  constexpr std::uint64_t most = std::uint64_t{100} * 365 * 24 * 3600 * 1000;  // a century, so that sums of it fit
  if (factor == 0 || *value > most / factor) return std::nullopt;
  return std::chrono::milliseconds{*value * factor};
}

std::string time_text(std::chrono::milliseconds time) {
  const auto count = static_cast<std::uint64_t>(time.count());
  for (const auto& [unit, factor] : {std::pair{"h", 3'600'000U}, std::pair{"m", 60'000U}, std::pair{"s", 1000U}})
    if (count >= factor && count % factor == 0) return std::to_string(count / factor) + unit;
  return std::to_string(count) + "ms";
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = whole_number<std::uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  std::string_view unit = text.substr(digits);
  unsigned shift = 0;
  if (!unit.empty()) {
    switch (unit.front()) {
      case 'k':
      case 'K': shift = 10; break;
      case 'm':
      case 'M': shift = 20; break;
      case 'g':
      case 'G': shift = 30; break;
      default: return std::nullopt;
    }
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B" && unit != "iB") return std::nullopt;
  }
  if (*value > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
  return *value << shift;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    parts.emplace_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

std::optional<std::string> suggestion(std::string_view typed, const std::vector<std::string>& candidates) {
  const auto distance = [&](std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= typed.size(); ++i) {
      std::size_t diagonal = row[0]++;
      for (std::size_t j = 1; j <= other.size(); ++j) {
        const std::size_t change = diagonal + (typed[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
      }
    }
    return row.back();
  };
  std::optional<std::string> best;
  std::size_t nearest = std::max<std::size_t>(2, typed.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (const std::size_t far = distance(candidate); far < nearest) {
      nearest = far;
      best = candidate;
    }
  }
  return best;
}

}  // namespace closewatch
