// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_JSON_HPP
#define CLOSEWATCH_SINK_JSON_HPP

#include "sink/escape.hpp"
#include "sink/sink.hpp"
#include "sink/writer.hpp"

#include <array>
#include <memory>
#include <string>

namespace closewatch {

/// The event stream as one JSON object a line (contract, section 3). A line that is dropped takes no `seq`.
class JsonSink final : public Sink {
 public:
  JsonSink(Writer& writer, EventTypes types) : writer_(writer), types_(types) {}
  void take(const Fact& fact) override;

 private:
  /// What does not change about a process, written once. Held by the entry itself, so that its address is not reused.
  struct Written {
    std::shared_ptr<const ProcessEntry> entry;
    std::string before_uid;
    std::string after_uid;
  };

  void append_time(std::int64_t time_ns);
  void append_responsible(const Responsible& responsible);
  const Written& written(const std::shared_ptr<const ProcessEntry>& entry);
  void begin(EventType type, std::int64_t time_ns);
  void body(const Hello& hello);
  void body(const Snapshot& row);
  void body(const SnapshotEnd& end);
  void body(const Transition& transition);
  void body(const Closed& closed);
  void body(const Finding& finding);
  void body(const Gap& gap);
  void body(const Stats& stats);
  void body(const Bye& bye);
  void body(const ProcessWanted& wanted);
  void body(const StackWanted& wanted);
  void body(const WalkWanted& wanted);

  Writer& writer_;
  EventTypes types_;
  Buffer line_;
  std::string run_;
  std::uint64_t seq_ = 0;
  std::int64_t second_ = -1;  ///< the one that `date_` is of
  std::string date_;
  std::array<Written, 256> written_;
};

}  // namespace closewatch

#endif
