// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_OPTIONS_HPP
#define CLOSEWATCH_TESTS_UNIT_OPTIONS_HPP

// Command lines, and what is made of them.

#include "catch.hpp"

#include "app/options.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace closewatch::test {

using Arguments = std::vector<std::string>;

inline Options parsed(const Arguments& arguments) {
  const auto options = parse_options(arguments);
  if (!options) FAIL(options.error().text);
  return *options;
}

/// Why it is refused: status 2, and one line.
inline std::string refused(const Arguments& arguments) {
  const auto options = parse_options(arguments);
  std::string line;
  for (const std::string& argument : arguments) line += " '" + argument + "'";
  INFO("closewatch" << line);
  REQUIRE_FALSE(options);
  CHECK(options.error().exit == Exit::usage);
  CHECK(options.error().text.find('\n') == std::string::npos);
  return options.error().text;
}

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace closewatch::test

#endif
