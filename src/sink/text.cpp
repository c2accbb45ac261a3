// SPDX-License-Identifier: BSD-2-Clause
#include "sink/text.hpp"

#include "sink/report_words.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace closewatch {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

/// The state that is left, short: the line above told it, and 80 columns are few.
std::string_view short_name(State state) {
  switch (state) {
    case State::established: return "EST";
    case State::syn_sent: return "SYN";
    case State::syn_recv: return "SYR";
    case State::fin_wait1: return "FW1";
    case State::fin_wait2: return "FW2";
    case State::time_wait: return "TW";
    case State::close: return "CLO";
    case State::close_wait: return "CW";
    case State::last_ack: return "LA";
    case State::listen: return "LIS";
    case State::closing: return "CLG";
  }
  std::unreachable();
}

std::size_t columns_of(std::string_view ascii_or_arrow, bool utf8) {
  // '→', '…' and '≥' are three bytes and one column each; nothing else beyond ASCII comes here.
  std::size_t columns = 0;
  for (const char c : ascii_or_arrow)
    if (!utf8 || (static_cast<unsigned char>(c) & 0xC0) != 0x80) ++columns;
  return columns;
}

void append_blanks(Buffer& out, std::size_t columns, std::size_t width) {
  for (; columns < width; ++columns) out.push_back(' ');
}

void append_right(Buffer& out, std::string_view text, std::size_t columns, std::size_t width) {
  append_blanks(out, columns, width);
  append(out, text);
}

std::string padded(std::string text, std::size_t width, bool utf8) {
  const std::size_t columns = columns_of(text, utf8);
  if (columns < width) text.append(width - columns, ' ');
  return text;
}

/// The end of an address that is too long says more than its beginning.
void append_endpoint(Buffer& out, const Endpoint& endpoint, Family family, std::size_t width, bool utf8) {
  const std::string text = endpoint_text(endpoint, family);
  if (text.size() > width) {
    append(out, utf8 ? "…" : "~");
    append(out, std::string_view{text}.substr(text.size() - width + 1));
  } else {
    append(out, text);
    append_blanks(out, text.size(), width);
  }
}

std::string_view colour_for(std::string_view to, std::optional<Ending> ending, std::optional<Verdict> verdict) {
  if (verdict) return *verdict == Verdict::leak ? "\x1b[31m" : *verdict == Verdict::stuck ? "\x1b[33m" : "";
  if (ending && *ending != Ending::fin) return "\x1b[31m";
  if (to == name(State::close_wait)) return "\x1b[33m";
  if (to == name(State::time_wait)) return "\x1b[36m";
  return "";
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array units{"B", "K", "M", "G", "T", "P"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.1f}{}", value, units[unit]);
}

std::string duration_text(std::uint64_t ns) {
  constexpr std::uint64_t us = 1000;
  constexpr std::uint64_t ms = 1000 * us;
  constexpr std::uint64_t s = 1000 * ms;
  constexpr std::uint64_t minute = 60 * s;
  constexpr std::uint64_t hour = 60 * minute;
  constexpr std::uint64_t day = 24 * hour;
  // By tenths: rounded, so that what is longer never reads as shorter. Formatting a double takes longer than the line.
  const auto tenths = [&](std::uint64_t unit, std::string_view name) {
    const std::uint64_t count = (ns + unit / 20) / (unit / 10);
    return fmt::format(FMT_COMPILE("{}.{}{}"), count / 10, count % 10, name);
  };
  if (ns < ms) return fmt::format(FMT_COMPILE("{}us"), ns / us);
  if (ns < 99'950 * us) return tenths(ms, "ms");
  if (ns < s) return fmt::format(FMT_COMPILE("{}ms"), std::min(std::uint64_t{999}, (ns + ms / 2) / ms));
  if (ns < 99'950 * ms) return tenths(s, "s");
  if (ns < 10 * minute) return fmt::format(FMT_COMPILE("{}s"), (ns + s / 2) / s);
  if (ns < 100 * minute) return fmt::format(FMT_COMPILE("{}m"), ns / minute);
  if (ns < 2 * day) return tenths(hour, "h");
  return fmt::format(FMT_COMPILE("{}d"), ns / day);
}

void TextSink::take(const Fact& fact) {
  const auto type = type_of(fact);
  if (!type || !types_.has(*type)) return;
  std::visit([&](const auto& what) { body(what); }, fact);
}

void TextSink::body(const Snapshot& row) {
  Line line{
      .time_ns = row.time_ns,
      .connection = &row.connection,
      .responsible = &row.responsible,
      .from = std::nullopt,
      .to = name(row.state),
      .ending = std::nullopt,
      .in_state_ns = row.age_ns,
      .more = "from before",
  };
  show(line);
}

void TextSink::body(const Transition& transition) {
  Line line{
      .time_ns = transition.time_ns,
      .connection = &transition.connection,
      .responsible = &transition.responsible,
      .from = transition.from,
      .to = name(transition.to),
      .ending = transition.ending,
      .in_state_ns = transition.in_state_ns,
      .more = {},
  };
  if (transition.ending)
    line.word = name(*transition.ending);
  else if (is_end_of_bucket(transition.cause))
    line.word = name(transition.cause);
  if (style_.wide) {
    line.more = name(transition.cause);
    if (transition.by_sweep) line.more += ", found by a sweep";
    if (transition.actor)
      line.more += fmt::format(FMT_COMPILE(" by {}/{}"), printable(text(transition.actor->comm), style_.utf8, 0),
                               transition.actor->key.pid);
  }
  show(line);
}

// The end of a connection stands on the line of its last transition; an orphan handed to a FIN_WAIT2 bucket has none.
void TextSink::body(const Closed& closed) {
  // Otherwise its last transition has said it all.
  const bool says_more = closed.bucket == Bucket::fin_wait2 || closed.bucket == Bucket::unknown;
  if (!says_more && types_.has(EventType::transition)) return;
  Line line{
      .time_ns = closed.time_ns,
      .connection = &closed.connection,
      .responsible = &closed.responsible,
      .from = std::nullopt,
      .to = closed.bucket == Bucket::fin_wait2   ? "orphan"
            : closed.bucket == Bucket::time_wait ? name(State::time_wait)
                                                 : name(State::close),
      .ending = closed.ending,
      .in_state_ns = closed.in_state_ns,
      .more = {},
  };
  line.word = name(closed.ending);
  if (closed.bucket == Bucket::fin_wait2) line.from = State::fin_wait2;
  if (style_.wide) {
    line.more = fmt::format(FMT_COMPILE("first FIN {}, sent {}, received {}"), name(closed.first_fin),
                            bytes_text(closed.bytes_sent), bytes_text(closed.bytes_received));
    if (closed.closer) line.more += fmt::format(FMT_COMPILE(", by {}"), name(closed.closer->by));
  }
  show(line);
}

// A finding that stands reads "CW leak eof_ignored"; one that is over, how it ended.
void TextSink::body(const Finding& finding) {
  const bool over = finding.status == Finding::Status::resolved && finding.resolution.has_value();
  const std::string change =
      over ? fmt::format(FMT_COMPILE("{}: {}"), clears(*finding.resolution) ? "mended" : "over",
                         name(*finding.resolution))
           : fmt::format(FMT_COMPILE("{} {} {}"), finding.kind == Kind::dead_unclosed ? "CLO" : "CW",
                         name(finding.verdict), name(finding.kind));
  Line line{
      .time_ns = finding.time_ns,
      .connection = &finding.connection,
      .responsible = &finding.responsible,
      .from = std::nullopt,
      .to = change,
      .ending = std::nullopt,
      .in_state_ns = finding.age_ns,
      .more = {},
      .age_is_lower_bound = finding.age_is_lower_bound,
      .verdict = over ? std::nullopt : std::optional{finding.verdict},
  };
  if (style_.wide) {
    line.more = over ? std::string{name(finding.kind)} : std::string{name(finding.status)};
    const std::string held = words::holders(finding.holders, finding.holders.size(), style_.utf8);
    if (!held.empty()) line.more += ", " + held;
  }
  show(line);
}

void TextSink::body(const Gap& gap) {
  line_.clear();
  fmt::format_to(std::back_inserter(line_),
                 FMT_COMPILE("{} --- {} events lost ({}); what follows is complete again ---\n"),
                 clock(gap.time_ns, style_.wide ? 6 : 0), gap.lost, name(gap.where));
  put();
}

void TextSink::show(const Line& line) {
  const auto& process = line.responsible->process;
  const std::string pid = process ? std::to_string(process->identity.key.pid) : "-";
  const std::string_view comm = process ? text(process->identity.comm) : "-";
  if (!writer_.accepts()) return;
  header();
  line_.clear();
  if (style_.wide)
    show_wide(line, pid, comm);
  else
    show_narrow(line, pid, comm);
  line_.push_back('\n');
  put();
}

void TextSink::show_narrow(const Line& line, std::string_view pid, std::string_view comm) {
  constexpr std::size_t age_width = 6;
  constexpr std::size_t change_width = 24;
  const Tuple& tuple = line.connection->tuple;
  append(line_, clock(line.time_ns, 0));
  line_.push_back(' ');
  append_right(line_, pid, pid.size(), 7);
  line_.push_back(' ');
  append(line_, printable(comm, style_.utf8, 8));
  const fmt::format_int port{tuple.local.port};
  append_blanks(line_, port.size(), 6);
  line_.push_back(':');
  append(line_, std::string_view{port.data(), port.size()});
  line_.push_back(' ');
  append_endpoint(line_, tuple.peer, tuple.family, 15, style_.utf8);
  line_.push_back(' ');

  const std::string age = age_text(line);
  const std::size_t age_columns = columns_of(age, style_.utf8);
  const std::string_view colour = colour_of(line);
  append(line_, colour);
  const std::size_t columns = append_change(line);
  append_blanks(line_, columns, change_width - (std::max(age_columns, age_width) - age_width));
  if (!colour.empty()) append(line_, "\x1b[0m");
  line_.push_back(' ');
  append_right(line_, age, age_columns, age_width);
}

// Returns its columns.
std::size_t TextSink::append_change(const Line& line) {
  std::size_t columns = line.to.size();
  if (line.from) {
    append(line_, short_name(*line.from));
    append(line_, arrow());
    columns += short_name(*line.from).size() + 1;
  }
  append(line_, line.to);
  if (!line.word.empty()) {
    line_.push_back(' ');
    append(line_, line.word);
    columns += 1 + line.word.size();
  }
  return columns;
}

void TextSink::show_wide(const Line& line, std::string_view pid, std::string_view comm) {
  const Tuple& tuple = line.connection->tuple;
  std::string change;
  if (line.from) change = fmt::format(FMT_COMPILE("{}{}"), name(*line.from), arrow());
  change += line.to;
  const std::string_view colour = colour_of(line);
  fmt::format_to(std::back_inserter(line_), FMT_COMPILE("{} {:>7} {} {:<8} {:<21} {:<21} {}{}{} {:>6} {:<14} {}{}"),
                 clock(line.time_ns, 6), pid, printable(comm, style_.utf8, 15), name(line.responsible->attribution),
                 endpoint_text(tuple.local, tuple.family), endpoint_text(tuple.peer, tuple.family), colour,
                 padded(change, 23, style_.utf8), colour.empty() ? "" : "\x1b[0m", age_text(line), line.word, line.more,
                 line.connection->mptcp ? " (MPTCP subflow)" : "");
}

std::string TextSink::age_text(const Line& line) const {
  if (!line.in_state_ns) return "-";
  return words::age(*line.in_state_ns, line.age_is_lower_bound, style_.utf8);
}

std::string_view TextSink::colour_of(const Line& line) const {
  return style_.colour ? colour_for(line.to, line.ending, line.verdict) : std::string_view{""};
}

void TextSink::header() {
  const std::size_t every = style_.rows > 2 ? style_.rows - 1 : 0;
  if (lines_ != 0 && (every == 0 || lines_ % every != 0)) return;
  line_.clear();
  const std::string change = fmt::format(FMT_COMPILE("FROM{}TO"), arrow());
  if (style_.wide)
    fmt::format_to(std::back_inserter(line_),
                   FMT_COMPILE("{:<15} {:>7} {:<15} {:<8} {:<21} {:<21} {} {:>6} {:<14} {}\n"), "TIME", "PID", "COMM",
                   "KNOWN AS", "LOCAL", "PEER", padded(change, 23, style_.utf8), "IN", "END", "HOW");
  else
    fmt::format_to(std::back_inserter(line_), FMT_COMPILE("{:<8} {:>7} {:<8} {:>6} {:<15} {} {:>6}\n"), "TIME", "PID",
                   "COMM", "LOCAL", "PEER", padded(change + " END", 24, style_.utf8), "IN");
  put();
}

void TextSink::put() {
  ++lines_;
  writer_.put({line_.data(), line_.size()});
}

std::string_view TextSink::clock(std::int64_t time_ns, int digits) {
  const std::int64_t second = time_ns / second_ns;
  if (second != clock_second_ || clock_.empty()) {
    const std::int64_t of_day = (time_ns + style_.utc_offset_ns(time_ns)) / second_ns % 86'400;
    clock_second_ = second;
    clock_ = fmt::format(FMT_COMPILE("{:02}:{:02}:{:02}"), of_day / 3600, of_day / 60 % 60, of_day % 60);
  }
  if (digits == 0) return std::string_view{clock_}.substr(0, clock_digits);
  clock_.resize(clock_digits);
  clock_ += fmt::format(FMT_COMPILE(".{:06}"), time_ns % second_ns / 1000);
  return clock_;
}

}  // namespace closewatch
