// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_RECORDED_HPP
#define CLOSEWATCH_SOURCE_RECORDED_HPP

// The items of a recording that are no records of the kernel's: as JSON, one object each.

#include "source/recording.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace closewatch {

/// Kinds of item, as the file numbers them: never given to another, or with fields of another meaning.
enum class ItemKind : std::uint16_t {
  head = 1,
  end = 2,
  record = 3,
  started = 4,
  tick = 5,
  walk_done = 6,
  tables_walked = 7,
  namespace_gone = 8,
  namespace_seen = 9,
  descriptors_seen = 10,
  stack_resolved = 11,
  process_resolved = 12,
  loss_seen = 13,
  usage = 14,
  stopped = 15,
};

struct RecordedItem {
  ItemKind kind = ItemKind::tick;
  std::string json;
};

[[nodiscard]] RecordedItem recorded(const RecordingHead& head);
[[nodiscard]] RecordedItem recorded(const RecordingEnd& end);
/// None for what comes as a record, and for what is no input.
[[nodiscard]] std::optional<RecordedItem> recorded(const Event& event);

/// The other way round; an error says what is wrong with it.
[[nodiscard]] std::expected<std::variant<RecordingHead, RecordingEnd, Event>, std::string> from_recorded(
    std::uint16_t kind, std::string_view json);

}  // namespace closewatch

#endif
