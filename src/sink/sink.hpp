// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_SINK_HPP
#define CLOSEWATCH_SINK_SINK_HPP

#include <closewatch/core/fact.hpp>

#include <cstdint>
#include <optional>
#include <string_view>

namespace closewatch {

/// The types of event of the stream (contract, section 3), as `--events` names them.
enum class EventType : std::uint8_t { hello, snapshot, snapshot_end, transition, closed, finding, gap, stats, bye };
[[nodiscard]] std::string_view name(EventType type);
[[nodiscard]] std::optional<EventType> event_type(std::string_view name);
/// Empty for what is no event of the stream but a question to the session.
[[nodiscard]] std::optional<EventType> type_of(const Fact& fact);

/// A set of event types.
class EventTypes {
 public:
  static EventTypes all() { return EventTypes{~0U}; }
  EventTypes() = default;
  void add(EventType type) { bits_ |= bit(type); }
  [[nodiscard]] bool has(EventType type) const { return (bits_ & bit(type)) != 0; }

 private:
  explicit EventTypes(unsigned bits) : bits_(bits) {}
  static unsigned bit(EventType type) { return 1U << static_cast<unsigned>(type); }
  unsigned bits_ = 0;
};

/// Where facts go. Losses come as ordinary facts.
class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  virtual ~Sink() = default;
  virtual void take(const Fact& fact) = 0;
};

}  // namespace closewatch

#endif
