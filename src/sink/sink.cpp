// SPDX-License-Identifier: BSD-2-Clause
#include "sink/sink.hpp"

#include <array>
#include <utility>

namespace closewatch {
namespace {

constexpr std::array<std::pair<EventType, std::string_view>, 9> names{{
    {EventType::hello, "hello"},
    {EventType::snapshot, "snapshot"},
    {EventType::snapshot_end, "snapshot_end"},
    {EventType::transition, "transition"},
    {EventType::closed, "closed"},
    {EventType::finding, "finding"},
    {EventType::gap, "gap"},
    {EventType::stats, "stats"},
    {EventType::bye, "bye"},
}};

struct TypeOf {
  std::optional<EventType> operator()(const Hello&) const { return EventType::hello; }
  std::optional<EventType> operator()(const Snapshot&) const { return EventType::snapshot; }
  std::optional<EventType> operator()(const SnapshotEnd&) const { return EventType::snapshot_end; }
  std::optional<EventType> operator()(const Transition&) const { return EventType::transition; }
  std::optional<EventType> operator()(const Closed&) const { return EventType::closed; }
  std::optional<EventType> operator()(const Finding&) const { return EventType::finding; }
  std::optional<EventType> operator()(const Gap&) const { return EventType::gap; }
  std::optional<EventType> operator()(const Stats&) const { return EventType::stats; }
  std::optional<EventType> operator()(const Bye&) const { return EventType::bye; }
  std::optional<EventType> operator()(const ProcessWanted&) const { return std::nullopt; }
  std::optional<EventType> operator()(const StackWanted&) const { return std::nullopt; }
  std::optional<EventType> operator()(const WalkWanted&) const { return std::nullopt; }
};

}  // namespace

std::string_view name(EventType type) {
  for (const auto& [known, text] : names)
    if (known == type) return text;
  std::unreachable();
}

std::optional<EventType> event_type(std::string_view text) {
  for (const auto& [type, known] : names)
    if (known == text) return type;
  return std::nullopt;
}

std::optional<EventType> type_of(const Fact& fact) { return std::visit(TypeOf{}, fact); }

}  // namespace closewatch
