// SPDX-License-Identifier: BSD-2-Clause
#include "sink/json.hpp"

#include <fmt/chrono.h>
#include <fmt/compile.h>

#include <chrono>
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

/// RFC 3339, UTC, nanoseconds.
void append_time(Buffer& out, std::int64_t time_ns) {
  constexpr std::int64_t second = 1'000'000'000;
  const std::chrono::sys_seconds whole{std::chrono::seconds{time_ns / second}};
  const std::chrono::sys_days day = std::chrono::floor<std::chrono::days>(whole);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{whole - day};
  format(out, FMT_COMPILE("\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z\""), static_cast<int>(date.year()),
         static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
         clock.minutes().count(), clock.seconds().count(), time_ns % second);
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

void append_responsible(Buffer& out, const Responsible& responsible) {
  append(out, ",\"process\":");
  if (responsible.process) {
    const Process& process = *responsible.process;
    append_mention(out, process.identity);
    append(out, ",\"exe\":");
    append_or_null(out, process.entry->details.exe);
    append(out, ",\"cmdline\":");
    append_or_null(out, process.entry->details.cmdline);
    format(out, FMT_COMPILE(",\"uid\":{},\"cgroup\":"), process.identity.uid);
    append_or_null(out, process.entry->details.cgroup);
    append(out, ",\"container\":");
    append_or_null(out, process.entry->details.container);
    format(out, FMT_COMPILE(",\"exited\":{}}}"), process.entry->exited);
  } else {
    append(out, "null");
  }
  format(out, FMT_COMPILE(",\"attribution\":\"{}\""), name(responsible.attribution));
}

/// In the order in which the contract lists the states.
constexpr std::array listed{State::close,     State::listen,    State::syn_sent, State::syn_recv,
                            State::established, State::fin_wait1, State::fin_wait2, State::closing,
                            State::time_wait, State::close_wait, State::last_ack};

void append_states(Buffer& out, const std::array<std::uint64_t, state_slots>& states_ns) {
  append(out, ",\"states_ns\":{");
  std::string_view comma;
  for (const State state : listed) {
    const std::uint64_t spent = states_ns[std::to_underlying(state)];
    if (spent == 0) continue;
    format(out, FMT_COMPILE("{}\"{}\":{}"), comma, name(state), spent);
    comma = ",";
  }
  append(out, "}");
}

void append_totals(Buffer& out, const TotalsSoFar& totals) {
  format(out, FMT_COMPILE(",\"events\":{},\"lost\":{},\"connections\":{},\"cpu_ms\":{},\"rss_bytes\":{}"), totals.events,
         totals.lost, totals.connections, totals.cpu_ms, totals.rss_bytes);
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

void JsonSink::begin(EventType type, std::int64_t time_ns) {
  format(line_, FMT_COMPILE("{{\"schema\":\"closewatch/1\",\"type\":\"{}\",\"seq\":{},\"run\":\"{}\",\"time\":"),
         name(type), seq_++, run_);
  append_time(line_, time_ns);
}

void JsonSink::body(const Hello& hello) {
  for (const auto& [key, value] : {std::pair{",\"version\":", &hello.version}, std::pair{",\"host\":", &hello.host},
                                   std::pair{",\"kernel\":", &hello.kernel}, std::pair{",\"boot_id\":", &hello.boot_id}}) {
    append(line_, key);
    append_json(line_, *value);
  }
  append(line_, ",\"options\":{");
  std::string_view comma;
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
  append_responsible(line_, row.responsible);
}

void JsonSink::body(const SnapshotEnd&) {}

void JsonSink::body(const Transition& transition) {
  append_connection(line_, transition.connection);
  format(line_, FMT_COMPILE(",\"from\":\"{}\",\"to\":\"{}\",\"in_state_ns\":"), name(transition.from),
         name(transition.to));
  append_or_null(line_, transition.in_state_ns);
  append_responsible(line_, transition.responsible);
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
  append_responsible(line_, closed.responsible);
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

void JsonSink::body(const Gap& gap) {
  format(line_, FMT_COMPILE(",\"lost\":{},\"where\":\"{}\""), gap.lost, name(gap.where));
}

void JsonSink::body(const Stats& stats) { append_totals(line_, stats.totals); }

void JsonSink::body(const Bye& bye) {
  append_totals(line_, bye.totals);
  format(line_, FMT_COMPILE(",\"findings\":{}"), bye.findings);
}

void JsonSink::body(const ProcessWanted&) {}
void JsonSink::body(const WalkWanted&) {}

}  // namespace closewatch
