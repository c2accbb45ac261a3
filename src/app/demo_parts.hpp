// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DEMO_PARTS_HPP
#define CLOSEWATCH_APP_DEMO_PARTS_HPP

#include "app/demo_stage.hpp"

#include <array>

namespace closewatch::demo {

/// A program of the demo: its name says what it shows, in the 15 bytes that the kernel keeps of it.
struct Role {
  const char* name;
  void (*play)(Stage&);  ///< does not come back
};

/// The other ends of all connections but the churner's. Nothing is wrong with it.
void play_peers(Stage& stage);

void play_healthy(Stage& stage);
void play_churner(Stage& stage);
void play_forgets(Stage& stage);
void play_unread(Stage& stage);
void play_hangs(Stage& stage);
void play_pool(Stage& stage);
void play_inherits(Stage& stage);
void play_dead(Stage& stage);
void play_in_flight(Stage& stage);
void play_backlog(Stage& stage);
void play_blocked(Stage& stage);
void play_half_close(Stage& stage);
void play_lingers(Stage& stage);
void play_aborts(Stage& stage);
void play_mptcp(Stage& stage);

inline constexpr std::array roles{
    Role{"demo-peers", play_peers},
    Role{"demo-healthy", play_healthy},
    Role{"demo-churner", play_churner},
    Role{"demo-forgets", play_forgets},
    Role{"demo-unread", play_unread},
    Role{"demo-hangs", play_hangs},
    Role{"demo-pool", play_pool},
    Role{"demo-inherits", play_inherits},
    Role{"demo-dead", play_dead},
    Role{"demo-in-flight", play_in_flight},
    Role{"demo-backlog", play_backlog},
    Role{"demo-blocked", play_blocked},
    Role{"demo-half-close", play_half_close},
    Role{"demo-lingers", play_lingers},
    Role{"demo-aborts", play_aborts},
    Role{"demo-mptcp", play_mptcp},
};

// What a program and its other end agree upon.
inline constexpr unsigned connections_of_pool = 6;
inline constexpr unsigned connections_of_hangs = 3;
inline constexpr unsigned connections_of_dead = 2;
inline constexpr unsigned connections_of_backlog = 3;
/// So many connections of `forgets` come at once and are closed in order: that is its habit (20 are asked for).
inline constexpr unsigned habit_of_forgets = 24;
/// What has leaked this many closes them all and begins again, so that a demo left alone takes no more, and is seen to
/// mend too.
inline constexpr unsigned most_leaked = 60;

}  // namespace closewatch::demo

#endif
