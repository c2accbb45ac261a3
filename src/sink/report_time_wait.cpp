// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_time_wait.hpp"

#include "sink/pattern.hpp"
#include "sink/report_words.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

constexpr double second_ns = 1e9;
constexpr double near_seconds = 86'400;
constexpr double urgent_seconds = 600;
constexpr std::size_t endpoints_shown = 5;
constexpr std::uint64_t much_time_wait = 1000;

// Advice that is right for every kernel that closewatch runs on (contract, section 5).
constexpr std::string_view what_helps =
    "TIME_WAIT is with the side that closes first, for 60 s, and each holds a port of its route. What helps: reuse "
    "connections (keep-alive, a pool), let the other side close first, a wider ip_local_port_range, more source or "
    "destination addresses, IP_BIND_ADDRESS_NO_PORT before bind() to an address; tcp_tw_reuse=1, on the connecting "
    "side, where both have timestamps.";
constexpr std::string_view what_does_not =
    "What does not: tcp_tw_recycle is gone since Linux 4.12 and broke clients behind NAT; tcp_fin_timeout bounds "
    "orphaned FIN_WAIT2, not TIME_WAIT; a lower tcp_max_tw_buckets and SO_LINGER 0 take away what TIME_WAIT protects, "
    "and lose data.";

bool is_near(const TimeWaitEndpoint& endpoint) {
  const auto& use = endpoint.ports;
  return use && ((use->seconds_left && *use->seconds_left < near_seconds) || use->in_use * 10 > use->usable * 9);
}

bool is_urgent(const RouteUse& use) {
  return use.is_full() || (use.seconds_left && *use.seconds_left < urgent_seconds);
}

Colour colour_of(const RouteUse& use) { return is_urgent(use) ? Colour::red : Colour::yellow; }

std::string route_text(const Route& route, bool utf8) {
  return words::ends(pattern_text({route.family, route.local, std::nullopt}), endpoint_text(route.peer, route.family),
                     Role::connect, utf8);
}

std::string seconds_text(double seconds) { return duration_text(static_cast<std::uint64_t>(seconds * second_ns)); }

std::string use_text(const RouteUse& use) {
  std::string text = fmt::format(FMT_COMPILE("{} of {} in use"), use.in_use, words::count(use.usable, "port"));
  if (use.in_use < use.time_wait) text += " (connect() may take those in TIME_WAIT: tcp_tw_reuse)";
  if (use.is_full())
    text += "; connect() fails now (EADDRNOTAVAIL)";
  else if (use.seconds_left && *use.seconds_left < near_seconds)
    text += fmt::format(FMT_COMPILE("; connect() fails in {} at this rate"), seconds_text(*use.seconds_left));
  else
    return text;
  return text + fmt::format(FMT_COMPILE("; at most {} connections a second can be sustained"),
                            words::rate(use.sustainable_per_second));
}

/// The nearest to the end first, then as they are: the most first.
std::vector<const TimeWaitEndpoint*> by_urgency(const TimeWaitReport& time_wait) {
  std::vector<const TimeWaitEndpoint*> out;
  out.reserve(time_wait.by_endpoint.size());
  for (const TimeWaitEndpoint& endpoint : time_wait.by_endpoint) out.push_back(&endpoint);
  const auto rank = [](const TimeWaitEndpoint* one) {
    constexpr double never = 1e18;
    return is_near(*one) ? one->ports->seconds_left.value_or(near_seconds) : never;
  };
  std::stable_sort(out.begin(), out.end(),
                   [&](const auto* left, const auto* right) { return rank(left) < rank(right); });
  return out;
}

/// Of each route that has TIME_WAIT it is known how many ports there are: nothing was filtered out.
bool knows_ports(const Report& report) {
  return std::all_of(report.workloads.begin(), report.workloads.end(), [](const WorkloadReport& workload) {
    const auto& endpoints = workload.findings.time_wait.by_endpoint;
    return std::all_of(endpoints.begin(), endpoints.end(), [](const TimeWaitEndpoint& endpoint) {
      return endpoint.side == Role::accept || endpoint.ports.has_value();
    });
  });
}

struct Pile {
  State state;
  std::string_view words;
};

constexpr std::array pile_words{
    Pile{State::fin_wait1, "the peer acknowledges neither the end nor, perhaps, the data before it"},
    Pile{State::closing, "both sides have ended, and the peer does not acknowledge it"},
    Pile{State::last_ack, "the peer has ended first and does not acknowledge the answer to it"},
};

std::uint64_t count_of(const Findings& findings, State state) { return findings.states[std::to_underlying(state)]; }

std::string_view abort_words(Ending ending) {
  switch (ending) {
    case Ending::rst_linger0: return "by SO_LINGER 0";
    case Ending::rst_unread: return "closed with data unread";
    case Ending::rst_linger2: return "by TCP_LINGER2 below 0";
    case Ending::rst_late_data: return "closed while the peer still sent";
    case Ending::rst_received: return "reset by the peer";
    case Ending::timeout: return "timed out";
    case Ending::refused: return "refused";
    case Ending::unreachable: return "unreachable";
    case Ending::never_accepted: return "never accepted, and their listener went away";
    case Ending::killed: return "killed from outside (ss -K)";
    case Ending::fin_timeout: return "given up in FIN_WAIT2";
    case Ending::fin:
    case Ending::abandoned:
    case Ending::disconnected:
    case Ending::unknown: return {};
  }
  std::unreachable();
}

const TimeWaitEndpoint* nearest(const Findings& findings) {
  const std::vector<const TimeWaitEndpoint*> all = by_urgency(findings.time_wait);
  return !all.empty() && is_near(*all.front()) ? all.front() : nullptr;
}

}  // namespace

bool is_near_end(const Findings& findings) {
  const auto& all = findings.time_wait.by_endpoint;
  return std::any_of(all.begin(), all.end(), is_near);
}

Colour port_colour(const Findings& findings) {
  const TimeWaitEndpoint* endpoint = nearest(findings);
  if (endpoint == nullptr) return Colour::none;
  return colour_of(*endpoint->ports);
}

bool piles_up(const Findings& findings) {
  const auto is_pile = [&](const Pile& pile) { return count_of(findings, pile.state) >= worth_a_word; };
  return findings.fin_wait2.orphaned >= worth_a_word || findings.fin_wait2.living >= worth_a_word ||
         std::any_of(pile_words.begin(), pile_words.end(), is_pile) || closewatch::aborts(findings) >= worth_a_word;
}

const RouteUse* nearest_route(const Report& report) {
  const RouteUse* worst = nullptr;
  const auto left = [](const RouteUse& use) { return use.seconds_left.value_or(near_seconds); };
  for (const WorkloadReport& workload : report.workloads)
    if (const TimeWaitEndpoint* one = nearest(workload.findings); one != nullptr)
      if (worst == nullptr || left(*one->ports) < left(*worst)) worst = &*one->ports;
  return worst;
}

Page::Line ports_in_short(const RouteUse& use, bool utf8) {
  std::string when;
  if (use.is_full())
    when = "connect() fails now";
  else if (use.seconds_left)
    when = "connect() fails in " + seconds_text(*use.seconds_left);
  else
    when = "next to none left";
  return {fmt::format(FMT_COMPILE("Ports: {} on {}, {} of {} in use."), when, route_text(use.route, utf8), use.in_use,
                      use.usable),
          colour_of(use)};
}

void TimeWaitText::summary(const Report& report) {
  const std::uint64_t time_wait = report.states[std::to_underlying(State::time_wait)];
  if (const RouteUse* worst = nearest_route(report); worst != nullptr) {
    page_.paragraph(
        0, fmt::format(FMT_COMPILE("Ports run out on {}: {}."), route_text(worst->route, utf8_), use_text(*worst)),
        colour_of(*worst));
  } else if (time_wait >= much_time_wait && report.to_ns - report.from_ns >= static_cast<std::int64_t>(pace_takes_ns) &&
             knows_ports(report)) {
    page_.paragraph(0,
                    words::count(time_wait, "socket") + " in TIME_WAIT need no cure: ports are left on every route.");
  }
}

void TimeWaitText::write(const Findings& findings) {
  if (is_near_end(findings)) ports(findings.time_wait, true);
  piles(findings, worth_a_word);
  aborts(findings, worth_a_word);
}

void TimeWaitText::write_whole(const Findings& findings) {
  if (findings.time_wait.now != 0 || is_near_end(findings)) ports(findings.time_wait, is_near_end(findings));
  piles(findings, 1);
  aborts(findings, 1);
}

void TimeWaitText::ports(const TimeWaitReport& time_wait, bool advises) {
  std::string text = fmt::format(FMT_COMPILE("{} in TIME_WAIT"), time_wait.now);
  if (time_wait.now == 0)
    text = "none in TIME_WAIT, on a route that runs out of ports";
  else if (time_wait.entered != 0)
    text += fmt::format(FMT_COMPILE(", {} more a second: it closes first, so that they are its own"),
                        words::rate(time_wait.per_second));
  page_.item(2, text);
  const std::vector<const TimeWaitEndpoint*> all = by_urgency(time_wait);
  for (std::size_t at = 0; at < std::min(all.size(), endpoints_shown); ++at) endpoint(*all[at]);
  if (all.size() > endpoints_shown)
    page_.paragraph(
        4, fmt::format(FMT_COMPILE("and {} (--json has all)"), words::count(all.size() - endpoints_shown, "more end")));
  if (!advises || std::exchange(advised_, true)) return;
  page_.paragraph(4, what_helps);
  page_.paragraph(4, what_does_not);
}

void TimeWaitText::endpoint(const TimeWaitEndpoint& endpoint) {
  std::string text = words::ends(pattern_text(endpoint.local), pattern_text(endpoint.peer), endpoint.side, utf8_);
  std::string_view between = ": ";
  if (endpoint.now != 0) {
    text += fmt::format(FMT_COMPILE(": {} in TIME_WAIT"), endpoint.now);
    between = ", ";
  }
  if (endpoint.ports) text.append(between).append(use_text(*endpoint.ports));
  const bool near = is_near(endpoint);
  page_.item(4, text, near ? colour_of(*endpoint.ports) : Colour::none);
}

void TimeWaitText::piles(const Findings& findings, std::uint64_t at_least) {
  const auto [orphaned, living] = findings.fin_wait2;
  if (living >= at_least)
    page_.item(2, fmt::format(FMT_COMPILE("{} in FIN_WAIT2, shut down for writing and never closed: no timer ends "
                                          "them; call close()"),
                              living));
  if (orphaned >= at_least)
    page_.item(2, fmt::format(FMT_COMPILE("{} in FIN_WAIT2, closed here and not by the peer: tcp_fin_timeout ends "
                                          "them"),
                              orphaned));
  for (const auto& [state, why] : pile_words)
    if (const std::uint64_t count = count_of(findings, state); count >= at_least)
      page_.item(2, fmt::format(FMT_COMPILE("{} in {}: {}"), count, name(state), why));
}

void TimeWaitText::aborts(const Findings& findings, std::uint64_t at_least) {
  if (closewatch::aborts(findings) < at_least) return;
  std::string text = words::count(closewatch::aborts(findings), "abort") + ": ";
  std::string_view comma = "";
  for (std::size_t ending = 0; ending < findings.endings.size(); ++ending) {
    const std::string_view how = abort_words(static_cast<Ending>(ending));
    if (how.empty() || findings.endings[ending] == 0) continue;
    text += fmt::format(FMT_COMPILE("{}{} {} ({})"), comma, findings.endings[ending], how,
                        name(static_cast<Ending>(ending)));
    comma = ", ";
  }
  page_.item(2, text);
}

}  // namespace closewatch
