// SPDX-License-Identifier: BSD-2-Clause
#include "sink/json.hpp"

#include "sink/json_parts.hpp"

#include <fmt/chrono.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <functional>

namespace closewatch {

using json::append_mention;
using json::append_or_null;
using json::format;

namespace {

void append_totals(Buffer& out, const TotalsSoFar& totals) {
  format(out, FMT_COMPILE(",\"events\":{},\"lost\":{},\"connections\":{},\"cpu_ms\":{},\"rss_bytes\":{}"),
         totals.events, totals.lost, totals.connections, totals.cpu_ms, totals.rss_bytes);
}

}  // namespace

void JsonSink::take(const Fact& fact) {
  const auto type = type_of(fact);
  if (!type) return;
  if (const auto* hello = std::get_if<Hello>(&fact)) {
    Buffer run;
    append_json(run, hello->run);
    run_.assign(run.data(), run.size());
  }
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
  constexpr std::int64_t second_ns = 1'000'000'000;
  constexpr std::size_t digits = 9;
  if (time_ns / second_ns != second_ || run_and_second_.empty()) {
    second_ = time_ns / second_ns;
    run_and_second_ = fmt::format(FMT_COMPILE(",\"run\":{},\"time\":\"{:%Y-%m-%dT%H:%M:%S}."), run_,
                                  fmt::gmtime(static_cast<std::time_t>(second_)));
  }
  append(line_, "{\"schema\":\"closewatch/1\",\"type\":\"");
  append(line_, name(type));
  append(line_, "\",\"seq\":");
  append(line_, seq_++);
  append(line_, run_and_second_);
  const fmt::format_int nanoseconds{static_cast<std::uint64_t>(time_ns % second_ns)};
  append(line_, std::string_view{"000000000"}.substr(std::min(nanoseconds.size(), digits)));
  append(line_, std::string_view{nanoseconds.data(), nanoseconds.size()});
  append(line_, "Z\"");
}

void JsonSink::append_connection(const Connection& connection) {
  WrittenConnection& slot = connections_[connection.id.cookie % connections_.size()];
  if (slot.text.empty() || slot.connection != connection) {
    Buffer text;
    append(text, ",\"conn\":");
    json::append_connection(text, connection);
    slot.text.assign(text.data(), text.size());
    slot.connection = connection;
  }
  append(line_, slot.text);
}

const JsonSink::WrittenProcess& JsonSink::written(const Process& process) {
  const std::size_t hash = std::hash<const void*>{}(process.entry.get()) / alignof(std::max_align_t);
  WrittenProcess& slot = processes_[hash % processes_.size()];
  if (slot.entry == process.entry && slot.identity == process.identity && slot.exited == process.has_exited())
    return slot;
  Buffer text;
  json::append_process(text, process);
  slot.text.assign(text.data(), text.size());
  text.clear();
  append_mention(text, process.identity);
  slot.mention = text.size();
  slot.entry = process.entry;
  slot.identity = process.identity;
  slot.exited = process.has_exited();
  return slot;
}

void JsonSink::append_responsible(const Responsible& responsible) {
  append(line_, ",\"process\":");
  if (responsible.process)
    append(line_, written(*responsible.process).text);
  else
    append(line_, "null");
  append(line_, ",\"attribution\":");
  json::append_word(line_, name(responsible.attribution));
}

// The one who made the call is as a rule the one responsible, and written already.
void JsonSink::append_mention_of(const Identity& identity, const Responsible& responsible) {
  if (responsible.process && responsible.process->identity == identity) {
    const WrittenProcess& known = written(*responsible.process);
    append(line_, std::string_view{known.text}.substr(0, known.mention));
  } else {
    append_mention(line_, identity);
  }
}

void JsonSink::body(const Hello& hello) {
  for (const auto& [key, value] :
       {std::pair{",\"version\":", &hello.version}, std::pair{",\"host\":", &hello.host},
        std::pair{",\"kernel\":", &hello.kernel}, std::pair{",\"boot_id\":", &hello.boot_id}}) {
    append(line_, key);
    append_json(line_, *value);
  }
  append(line_, ",\"options\":");
  json::append_object(line_, hello.options, [](Buffer& out, const auto& option) {
    append_json(out, option.first);
    append(out, ":");
    append_json(out, option.second);
  });
}

void JsonSink::body(const Snapshot& row) {
  append_connection(row.connection);
  format(line_, FMT_COMPILE(",\"state\":\"{}\",\"age_ns\":"), name(row.state));
  append_or_null(line_, row.age_ns);
  append_responsible(row.responsible);
}

void JsonSink::body(const SnapshotEnd&) {}

void JsonSink::body(const Transition& transition) {
  append_connection(transition.connection);
  append(line_, ",\"from\":");
  json::append_word(line_, name(transition.from));
  append(line_, ",\"to\":");
  json::append_word(line_, name(transition.to));
  append(line_, ",\"in_state_ns\":");
  append_or_null(line_, transition.in_state_ns);
  append_responsible(transition.responsible);
  append(line_, ",\"actor\":");
  if (transition.actor) {
    append_mention_of(*transition.actor, transition.responsible);
    append(line_, "}");
  } else {
    append(line_, "null");
  }
  append(line_, ",\"cause\":");
  json::append_word(line_, name(transition.cause));
  append(line_, transition.by_sweep ? ",\"observed\":\"sweep\"" : ",\"observed\":\"event\"");
}

void JsonSink::body(const Closed& closed) {
  append_connection(closed.connection);
  append_responsible(closed.responsible);
  append(line_, ",\"closer\":");
  if (closed.closer) {
    append_mention_of(closed.closer->process, closed.responsible);
    append(line_, ",\"by\":");
    json::append_word(line_, name(closed.closer->by));
    append(line_, "}");
  } else {
    append(line_, "null");
  }
  append(line_, ",\"first_fin\":");
  json::append_word(line_, name(closed.first_fin));
  append(line_, ",\"ending\":");
  json::append_word(line_, name(closed.ending));
  format(line_, FMT_COMPILE(",\"errno\":{}"), closed.error);
  append(line_, ",\"bucket\":");
  if (closed.bucket == Bucket::unknown)
    append(line_, "null");
  else
    json::append_word(line_, name(closed.bucket));
  append(line_, ",\"states_ns\":");
  json::append_states(line_, closed.states_ns);
  append(line_, ",\"duration_ns\":");
  append_or_null(line_, closed.duration_ns);
  append(line_, ",\"bytes_sent\":");
  append(line_, closed.bytes_sent);
  append(line_, ",\"bytes_received\":");
  append(line_, closed.bytes_received);
}

void JsonSink::body(const Finding& finding) {
  append_connection(finding.connection);
  append_responsible(finding.responsible);
  format(line_, FMT_COMPILE(",\"status\":\"{}\",\"kind\":\"{}\",\"verdict\":\"{}\",\"resolution\":"),
         name(finding.status), name(finding.kind), name(finding.verdict));
  if (finding.resolution)
    format(line_, FMT_COMPILE("\"{}\""), name(*finding.resolution));
  else
    append(line_, "null");
  append(line_, ",");
  json::append_condition(line_, finding.age_ns, finding.age_is_lower_bound, finding.condition);
  append(line_, ",\"holders\":");
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
