// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_WORDS_HPP
#define CLOSEWATCH_HOST_WORDS_HPP

// Lines, words and numbers of the texts in /proc.

#include <closewatch/base/number.hpp>

#include <algorithm>
#include <string_view>

namespace closewatch {

/// Takes the first line off the front; it is returned without its line break.
inline std::string_view take_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

/// Takes the first word off the front, and the blanks and tabs before it. Empty where there is none any more.
inline std::string_view take_word(std::string_view& text) {
  constexpr std::string_view blanks = " \t";
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(blanks)));
  const std::string_view word = text.substr(0, text.find_first_of(blanks));
  text.remove_prefix(word.size());
  return word;
}

}  // namespace closewatch

#endif
