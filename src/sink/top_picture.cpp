// SPDX-License-Identifier: BSD-2-Clause
// The picture of `top`: head, table or what a row has inside, foot.
#include "sink/escape.hpp"
#include "sink/report_close_wait.hpp"
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

using top::head_rows;
using top::help_text;
using top::room_of;

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr Attributes title_attributes{.ink = Ink::plain, .bold = false, .reverse = true, .dim = false};

Attributes attributes_of(Colour colour) {
  switch (colour) {
    case Colour::none: return {};
    case Colour::red: return {.ink = Ink::red};
    case Colour::yellow: return {.ink = Ink::yellow};
    case Colour::green: return {.ink = Ink::green};
  }
  std::unreachable();
}

/// printable() fills up to its width, too.
std::string cut(std::string_view text, bool utf8, std::size_t columns) {
  const std::string whole = printable(text, utf8, 0);
  return columns_of(whole) <= columns ? whole : printable(text, utf8, columns);
}

std::string watched_text(const Report& report) {
  const auto watched = static_cast<std::uint64_t>(std::max(std::int64_t{0}, report.to_ns - report.from_ns));
  return watched < 600 * second_ns ? fmt::format(FMT_COMPILE("{}s"), watched / second_ns) : duration_text(watched);
}

/// The nearest to its limit of all that are known.
const ProcessReport* shortest_of_descriptors(const Report& report) {
  constexpr double never = 1e18;
  const ProcessReport* worst = nullptr;
  const auto left = [](const ProcessReport& one) {
    const auto& use = one.findings.descriptors;
    if (!use || use->soft_limit == 0) return never;
    if (use->seconds_left) return *use->seconds_left;
    return use->open * 10 >= use->soft_limit * 9 ? never / 2 : never;
  };
  for (const ProcessReport& one : report.processes)
    if (left(one) < never && (worst == nullptr || left(one) < left(*worst))) worst = &one;
  return worst;
}

}  // namespace

Grid TopScreen::draw(const TopView& view, Size size) const {
  Grid grid{size};
  head(grid, view);
  const std::size_t rows = rows_of(view);
  if (helps_) {
    help(grid);
    foot(grid, rows, rows);
  } else if (opened_) {
    inside(grid, view);
    foot(grid, rows, rows);
  } else {
    const std::vector<Line> all = lines(view);
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
  if (!report.incomplete_reasons.empty()) at = grid.put(0, at, "  incomplete", {.ink = Ink::yellow});
  if (paused_) grid.put_right(0, grid.size().columns, " PAUSED ", {.ink = Ink::yellow, .reverse = true});
  const std::string states = words::states(report.states);
  grid.put(1, 0, states.empty() ? "no TCP sockets" : states);
  const Page::Line worst = nearest(view);
  grid.put(2, 0, worst.text, attributes_of(worst.colour));
}

// What runs out first: ports by the report's own sentence, descriptors, and then whatever is wrong with the machine.
Page::Line TopScreen::nearest(const TopView& view) const {
  constexpr std::size_t wide = 1000;
  Page page{wide, false};
  TimeWaitText{page, style_.utf8}.summary(view.report);
  Page::Line ports = page.lines().empty() ? Page::Line{} : page.lines().front();
  if (ports.colour == Colour::red) return ports;
  if (const ProcessReport* one = shortest_of_descriptors(view.report); one != nullptr && one->process) {
    const DescriptorUse& use = *one->findings.descriptors;
    std::string text = fmt::format(FMT_COMPILE("Descriptors: {} has {} of {}"),
                                   words::mention(one->process->identity, style_.utf8), use.open, use.soft_limit);
    if (use.seconds_left)
      text +=
          fmt::format(FMT_COMPILE(", none left in {} at this rate"),
                      duration_text(static_cast<std::uint64_t>(*use.seconds_left * static_cast<double>(second_ns))));
    return {text, Colour::red};
  }
  if (ports.colour != Colour::none) return ports;
  for (const HostFinding& finding : view.report.host_findings)
    if (finding.severity != HostFinding::Severity::info)
      return {printable(finding.text, style_.utf8, 0),
              finding.severity == HostFinding::Severity::critical ? Colour::red : Colour::yellow};
  return {"Ports and descriptors: none about to run out.", Colour::none};
}

void TopScreen::titles(Grid& grid, const std::vector<PlacedColumn>& columns) const {
  grid.reverse(head_rows - 1);
  for (const PlacedColumn& placed : columns) {
    std::string text{title(placed.column, by_process_)};
    Attributes look = title_attributes;
    if (placed.column == sorted_by_) {
      look.bold = true;
      text.insert(0, reversed_ ? (style_.utf8 ? "▴" : "^") : (style_.utf8 ? "▾" : "v"));
    }
    if (is_number(placed.column))
      grid.put_right(head_rows - 1, placed.at + placed.width, text, look);
    else  // what marks the column stands in the blank before it
      grid.put(head_rows - 1, placed.at - (placed.column == sorted_by_ && placed.at != 0 ? 1 : 0), text, look);
  }
}

void TopScreen::table(Grid& grid, const TopView& view, const std::vector<Line>& lines) const {
  const std::vector<PlacedColumn> columns = placed_columns(grid.size().columns);
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
  const std::string_view verdict = verdict_word(*line.findings);
  for (const PlacedColumn& placed : columns) {
    Attributes look;
    std::string text;
    switch (placed.column) {
      case TopColumn::name: text = in_columns(name, placed.width, style_.utf8); break;
      case TopColumn::where: text = printable(name.where, style_.utf8, placed.width); break;
      case TopColumn::processes: text = name.count; break;
      case TopColumn::verdict:
        text = verdict;
        look = {.ink = ink_of(verdict), .bold = verdict != "ok"};
        break;
      default: text = cell_text(placed.column, *line.findings, *line.pace, style_.utf8); break;
    }
    if (placed.column == TopColumn::leaked && line.findings->close_wait.leaked != 0)
      look = {.ink = Ink::red, .bold = true};
    if (placed.column == TopColumn::name && verdict != "ok") look.bold = true;
    if (is_number(placed.column))
      grid.put_right(at, placed.at + placed.width, text, look);
    else
      grid.put(at, placed.at, text, look);
  }
  if (chosen) grid.reverse(at);
}

void TopScreen::show(Grid& grid, const std::vector<Page::Line>& text) const {
  const std::size_t room = room_of(grid.size());
  const std::size_t first = std::min(scrolled_, text.size() > room ? text.size() - room : 0);
  for (std::size_t at = 0; at < room && first + at < text.size(); ++at)
    grid.put(head_rows + at, 0, text[first + at].text, attributes_of(text[first + at].colour));
  if (first + room < text.size() && room != 0)
    grid.put_right(head_rows - 1, grid.size().columns,
                   fmt::format(FMT_COMPILE("{} more lines below"), text.size() - first - room), title_attributes);
}

void TopScreen::inside(Grid& grid, const TopView& view) const {
  grid.reverse(head_rows - 1);
  grid.put(head_rows - 1, 0, opened_name_, {.bold = true, .reverse = true});
  show(grid, inside_text(view, grid.size().columns));
}

std::vector<Page::Line> TopScreen::inside_text(const TopView& view, std::size_t columns) const {
  constexpr std::size_t least = 40;
  Page page{std::max(columns, least), false};
  for (std::size_t at = 0; at < rows_of(view); ++at) {
    const Line line = line_of(view, at);
    if (key_of(view, line) != *opened_) continue;
    const Findings& findings = *line.findings;
    const RowName name = name_of(view, line);
    if (!name.where.empty()) page.item(0, name.where);
    const std::string states = words::states(findings.states);
    page.paragraph(
        0, fmt::format(FMT_COMPILE("{}; {}"),
                       by_process_ ? "pid " + name.count : words::count(view.report.workloads[at].processes, "process"),
                       states.empty() ? "no sockets" : states));
    if (findings.descriptors)
      page.paragraph(0, "descriptors in use of the limit: " + descriptors_text(findings.descriptors));
    page.blank();
    CloseWaitText{page, style_.utf8, Detail::whole}.write(findings.close_wait);
    if (findings.close_wait.groups.empty()) page.paragraph(2, "nothing in CLOSE_WAIT");
    TimeWaitText{page, style_.utf8}.write_whole(findings);
    return page.lines();
  }
  page.paragraph(0, "Nothing is left of it. Esc goes back.");
  return page.lines();
}

void TopScreen::help(Grid& grid) const {
  grid.reverse(head_rows - 1);
  grid.put(head_rows - 1, 0, "Help", {.bold = true, .reverse = true});
  Page page{std::max<std::size_t>(grid.size().columns, 1), false};
  for (const std::string_view line : help_text) page.row(line);
  show(grid, page.lines());
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
    grid.put(at, 0, "Esc back  arrows scroll  space pause  w write  q quit", {.dim = true});
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
