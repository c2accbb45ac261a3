// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_DECODE_DECODE_HPP
#define CLOSEWATCH_DECODE_DECODE_HPP

#include <closewatch/core/event.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

namespace closewatch {

enum class DecodeError : std::uint8_t {
  truncated,     ///< shorter than its header, or than the header says
  version,       ///< of another ABI
  unknown_type,
  size,          ///< not the size of its type
  field,         ///< a field has a value that it cannot have
};

[[nodiscard]] std::string_view name(DecodeError error);

/// One record of include/closewatch/abi/record.h. Trusts nothing: any bytes give an event or an error.
[[nodiscard]] std::expected<Event, DecodeError> decode(std::span<const std::byte> bytes);

}  // namespace closewatch

#endif
