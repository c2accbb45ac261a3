// SPDX-License-Identifier: BSD-2-Clause
#include "sink/json.hpp"

#include <fmt/chrono.h>
#include <fmt/compile.h>

#include <array>
#include <cstddef>
#include <ctime>
#include <functional>
#include <iterator>
#include <utility>

namespace closewatch {
namespace {

void append(Buffer& out, std::string_view text) { out.append(text.data(), text.data() + text.size()); }

template <typename... Values>
void format(Buffer& out, auto compiled, Values&&... values) {
  fmt::format_to(std::back_inserter(out), compiled, std::forward<Values>(values)...);
}

void append_or_null(Buffer& out, const std::optional<std::string>& text) {
  if (text)
    append_json(out, *text);
  else
    append(out, "null");
}

void append_or_null(Buffer& out, const std::optional<std::uint64_t>& value) {
  if (value)
    format(out, FMT_COMPILE("{}"), *value);
  else
    append(out, "null");
}

void append_end(Buffer& out, std::string_view name, const Endpoint& endpoint, Family family) {
  format(out, FMT_COMPILE("\"{}\":{{\"address\":\"{}\",\"port\":{}}}"), name, address_text(endpoint.address, family),
         endpoint.port);
}

void append_connection(Buffer& out, const Connection& connection) {
  const Tuple& tuple = connection.tuple;
  format(out, FMT_COMPILE(",\"conn\":{{\"id\":\"{}:{}\",\"netns\":{},\"family\":\"{}\",\"role\":"), connection.id.netns,
         connection.id.cookie, connection.id.netns, tuple.family == Family::ipv4 ? "ipv4" : "ipv6");
  if (tuple.role == Role::unknown)
    append(out, "null");
  else
    format(out, FMT_COMPILE("\"{}\""), name(tuple.role));
  append(out, ",");
  append_end(out, "local", tuple.local, tuple.family);
  append(out, ",");
  append_end(out, "peer", tuple.peer, tuple.family);
  append(out, "}");
}

/// The three keys by which a process is mentioned; the caller closes the object.
void append_mention(Buffer& out, const Identity& identity) {
  format(out, FMT_COMPILE("{{\"pid\":{},\"start_ns\":{},\"comm\":"), identity.key.pid, identity.key.start_ns);
  append_json(out, text(identity.comm));
}

/// In the order in which the contract lists the states.
constexpr std::array listed{State::close,       State::listen,     State::syn_sent,  State::syn_recv,
                            State::established, State::fin_wait1,  State::fin_wait2, State::closing,
                            State::time_wait,   State::close_wait, State::last_ack};

void append_states(Buffer& out, const std::array<std::uint64_t, state_slots>& states_ns) {
  append(out, ",\"states_ns\":{");
  std::string_view comma = "";
  for (const State state : listed) {
    const std::uint64_t spent = states_ns[std::to_underlying(state)];
    if (spent == 0) continue;
    format(out, FMT_COMPILE("{}\"{}\":{}"), comma, name(state), spent);
    comma = ",";
  }
  append(out, "}");
}

void append_totals(Buffer& out, const TotalsSoFar& totals) {
  format(out, FMT_COMPILE(",\"events\":{},\"lost\":{},\"connections\":{},\"cpu_ms\":{},\"rss_bytes\":{}"),
         totals.events, totals.lost, totals.connections, totals.cpu_ms, totals.rss_bytes);
}

}  // namespace

void JsonSink::take(const Fact& fact) {
  const auto type = type_of(fact);
  if (!type) return;
  if (const auto* hello = std::get_if<Hello>(&fact)) run_ = hello->run;
  if (!types_.has(*type)) return;
  // What tells of a loss, and the last line, are owed even to a slow reader.
  const bool owed = *type == EventType::gap || *type == EventType::bye;
  if (!owed && !writer_.accepts()) return;
  line_.clear();
  std::visit(
      [&](const auto& what) {
        if constexpr (requires { what.time_ns; }) begin(*type, what.time_ns);
        body(what);
      },
      fact);
  append(line_, "}\n");
  writer_.put({line_.data(), line_.size()});
}

// RFC 3339, UTC, nanoseconds.
void JsonSink::append_time(std::int64_t time_ns) {
  constexpr std::int64_t second_ns = 1'000'000'000;
  if (time_ns / second_ns != second_ || date_.empty()) {
    second_ = time_ns / second_ns;
    date_ = fmt::format(FMT_COMPILE("{:%Y-%m-%dT%H:%M:%S}"), fmt::gmtime(static_cast<std::time_t>(second_)));
  }
  format(line_, FMT_COMPILE("\"{}.{:09}Z\""), date_, time_ns % second_ns);
}

const JsonSink::Written& JsonSink::written(const std::shared_ptr<const ProcessEntry>& entry) {
  Written& slot = written_[std::hash<const void*>{}(entry.get()) / alignof(std::max_align_t) % written_.size()];
  if (slot.entry == entry) return slot;
  const ProcessDetails& details = entry->details;
  Buffer text;
  append(text, ",\"exe\":");
  append_or_null(text, details.exe);
  append(text, ",\"cmdline\":");
  append_or_null(text, details.cmdline);
  append(text, ",\"uid\":");
  slot.before_uid.assign(text.data(), text.size());
  text.clear();
  append(text, ",\"cgroup\":");
  append_or_null(text, details.cgroup);
  append(text, ",\"container\":");
  append_or_null(text, details.container);
  slot.after_uid.assign(text.data(), text.size());
  slot.entry = entry;
  return slot;
}

void JsonSink::append_responsible(const Responsible& responsible) {
  append(line_, ",\"process\":");
  if (responsible.process) {
    const Process& process = *responsible.process;
    const Written& constant = written(process.entry);
    append_mention(line_, process.identity);
    append(line_, constant.before_uid);
    format(line_, FMT_COMPILE("{}"), process.identity.uid);
    append(line_, constant.after_uid);
    append(line_, process.entry->exited ? ",\"exited\":true}" : ",\"exited\":false}");
  } else {
    append(line_, "null");
  }
  format(line_, FMT_COMPILE(",\"attribution\":\"{}\""), name(responsible.attribution));
}

void JsonSink::begin(EventType type, std::int64_t time_ns) {
  format(line_, FMT_COMPILE("{{\"schema\":\"closewatch/1\",\"type\":\"{}\",\"seq\":{},\"run\":\"{}\",\"time\":"),
         name(type), seq_++, run_);
  append_time(time_ns);
}

void JsonSink::body(const Hello& hello) {
  for (const auto& [key, value] :
       {std::pair{",\"version\":", &hello.version}, std::pair{",\"host\":", &hello.host},
        std::pair{",\"kernel\":", &hello.kernel}, std::pair{",\"boot_id\":", &hello.boot_id}}) {
    append(line_, key);
    append_json(line_, *value);
  }
  append(line_, ",\"options\":{");
  std::string_view comma = "";
  for (const auto& [key, value] : hello.options) {
    append(line_, comma);
    append_json(line_, key);
    append(line_, ":");
    append_json(line_, value);
    comma = ",";
  }
  append(line_, "}");
}

void JsonSink::body(const Snapshot& row) {
  append_connection(line_, row.connection);
  format(line_, FMT_COMPILE(",\"state\":\"{}\",\"age_ns\":"), name(row.state));
  append_or_null(line_, row.age_ns);
  append_responsible(row.responsible);
}

void JsonSink::body(const SnapshotEnd&) {}

void JsonSink::body(const Transition& transition) {
  append_connection(line_, transition.connection);
  format(line_, FMT_COMPILE(",\"from\":\"{}\",\"to\":\"{}\",\"in_state_ns\":"), name(transition.from),
         name(transition.to));
  append_or_null(line_, transition.in_state_ns);
  append_responsible(transition.responsible);
  append(line_, ",\"actor\":");
  if (transition.actor) {
    append_mention(line_, *transition.actor);
    append(line_, "}");
  } else {
    append(line_, "null");
  }
  format(line_, FMT_COMPILE(",\"cause\":\"{}\",\"observed\":\"event\""), name(transition.cause));
}

void JsonSink::body(const Closed& closed) {
  append_connection(line_, closed.connection);
  append_responsible(closed.responsible);
  append(line_, ",\"closer\":");
  if (closed.closer) {
    append_mention(line_, closed.closer->process);
    format(line_, FMT_COMPILE(",\"by\":\"{}\"}}"), name(closed.closer->by));
  } else {
    append(line_, "null");
  }
  format(line_, FMT_COMPILE(",\"first_fin\":\"{}\",\"ending\":\"{}\",\"errno\":{},\"bucket\":"), name(closed.first_fin),
         name(closed.ending), closed.error);
  if (closed.bucket == Bucket::unknown)
    append(line_, "null");
  else
    format(line_, FMT_COMPILE("\"{}\""), name(closed.bucket));
  append_states(line_, closed.states_ns);
  append(line_, ",\"duration_ns\":");
  append_or_null(line_, closed.duration_ns);
  format(line_, FMT_COMPILE(",\"bytes_sent\":{},\"bytes_received\":{}"), closed.bytes_sent, closed.bytes_received);
}

void JsonSink::body(const Finding&) {}

void JsonSink::body(const Gap& gap) {
  format(line_, FMT_COMPILE(",\"lost\":{},\"where\":\"{}\""), gap.lost, name(gap.where));
}

void JsonSink::body(const Stats& stats) { append_totals(line_, stats.totals); }

void JsonSink::body(const Bye& bye) {
  append_totals(line_, bye.totals);
  format(line_, FMT_COMPILE(",\"findings\":{}"), bye.findings);
}

void JsonSink::body(const ProcessWanted&) {}
void JsonSink::body(const StackWanted&) {}

void JsonSink::body(const WalkWanted&) {}

}  // namespace closewatch
