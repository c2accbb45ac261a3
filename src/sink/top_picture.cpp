// SPDX-License-Identifier: BSD-2-Clause
// The picture of `top`: head, table, foot.
#include "sink/escape.hpp"
#include "sink/report_rows.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"
#include "sink/text.hpp"
#include "sink/top_layout.hpp"
#include "sink/top_screen.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

using top::attributes_of;
using top::head_rows;
using top::room_of;
using top::title_attributes;

constexpr std::uint64_t second_ns = 1'000'000'000;
/// So many columns at most, and not filled.
std::string cut(std::string_view text, bool utf8, std::size_t columns) {
  const std::string whole = printable(text, utf8, 0);
  return columns_of(whole) <= columns ? whole : cut_to(whole, columns, utf8);
}

/// Of a list "A 1, B 2, C 3" as much as there is room for.
std::string cut_list(const std::string& list, bool utf8, std::size_t columns) {
  if (list.size() <= columns) return list;
  const std::string_view more = utf8 ? ", …" : ", ~";
  constexpr std::size_t more_columns = 3;
  const std::size_t comma = columns < more_columns ? 0 : list.rfind(", ", columns - more_columns);
  return comma == 0 || comma == std::string::npos ? cut(list, utf8, columns) : list.substr(0, comma).append(more);
}

/// A command line, without the folders of its program: what is run by python3 or java tells more.
std::string_view short_command(std::string_view where) {
  const std::size_t program = where.substr(0, where.find(' ')).rfind('/');
  return program == std::string_view::npos ? where : where.substr(program + 1);
}

std::string watched_text(const Report& report) {
  const auto watched = static_cast<std::uint64_t>(std::max(std::int64_t{0}, report.to_ns - report.from_ns));
  return watched < 600 * second_ns ? fmt::format(FMT_COMPILE("{}s"), watched / second_ns) : duration_text(watched);
}

/// Seconds until none is left, of ports or descriptors; what is merely nearly full stands behind all that is about to
/// be.
template <typename Use>
double left(const Use& use) {
  constexpr double as_near_as_seconds = 600;  // nearly full
  return use.seconds_left.value_or(as_near_as_seconds);
}

/// Of all whose descriptors run out the one that is nearest to it.
const ProcessReport* nearest_of_descriptors(const Report& report) {
  const ProcessReport* worst = nullptr;
  for (const ProcessReport& one : report.processes) {
    const auto& use = one.findings.descriptors;
    if (!one.process || !use || !runs_out(*use)) continue;
    if (worst == nullptr || left(*use) < left(*worst->findings.descriptors)) worst = &one;
  }
  return worst;
}

/// The end comes first: on a narrow screen the rest is cut off.
std::string descriptors_line(const ProcessReport& process, bool utf8) {
  const DescriptorUse& use = *process.findings.descriptors;
  const std::string who = words::mention(process.process->identity, utf8);
  if (!use.seconds_left)
    return fmt::format(FMT_COMPILE("Descriptors: {} of {} in use by {}."), use.open, use.soft_limit, who);
  return fmt::format(FMT_COMPILE("Descriptors: {} {} {}, {} of {} in use."), words::none_left(*use.seconds_left),
                     *use.seconds_left > 0 ? "by" : "for", who, use.open, use.soft_limit);
}

}  // namespace

Grid TopScreen::draw(const TopView& view, Size size) const {
  Grid grid{size};
  head(grid, view);
  const std::size_t rows = rows_of(view);
  if (helps_) {
    help(grid, view);
    foot(grid, rows, rows);
  } else if (opened_) {
    inside(grid, view);
    foot(grid, rows, rows);
  } else {
    const std::vector<Line> all = lines(view, size.columns);
    table(grid, view, all);
    foot(grid, all.size(), rows);
  }
  return grid;
}

void TopScreen::head(Grid& grid, const TopView& view) const {
  const Report& report = view.report;
  std::size_t at = grid.put(0, 0, "closewatch", {.bold = true});
  at = grid.put(0, at,
                fmt::format(FMT_COMPILE("  {}  watched {}  {} events/s  "), cut(report.host, style_.utf8, 24),
                            watched_text(report), words::rate(view.events_per_second)));
  at = grid.put(0, at, fmt::format(FMT_COMPILE("lost {}"), report.lost),
                report.lost == 0 ? Attributes{} : Attributes{.ink = Ink::red, .bold = true});
  const std::string_view incomplete = report.incomplete_reasons.empty() ? "" : "  incomplete (? says why)";
  const std::string_view paused = paused_ ? " PAUSED " : "";
  constexpr std::string_view gap = "  ";
  // What is said of it gives way to the others.
  const std::size_t others = at + gap.size() + incomplete.size() + paused.size();
  const std::size_t room = grid.size().columns > others ? grid.size().columns - others : 0;
  if (!style_.scope.empty() && room != 0) at = grid.put(0, at, std::string{gap} + cut(style_.scope, style_.utf8, room));
  at = grid.put(0, at, incomplete, {.ink = Ink::yellow});
  if (paused_) grid.put_right(0, grid.size().columns, paused, {.ink = Ink::yellow, .reverse = true});
  const std::string states = words::states(report.states);
  grid.put(1, 0, states.empty() ? "no TCP sockets" : cut_list(states, style_.utf8, grid.size().columns));
  const Page::Line worst = nearest(view);
  grid.put(2, 0, cut(worst.text, style_.utf8, grid.size().columns), attributes_of(worst.colour));
}

// What runs out first, and then whatever is wrong with the machine.
Page::Line TopScreen::nearest(const TopView& view) const {
  const RouteUse* route = nearest_route(view.report);
  const ProcessReport* process = nearest_of_descriptors(view.report);
  if (route != nullptr && (process == nullptr || left(*route) <= left(*process->findings.descriptors)))
    return ports_in_short(*route, style_.utf8);
  if (process != nullptr) return {descriptors_line(*process, style_.utf8), Colour::red};
  for (const HostFinding& finding : view.report.host_findings)
    // Of ports that had run out once a report tells.
    if (finding.severity != HostFinding::Severity::info && !finding.id.starts_with("ports_"))
      return {printable(finding.text, style_.utf8, 0),
              finding.severity == HostFinding::Severity::critical ? Colour::red : Colour::yellow};
  if (!view.report.incomplete_reasons.empty())
    return {"Ports and descriptors: none about to run out, of those that could be seen.", Colour::none};
  return {view.report.knows_ports ? "Ports and descriptors: none about to run out."
                                  : "Descriptors: none about to run out. With filters ports are not counted.",
          Colour::none};
}

void TopScreen::titles(Grid& grid, const std::vector<PlacedColumn>& columns) const {
  grid.reverse(head_rows - 1);
  const TopColumn sorted = sorted_by(columns);
  for (const PlacedColumn& placed : columns) {
    std::string text{title(placed.column, by_process_)};
    Attributes look = title_attributes;
    const bool is_sorted = placed.column == sorted;
    if (is_sorted) {
      look.bold = true;
      text.insert(0, reversed_ ? (style_.utf8 ? "▴" : "^") : (style_.utf8 ? "▾" : "v"));
    }
    if (is_number(placed.column))
      grid.put_right(head_rows - 1, placed.at + placed.width, text, look);
    else  // what marks the column stands in the blank before it
      grid.put(head_rows - 1, placed.at - (is_sorted && placed.at != 0 ? 1 : 0), text, look);
  }
}

void TopScreen::table(Grid& grid, const TopView& view, const std::vector<Line>& lines) const {
  const std::vector<PlacedColumn> columns = placed_columns(grid.size().columns, by_process_);
  titles(grid, columns);
  const std::size_t room = room_of(grid.size());
  if (lines.empty() && room != 0)
    grid.put(head_rows, 0, filter_.empty() ? "nothing on the close path" : "no row has that in its name",
             {.dim = true});
  const std::size_t chosen = chosen_of(view, lines);
  const std::size_t last_first = lines.size() > room ? lines.size() - room : 0;
  const std::size_t first = std::min(chosen > room / 2 ? chosen - room / 2 : 0, last_first);
  for (std::size_t at = 0; at < room && first + at < lines.size(); ++at)
    row(grid, head_rows + at, view, lines[first + at], columns, first + at == chosen);
}

void TopScreen::row(Grid& grid, std::size_t at, const TopView& view, const Line& line,
                    const std::vector<PlacedColumn>& columns, bool chosen) const {
  const RowName name = name_of(view, line);
  const TopVerdict verdict = verdict_of(*line.findings);
  for (const PlacedColumn& placed : columns) {
    Attributes look;
    std::string text;
    switch (placed.column) {
      case TopColumn::name: text = in_columns(name, placed.width, style_.utf8); break;
      case TopColumn::where:
        text = cut_to(by_process_ ? short_command(name.where) : name.where, placed.width, style_.utf8);
        break;
      case TopColumn::processes: text = name.count; break;
      case TopColumn::verdict:
        text = closewatch::name(verdict);
        look = {.ink = ink_of(verdict), .bold = verdict != TopVerdict::ok};
        break;
      default: text = cell_text(placed.column, *line.findings, *line.pace, style_.utf8); break;
    }
    if (placed.column == TopColumn::leaked && line.findings->close_wait.leaked != 0)
      look = {.ink = Ink::red, .bold = true};
    if (placed.column == TopColumn::name && verdict != TopVerdict::ok) look.bold = true;
    if (is_number(placed.column))
      grid.put_right(at, placed.at + placed.width, text, look);
    else
      grid.put(at, placed.at, text, look);
  }
  if (chosen) grid.reverse(at);
}

void TopScreen::foot(Grid& grid, std::size_t shown, std::size_t all) const {
  constexpr std::size_t least = 3;  // on fewer rows the head says more
  if (grid.size().rows < least) return;
  const std::size_t at = grid.size().rows - 1;
  if (!said_.empty()) {
    grid.put(at, 0, printable(said_, style_.utf8, 0), {.ink = Ink::cyan});
    return;
  }
  if (types_) {
    const std::size_t behind = grid.put(at, 0, "/" + filter_);
    grid.put(at, behind, " ", {.reverse = true});
    return;
  }
  if (helps_ || opened_) {
    grid.put(at, 0,
             helps_ ? "Esc back  arrows scroll  space pause  w write  q back"
                    : "Esc back  arrows scroll  space pause  w write  q quit",
             {.dim = true});
    return;
  }
  std::size_t column = 0;
  if (!filter_.empty())
    column = grid.put(at, 0, fmt::format(FMT_COMPILE("/{}: {} of {}  "), filter_, shown, all), {.ink = Ink::cyan});
  for (const std::string_view key :
       {std::string_view{"Enter open"}, std::string_view{"/ filter"}, std::string_view{"<> sort"},
        std::string_view{by_process_ ? "p workloads" : "p processes"}, std::string_view{"space pause"},
        std::string_view{"w write"}, std::string_view{"? help"}, std::string_view{"q quit"},
        std::string_view{"r reverse"}}) {
    if (column + key.size() > grid.size().columns) break;
    column = grid.put(at, column, key, {.dim = true}) + 2;
  }
}

}  // namespace closewatch
