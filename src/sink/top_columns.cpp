// SPDX-License-Identifier: BSD-2-Clause
#include "sink/top_columns.hpp"

#include "sink/report_rows.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"
#include "sink/text.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace closewatch {
namespace {

struct Form {
  TopColumn column;
  std::string_view title;
  std::size_t width;  ///< with the blank before it
};
/// In the order of the screen.
constexpr std::array<Form, 15> forms{{
    {TopColumn::name, "WORKLOAD", 16},
    {TopColumn::where, "WHERE", 24},
    {TopColumn::processes, "PROCS", 7},
    {TopColumn::established, "ESTAB", 7},
    {TopColumn::close_wait, "CLOSE_WAIT", 11},
    {TopColumn::leaked, "LEAKED", 7},
    {TopColumn::oldest, "OLDEST", 8},
    {TopColumn::trend, "TREND", 9},
    {TopColumn::time_wait, "TIME_WAIT", 10},
    {TopColumn::time_wait_rate, "TW/s", 7},
    {TopColumn::fin_wait2, "FIN_WAIT2", 10},
    {TopColumn::last_ack, "LAST_ACK", 9},
    {TopColumn::abort_rate, "ABORT/s", 8},
    {TopColumn::descriptors, "FDS", 11},
    {TopColumn::verdict, "VERDICT", 8},
}};
/// What a screen does without when it is narrow, the first first.
constexpr std::array dispensable{TopColumn::where,     TopColumn::last_ack,    TopColumn::abort_rate,
                                 TopColumn::fin_wait2, TopColumn::established, TopColumn::time_wait_rate,
                                 TopColumn::processes, TopColumn::trend,       TopColumn::descriptors,
                                 TopColumn::oldest,    TopColumn::time_wait,   TopColumn::leaked,
                                 TopColumn::close_wait};
constexpr std::size_t name_at_most = 40;

const Form& form_of(TopColumn column) {
  return *std::find_if(forms.begin(), forms.end(), [&](const Form& one) { return one.column == column; });
}

std::uint64_t in(const Findings& findings, State state) { return findings.states[std::to_underlying(state)]; }

std::string number_text(std::uint64_t number) { return number == 0 ? "-" : std::to_string(number); }

std::string rate_text(double rate) { return rate <= 0 ? "-" : words::rate(rate); }

bool runs_out_of_descriptors(const Findings& findings) {
  constexpr double near_seconds = 86'400;
  const auto& use = findings.descriptors;
  if (!use || use->soft_limit == 0) return false;
  return (use->seconds_left && *use->seconds_left < near_seconds) || use->open * 10 >= use->soft_limit * 9;
}

}  // namespace

std::vector<PlacedColumn> placed_columns(std::size_t width) {
  std::vector<Form> shown{forms.begin(), forms.end()};
  const auto taken = [&] {
    std::size_t sum = 0;
    for (const Form& form : shown) sum += form.width;
    return sum;
  };
  for (const TopColumn column : dispensable) {
    if (taken() <= width) break;
    std::erase_if(shown, [&](const Form& form) { return form.column == column; });
  }
  // What is left over is the name's, and then that of where it runs.
  std::size_t rest = width > taken() ? width - taken() : 0;
  const bool has_where =
      std::any_of(shown.begin(), shown.end(), [](const Form& form) { return form.column == TopColumn::where; });
  std::vector<PlacedColumn> placed;
  std::size_t at = 0;
  for (const Form& form : shown) {
    std::size_t wide = form.width;
    if (form.column == TopColumn::name) {
      const std::size_t more = has_where ? std::min(rest, name_at_most - form.width) : rest;
      wide += more;
      rest -= more;
    } else if (form.column == TopColumn::where) {
      wide += std::exchange(rest, 0);
    }
    const std::size_t blank = form.column == TopColumn::name ? 0 : 1;
    placed.push_back({form.column, at + blank, wide - blank});
    at += wide;
  }
  return placed;
}

std::string_view title(TopColumn column, bool by_process) {
  if (by_process && column == TopColumn::name) return "PROCESS";
  if (by_process && column == TopColumn::processes) return "PID";
  if (by_process && column == TopColumn::where) return "COMMAND";
  return form_of(column).title;
}

bool is_number(TopColumn column) {
  return column != TopColumn::name && column != TopColumn::where && column != TopColumn::verdict;
}

std::string cell_text(TopColumn column, const Findings& findings, const TopPace& pace, bool utf8) {
  switch (column) {
    case TopColumn::established: return number_text(in(findings, State::established));
    case TopColumn::close_wait: return number_text(findings.close_wait.now);
    case TopColumn::leaked: return number_text(findings.close_wait.leaked);
    case TopColumn::oldest:
      return findings.close_wait.groups.empty()
                 ? "-"
                 : words::age(findings.close_wait.oldest_ns, findings.close_wait.oldest_is_lower_bound, utf8);
    case TopColumn::trend: return graph(pace.close_wait, form_of(TopColumn::trend).width - 1, utf8);
    case TopColumn::time_wait: return number_text(findings.time_wait.now);
    case TopColumn::time_wait_rate: return rate_text(pace.time_wait_per_second);
    case TopColumn::fin_wait2: return number_text(in(findings, State::fin_wait2));
    case TopColumn::last_ack: return number_text(in(findings, State::last_ack));
    case TopColumn::abort_rate: return rate_text(pace.aborts_per_second);
    case TopColumn::descriptors: return descriptors_text(findings.descriptors);
    case TopColumn::verdict: return std::string{verdict_word(findings)};
    case TopColumn::name:
    case TopColumn::where:
    case TopColumn::processes: break;
  }
  return {};
}

std::string graph(const std::vector<std::uint32_t>& numbers, std::size_t width, bool utf8) {
  static constexpr std::array<std::string_view, 9> bars{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 9> plain{" ", ".", ".", "-", "-", "=", "=", "#", "#"};
  const std::size_t shown = std::min(width, numbers.size());
  const auto from = numbers.end() - static_cast<std::ptrdiff_t>(shown);
  const std::uint32_t most = shown == 0 ? 0 : *std::max_element(from, numbers.end());
  std::string out(width - shown, ' ');
  for (auto at = from; at != numbers.end(); ++at) {
    const std::size_t step = most == 0 ? 0 : (std::size_t{*at} * 8 + most - 1) / most;
    out.append(utf8 ? bars[step] : plain[step]);
  }
  return out;
}

double rank(TopColumn column, const Findings& findings, const TopPace& pace) {
  switch (column) {
    case TopColumn::established: return static_cast<double>(in(findings, State::established));
    case TopColumn::trend:
    case TopColumn::close_wait: return static_cast<double>(findings.close_wait.now);
    case TopColumn::leaked: return static_cast<double>(findings.close_wait.leaked);
    case TopColumn::oldest: return static_cast<double>(findings.close_wait.oldest_ns);
    case TopColumn::time_wait: return static_cast<double>(findings.time_wait.now);
    case TopColumn::time_wait_rate: return pace.time_wait_per_second;
    case TopColumn::fin_wait2: return static_cast<double>(in(findings, State::fin_wait2));
    case TopColumn::last_ack: return static_cast<double>(in(findings, State::last_ack));
    case TopColumn::abort_rate: return pace.aborts_per_second;
    case TopColumn::descriptors:
      return findings.descriptors && findings.descriptors->soft_limit != 0
                 ? static_cast<double>(findings.descriptors->open) /
                       static_cast<double>(findings.descriptors->soft_limit)
                 : 0;
    case TopColumn::verdict:
    case TopColumn::name:
    case TopColumn::where:
    case TopColumn::processes: break;
  }
  return 0;
}

std::string_view verdict_word(const Findings& findings) {
  if (findings.close_wait.leaked != 0) return "leak";
  if (is_near_end(findings)) return "ports";
  if (runs_out_of_descriptors(findings)) return "fds";
  return findings.close_wait.stuck != 0 ? "stuck" : "ok";
}

Ink ink_of(std::string_view verdict_word) {
  if (verdict_word == "ok") return Ink::green;
  return verdict_word == "stuck" ? Ink::yellow : Ink::red;
}

}  // namespace closewatch
