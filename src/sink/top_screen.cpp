// SPDX-License-Identifier: BSD-2-Clause
#include "sink/top_screen.hpp"

#include "sink/escape.hpp"
#include "sink/page.hpp"
#include "sink/pattern.hpp"
#include "sink/report_close_wait.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"
#include "sink/text.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t head_rows = 4;  ///< three of the head, and the titles
constexpr std::size_t foot_rows = 1;

struct ColumnForm {
  TopColumn column;
  std::string_view title;
  std::size_t width;  ///< with the blank before it; 0: what is left
};
/// In the order of the screen.
constexpr std::array<ColumnForm, 12> forms{{
    {TopColumn::name, "WORKLOAD", 0},
    {TopColumn::processes, "PROCS", 7},
    {TopColumn::established, "ESTAB", 7},
    {TopColumn::close_wait, "CLOSE_WAIT", 11},
    {TopColumn::leaked, "LEAKED", 7},
    {TopColumn::oldest, "OLDEST", 7},
    {TopColumn::time_wait, "TIME_WAIT", 10},
    {TopColumn::time_wait_rate, "TW/s", 7},
    {TopColumn::fin_wait2, "FIN_WAIT2", 10},
    {TopColumn::last_ack, "LAST_ACK", 9},
    {TopColumn::abort_rate, "ABORT/s", 8},
    {TopColumn::descriptors, "FDS", 11},
}};
/// Which of them a narrow screen does without, the first first.
constexpr std::array dispensable{TopColumn::last_ack,  TopColumn::abort_rate,  TopColumn::fin_wait2,
                                 TopColumn::established, TopColumn::time_wait_rate, TopColumn::processes,
                                 TopColumn::descriptors, TopColumn::oldest, TopColumn::time_wait, TopColumn::leaked};
constexpr std::size_t name_at_least = 16;
constexpr std::size_t verdict_width = 8;
constexpr std::size_t graph_width = 10;

const ColumnForm& form_of(TopColumn column) {
  return *std::find_if(forms.begin(), forms.end(), [&](const ColumnForm& one) { return one.column == column; });
}

std::size_t width_of(const std::vector<TopColumn>& columns) {
  std::size_t width = name_at_least + verdict_width;
  for (const TopColumn column : columns) width += form_of(column).width;
  return width;
}

std::vector<TopColumn> columns_for(std::size_t width) {
  std::vector<TopColumn> columns;
  for (const ColumnForm& form : forms) columns.push_back(form.column);
  for (const TopColumn column : dispensable) {
    if (width_of(columns) <= width) break;
    std::erase(columns, column);
  }
  return columns;
}

std::uint64_t in(const Findings& findings, State state) { return findings.states[std::to_underlying(state)]; }

std::string_view verdict_of(const Findings& findings) {
  if (findings.close_wait.leaked != 0) return "LEAK";
  if (is_near_end(findings)) return "PORTS";
  if (findings.descriptors && findings.descriptors->seconds_left) return "FDS";
  if (findings.close_wait.stuck != 0) return "STUCK";
  return "ok";
}

Ink ink_of(std::string_view verdict) {
  if (verdict == "LEAK" || verdict == "PORTS" || verdict == "FDS") return Ink::red;
  return verdict == "STUCK" ? Ink::yellow : Ink::green;
}

/// By which two rows of a column are compared; larger stands before smaller.
double rank(TopColumn column, const Findings& findings, const TopPace& pace) {
  switch (column) {
    case TopColumn::established: return static_cast<double>(in(findings, State::established));
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
                 ? static_cast<double>(findings.descriptors->open) / static_cast<double>(findings.descriptors->soft_limit)
                 : 0;
    case TopColumn::trouble:
    case TopColumn::name:
    case TopColumn::processes: break;
  }
  return 0;
}

std::string or_dash(std::uint64_t number) { return number == 0 ? "-" : std::to_string(number); }

/// The course of a number in so many columns, its latest at the right; scaled by its most.
std::string graph(const std::vector<std::uint32_t>& numbers, std::size_t width, bool utf8) {
  static constexpr std::array<std::string_view, 9> bars{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 9> plain{" ", ".", ".", ":", ":", "=", "=", "#", "#"};
  const std::size_t shown = std::min(width, numbers.size());
  const auto from = numbers.end() - static_cast<std::ptrdiff_t>(shown);
  const std::uint32_t most = shown == 0 ? 0 : *std::max_element(from, numbers.end());
  std::string out(width - shown, ' ');
  for (auto at = from; at != numbers.end(); ++at) {
    const std::size_t step = most == 0 ? 0 : (std::size_t{*at} * 8 + most - 1) / most;
    out += utf8 ? bars[step] : plain[step];
  }
  return out;
}

}  // namespace

}  // namespace closewatch
