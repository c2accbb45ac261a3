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
    {TopColumn::name, "WORKLOAD", 24},
    {TopColumn::where, "WHERE", 24},
    {TopColumn::processes, "PROCS", 8},
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
/// What a screen does without when it is narrow, the first first. Of workloads the name tells them apart, of processes
/// the pid, and the command line.
constexpr std::array dispensable{TopColumn::where,     TopColumn::last_ack,    TopColumn::abort_rate,
                                 TopColumn::fin_wait2, TopColumn::established, TopColumn::time_wait_rate,
                                 TopColumn::processes, TopColumn::descriptors, TopColumn::trend,
                                 TopColumn::oldest,    TopColumn::time_wait,   TopColumn::leaked,
                                 TopColumn::close_wait};
constexpr std::array dispensable_of_processes{TopColumn::last_ack,       TopColumn::abort_rate,  TopColumn::fin_wait2,
                                              TopColumn::time_wait_rate, TopColumn::established, TopColumn::where,
                                              TopColumn::descriptors,    TopColumn::trend,       TopColumn::oldest,
                                              TopColumn::time_wait,      TopColumn::leaked,      TopColumn::close_wait,
                                              TopColumn::processes};
static_assert(dispensable.size() == dispensable_of_processes.size());
constexpr std::size_t name_of_process = 16;  ///< what the kernel keeps of it, and a blank
constexpr std::size_t name_at_least = 16;
constexpr std::size_t name_at_most = 40;
constexpr std::size_t few_columns = 4;

const Form& form_of(TopColumn column) {
  return *std::find_if(forms.begin(), forms.end(), [&](const Form& one) { return one.column == column; });
}

std::uint64_t in(const Findings& findings, State state) { return findings.states[std::to_underlying(state)]; }

std::string number_text(std::uint64_t number) { return number == 0 ? "-" : std::to_string(number); }

std::string rate_text(double rate) { return rate <= 0 ? "-" : words::rate(rate); }

}  // namespace

std::vector<PlacedColumn> placed_columns(std::size_t width, bool by_process) {
  std::vector<Form> shown{forms.begin(), forms.end()};
  if (by_process) shown.front().width = name_of_process;
  const auto taken = [&] {
    std::size_t sum = 0;
    for (const Form& form : shown) sum += form.width;
    return sum;
  };
  for (const TopColumn column : by_process ? dispensable_of_processes : dispensable) {
    // With little more than names left, those of workloads are cut.
    if (shown.size() <= few_columns) shown.front().width = name_at_least;
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
      const std::size_t more = !has_where ? rest : by_process ? 0 : std::min(rest, name_at_most - form.width);
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
    case TopColumn::verdict: return std::string{closewatch::name(verdict_of(findings))};
    case TopColumn::name:
    case TopColumn::where:
    case TopColumn::processes: break;
  }
  return {};
}

std::string graph(const std::vector<std::uint32_t>& numbers, std::size_t width, bool utf8) {
  static constexpr std::array<std::string_view, 9> bars{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 9> plain{" ", ".", ".", ":", "=", "=", "+", "#", "#"};
  if (width == 0 || numbers.empty()) return std::string(width, ' ');
  // A bar is the latest of so many.
  const std::size_t each = (numbers.size() + width - 1) / width;
  std::vector<std::uint32_t> shown;
  for (std::size_t back = 0; back < numbers.size(); back += each)
    shown.insert(shown.begin(), numbers[numbers.size() - 1 - back]);
  const auto [least, most] = std::minmax_element(shown.begin(), shown.end());
  // What is nearly the same all the time is a line in the middle, and no mountain.
  const std::uint64_t range = *most - *least;
  const std::uint64_t span = std::max({range, std::uint64_t{*most} / 10, std::uint64_t{1}});
  std::string out(width - shown.size(), ' ');
  for (const std::uint32_t number : shown) {
    const std::uint64_t doubled = 2 * std::uint64_t{number - *least} + (span - range);
    const std::size_t step = number == 0 ? 0 : 1 + doubled * 7 / (2 * span);
    out.append(utf8 ? bars[step] : plain[step]);
  }
  return out;
}

double rank(TopColumn column, const Findings& findings, const TopPace& pace) {
  switch (column) {
    case TopColumn::established: return static_cast<double>(in(findings, State::established));
    // By how much it has grown over all refreshes that are kept.
    case TopColumn::trend:
      return pace.close_wait.empty()
                 ? 0.0
                 : static_cast<double>(pace.close_wait.back()) - static_cast<double>(pace.close_wait.front());
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
    case TopColumn::verdict: {
      const TopVerdict verdict = verdict_of(findings);
      // Of those that are not at fault so far it may be those with the most in CLOSE_WAIT that soon are.
      constexpr double share = 1e-9;
      const double soon = verdict == TopVerdict::ok ? share * static_cast<double>(findings.close_wait.now) : 0;
      return soon - static_cast<double>(verdict);
    }
    case TopColumn::name:
    case TopColumn::where:
    case TopColumn::processes: break;
  }
  return 0;
}

TopVerdict verdict_of(const Findings& findings) {
  if (findings.close_wait.leaked != 0) return TopVerdict::leak;
  if (is_near_end(findings)) return TopVerdict::ports;
  if (findings.descriptors && runs_out(*findings.descriptors)) return TopVerdict::fds;
  return findings.close_wait.stuck != 0 ? TopVerdict::stuck : TopVerdict::ok;
}

std::string_view name(TopVerdict verdict) {
  switch (verdict) {
    case TopVerdict::leak: return "leak";
    case TopVerdict::ports: return "ports";
    case TopVerdict::fds: return "fds";
    case TopVerdict::stuck: return "stuck";
    case TopVerdict::ok: return "ok";
  }
  std::unreachable();
}

Ink ink_of(TopVerdict verdict) {
  if (verdict == TopVerdict::ok) return Ink::green;
  return verdict == TopVerdict::stuck ? Ink::yellow : Ink::red;
}

}  // namespace closewatch
