// SPDX-License-Identifier: BSD-2-Clause
// What `top` shows in place of its table: what a row has inside, and the help.
#include "sink/escape.hpp"
#include "sink/report_close_wait.hpp"
#include "sink/report_rows.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"
#include "sink/top_layout.hpp"
#include "sink/top_screen.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

using top::attributes_of;
using top::head_rows;
using top::help_text;
using top::room_of;
using top::title_attributes;

/// Whose they are that a workload's row tells of.
std::string descriptors_of(const WorkloadReport& workload, bool utf8) {
  return "descriptors of " + words::mention(workload.nearest_to_limit, utf8) +
         (workload.processes > 1 ? ", the nearest to its limit" : "");
}

bool has_member(const WorkloadReport& workload, const ProcessKey& key) {
  const auto order = [](const ProcessKey& one) { return std::pair{one.start_ns, one.pid}; };
  return std::binary_search(
      workload.members.begin(), workload.members.end(), key,
      [&](const ProcessKey& left, const ProcessKey& right) { return order(left) < order(right); });
}

/// "pid 812 server", "5 processes"
std::string whose(const Report& report, const WorkloadReport& workload, bool utf8) {
  if (workload.workload.executable.empty() && workload.processes == 0)
    return "from before the start, when nobody saw whose they were";
  if (workload.members.size() == 1)
    for (const ProcessReport& one : report.processes)
      if (one.process && one.process->identity.key == workload.members.front())
        return words::mention(one.process->identity, utf8);
  return words::count(workload.processes, "process");
}

std::string whose(const ProcessReport& process, bool utf8) {
  if (!process.process) return "from before the start, or lost: nobody saw whose they were";
  return words::mention(process.process->identity, utf8);
}

}  // namespace

void TopScreen::show(Grid& grid, const std::vector<Page::Line>& text) const {
  const std::size_t room = room_of(grid.size());
  const std::size_t first = std::min(scrolled_, text.size() > room ? text.size() - room : 0);
  for (std::size_t at = 0; at < room && first + at < text.size(); ++at)
    grid.put(head_rows + at, 0, text[first + at].text, attributes_of(text[first + at].colour));
  if (first + room < text.size() && room != 0)
    grid.put_right(head_rows - 1, grid.size().columns, words::count(text.size() - first - room, "more line") + " below",
                   title_attributes);
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
    page.paragraph(0, (by_process_ ? whose(view.report.processes[at], style_.utf8)
                                   : whose(view.report, view.report.workloads[at], style_.utf8)) +
                          "; " + (states.empty() ? "no sockets" : states));
    if (findings.descriptors)
      page.paragraph(0,
                     (by_process_ ? "descriptors: " : descriptors_of(view.report.workloads[at], style_.utf8) + ": ") +
                         words::descriptors(*findings.descriptors));
    page.blank();
    CloseWaitText{page, style_.utf8, Detail::whole}.write(findings.close_wait);
    if (findings.close_wait.groups.empty()) page.paragraph(2, "nothing in CLOSE_WAIT");
    TimeWaitText{page, style_.utf8}.write_whole(findings);
    if (!by_process_) list_processes(page, view.report, view.report.workloads[at]);
    return page.lines();
  }
  page.paragraph(0, "Nothing is left of it. Esc goes back.");
  return page.lines();
}

std::vector<Page::Line> TopScreen::help_lines(const TopView& view, std::size_t columns) const {
  constexpr std::size_t least = 40;
  Page page{std::max(columns, least), false};
  for (const std::string& reason : view.report.incomplete_reasons)
    page.paragraph(0, "Incomplete: " + printable(reason, style_.utf8, 0), Colour::yellow);
  if (!page.lines().empty()) page.blank();
  for (const std::string_view line : help_text) page.row(line);
  return page.lines();
}

void TopScreen::help(Grid& grid, const TopView& view) const {
  grid.reverse(head_rows - 1);
  grid.put(head_rows - 1, 0, "Help", {.bold = true, .reverse = true});
  show(grid, help_lines(view, grid.size().columns));
}

/// Who is told of as a whole: the worst first, as in the table.
void TopScreen::list_processes(Page& page, const Report& report, const WorkloadReport& workload) const {
  constexpr std::size_t shown_at_most = 20;
  if (workload.members.size() < 2) return;
  page.blank();
  page.paragraph(2, "its processes, with all that each of them has:");
  std::size_t shown = 0;
  for (const ProcessReport& one : report.processes) {
    if (!one.process || !has_member(workload, one.process->identity.key)) continue;
    if (++shown > shown_at_most) continue;
    std::string text = words::mention(one.process->identity, style_.utf8);
    if (one.findings.descriptors) text += ", descriptors " + descriptors_text(one.findings.descriptors);
    if (const std::string states = words::states(one.findings.states); !states.empty()) text += ": " + states;
    page.item(4, text);
    if (const std::string command = closewatch::name_of(one, style_.utf8).where; !command.empty())
      page.item(6, command);
  }
  if (shown > shown_at_most)
    page.paragraph(4, "and " + words::count(shown - shown_at_most, "more process") + " (p shows all)");
}

}  // namespace closewatch
