// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_BASE_NUMBER_HPP
#define CLOSEWATCH_BASE_NUMBER_HPP

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace closewatch {

/// Digits and nothing else, where they fit; empty otherwise.
template <typename Number>
[[nodiscard]] std::optional<Number> whole_number(std::string_view text, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace closewatch

#endif
