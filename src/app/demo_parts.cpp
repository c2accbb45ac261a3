// SPDX-License-Identifier: BSD-2-Clause
// The programs of `closewatch demo`, each with the one mistake that its name says, or with none.
#include "app/demo_parts.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

namespace closewatch::demo {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A small soft limit, so that it is seen how a leak ends: descriptors run out.
void limit_descriptors(const Stage& stage) {
  constexpr rlim_t limit = 256;
  rlimit limits{};
  if (getrlimit(RLIMIT_NOFILE, &limits) != 0) stage.fail("ask for the limit of descriptors");
  limits.rlim_cur = std::min(limit, limits.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limits) != 0) stage.fail("lower the limit of descriptors");
}

/// Sends the descriptor to a unix socket that nobody reads from, and closes it.
void post(const Stage& stage, Descriptor connection, const Descriptor& box) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> rights{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = rights.data();
  message.msg_controllen = rights.size();
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = connection.get();
  std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  if (sendmsg(box.get(), &message, MSG_NOSIGNAL) != 1) stage.fail("send a descriptor");
}

void wait_readable(const Descriptor& connection) {
  constexpr int patience_ms = 2000;
  pollfd entry{connection.get(), POLLIN, 0};
  poll(&entry, 1, patience_ms);
}

}  // namespace

// Answers, waits for the client's end, closes.
void play_healthy(Stage& stage) {
  const Descriptor listener = stage.listen(Part::healthy);
  for (;;) read_to_end(stage.arrival(listener));
}

// A connection for each request, and closes first: some fifty a second enter TIME_WAIT.
void play_churner(Stage& stage) {
  for (;;) {
    const Descriptor connection = stage.dial(Part::healthy);
    const bool answered = connection.is_open() && say(connection) && hear(connection);
    nap(answered ? milliseconds{20} : seconds{1});
  }
}

// Closes most of its connections, and forgets some after their end: eof_ignored, leak.
void play_forgets(Stage& stage) {
  constexpr unsigned each = 4;
  limit_descriptors(stage);
  const Descriptor listener = stage.listen(Part::forgets);
  std::vector<Descriptor> forgotten;
  for (unsigned count = 1;; ++count) {
    Descriptor connection = stage.arrival(listener);
    read_to_end(connection);
    if (forgotten.size() == most_leaked) forgotten.clear();
    if (count > habit_of_forgets && count % each == 0) forgotten.push_back(std::move(connection));
  }
}

// Puts each connection away after its request, and never looks at it again: eof_unread, leak since they get more.
void play_unread(Stage& stage) {
  const Descriptor listener = stage.listen(Part::unread);
  std::vector<Descriptor> idle;
  for (;;) {
    if (idle.size() == most_leaked) idle.clear();
    idle.push_back(stage.arrival(listener));
  }
}

// Has read the end of three and then waits for something else: eof_ignored, stuck.
void play_hangs(Stage& stage) {
  const Descriptor listener = stage.listen(Part::hangs);
  std::vector<Descriptor> held;
  while (held.size() < connections_of_hangs) held.push_back(stage.arrival(listener));
  for (const Descriptor& connection : held) read_to_end(connection);
  stay();
}

// Keeps connections for later that the server has closed long since: eof_unread, stuck.
void play_pool(Stage& stage) {
  std::vector<Descriptor> pool;
  while (pool.size() < connections_of_pool) {
    Descriptor connection = stage.dial(Part::pool);
    if (connection.is_open() && say(connection) && hear(connection))
      pool.push_back(std::move(connection));
    else
      nap(seconds{1});
  }
  stay();
}

// Closes in order, but a child that it has forked has the descriptor too: inherited, leak.
void play_inherits(Stage& stage) {
  Descriptor listener = stage.listen(Part::inherits);
  Descriptor connection = stage.arrival(listener);
  if (!stage.fork_as("demo-heir")) {
    listener.close();
    stay();
  }
  connection.close();
  stay();
}

// Never looks again at connections that the client has reset: dead_unclosed, leak.
void play_dead(Stage& stage) {
  const Descriptor listener = stage.listen(Part::dead);
  std::vector<Descriptor> held;
  while (held.size() < connections_of_dead) held.push_back(stage.arrival(listener));
  stay();
}

// Passes the connection on to a worker that does not take it: in_flight, stuck.
void play_in_flight(Stage& stage) {
  const Descriptor listener = stage.listen(Part::in_flight);
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) stage.fail("make a socket pair");
  const Descriptor ours{ends[0]};
  const Descriptor workers{ends[1]};
  post(stage, stage.arrival(listener), ours);
  stay();
}

// Does not call accept(): never_accepted, stuck.
void play_backlog(Stage& stage) {
  constexpr int backlog = 8;
  const Descriptor listener = stage.listen(Part::backlog, backlog);
  stay();
}

// The client has ended its side and does not read the answer: write_blocked, stuck.
void play_blocked(Stage& stage) {
  const Descriptor listener = stage.listen(Part::blocked);
  const Descriptor connection = stage.arrival(listener);
  read_to_end(connection);
  fill(connection);
  stay();
}

// The client has ended its side, and the answer goes on: replying, ok.
void play_half_close(Stage& stage) {
  const Descriptor listener = stage.listen(Part::half_close);
  for (;;) {
    const Descriptor connection = stage.arrival(listener);
    read_to_end(connection);
    while (say(connection)) nap(milliseconds{200});
  }
}

// Closes while a client does not read what was sent to it: FIN_WAIT1, LAST_ACK and CLOSING, one each.
void play_lingers(Stage& stage) {
  const Descriptor listener = stage.listen(Part::lingers);
  const auto send_and_close = [&](bool after_the_client) {
    const Descriptor connection = stage.arrival(listener);
    if (after_the_client) read_to_end(connection);
    fill(connection);
  };
  send_and_close(false);
  send_and_close(true);
  send_and_close(false);  // and the client ends its side later
  stay();
}

// The server closes, and the kernel's subflow of the MPTCP socket is in CLOSE_WAIT: mptcp, ok. The program may take its
// time.
void play_mptcp(Stage& stage) {
  const Descriptor connection = connected_by_mptcp(stage.port_when_there(Part::mptcp));
  if (connection.is_open() && say(connection)) hear(connection);
  stay();
}

// Gives connections up by a RST: with SO_LINGER 0, and with an answer that it has not read.
void play_aborts(Stage& stage) {
  for (bool lingers = true;; lingers = !lingers) {
    Descriptor connection = stage.dial(Part::aborts);
    if (!connection.is_open() || !say(connection)) {
      nap(seconds{1});
      continue;
    }
    if (lingers) {
      hear(connection);
      reset(std::move(connection));
    } else {
      wait_readable(connection);
      connection.close();
    }
    nap(milliseconds{500});
  }
}

}  // namespace closewatch::demo
