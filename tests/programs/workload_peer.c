// SPDX-License-Identifier: BSD-2-Clause
// The other end of a workload's connections.
#define _GNU_SOURCE
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct order {
  enum peer_call call;
  int count;
};
struct list {
  int fds[4096];
  int count;
};

static int control = -1;
static const char *server_address = "127.0.0.1";
static struct list made, taken;
static int listener = -1;

static void add(struct list *list, int fd) {
  check(fd >= 0, "a connection of the peer's");
  check(list->count < (int)(sizeof list->fds / sizeof *list->fds), "too many connections");
  list->fds[list->count++] = fd;
}

static void connect_one(void) {
  static const char text[10] = "0123456789";
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)workload_port)};
  (void)inet_pton(AF_INET, server_address, &address.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  add(&made, fd);
  check(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0, "the peer's connect");
  check(send(fd, text, sizeof text, 0) == (ssize_t)sizeof text, "the peer's send");
}

static void close_all(struct list *list) {
  for (int i = 0; i < list->count; i++) check(close(list->fds[i]) == 0, "the peer's close");
  list->count = 0;
}

static void listen_on(long port) {
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  const int one = 1;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0, "the peer's SO_REUSEADDR");
  check(bind(listener, (const struct sockaddr *)&address, sizeof address) == 0, "the peer's bind");
  check(listen(listener, 4096) == 0, "the peer's listen");
}

static void set_all(int level, int option, const void *value, socklen_t size) {
  for (int i = 0; i < made.count; i++) check(setsockopt(made.fds[i], level, option, value, size) == 0, "setsockopt");
}

// A reader of its own, so that the peer goes on taking orders.
static void drain_latest(void) {
  char text[4096];
  if (fork() != 0) return;
  while (recv(made.fds[made.count - 1], text, sizeof text, 0) > 0) {
  }
  _exit(0);
}

static void enter(const char *path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  check(setns(fd, CLONE_NEWNET) == 0, path);
  (void)close(fd);
  server_address = argument(1);
}

static void perform(const struct order *order) {
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  const int second = 1;
  switch (order->call) {
    case PEER_CONNECT:
      for (int i = 0; i < order->count; i++) connect_one();
      break;
    case PEER_RESET:
      set_all(SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close_all(&made);
      break;
    case PEER_FORGET_SOON:
      set_all(IPPROTO_TCP, TCP_LINGER2, &second, sizeof second);
      close_all(&made);
      break;
    case PEER_CLOSE: close_all(&made); break;
    case PEER_SHUT:
      for (int i = 0; i < made.count; i++) check(shutdown(made.fds[i], SHUT_WR) == 0, "the peer's shutdown");
      break;
    case PEER_DRAIN: drain_latest(); break;
    case PEER_LISTEN: listen_on(workload_port + order->count); break;
    case PEER_ACCEPT:
      for (int i = 0; i < order->count; i++) add(&taken, accept(listener, NULL, NULL));
      break;
    case PEER_CLOSE_TAKEN: close_all(&taken); break;
    case PEER_ENTER: enter(argument(0)); break;
    case PEER_VANISH: check(system("ip link set v1 down") == 0, "ip link"); break;
  }
}

void peer_begin(void) {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  if (fork_as("peer") != 0) {
    (void)close(ends[1]);
    control = ends[0];
    return;
  }
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)close(ends[0]);
  struct order order;
  while (recv(ends[1], &order, sizeof order, 0) == (ssize_t)sizeof order) {
    perform(&order);
    (void)send(ends[1], "d", 1, MSG_NOSIGNAL);
  }
  _exit(0);
}

void peer(enum peer_call call, int count) {
  const struct order order = {.call = call, .count = count};
  char done = 0;
  check(send(control, &order, sizeof order, MSG_NOSIGNAL) == (ssize_t)sizeof order, "the peer is gone");
  check(recv(control, &done, 1, 0) == 1, "the peer has failed");
}
