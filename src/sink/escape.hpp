// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_ESCAPE_HPP
#define CLOSEWATCH_SINK_ESCAPE_HPP

// Names come from whoever chose them: bytes that are no UTF-8, quotes, line breaks, sequences that steer a terminal.

#include <closewatch/core/address.hpp>
#include <closewatch/core/types.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace closewatch {

using Buffer = fmt::memory_buffer;

/// What every line consists of is put together by these: a format string, even a compiled one, takes several times as
/// long, and lines are most of what watching costs in user space.
inline void append(Buffer& out, std::string_view text) {
  const std::size_t at = out.size();
  out.resize(at + text.size());
  text.copy(out.data() + at, text.size());
}
inline void append(Buffer& out, std::uint64_t number) {
  const fmt::format_int digits{number};
  append(out, std::string_view{digits.data(), digits.size()});
}

/// A JSON string with its quotes (RFC 8259 section 7). What is no UTF-8 becomes U+FFFD; control characters, C1 (which a
/// terminal may obey) among them, are written as \u00xx.
void append_json(Buffer& out, std::string_view text);

/// The same text with nothing left that a terminal would obey, cut to `width` columns (0: as long as it is).
/// Without `utf8` everything beyond ASCII becomes '?'.
[[nodiscard]] std::string printable(std::string_view text, bool utf8, std::size_t width);

/// What a text that has been made printable takes of a terminal's line.
[[nodiscard]] std::size_t columns_of(std::string_view printable_text);

/// As inet_ntop(3).
void append_address(Buffer& out, const Address& address, Family family);

}  // namespace closewatch

#endif
