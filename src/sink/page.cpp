// SPDX-License-Identifier: BSD-2-Clause
#include "sink/page.hpp"

#include "sink/escape.hpp"

#include <utility>

namespace closewatch {
namespace {

std::string_view code(Colour colour) {
  switch (colour) {
    case Colour::none: return "";
    case Colour::red: return "\x1b[31m";
    case Colour::yellow: return "\x1b[33m";
    case Colour::green: return "\x1b[32m";
  }
  std::unreachable();
}

/// The bytes of the text's beginning that take at most `columns`, one character at the least.
std::size_t bytes_within(std::string_view text, std::size_t columns) {
  std::size_t length = 0;
  while (length < text.size()) {
    std::size_t next = length + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (length != 0 && columns_of(text.substr(0, next)) > columns) break;
    length = next;
  }
  return length;
}

}  // namespace

void Page::wrap(std::size_t indent, std::size_t hanging, std::string_view text, Colour colour) {
  const std::string more(hanging, ' ');
  std::string line(indent, ' ');
  bool empty = true;
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(' '));
    if (!empty && columns_of(line) + 1 + columns_of(word) > width_) {
      put(line, colour);
      line = more;
      empty = true;
    }
    // A name longer than a line has no better place to be broken.
    if (columns_of(line) + columns_of(word) > width_) word = word.substr(0, bytes_within(word, width_ - line.size()));
    if (!empty) line += ' ';
    line += word;
    empty = false;
    text.remove_prefix(word.size());
    if (text.starts_with(' '))
      text.remove_prefix(1);
    else if (!text.empty())
      put(std::exchange(line, more), colour), empty = true;
  }
  put(line, colour);
}

void Page::row(std::string_view text, Colour colour) { put(text, colour); }

void Page::put(std::string_view line, Colour colour) {
  lines_.push_back({std::string{line.substr(0, line.find_last_not_of(' ') + 1)}, colour});
}

std::string Page::text() const {
  std::string text;
  for (const Line& line : lines_) {
    const bool coloured = coloured_ && line.colour != Colour::none;
    if (coloured) text += code(line.colour);
    text += line.text;
    if (coloured) text += "\x1b[0m";
    text.push_back('\n');
  }
  return text;
}

}  // namespace closewatch
