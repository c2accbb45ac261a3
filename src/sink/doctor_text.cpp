// SPDX-License-Identifier: BSD-2-Clause
#include "sink/doctor_text.hpp"

#include "sink/page.hpp"
#include "sink/report_words.hpp"

#include <closewatch/core/address.hpp>

#include <fmt/compile.h>

#include <algorithm>
#include <cstddef>

namespace closewatch {
namespace {

using Severity = HostFinding::Severity;
using Status = Check::Status;

constexpr std::size_t narrow = 80;
constexpr std::size_t wide = 120;
constexpr std::size_t namespaces_shown = 20;
constexpr std::size_t routes_shown = 3;

Colour colour_of(Status status) {
  switch (status) {
    case Status::ok: return Colour::green;
    case Status::missing: return Colour::red;
    case Status::degraded:
    case Status::unknown: return Colour::yellow;
  }
  std::unreachable();
}

Colour colour_of(Severity severity) {
  switch (severity) {
    case Severity::critical: return Colour::red;
    case Severity::warning: return Colour::yellow;
    case Severity::info: return Colour::none;
  }
  std::unreachable();
}

class Text {
 public:
  Text(const DoctorReport& report, const TextSink::Style& style, bool verbose)
      : report_(report), style_(style), verbose_(verbose), page_(style.wide ? wide : narrow, style.colour) {}

  std::string write() {
    verdict();
    checks();
    privileges();
    findings();
    namespaces();
    unseen();
    return page_.text();
  }

 private:
  void verdict();
  void checks();
  void check(const Check& check);
  void to_do(std::string_view remedy);
  void privileges();
  void privileges(std::string_view title, Privilege::Kept kept);
  void findings();
  void finding(const HostFinding& finding);
  void namespaces();
  void one_namespace(const NamespaceReport& report);
  void routes(const NamespaceHealth& health);
  void details(const TcpLook& look);
  void numbers(std::string_view title, const Numbers& numbers);
  void unseen();
  [[nodiscard]] std::uint64_t count(Status status) const;
  [[nodiscard]] std::string show(std::string_view text) const { return printable(text, style_.utf8, 0); }

  const DoctorReport& report_;
  TextSink::Style style_;
  bool verbose_;
  Page page_;
};

std::uint64_t Text::count(Status status) const {
  return static_cast<std::uint64_t>(std::count_if(report_.checks.begin(), report_.checks.end(),
                                                  [status](const Check& check) { return check.status == status; }));
}

void Text::verdict() {
  const std::string machine = fmt::format(FMT_COMPILE("{}, Linux {}: "), show(report_.host), show(report_.kernel));
  if (!can_trace(report_))
    page_.paragraph(0, machine + "cannot be traced.", Colour::red);
  else if (count(Status::degraded) != 0)
    page_.paragraph(0, machine + "can be traced, with gaps.", Colour::yellow);
  else
    page_.paragraph(0, machine + "can be traced.", Colour::green);
}

// What is in order is one line, unless it is asked for.
void Text::checks() {
  bool any = false;
  std::string_view remedy;
  for (const Status status : {Status::missing, Status::degraded, Status::unknown, Status::ok}) {
    if (status == Status::ok && !verbose_) break;
    for (const Check& one : report_.checks) {
      if (one.status != status) continue;
      if (!any) page_.blank();
      any = true;
      // What is to be done about several in a row is said behind the last.
      if (one.remedy != remedy) to_do(remedy);
      remedy = one.remedy;
      check(one);
    }
  }
  to_do(remedy);
  if (!verbose_ && count(Status::ok) != 0)
    page_.paragraph(0, fmt::format(FMT_COMPILE("{} passed{}."), words::count(count(Status::ok), "check"),
                                   any ? "" : ", nothing is missing"));
}

void Text::check(const Check& check) {
  page_.item(0, fmt::format(FMT_COMPILE("{} {}: {}"), name(check.status), show(check.id), show(check.text)),
             colour_of(check.status));
}

void Text::to_do(std::string_view remedy) {
  if (!remedy.empty()) page_.item(2, "do: " + show(remedy));
}

// What it asks for is told wherever it may run: whoever installs it decides about it.
void Text::privileges() {
  page_.blank();
  privileges("Once everything is attached it gives up every capability but:", Privilege::Kept::watching);
  privileges("To attach, and then given up:", Privilege::Kept::start);
  page_.item(0, "without root: " + report_.privileges.setcap);
  page_.item(0, "or: " + report_.privileges.setpriv);
}

void Text::privileges(std::string_view title, Privilege::Kept kept) {
  page_.paragraph(0, std::string{title});
  for (const Privilege& one : report_.privileges.capabilities) {
    if (one.kept != kept || (!one.usual && !verbose_)) continue;
    std::string line = one.name + (one.held ? "" : " (not held)") + ": " + one.what_for;
    if (verbose_ && !one.only.empty()) line += "; " + one.only;
    if (verbose_) line += "; without it " + one.without;
    page_.item(2, line);
  }
}

void Text::findings() {
  page_.blank();
  if (report_.findings.empty()) {
    if (report_.unseen.empty())
      page_.paragraph(0, "Nothing is wrong on the close path.", Colour::green);
    else
      page_.paragraph(0, "Nothing wrong is seen on the close path; not all of it could be looked at.", Colour::yellow);
    return;
  }
  page_.paragraph(0, words::count(report_.findings.size(), "remark") + " on the close path, the worst first:");
  for (const HostFinding& one : report_.findings) finding(one);
}

void Text::finding(const HostFinding& finding) {
  page_.item(0, fmt::format(FMT_COMPILE("{} {}: {}"), name(finding.severity), finding.id, show(finding.text)),
             colour_of(finding.severity));
  to_do(finding.remedy);
  if (!finding.avoid.empty()) page_.item(2, "not: " + show(finding.avoid));
}

void Text::namespaces() {
  if (report_.namespaces.empty()) return;
  page_.blank();
  const std::size_t shown =
      verbose_ ? report_.namespaces.size() : std::min(report_.namespaces.size(), namespaces_shown);
  for (std::size_t at = 0; at < shown; ++at) one_namespace(report_.namespaces[at]);
  if (report_.namespaces.size() > shown)
    page_.paragraph(0, fmt::format(FMT_COMPILE("and {} (-v shows all)"),
                                   words::count(report_.namespaces.size() - shown, "more network namespace")));
}

void Text::one_namespace(const NamespaceReport& report) {
  const NamespaceHealth& health = report.health;
  const std::string states = words::states(report.states);
  page_.item(0, fmt::format(FMT_COMPILE("network namespace {}: {}"), health.netns,
                            states.empty() ? "no TCP sockets" : states));
  routes(health);
  if (verbose_) details(health.now);
}

void Text::routes(const NamespaceHealth& health) {
  const std::size_t shown = verbose_ ? health.routes.size() : std::min(health.routes.size(), routes_shown);
  for (std::size_t at = 0; at < shown; ++at) {
    const RouteUse& use = health.routes[at];
    page_.item(2, fmt::format(FMT_COMPILE("ports {} {} {}: {} of {} in use, {} connections a second for good"),
                              address_text(use.route.local, use.route.family), style_.utf8 ? "→" : "->",
                              endpoint_text(use.route.peer, use.route.family), use.in_use, use.usable,
                              words::rate(use.sustainable_per_second)));
  }
  if (health.routes.size() > shown) page_.item(2, "and " + words::count(health.routes.size() - shown, "more route"));
}

void Text::details(const TcpLook& look) {
  numbers("settings", look.settings.values);
  if (look.settings.port_range)
    page_.item(2, fmt::format(FMT_COMPILE("ip_local_port_range {} {}"), look.settings.port_range->first,
                              look.settings.port_range->last));
  std::string reserved;
  for (const PortRange& range : look.settings.reserved_ports)
    reserved += fmt::format(FMT_COMPILE(" {}-{}"), range.first, range.last);
  if (!reserved.empty()) page_.item(2, "ip_local_reserved_ports" + reserved);
  numbers("counters", look.counters);
  numbers("connection tracking", look.conntrack);
}

void Text::numbers(std::string_view title, const Numbers& numbers) {
  std::string all;
  for (const auto& [name, value] : numbers)
    all += fmt::format(FMT_COMPILE("{} {} {}"), all.empty() ? "" : ",", show(name), value);
  if (!all.empty()) page_.item(2, std::string{title} + ":" + all);
}

void Text::unseen() {
  if (report_.unseen.empty()) return;
  page_.blank();
  for (const std::string& what : report_.unseen) page_.item(0, "not seen: " + show(what), Colour::yellow);
}

}  // namespace

std::string doctor_text(const DoctorReport& report, const TextSink::Style& style, bool verbose) {
  return Text{report, style, verbose}.write();
}

}  // namespace closewatch
