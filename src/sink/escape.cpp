// SPDX-License-Identifier: BSD-2-Clause
#include "sink/escape.hpp"

#include <fmt/compile.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace closewatch {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

struct Decoded {
  char32_t point = 0;
  std::size_t length = 1;
  bool valid = false;
};

/// One code point (RFC 3629): no overlong forms, no surrogates, none above U+10FFFF.
Decoded decode_utf8(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  std::size_t length = 0;
  char32_t point = 0;
  char32_t smallest = 0;
  if ((first & 0xE0) == 0xC0) {
    length = 2, point = first & 0x1FU, smallest = 0x80;
  } else if ((first & 0xF0) == 0xE0) {
    length = 3, point = first & 0x0FU, smallest = 0x800;
  } else if ((first & 0xF8) == 0xF0) {
    length = 4, point = first & 0x07U, smallest = 0x10000;
  } else {
    return {};
  }
  if (text.size() < length) return {};
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xC0) != 0x80) return {};
    point = point << 6U | (byte(at) & 0x3FU);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < smallest || point > 0x10FFFF || surrogate) return {};
  return {point, length, true};
}

/// Turns the direction of writing, or joins and hides what is around it.
bool misleads(char32_t point) {
  return (point >= 0x200B && point <= 0x200F) || (point >= 0x202A && point <= 0x202E) ||
         (point >= 0x2060 && point <= 0x206F) || point == 0xFEFF || point == 0x2028 || point == 0x2029;
}

}  // namespace

void append_json(Buffer& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    // The common case in one piece: plain ASCII.
    std::size_t plain = 0;
    while (plain < text.size()) {
      const auto c = static_cast<unsigned char>(text[plain]);
      if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\') break;
      ++plain;
    }
    append(out, text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const Decoded decoded = decode_utf8(text);
    if (!decoded.valid)
      append(out, replacement);
    else if (decoded.point == '"' || decoded.point == '\\')
      out.push_back('\\'), out.push_back(static_cast<char>(decoded.point));
    else if (decoded.point < 0x20 || (decoded.point >= 0x7F && decoded.point < 0xA0))
      fmt::format_to(std::back_inserter(out), FMT_COMPILE("\\u{:04x}"), static_cast<unsigned>(decoded.point));
    else
      append(out, text.substr(0, decoded.length));
    text.remove_prefix(decoded.length);
  }
  out.push_back('"');
}

std::string printable(std::string_view text, bool utf8, std::size_t width) {
  // The common case in one piece.
  const auto plain = std::find_if(text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7F; });
  const auto length = static_cast<std::size_t>(plain - text.begin());
  std::string out{text.substr(0, width == 0 ? length : std::min(length, width))};
  std::size_t columns = out.size();
  text.remove_prefix(length);
  while (!text.empty()) {
    const Decoded decoded = decode_utf8(text);
    std::string_view shown = text.substr(0, decoded.length);
    int wide = 1;
    if (!decoded.valid || decoded.point < 0x20 || decoded.point == 0x7F || (!utf8 && decoded.point >= 0x80) ||
        misleads(decoded.point)) {
      shown = "?";
    } else if (decoded.point >= 0x80) {
      wide = wcwidth(static_cast<wchar_t>(decoded.point));
      // 0: a mark that would sit on what is before it; below: a control character.
      if (wide <= 0) shown = "?", wide = 1;
    }
    if (width != 0 && columns + static_cast<std::size_t>(wide) > width) break;
    out += shown;
    columns += static_cast<std::size_t>(wide);
    text.remove_prefix(decoded.length);
  }
  // Padding belongs here: only here is the width in columns known.
  if (columns < width) out.append(width - columns, ' ');
  return out;
}

std::size_t columns_of(std::string_view printable_text) {
  std::size_t columns = 0;
  while (!printable_text.empty()) {
    const Decoded decoded = decode_utf8(printable_text);
    const int wide = decoded.valid && decoded.point >= 0x80 ? wcwidth(static_cast<wchar_t>(decoded.point)) : 1;
    columns += static_cast<std::size_t>(std::max(wide, 1));
    printable_text.remove_prefix(decoded.length);
  }
  return columns;
}

void append_address(Buffer& out, const Address& address, Family family) {
  if (family == Family::ipv4) {
    // Into the line at once: a string for each would take a tenth of the time of a line.
    for (std::size_t at = 0; at < 4; ++at) {
      if (at > 0) out.push_back('.');
      append(out, address[at]);
    }
    return;
  }
  append(out, address_text(address, family));
}

}  // namespace closewatch
