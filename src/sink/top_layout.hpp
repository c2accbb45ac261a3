// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TOP_LAYOUT_HPP
#define CLOSEWATCH_SINK_TOP_LAYOUT_HPP

// What the parts of the picture of `top` and its keys must agree on: how many lines there are to scroll, room for how
// many, how titles look.

#include "sink/grid.hpp"
#include "sink/page.hpp"

#include <array>
#include <cstddef>
#include <utility>

namespace closewatch::top {

inline constexpr std::size_t head_rows = 4;  ///< three of the head, and the titles
inline constexpr std::size_t foot_rows = 1;

[[nodiscard]] inline std::size_t room_of(Size size) {
  return size.rows > head_rows + foot_rows ? size.rows - head_rows - foot_rows : 0;
}

inline constexpr Attributes title_attributes{.ink = Ink::plain, .bold = false, .reverse = true, .dim = false};

[[nodiscard]] inline Attributes attributes_of(Colour colour) {
  switch (colour) {
    case Colour::none: return {};
    case Colour::red: return {.ink = Ink::red};
    case Colour::yellow: return {.ink = Ink::yellow};
    case Colour::green: return {.ink = Ink::green};
  }
  std::unreachable();
}

inline constexpr std::array help_text{
    "A row is a workload: a program, and the port it serves or the end it connects",
    "to. The worst are first.",
    "",
    "  arrows, j k     choose a row            Enter   look into it: its groups and",
    "  PgUp PgDn       by screens                      sockets, who holds them, why,",
    "  Home End        to the first, the last          and what to do",
    "  /               filter by name, place,  Esc     back; ends the filter",
    "                  command line or pid     p       processes or workloads",
    "  < >             sort by another column  r       the other way round",
    "  space           pause: the picture stands, the watching goes on",
    "  w               write the report now, as text and as JSON, in this directory",
    "  ?               this help               q       quit; ends this help",
    "",
    "CLOSE_WAIT  the peer has closed, and this program has not called close()",
    "LEAKED      of these, and of those that TCP has ended since, the ones that are",
    "            open by its own doing for longer than --leak-after: no sysctl cures",
    "            it, its author can",
    "OLDEST      for how long the oldest of them all",
    "TREND       their number over the last 60 refreshes, the latest at the right",
    "TIME_WAIT   is with the side that closed first, for 60 s, and needs no cure",
    "            while ports are left",
    "FDS         descriptors in use of the limit, of the process nearest to it",
    "VERDICT     leak   sockets are leaked      ports  a route runs out of ports",
    "            stuck  not closed, and not     fds    a process runs out of",
    "                   for sure by its doing          descriptors",
};

}  // namespace closewatch::top

#endif
