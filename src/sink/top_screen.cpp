// SPDX-License-Identifier: BSD-2-Clause
#include "sink/top_screen.hpp"

#include "sink/escape.hpp"
#include "sink/report_close_wait.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"
#include "sink/text.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <numeric>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t head_rows = 4;  ///< three of the head, and the titles
constexpr std::size_t foot_rows = 1;
constexpr Attributes title_attributes{.ink = Ink::plain, .bold = false, .reverse = true, .dim = false};

constexpr std::array help_text{
    "A row is a workload: a program, and the port it serves or the end it connects",
    "to. The worst are first.",
    "",
    "  arrows, j k     choose a row            Enter   look into it: its groups and",
    "  PgUp PgDn       by screens                      sockets, who holds them, why,",
    "  Home End        to the first, the last          and what to do",
    "  /               filter by a part of     Esc     back; ends the filter",
    "                  the name or place       p       processes or workloads",
    "  < >             sort by another column  r       the other way round",
    "  space           pause: the picture stands, the watching goes on",
    "  w               write the report now, as text and as JSON, in this directory",
    "  ?               this help               q       quit",
    "",
    "CLOSE_WAIT  the peer has closed, and this program has not called close()",
    "LEAKED      of these, for longer than --leak-after and by its own doing: no",
    "            sysctl cures it, its author can",
    "OLDEST      for how long",
    "TREND       CLOSE_WAIT over the last refreshes, by the most of them",
    "TIME_WAIT   is with the side that closed first, for 60 s, and needs no cure",
    "            while ports are left",
    "FDS         descriptors in use of the limit, of the process nearest to it",
    "VERDICT     leak   sockets are leaked      ports  a route runs out of ports",
    "            stuck  not closed, and not     fds    a process runs out of",
    "                   for sure by its doing          descriptors",
};

std::size_t room_of(Size size) { return size.rows > head_rows + foot_rows ? size.rows - head_rows - foot_rows : 0; }

Attributes attributes_of(Colour colour) {
  switch (colour) {
    case Colour::none: return {};
    case Colour::red: return {.ink = Ink::red};
    case Colour::yellow: return {.ink = Ink::yellow};
    case Colour::green: return {.ink = Ink::green};
  }
  std::unreachable();
}

std::string lower(std::string_view text) {
  std::string out{text};
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return out;
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

std::vector<TopScreen::Line> TopScreen::lines(const TopView& view) const {
  std::vector<Line> out;
  const std::size_t rows = by_process_ ? view.report.processes.size() : view.report.workloads.size();
  const std::vector<TopPace>& paces = by_process_ ? view.processes : view.workloads;
  out.reserve(rows);
  for (std::size_t at = 0; at < rows; ++at) {
    const Line line{at, by_process_ ? &view.report.processes[at].findings : &view.report.workloads[at].findings,
                    &paces[at]};
    if (filter_.empty() || is_wanted(name_of(view, line))) out.push_back(line);
  }
  sort(view, out);
  return out;
}

std::string TopScreen::key_of(const TopView& view, const Line& line) const {
  return by_process_ ? row_key(view.report.processes[line.at]) : row_key(view.report.workloads[line.at]);
}

RowName TopScreen::name_of(const TopView& view, const Line& line) const {
  return by_process_ ? closewatch::name_of(view.report.processes[line.at], style_.utf8)
                     : closewatch::name_of(view.report.workloads[line.at], style_.utf8);
}

bool TopScreen::is_wanted(const RowName& name) const {
  const std::string wanted = lower(filter_);
  const auto has = [&](const std::string& text) { return lower(text).find(wanted) != std::string::npos; };
  return has(name.name + " " + name.end) || has(name.where) || (by_process_ && has(name.count));
}

// The report's own order is that of trouble; what is equal in a column stays in it.
void TopScreen::sort(const TopView& view, std::vector<Line>& lines) const {
  switch (sorted_by_) {
    case TopColumn::verdict: break;
    case TopColumn::name:
    case TopColumn::where:
    case TopColumn::processes: {
      std::vector<std::pair<std::string, Line>> named;
      named.reserve(lines.size());
      for (const Line& line : lines) {
        const RowName name = name_of(view, line);
        // Numbers by their size: the shorter is the smaller.
        const std::string number =
            std::string(name.count.size() < 20 ? 20 - name.count.size() : 0, '0').append(name.count);
        named.emplace_back(sorted_by_ == TopColumn::name    ? name.name + " " + name.end
                           : sorted_by_ == TopColumn::where ? name.where
                                                            : number,
                           line);
      }
      std::stable_sort(named.begin(), named.end(),
                       [](const auto& left, const auto& right) { return left.first < right.first; });
      std::transform(named.begin(), named.end(), lines.begin(), [](const auto& one) { return one.second; });
      break;
    }
    default:
      std::stable_sort(lines.begin(), lines.end(), [&](const Line& left, const Line& right) {
        return rank(sorted_by_, *left.findings, *left.pace) > rank(sorted_by_, *right.findings, *right.pace);
      });
  }
  if (reversed_) std::reverse(lines.begin(), lines.end());
}

std::size_t TopScreen::chosen_of(const TopView& view, const std::vector<Line>& lines) const {
  if (lines.empty() || chosen_.empty()) return 0;
  const auto found =
      std::find_if(lines.begin(), lines.end(), [&](const Line& line) { return key_of(view, line) == chosen_; });
  return found != lines.end() ? static_cast<std::size_t>(found - lines.begin())
                              : std::min(chosen_at_, lines.size() - 1);
}

// -- keys

TopScreen::Wish TopScreen::take(const KeyPress& press, const TopView& view, Size size) {
  said_.clear();
  if (helps_ && press.key != Key::character) {
    if (press.key == Key::escape || press.key == Key::enter) {
      helps_ = false;
      scrolled_ = 0;
    } else {
      move_in(press, help_text.size(), room_of(size));
    }
    return Wish::none;
  }
  if (types_) {
    type(press);
    return Wish::none;
  }
  switch (press.key) {
    case Key::character:
      if (press.character.size() == 1) return command(press.character.front(), view);
      return Wish::none;
    case Key::enter:
      if (const std::vector<Line> all = lines(view); !opened_ && !helps_ && !all.empty()) {
        const Line& line = all[chosen_of(view, all)];
        opened_ = key_of(view, line);
        const RowName name = name_of(view, line);
        opened_name_ = name.end.empty() ? name.name : name.name + " " + name.end;
        scrolled_ = 0;
      }
      return Wish::none;
    case Key::escape:
    case Key::backspace:
      if (opened_) {
        opened_.reset();
        scrolled_ = 0;
      } else if (press.key == Key::escape) {
        filter_.clear();
      }
      return Wish::none;
    default: move(press, view, size); return Wish::none;
  }
}

void TopScreen::type(const KeyPress& press) {
  switch (press.key) {
    case Key::character:
      // A name is not as long; a line of a paste may be.
      if (filter_.size() < 64) filter_ += printable(press.character, style_.utf8, 0);
      break;
    case Key::backspace:
      while (!filter_.empty() && (static_cast<unsigned char>(filter_.back()) & 0xC0U) == 0x80U) filter_.pop_back();
      if (!filter_.empty()) filter_.pop_back();
      break;
    case Key::escape: filter_.clear(); [[fallthrough]];
    case Key::enter: types_ = false; break;
    default: types_ = false; break;
  }
}

TopScreen::Wish TopScreen::command(char key, const TopView& view) {
  const bool helped = std::exchange(helps_, false);
  if (helped) scrolled_ = 0;
  switch (key) {
    case 'q': return Wish::quit;
    case 'w': return Wish::write_report;
    case ' ': paused_ = !paused_; break;
    case '?':
    case 'h':
      helps_ = !helped;
      scrolled_ = 0;
      break;
    case 'j': move({Key::down, {}}, view, {}); break;
    case 'k': move({Key::up, {}}, view, {}); break;
    default: break;
  }
  if (opened_) return Wish::none;
  switch (key) {
    case 'p':
      by_process_ = !by_process_;
      chosen_.clear();
      break;
    case 'r': reversed_ = !reversed_; break;
    case '/': types_ = true; break;
    case '<':
    case '>': {
      constexpr std::size_t columns = std::to_underlying(TopColumn::verdict) + 1;
      const std::size_t now = std::to_underlying(sorted_by_);
      sorted_by_ = static_cast<TopColumn>((now + (key == '>' ? 1 : columns - 1)) % columns);
      break;
    }
    default: break;
  }
  return Wish::none;
}

void TopScreen::move_in(const KeyPress& press, std::size_t lines, std::size_t page) {
  const std::size_t last = lines > page ? lines - page : 0;
  switch (press.key) {
    case Key::up: scrolled_ -= std::min<std::size_t>(scrolled_, 1); break;
    case Key::down: ++scrolled_; break;
    case Key::page_up: scrolled_ -= std::min(scrolled_, page); break;
    case Key::page_down: scrolled_ += page; break;
    case Key::home: scrolled_ = 0; break;
    case Key::end: scrolled_ = last; break;
    default: break;
  }
  scrolled_ = std::min(scrolled_, last);
}

void TopScreen::move(const KeyPress& press, const TopView& view, Size size) {
  const std::size_t page = std::max<std::size_t>(room_of(size), 1);
  if (opened_) {
    move_in(press, inside_text(view, size.columns).size(), page);
    return;
  }
  const std::vector<Line> all = lines(view);
  if (all.empty()) return;
  std::size_t at = chosen_of(view, all);
  const std::size_t last = all.size() - 1;
  switch (press.key) {
    case Key::up: at -= std::min<std::size_t>(at, 1); break;
    case Key::down: at = std::min(at + 1, last); break;
    case Key::page_up: at -= std::min(at, page); break;
    case Key::page_down: at = std::min(at + page, last); break;
    case Key::home: at = 0; break;
    case Key::end: at = last; break;
    default: break;
  }
  chosen_at_ = at;
  // The first row is whichever is the worst, and not the one that was.
  chosen_ = at == 0 ? std::string{} : key_of(view, all[at]);
}

// -- drawing

Grid TopScreen::draw(const TopView& view, Size size) const {
  Grid grid{size};
  head(grid, view);
  const std::size_t rows = by_process_ ? view.report.processes.size() : view.report.workloads.size();
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
  const Page::Line ports = page.lines().empty() ? Page::Line{} : page.lines().front();
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
  const std::size_t rows = by_process_ ? view.report.processes.size() : view.report.workloads.size();
  const std::vector<TopPace>& paces = by_process_ ? view.processes : view.workloads;
  for (std::size_t at = 0; at < rows; ++at) {
    const Line line{at, by_process_ ? &view.report.processes[at].findings : &view.report.workloads[at].findings,
                    &paces[at]};
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
  if (grid.size().rows == 0) return;
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
