// SPDX-License-Identifier: BSD-2-Clause
#include "sink/top_screen.hpp"

#include "sink/escape.hpp"
#include "sink/top_layout.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace closewatch {
namespace {

std::string lower(std::string_view text) {
  std::string out{text};
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return out;
}

/// `wanted` is in lower case.
bool has(std::string_view text, std::string_view wanted) { return lower(text).find(wanted) != std::string::npos; }

bool has(const RowName& name, std::string_view wanted) {
  return has(name.name + " " + name.end, wanted) || has(name.where, wanted);
}

/// A pid as a whole: with thousands of processes a part of one is in most workloads. Of a command line the row shows
/// the beginning alone.
bool is_named(const ProcessReport& report, std::string_view wanted, bool utf8) {
  const RowName name = name_of(report, utf8);
  if (has(name, wanted) || name.count == wanted) return true;
  return report.process && has(report.process->entry->details.cmdline.value_or(""), wanted);
}

/// The next column that the screen shows, to the right or to the left, and around its edge.
TopColumn beside(TopColumn column, bool right, const std::vector<PlacedColumn>& placed) {
  std::vector<PlacedColumn> shown = placed;
  if (!right) std::reverse(shown.begin(), shown.end());
  const auto next = std::find_if(shown.begin(), shown.end(), [&](const PlacedColumn& one) {
    return right ? one.column > column : one.column < column;
  });
  return (next != shown.end() ? *next : shown.front()).column;
}

}  // namespace

std::size_t TopScreen::rows_of(const TopView& view) const {
  return by_process_ ? view.report.processes.size() : view.report.workloads.size();
}

TopScreen::Line TopScreen::line_of(const TopView& view, std::size_t at) const {
  return by_process_ ? Line{at, &view.report.processes[at].findings, &view.processes[at]}
                     : Line{at, &view.report.workloads[at].findings, &view.workloads[at]};
}

std::vector<TopScreen::Line> TopScreen::lines(const TopView& view, std::size_t columns) const {
  std::vector<Line> out = filtered(view);
  sort(view, out, sorted_by(placed_columns(columns, by_process_)));
  return out;
}

// What is looked for may be the name of a process, where the workload is called after its interpreter.
std::vector<TopScreen::Line> TopScreen::filtered(const TopView& view) const {
  const std::string wanted = lower(filter_);
  std::unordered_set<ProcessKey, ProcessKeyHash> named;
  if (!wanted.empty() && !by_process_)
    for (const ProcessReport& one : view.report.processes)
      if (one.process && is_named(one, wanted, style_.utf8)) named.insert(one.process->identity.key);
  const auto is_wanted = [&](const Line& line) {
    if (wanted.empty()) return true;
    if (by_process_) return is_named(view.report.processes[line.at], wanted, style_.utf8);
    const std::vector<ProcessKey>& members = view.report.workloads[line.at].members;
    return has(name_of(view, line), wanted) ||
           std::any_of(members.begin(), members.end(), [&](const ProcessKey& key) { return named.contains(key); });
  };
  std::vector<Line> out;
  out.reserve(rows_of(view));
  for (std::size_t at = 0; at < rows_of(view); ++at)
    if (const Line line = line_of(view, at); is_wanted(line)) out.push_back(line);
  return out;
}

std::string TopScreen::key_of(const TopView& view, const Line& line) const {
  return by_process_ ? row_key(view.report.processes[line.at]) : row_key(view.report.workloads[line.at]);
}

RowName TopScreen::name_of(const TopView& view, const Line& line) const {
  return by_process_ ? closewatch::name_of(view.report.processes[line.at], style_.utf8)
                     : closewatch::name_of(view.report.workloads[line.at], style_.utf8);
}

TopColumn TopScreen::sorted_by(const std::vector<PlacedColumn>& shown) const {
  const bool is_shown =
      std::any_of(shown.begin(), shown.end(), [&](const PlacedColumn& one) { return one.column == sorted_by_; });
  return is_shown ? sorted_by_ : TopColumn::verdict;
}

// The report's own order is that of trouble; what is equal in a column stays in it. Names from A to Z, numbers from the
// largest down.
void TopScreen::sort(const TopView& view, std::vector<Line>& lines, TopColumn by) const {
  switch (by) {
    case TopColumn::name:
    case TopColumn::where: {
      std::vector<std::pair<std::string, Line>> named;
      named.reserve(lines.size());
      for (const Line& line : lines) {
        const RowName name = name_of(view, line);
        named.emplace_back(by == TopColumn::name ? name.name + " " + name.end : name.where, line);
      }
      std::stable_sort(named.begin(), named.end(),
                       [](const auto& left, const auto& right) { return left.first < right.first; });
      std::transform(named.begin(), named.end(), lines.begin(), [](const auto& one) { return one.second; });
      break;
    }
    default: {
      std::vector<std::pair<double, Line>> ranked;
      ranked.reserve(lines.size());
      for (const Line& line : lines)
        ranked.emplace_back(by == TopColumn::processes ? static_cast<double>(number_of(view, line))
                                                       : rank(by, *line.findings, *line.pace),
                            line);
      std::stable_sort(ranked.begin(), ranked.end(),
                       [](const auto& left, const auto& right) { return left.first > right.first; });
      std::transform(ranked.begin(), ranked.end(), lines.begin(), [](const auto& one) { return one.second; });
    }
  }
  if (reversed_) std::reverse(lines.begin(), lines.end());
}

/// PROCS or PID.
std::uint64_t TopScreen::number_of(const TopView& view, const Line& line) const {
  if (!by_process_) return view.report.workloads[line.at].processes;
  const auto& process = view.report.processes[line.at].process;
  return process ? process->identity.key.pid : 0;
}

std::size_t TopScreen::chosen_of(const TopView& view, const std::vector<Line>& lines) const {
  if (lines.empty() || !chosen_) return 0;
  const auto found =
      std::find_if(lines.begin(), lines.end(), [&](const Line& line) { return key_of(view, line) == *chosen_; });
  return found != lines.end() ? static_cast<std::size_t>(found - lines.begin())
                              : std::min(chosen_at_, lines.size() - 1);
}

// -- keys

TopScreen::Wish TopScreen::take(const KeyPress& press, const TopView& view, Size size) {
  said_.clear();
  if (types_) {
    type(press);
    if (types_ || press.key == Key::enter || press.key == Key::escape) return Wish::none;
  }
  if (press.key == Key::character && press.character == "j") return take({Key::down, {}}, view, size);
  if (press.key == Key::character && press.character == "k") return take({Key::up, {}}, view, size);
  if (helps_ && press.key != Key::character) {
    if (press.key == Key::escape || press.key == Key::enter || press.key == Key::backspace) {
      helps_ = false;
      scrolled_ = 0;
    } else {
      move_in(press, help_lines(view, size.columns).size(), top::room_of(size));
    }
    return Wish::none;
  }
  switch (press.key) {
    case Key::character:
      if (press.character.size() == 1) return command(press.character.front(), size);
      return Wish::none;
    case Key::enter:
      if (const std::vector<Line> all = lines(view, size.columns); !opened_ && !helps_ && !all.empty()) {
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
    default: types_ = false; break;  // arrows go on to move
  }
}

TopScreen::Wish TopScreen::command(char key, Size size) {
  const bool helped = std::exchange(helps_, false);
  if (helped) scrolled_ = 0;
  switch (key) {
    case 'q': return helped ? Wish::none : Wish::quit;  // of the help it is the end, as in less(1)
    case 'w': return Wish::write_report;
    case ' ': paused_ = !paused_; break;
    case '?':
    case 'h':
      helps_ = !helped;
      scrolled_ = 0;
      break;
    default: break;
  }
  if (opened_) return Wish::none;
  switch (key) {
    case 'p':
      by_process_ = !by_process_;
      chosen_.reset();
      break;
    case 'r': reversed_ = !reversed_; break;
    case '/': types_ = true; break;
    case '<':
    case '>': {
      const std::vector<PlacedColumn> shown = placed_columns(size.columns, by_process_);
      sorted_by_ = beside(sorted_by(shown), key == '>', shown);
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
  const std::size_t page = std::max<std::size_t>(top::room_of(size), 1);
  if (opened_) {
    move_in(press, inside_text(view, size.columns).size(), page);
    return;
  }
  const std::vector<Line> all = lines(view, size.columns);
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
  chosen_.reset();
  if (at != 0) chosen_ = key_of(view, all[at]);
}

}  // namespace closewatch
