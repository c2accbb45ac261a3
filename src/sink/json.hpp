// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_JSON_HPP
#define CLOSEWATCH_SINK_JSON_HPP

#include "sink/escape.hpp"
#include "sink/sink.hpp"
#include "sink/writer.hpp"

#include <string>

namespace closewatch {

/// The event stream as one JSON object a line (contract, section 3). A line that is dropped takes no `seq`.
class JsonSink final : public Sink {
 public:
  JsonSink(Writer& writer, EventTypes types) : writer_(writer), types_(types) {}
  void take(const Fact& fact) override;

 private:
  void begin(EventType type, std::int64_t time_ns);
  void body(const Hello& hello);
  void body(const Snapshot& row);
  void body(const SnapshotEnd& end);
  void body(const Transition& transition);
  void body(const Closed& closed);
  void body(const Gap& gap);
  void body(const Stats& stats);
  void body(const Bye& bye);
  void body(const ProcessWanted& wanted);
  void body(const WalkWanted& wanted);

  Writer& writer_;
  EventTypes types_;
  Buffer line_;
  std::string run_;
  std::uint64_t seq_ = 0;
};

}  // namespace closewatch

#endif
