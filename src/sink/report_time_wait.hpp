// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_TIME_WAIT_HPP
#define CLOSEWATCH_SINK_REPORT_TIME_WAIT_HPP

// The part of the report for people that is about TIME_WAIT, ports, and what else there is on the close path beside
// CLOSE_WAIT.

#include "sink/page.hpp"

#include <closewatch/core/report.hpp>

#include <cstdint>

namespace closewatch {

/// Of so many sockets on their way out a word is said: fewer are there at any time.
inline constexpr std::uint64_t worth_a_word = 100;

/// A route of its is about to have no port left, or has next to none. TIME_WAIT that is far from that is no trouble.
[[nodiscard]] bool is_near_end(const Findings& findings);
/// Red where connect() fails now or in minutes, yellow where it is near otherwise.
[[nodiscard]] Colour port_colour(const Findings& findings);
/// Of all routes the one that is nearest to its end; null where none is near it.
[[nodiscard]] const RouteUse* nearest_route(const Report& report);
/// "Ports: connect() fails in 26.2s on 10.0.0.7:* → 10.0.0.5:3306, …": a line whose end may be cut off, in the colour
/// of how near that is.
[[nodiscard]] Page::Line ports_in_short(const RouteUse& use, bool utf8);
/// Sockets in the other states of the close path, or aborts.
[[nodiscard]] bool piles_up(const Findings& findings);

class TimeWaitText {
 public:
  TimeWaitText(Page& page, bool utf8) : page_(page), utf8_(utf8) {}

  /// What is worth telling of a process or a workload; nothing as a rule.
  void write(const Findings& findings);
  /// All there is of it, worth a word or not.
  void write_whole(const Findings& findings);
  /// Of the whole report, below its verdict.
  void summary(const Report& report);
  [[nodiscard]] bool has_told_ports() const { return advised_; }

 private:
  void ports(const TimeWaitReport& time_wait, bool advises);
  void endpoint(const TimeWaitEndpoint& endpoint);
  void piles(const Findings& findings, std::uint64_t at_least);
  void aborts(const Findings& findings, std::uint64_t at_least);

  Page& page_;
  bool utf8_;
  bool advised_ = false;
};

}  // namespace closewatch

#endif
