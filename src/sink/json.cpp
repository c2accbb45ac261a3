// SPDX-License-Identifier: BSD-2-Clause
#include "sink/json.hpp"

#include "sink/json_parts.hpp"

#include <fmt/chrono.h>

#include <cstddef>
#include <ctime>
#include <functional>

namespace closewatch {

using json::append;
using json::append_mention;
using json::append_or_null;
using json::format;

namespace {

void append_connection(Buffer& out, const Connection& connection) {
  append(out, ",\"conn\":");
  json::append_connection(out, connection);
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
  Buffer text;
  json::append_before_uid(text, entry->details);
  slot.before_uid.assign(text.data(), text.size());
  text.clear();
  json::append_after_uid(text, entry->details);
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
  append(line_, ",\"states_ns\":");
  json::append_states(line_, closed.states_ns);
  append(line_, ",\"duration_ns\":");
  append_or_null(line_, closed.duration_ns);
  format(line_, FMT_COMPILE(",\"bytes_sent\":{},\"bytes_received\":{}"), closed.bytes_sent, closed.bytes_received);
}

void JsonSink::body(const Finding& finding) {
  append_connection(line_, finding.connection);
  append_responsible(finding.responsible);
  format(line_, FMT_COMPILE(",\"status\":\"{}\",\"kind\":\"{}\",\"verdict\":\"{}\",\"resolution\":"),
         name(finding.status), name(finding.kind), name(finding.verdict));
  if (finding.resolution)
    format(line_, FMT_COMPILE("\"{}\""), name(*finding.resolution));
  else
    append(line_, "null");
  const Condition& condition = finding.condition;
  format(line_,
         FMT_COMPILE(",\"age_ns\":{},\"age_is_lower_bound\":{},\"unread_bytes\":{},\"eof\":\"{}\",\"unsent_bytes\":{},"
                     "\"retransmits\":{},\"probes\":{},\"holders\":"),
         finding.age_ns, finding.age_is_lower_bound, condition.unread_bytes, name(condition.eof),
         condition.unsent_bytes, condition.retransmits, condition.probes);
  json::append_holders(line_, finding.holders);
  append(line_, ",\"stacks\":");
  json::append_stacks(line_, finding.stacks);
  append(line_, ",\"advice\":");
  json::append_advice(line_, finding.kind);
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
void JsonSink::body(const StackWanted&) {}

void JsonSink::body(const WalkWanted&) {}

}  // namespace closewatch
