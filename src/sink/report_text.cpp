// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_text.hpp"

#include "sink/page.hpp"
#include "sink/report_close_wait.hpp"
#include "sink/report_rows.hpp"
#include "sink/report_time_wait.hpp"
#include "sink/report_words.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace closewatch {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t narrow = 80;
constexpr std::size_t wide = 120;
constexpr std::size_t troubled_shown = 10;
constexpr std::size_t healthy_shown = 8;
constexpr std::size_t healthy_shown_below_trouble = 4;

/// What the table has of a workload or of a process.
struct Row {
  RowName name;
  const Findings* findings = nullptr;
};

bool is_at_fault(const Row& row) { return row.findings->close_wait.leaked + row.findings->close_wait.stuck != 0; }

/// More is to be said of it than a row holds.
bool is_troubled(const Row& row) { return is_at_fault(row) || is_near_end(*row.findings) || piles_up(*row.findings); }

/// Something of it is on its way out, if only in TIME_WAIT: of the rest there is nothing to tell.
bool is_closing(const Row& row) { return row.findings->close_wait.now + row.findings->time_wait.now != 0; }

Colour colour_of(const Row& row) {
  const CloseWaitReport& close_wait = row.findings->close_wait;
  if (close_wait.leaked != 0) return Colour::red;
  const Colour ports = port_colour(*row.findings);
  return close_wait.stuck != 0 && ports == Colour::none ? Colour::yellow : ports;
}

std::string_view trend_of(const CloseWaitReport& close_wait) {
  for (const GroupReport& group : close_wait.groups)
    if (group.verdict != Verdict::ok && group.trend) return closewatch::name(*group.trend);
  return "-";
}

class Text {
 public:
  Text(const Report& report, const TextSink::Style& style, ReportRows rows)
      : report_(report),
        style_(style),
        by_(rows),
        page_(style.wide ? wide : narrow, style.colour),
        close_wait_(page_, style.utf8),
        time_wait_(page_, style.utf8) {}

  std::string write() {
    head();
    verdict();
    table();
    machine();
    return page_.text();
  }

 private:
  void head();
  void verdict();
  void table();
  void machine();
  [[nodiscard]] std::string more(std::size_t number) const;
  void titles();
  void row(const Row& row);
  void details(const Row& row);
  [[nodiscard]] std::vector<Row> rows() const;
  [[nodiscard]] std::string name_in(const Row& row, std::size_t width) const {
    return in_columns(row.name, width, style_.utf8);
  }
  [[nodiscard]] std::string name_or_line_of(const Row& row);
  [[nodiscard]] std::string show(std::string_view text) const { return printable(text, style_.utf8, 0); }

  const Report& report_;
  TextSink::Style style_;
  ReportRows by_;
  Page page_;
  CloseWaitText close_wait_;
  TimeWaitText time_wait_;
};

void Text::head() {
  const auto watched = static_cast<std::uint64_t>(std::max(std::int64_t{0}, report_.to_ns - report_.from_ns));
  const std::int64_t clock =
      (report_.to_ns + style_.utc_offset_ns(report_.to_ns)) / static_cast<std::int64_t>(second_ns) % 86'400;
  const std::string time = fmt::format(FMT_COMPILE("{:02}:{:02}:{:02}"), clock / 3600, clock / 60 % 60, clock % 60);
  const std::string span = watched >= 10 * second_ns && watched < 600 * second_ns
                               ? fmt::format(FMT_COMPILE("{}s"), (watched + second_ns / 2) / second_ns)
                               : duration_text(watched);
  const std::string how = watched < second_ns / 4 ? "one look at " + time : "watched for " + span + " until " + time;
  page_.paragraph(0, fmt::format(FMT_COMPILE("{}, Linux {}: {}"), show(report_.host), show(report_.kernel), how));
  std::string states = words::states(report_.states);
  if (const auto dead = report_.states[std::to_underlying(State::close)]; dead != 0)
    states += fmt::format(FMT_COMPILE("{}{} ended by TCP, still open"), states.empty() ? "" : "; ", dead);
  page_.paragraph(0, states.empty() ? "no TCP sockets" : states);
  for (const std::string& reason : report_.incomplete_reasons)
    page_.paragraph(0, "Incomplete: " + show(reason), Colour::yellow);
  if (report_.lost != 0)
    page_.paragraph(0, "Lost: " + words::count(report_.lost, "event") + ", so that counts are lower bounds",
                    Colour::yellow);
}

void Text::verdict() {
  const std::uint64_t leaks = leaked(report_);
  const std::uint64_t stucks = stuck(report_);
  std::uint64_t sockets = std::accumulate(report_.states.begin(), report_.states.end(), std::uint64_t{0});
  for (const ProcessReport& one : report_.processes)
    for (const GroupReport& group : one.findings.close_wait.groups) sockets += group.ended;
  const auto processes = static_cast<std::uint64_t>(
      std::count_if(report_.processes.begin(), report_.processes.end(), [](const auto& one) { return one.process; }));
  const std::string looked = fmt::format(FMT_COMPILE("{} of {} looked at"), words::count(sockets, "socket"),
                                         words::count(processes, "process"));
  page_.blank();
  if (leaks != 0)
    page_.paragraph(0,
                    fmt::format(FMT_COMPILE("{} leaked, {} stuck; {}."), words::count(leaks, "socket"), stucks, looked),
                    Colour::red);
  else if (stucks != 0)
    page_.paragraph(
        0, fmt::format(FMT_COMPILE("No leak was seen, but {} stuck; {}."), words::count(stucks, "socket"), looked),
        Colour::yellow);
  else if (report_.incomplete_reasons.empty() && report_.lost == 0)
    page_.paragraph(0, fmt::format(FMT_COMPILE("Nothing leaks: {}."), looked), Colour::green);
  else
    page_.paragraph(0, fmt::format(FMT_COMPILE("No leak was seen, though not all could be seen: {}."), looked),
                    Colour::yellow);
  time_wait_.summary(report_);
  if (report_.mended.count == 0) return;
  std::string mended = words::count(report_.mended.count, "finding") + " mended by the program while it was watched";
  if (report_.mended.longest_ns) mended += ", the longest after " + duration_text(*report_.mended.longest_ns);
  page_.paragraph(0, mended + ".");
}

std::vector<Row> Text::rows() const {
  std::vector<Row> out;
  if (by_ == ReportRows::workload)
    for (const WorkloadReport& workload : report_.workloads)
      out.push_back({name_of(workload, style_.utf8), &workload.findings});
  else
    for (const ProcessReport& process : report_.processes)
      out.push_back({name_of(process, style_.utf8), &process.findings});
  return out;
}

void Text::table() {
  std::vector<Row> all = rows();
  const auto noted = std::stable_partition(all.begin(), all.end(), is_at_fault);
  const auto healthy = std::stable_partition(noted, all.end(), is_troubled);
  const auto idle = std::stable_partition(healthy, all.end(), is_closing);
  const auto troubled = static_cast<std::size_t>(healthy - all.begin());
  const auto worth_a_row = static_cast<std::size_t>(idle - healthy);
  if (troubled + worth_a_row == 0) return;
  page_.blank();
  titles();
  for (std::size_t at = 0; at < std::min(troubled, troubled_shown); ++at) {
    row(all[at]);
    details(all[at]);
  }
  if (troubled > troubled_shown)
    page_.paragraph(0, "and " + more(troubled - troubled_shown) +
                           (healthy == noted ? " with leaked or stuck sockets" : " worth a look") +
                           " (--json has all)");
  const std::size_t shown = std::min(worth_a_row, troubled == 0 ? healthy_shown : healthy_shown_below_trouble);
  for (std::size_t at = 0; at < shown; ++at) row(all[troubled + at]);
  if (const std::size_t rest = all.size() - troubled - shown; rest != 0)
    page_.paragraph(0, "and " + more(rest) + (rest == 1 ? ", nothing wrong with it" : ", nothing wrong with them"));
}

std::string Text::more(std::size_t number) const {
  return words::count(number, by_ == ReportRows::workload ? "more workload" : "more process");
}

void Text::titles() {
  const bool by_workload = by_ == ReportRows::workload;
  const std::string_view name = by_workload ? "WORKLOAD" : "PROCESS";
  const std::string_view count = by_workload ? "PROCS" : "PID";
  if (style_.wide)
    page_.row(fmt::format(FMT_COMPILE("{:<51} {:>7} {:>10} {:>6} {:>5} {:>7} {:<8} {:>9} {:>9}"), name, count,
                          "CLOSE_WAIT", "LEAKED", "STUCK", "OLDEST", "TREND", "TIME_WAIT", "FDS"));
  else
    page_.row(fmt::format(FMT_COMPILE("{:<20} {:>7} {:>10} {:>6} {:>5} {:>7} {:>9} {:>9}"), name, count, "CLOSE_WAIT",
                          "LEAKED", "STUCK", "OLDEST", "TIME_WAIT", "FDS"));
}

void Text::row(const Row& row) {
  const CloseWaitReport& close_wait = row.findings->close_wait;
  const std::string oldest =
      close_wait.groups.empty() ? "-" : words::age(close_wait.oldest_ns, close_wait.oldest_is_lower_bound, style_.utf8);
  const std::string fds = descriptors_text(row.findings->descriptors);
  const std::uint64_t time_wait = row.findings->time_wait.now;
  if (style_.wide)
    page_.row(fmt::format(FMT_COMPILE("{} {:>7} {:>10} {:>6} {:>5} {:>7} {:<8} {:>9} {:>9}"), name_in(row, 51),
                          row.name.count, close_wait.now, close_wait.leaked, close_wait.stuck, oldest,
                          trend_of(close_wait), time_wait, fds),
              colour_of(row));
  else
    page_.row(fmt::format(FMT_COMPILE("{} {:>7} {:>10} {:>6} {:>5} {:>7} {:>9} {:>9}"), name_or_line_of(row),
                          row.name.count, close_wait.now, close_wait.leaked, close_wait.stuck, oldest, time_wait, fds),
              colour_of(row));
}

// Of what is in trouble nothing is cut off: a name that does not fit has a line of its own above.
std::string Text::name_or_line_of(const Row& row) {
  constexpr std::size_t width = 20;
  constexpr std::size_t screen = 80;
  const std::size_t columns = columns_of(row.name.name) + (row.name.end.empty() ? 0 : 1 + columns_of(row.name.end));
  if (columns <= width || !is_troubled(row)) return name_in(row, width);
  page_.row(name_in(row, std::min(columns, screen)), colour_of(row));
  return std::string(width, ' ');
}

void Text::details(const Row& row) {
  if (!row.name.where.empty()) page_.item(2, row.name.where);
  close_wait_.write(row.findings->close_wait);
  const auto& use = row.findings->descriptors;
  if (use && use->seconds_left && *use->seconds_left < 100 * 86'400.0)
    page_.paragraph(2, "descriptors: " + words::descriptors(*use), Colour::red);
  time_wait_.write(*row.findings);
}

/// What `doctor` would say too; what is merely good to know it says alone. Ports are told above, with who uses them.
void Text::machine() {
  bool first = true;
  for (const HostFinding& finding : report_.host_findings) {
    if (finding.severity == HostFinding::Severity::info) continue;
    if (time_wait_.has_told_ports() && finding.id.starts_with("ports_")) continue;
    if (std::exchange(first, false)) {
      page_.blank();
      page_.paragraph(0, "This machine");
    }
    const bool critical = finding.severity == HostFinding::Severity::critical;
    page_.item(2, fmt::format(FMT_COMPILE("{}: {}"), name(finding.severity), show(finding.text)),
               critical ? Colour::red : Colour::yellow);
    if (!finding.remedy.empty()) page_.paragraph(4, show(finding.remedy));
    if (!finding.avoid.empty()) page_.paragraph(4, show(finding.avoid));
  }
}

}  // namespace

std::string report_text(const Report& report, const TextSink::Style& style, ReportRows rows) {
  return Text{report, style, rows}.write();
}

}  // namespace closewatch
