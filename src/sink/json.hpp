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
  /// A process written out, for the next line of its. Holds the entry itself, so that its address is not reused.
  struct WrittenProcess {
    std::shared_ptr<const ProcessEntry> entry;
    Identity identity;
    bool exited = false;
    std::string text;
    std::size_t mention = 0;  ///< of the text: how much is what other mentions show
  };
  /// Likewise a connection: it has four lines or so, one soon after the other.
  struct WrittenConnection {
    Connection connection;
    std::string text;
  };

  void append_connection(const Connection& connection);
  void append_responsible(const Responsible& responsible);
  void append_mention_of(const Identity& identity, const Responsible& responsible);
  const WrittenProcess& written(const Process& process);
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
  std::string run_ = "\"\"";  ///< as JSON
  std::uint64_t seq_ = 0;
  std::int64_t second_ = -1;
  std::string run_and_second_;  ///< what the lines of a second have in common
  std::array<WrittenProcess, 256> processes_;
  std::array<WrittenConnection, 256> connections_;
};

}  // namespace closewatch

#endif
