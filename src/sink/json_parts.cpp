// SPDX-License-Identifier: BSD-2-Clause
#include "sink/json_parts.hpp"

#include <fmt/chrono.h>

#include <cmath>
#include <ctime>

namespace closewatch::json {
namespace {

void append_end(Buffer& out, std::string_view name, const Endpoint& endpoint, Family family) {
  append_word(out, name);
  append(out, ":{\"address\":\"");
  append_address(out, endpoint.address, family);
  append(out, "\",\"port\":");
  append(out, endpoint.port);
  append(out, "}");
}

void append_frame(Buffer& out, const Frame& frame) {
  append(out, "{\"function\":");
  append_unless_empty(out, frame.function);
  append(out, ",\"file\":");
  append_unless_empty(out, frame.file);
  append(out, ",\"line\":");
  append_or_null(out, frame.line == 0 ? std::nullopt : std::optional<std::uint64_t>{frame.line});
  append(out, ",\"module\":");
  append_unless_empty(out, frame.module);
  append(out, ",\"build_id\":");
  append_unless_empty(out, frame.build_id);
  format(out, FMT_COMPILE(",\"offset\":{}}}"), frame.offset);
}

void append_stack(Buffer& out, const std::optional<Stack>& stack) {
  if (!stack) return append(out, "null");
  append_list(out, stack->frames, append_frame);
}

}  // namespace

void append_or_null(Buffer& out, const std::optional<std::string>& text) {
  if (text)
    append_json(out, *text);
  else
    append(out, "null");
}

void append_or_null(Buffer& out, const std::optional<std::uint64_t>& value) {
  if (value)
    append(out, *value);
  else
    append(out, "null");
}

void append_unless_empty(Buffer& out, const std::string& text) {
  if (text.empty())
    append(out, "null");
  else
    append_json(out, text);
}

void append_number(Buffer& out, const std::optional<double>& value) {
  if (value && std::isfinite(*value))
    format(out, FMT_COMPILE("{}"), std::round(*value * 1000) / 1000);
  else
    append(out, "null");
}

void append_head(Buffer& out, std::string_view schema, std::string_view host, std::string_view kernel) {
  append(out, "{\"schema\":");
  append_word(out, schema);
  append(out, ",\"host\":");
  append_json(out, host);
  append(out, ",\"kernel\":");
  append_json(out, kernel);
}

void append_remark(Buffer& out, std::string_view id, std::string_view key, std::string_view word, std::string_view text,
                   std::string_view remedy) {
  append(out, "{\"id\":");
  append_json(out, id);
  format(out, FMT_COMPILE(",\"{}\":\"{}\",\"text\":"), key, word);
  append_json(out, text);
  append(out, ",\"remedy\":");
  append_json(out, remedy);
}

void append_time(Buffer& out, std::int64_t time_ns) {
  constexpr std::int64_t second_ns = 1'000'000'000;
  format(out, FMT_COMPILE("\"{:%Y-%m-%dT%H:%M:%S}.{:09}Z\""),
         fmt::gmtime(static_cast<std::time_t>(time_ns / second_ns)), time_ns % second_ns);
}

void append_connection(Buffer& out, const Connection& connection) {
  const Tuple& tuple = connection.tuple;
  append(out, "{\"id\":\"");
  append(out, connection.id.netns);
  append(out, ":");
  append(out, connection.id.cookie);
  append(out, "\",\"netns\":");
  append(out, connection.id.netns);
  append(out, tuple.family == Family::ipv4 ? ",\"family\":\"ipv4\",\"role\":" : ",\"family\":\"ipv6\",\"role\":");
  if (tuple.role == Role::unknown)
    append(out, "null");
  else
    append_word(out, name(tuple.role));
  append(out, ",");
  append_end(out, "local", tuple.local, tuple.family);
  append(out, ",");
  append_end(out, "peer", tuple.peer, tuple.family);
  append(out, "}");
}

void append_mention(Buffer& out, const Identity& identity) {
  append(out, "{\"pid\":");
  append(out, identity.key.pid);
  append(out, ",\"start_ns\":");
  append(out, identity.key.start_ns);
  append(out, ",\"comm\":");
  append_json(out, text(identity.comm));
}

void append_before_uid(Buffer& out, const ProcessDetails& details) {
  append(out, ",\"exe\":");
  append_or_null(out, details.exe);
  append(out, ",\"cmdline\":");
  append_or_null(out, details.cmdline);
  append(out, ",\"uid\":");
}

void append_after_uid(Buffer& out, const ProcessDetails& details) {
  append(out, ",\"cgroup\":");
  append_or_null(out, details.cgroup);
  append(out, ",\"container\":");
  append_or_null(out, details.container);
}

void append_process(Buffer& out, const Process& process) {
  append_mention(out, process.identity);
  append_before_uid(out, process.entry->details);
  format(out, FMT_COMPILE("{}"), process.identity.uid);
  append_after_uid(out, process.entry->details);
  append(out, process.has_exited() ? ",\"exited\":true}" : ",\"exited\":false}");
}

void append_condition(Buffer& out, std::uint64_t age_ns, bool age_is_lower_bound, const Condition& condition) {
  format(out,
         FMT_COMPILE("\"age_ns\":{},\"age_is_lower_bound\":{},\"unread_bytes\":{},\"eof\":\"{}\",\"unsent_bytes\":{},"
                     "\"retransmits\":{},\"probes\":{}"),
         age_ns, age_is_lower_bound, condition.unread_bytes, name(condition.eof), condition.unsent_bytes,
         condition.retransmits, condition.probes);
}

void append_holders(Buffer& out, const std::vector<Holder>& holders) {
  append_list(out, holders, [](Buffer& to, const Holder& holder) {
    append_mention(to, holder.process);
    format(to, FMT_COMPILE(",\"fd\":{}}}"), holder.fd);
  });
}

void append_stacks(Buffer& out, const std::optional<Stacks>& stacks) {
  if (!stacks) return append(out, "null");
  append(out, "{\"opened\":");
  append_stack(out, stacks->opened);
  append(out, ",\"end_read\":");
  append_stack(out, stacks->end_read);
  append(out, "}");
}

void append_advice(Buffer& out, Kind kind) {
  const auto [meaning, remedy] = advice(kind);
  append_json(out, fmt::format(FMT_COMPILE("{} {}"), meaning, remedy));
}

void append_states(Buffer& out, const std::array<std::uint64_t, state_slots>& values) {
  append_object(out, listed_states, [&values](Buffer& to, State state) {
    const std::uint64_t value = values[std::to_underlying(state)];
    if (value == 0) return;
    append_word(to, name(state));
    append(to, ":");
    append(to, value);
  });
}

}  // namespace closewatch::json
