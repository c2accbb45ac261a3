// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_JSON_PARTS_HPP
#define CLOSEWATCH_SINK_JSON_PARTS_HPP

// The objects of the contract that the event stream and the report have in common. Each appends a value, without the
// key that it stands under.

#include "sink/escape.hpp"

#include <closewatch/core/fact.hpp>

#include <fmt/compile.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch::json {

template <typename... Values>
void format(Buffer& out, auto compiled, Values&&... values) {
  fmt::format_to(std::back_inserter(out), compiled, std::forward<Values>(values)...);
}

/// Each with a comma before the next; an item that appends nothing is left out.
template <typename Items, typename Append>
void append_series(Buffer& out, const Items& items, Append&& append_item) {
  const std::size_t before = out.size();
  for (const auto& item : items) {
    const std::size_t begin = out.size();
    if (begin != before) out.push_back(',');
    const std::size_t after_comma = out.size();
    append_item(out, item);
    if (out.size() == after_comma) out.resize(begin);
  }
}
template <typename Items, typename Append>
void append_list(Buffer& out, const Items& items, Append&& append_item) {
  out.push_back('[');
  append_series(out, items, std::forward<Append>(append_item));
  out.push_back(']');
}
/// The items append a key and a value.
template <typename Items, typename Append>
void append_object(Buffer& out, const Items& items, Append&& append_item) {
  out.push_back('{');
  append_series(out, items, std::forward<Append>(append_item));
  out.push_back('}');
}

void append_or_null(Buffer& out, const std::optional<std::string>& text);
void append_or_null(Buffer& out, const std::optional<std::uint64_t>& value);
/// null where it is empty.
void append_unless_empty(Buffer& out, const std::string& text);

/// To the thousandth: what is measured by the second is not known any better. null where it is none, or infinite.
void append_number(Buffer& out, const std::optional<double>& value);

/// The head of a document, up to the kernel; the caller closes the object.
void append_head(Buffer& out, std::string_view schema, std::string_view host, std::string_view kernel);
/// Something remarked: its id, a word under `key`, a sentence and a remedy; the caller closes the object.
void append_remark(Buffer& out, std::string_view id, std::string_view key, std::string_view word, std::string_view text,
                   std::string_view remedy);

/// RFC 3339, UTC, nanoseconds.
void append_time(Buffer& out, std::int64_t time_ns);

void append_connection(Buffer& out, const Connection& connection);
/// The three keys by which a process is mentioned; the caller closes the object.
void append_mention(Buffer& out, const Identity& identity);
/// A string that needs no escape: a word of ours.
inline void append_word(Buffer& out, std::string_view word) {
  out.push_back('"');
  append(out, word);
  out.push_back('"');
}
/// What does not change about a process: the keys on either side of its uid.
void append_before_uid(Buffer& out, const ProcessDetails& details);
void append_after_uid(Buffer& out, const ProcessDetails& details);
void append_process(Buffer& out, const Process& process);

/// What a socket in CLOSE_WAIT was found like: the keys from `age_ns` to `probes`.
void append_condition(Buffer& out, std::uint64_t age_ns, bool age_is_lower_bound, const Condition& condition);
void append_holders(Buffer& out, const std::vector<Holder>& holders);
void append_stacks(Buffer& out, const std::optional<Stacks>& stacks);
/// A string: what it means, then what to do.
void append_advice(Buffer& out, Kind kind);

/// In the order in which the contract lists the states.
inline constexpr std::array listed_states{State::close,       State::listen,     State::syn_sent,  State::syn_recv,
                                          State::established, State::fin_wait1,  State::fin_wait2, State::closing,
                                          State::time_wait,   State::close_wait, State::last_ack};
/// {STATE: n}, of those that are not 0.
void append_states(Buffer& out, const std::array<std::uint64_t, state_slots>& values);

}  // namespace closewatch::json

#endif
