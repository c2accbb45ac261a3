// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_FACT_HPP
#define CLOSEWATCH_CORE_FACT_HPP

// What the engine concludes. Most facts go to the sinks (contract, section 3); the wanted ones are questions that the
// session answers with an event. `time_ns` is nanoseconds since 1970 (UTC).

#include <closewatch/core/event.hpp>
#include <closewatch/core/finding.hpp>
#include <closewatch/core/types.hpp>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace closewatch {

struct Hello {
  std::int64_t time_ns = 0;
  std::string run;
  std::string version;
  std::string host;
  std::string kernel;
  std::string boot_id;
  std::vector<std::pair<std::string, std::string>> options;
};

struct Connection {
  ConnectionId id;
  Tuple tuple;
  bool mptcp = false;
  bool operator==(const Connection&) const = default;
};

/// A process with how it is known; `process` is empty where the attribution is unknown.
struct Responsible {
  std::optional<Process> process;
  Attribution attribution = Attribution::unknown;
};

struct Snapshot {
  std::int64_t time_ns = 0;
  Connection connection;
  State state = State::close;
  std::optional<std::uint64_t> age_ns;
  Responsible responsible;
};

struct SnapshotEnd {
  std::int64_t time_ns = 0;
};

struct Transition {
  std::int64_t time_ns = 0;
  Connection connection;
  State from = State::close;
  State to = State::close;
  std::optional<std::uint64_t> in_state_ns;  ///< time spent in `from`
  Responsible responsible;
  std::optional<Identity> actor;
  Cause cause = Cause::network;
  std::optional<Ending> ending;  ///< with the transition that ends it for its process
  bool by_sweep = false;         ///< nobody told of it: a walk found it, or its timer's time
};

struct Closer {
  Identity process;
  Cause by = Cause::close;
};

struct Closed {
  std::int64_t time_ns = 0;
  Connection connection;
  Responsible responsible;
  std::optional<Closer> closer;
  FirstFin first_fin = FirstFin::none;
  Ending ending = Ending::unknown;
  std::int32_t error = 0;
  Bucket bucket = Bucket::unknown;
  std::array<std::uint64_t, state_slots> states_ns{};
  std::optional<std::uint64_t> in_state_ns;  ///< in the last state before CLOSE
  std::optional<std::uint64_t> duration_ns;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
};

/// A socket was judged, judged anew, or its finding is over (contract, sections 3 and 4).
struct Finding {
  enum class Status : std::uint8_t { raised, changed, resolved };
  std::int64_t time_ns = 0;
  Connection connection;
  Responsible responsible;
  Status status = Status::raised;
  Kind kind = Kind::eof_unread;
  Verdict verdict = Verdict::ok;
  std::optional<Resolution> resolution;
  std::uint64_t age_ns = 0;
  bool age_is_lower_bound = false;
  Condition condition;
  std::vector<Holder> holders;
  std::optional<Stacks> stacks;
};
[[nodiscard]] std::string_view name(Finding::Status status);

struct Gap {
  enum class Where : std::uint8_t { ring, output, table, storage };
  std::int64_t time_ns = 0;
  std::uint64_t lost = 0;
  Where where = Where::ring;
};

struct TotalsSoFar {
  std::uint64_t events = 0;  ///< transitions that were received
  std::uint64_t lost = 0;
  std::uint64_t connections = 0;  ///< on the close path now
  std::uint64_t cpu_ms = 0;
  std::uint64_t rss_bytes = 0;
};

struct Stats {
  std::int64_t time_ns = 0;
  TotalsSoFar totals;
};

struct Bye {
  std::int64_t time_ns = 0;
  TotalsSoFar totals;
  std::uint64_t findings = 0;
};

/// Who is this? Asked while it may still live; to be answered before the next event.
struct ProcessWanted {
  Identity process;
};

/// What are these addresses? To be answered before the walk that brought them is done.
struct StackWanted {
  std::uint64_t cookie = 0;
  bool end_read = false;
  RawStack stack;
};

/// Walk the sockets again: something was lost, or the one who had a socket is gone.
struct WalkWanted {
  bool tables = false;  ///< also the TCP tables of every network namespace, for what has no storage (buckets)
};

using Fact = std::variant<Hello, Snapshot, SnapshotEnd, Transition, Closed, Finding, Gap, Stats, Bye, ProcessWanted,
                          StackWanted, WalkWanted>;

[[nodiscard]] std::string_view name(Gap::Where where);

}  // namespace closewatch

#endif
