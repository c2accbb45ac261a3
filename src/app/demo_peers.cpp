// SPDX-License-Identifier: BSD-2-Clause
// The other ends of the demo's programs: one process, that takes a turn for each of them when it is due.
#include "app/clock.hpp"
#include "app/demo_parts.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace closewatch::demo {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Returns after which time the next is due.
using Turn = std::function<milliseconds()>;

constexpr milliseconds soon{50};
constexpr milliseconds after_a_while{500};
constexpr milliseconds never = std::chrono::hours{1};

/// Connected, and answered. None where the program is not there, or does not answer.
Descriptor visit(const Stage& stage, Part part, std::optional<int> receive_buffer = std::nullopt) {
  if (stage.port(part) == 0) return {};
  Descriptor connection = connected(stage.port(part), receive_buffer);
  if (!connection.is_open() || !say(connection) || !hear(connection)) return {};
  return connection;
}

/// Makes its visits, and ends them all a moment later, each in the same way.
Turn visits(const Stage& stage, Part part, unsigned count, std::function<void(Descriptor)> end) {
  return [&stage, part, count, end = std::move(end), made = std::make_shared<std::vector<Descriptor>>(),
          ended = false]() mutable {
    if (ended) return never;
    if (made->size() == count) {
      for (Descriptor& connection : *made) end(std::move(connection));
      ended = true;
      return never;
    }
    Descriptor connection = visit(stage, part);
    if (!connection.is_open()) return soon;
    made->push_back(std::move(connection));
    return made->size() < count ? milliseconds{0} : after_a_while;
  };
}

void close_it(Descriptor /*connection*/) {}

/// A short visit at a time, with this pause behind it once `at_once` of them have been made.
Turn short_visits(const Stage& stage, Part part, unsigned at_once, milliseconds pause) {
  return [&stage, part, at_once, pause, made = 0U]() mutable {
    constexpr milliseconds brief{10};
    if (!visit(stage, part).is_open()) return soon;
    return ++made < at_once ? brief : pause;
  };
}

/// Nobody answers, since nobody accepts.
Turn fill_backlog(const Stage& stage) {
  return [&stage] {
    if (stage.port(Part::backlog) == 0) return soon;
    for (unsigned count = 0; count < connections_of_backlog; ++count) say(connected(stage.port(Part::backlog)));
    return never;
  };
}

constexpr int small_buffer = 4096;

/// Ends its side, and reads nothing of what comes.
Turn end_and_read_nothing(const Stage& stage) {
  return [&stage, held = std::make_shared<Descriptor>()] {
    *held = visit(stage, Part::blocked, small_buffer);
    if (!held->is_open()) return soon;
    shut_down(*held);
    return never;
  };
}

/// Ends its side, and reads all that comes.
Turn end_and_read_on(const Stage& stage) {
  return [&stage, held = std::make_shared<Descriptor>()] {
    if (!held->is_open()) {
      *held = visit(stage, Part::half_close);
      if (held->is_open()) shut_down(*held);
    } else {
      drain(*held);
    }
    return milliseconds{200};
  };
}

/// Three that read nothing: the first ends nothing, the second its side at once, the third its side later.
Turn read_nothing(const Stage& stage) {
  return [&stage, held = std::make_shared<std::vector<Descriptor>>()] {
    constexpr std::size_t all = 3;
    if (held->size() == all) {
      shut_down(held->back());
      return never;
    }
    Descriptor connection = visit(stage, Part::lingers, small_buffer);
    if (!connection.is_open()) return soon;
    held->push_back(std::move(connection));
    if (held->size() == 2) shut_down(held->back());
    return held->size() < all ? soon : after_a_while;
  };
}

Descriptor arrived(const Descriptor& listener) {
  Descriptor connection{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  be_patient(connection);
  if (connection.is_open() && (!hear(connection) || !say(connection))) connection.close();
  return connection;
}

Descriptor listen_without_waiting(Stage& stage, Part part) {
  Descriptor listener = stage.listen(part);
  // accept4() is called when it is time, whether anybody has come or not.
  const int fd = listener.get();
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) stage.fail("set a listener up");
  return listener;
}

/// A server that closes idle connections, all of a pool's at once.
Turn serve_pool(Stage& stage) {
  return [listener = std::make_shared<Descriptor>(listen_without_waiting(stage, Part::pool)),
          held = std::make_shared<std::vector<Descriptor>>()] {
    if (held->size() == connections_of_pool) {
      held->clear();
      return never;
    }
    if (Descriptor connection = arrived(*listener); connection.is_open()) held->push_back(std::move(connection));
    return held->size() < connections_of_pool ? soon : after_a_while;
  };
}

/// A server that answers and closes, once.
Turn serve_mptcp(Stage& stage) {
  return [listener = std::make_shared<Descriptor>(listen_without_waiting(stage, Part::mptcp))] {
    return arrived(*listener).is_open() ? never : soon;
  };
}

/// Closes what has been reset.
Turn serve_aborts(Stage& stage) {
  return [listener = std::make_shared<Descriptor>(listen_without_waiting(stage, Part::aborts)),
          held = std::make_shared<std::vector<Descriptor>>()] {
    std::erase_if(*held, [](const Descriptor& connection) {
      pollfd entry{connection.get(), POLLIN, 0};
      return poll(&entry, 1, 0) > 0;
    });
    if (Descriptor connection = arrived(*listener); connection.is_open()) held->push_back(std::move(connection));
    return soon;
  };
}

}  // namespace

void play_peers(Stage& stage) {
  constexpr milliseconds each_leaks{1000};
  struct Entry {
    Turn turn;
    std::uint64_t due_ns = 0;
  };
  std::vector<Entry> entries;
  for (Turn& turn : std::vector<Turn>{
           serve_pool(stage), serve_aborts(stage), serve_mptcp(stage),
           // Of four `forgets` closes three.
           short_visits(stage, Part::forgets, habit_of_forgets, each_leaks / 4),
           short_visits(stage, Part::unread, 1, each_leaks), visits(stage, Part::hangs, connections_of_hangs, close_it),
           visits(stage, Part::inherits, 1, close_it), visits(stage, Part::in_flight, 1, close_it),
           visits(stage, Part::dead, connections_of_dead, reset), fill_backlog(stage), end_and_read_nothing(stage),
           end_and_read_on(stage), read_nothing(stage)})
    entries.push_back({std::move(turn)});
  for (;;) {
    const auto next = std::min_element(entries.begin(), entries.end(),
                                       [](const Entry& one, const Entry& other) { return one.due_ns < other.due_ns; });
    if (const std::uint64_t now = now_ns(); next->due_ns > now) nap(milliseconds{(next->due_ns - now) / 1'000'000 + 1});
    next->due_ns = now_ns() + nanoseconds(next->turn());
  }
}

}  // namespace closewatch::demo
