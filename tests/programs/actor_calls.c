// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const char *argument(const struct command *command, int index) {
  return index < command->argc ? command->argv[index] : "";
}

static long number(const struct command *command, int index, long otherwise) {
  return index < command->argc ? strtol(command->argv[index], NULL, 10) : otherwise;
}

static socklen_t make_address(struct sockaddr_storage *out, const char *host, long port) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
    memcpy(out, &four, sizeof four);
    return sizeof four;
  }
  (void)inet_pton(AF_INET6, host, &six.sin6_addr);
  memcpy(out, &six, sizeof six);
  return sizeof six;
}

// socket SLOT HOST [mptcp]: the host says the family
static int make_socket(const char *slot, const char *host, const char *kind) {
  const int family = strchr(host, ':') ? AF_INET6 : AF_INET;
  const int fd = socket(family, SOCK_STREAM, strcmp(kind, "mptcp") == 0 ? IPPROTO_MPTCP : IPPROTO_TCP);
  return fd < 0 ? -1 : slot_set(slot, fd);
}

// bind SLOT HOST PORT
static long do_bind(const struct command *c) {
  struct sockaddr_storage address;
  const int one = 1;
  int fd = slot_fd(argument(c, 1));
  if (fd < 0) fd = make_socket(argument(c, 1), argument(c, 2), "");
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) return -1;
  const socklen_t length = make_address(&address, argument(c, 2), number(c, 3, 0));
  return bind(fd, (struct sockaddr *)&address, length);
}

// listen SLOT HOST PORT [mptcp]
static long do_listen(const struct command *c) {
  if (slot_fd(argument(c, 1)) < 0 && make_socket(argument(c, 1), argument(c, 2), argument(c, 4)) < 0) return -1;
  if (do_bind(c) != 0) return -1;
  return listen(slot_fd(argument(c, 1)), 64);
}

// connect SLOT HOST PORT [mptcp], connect-start likewise without waiting for the answer
static long do_connect(const struct command *c, bool wait) {
  struct sockaddr_storage address;
  int fd = slot_fd(argument(c, 1));
  if (fd < 0) fd = make_socket(argument(c, 1), argument(c, 2), argument(c, 4));
  if (fd < 0 || (!wait && fcntl(fd, F_SETFL, O_NONBLOCK) != 0)) return -1;
  const socklen_t length = make_address(&address, argument(c, 2), number(c, 3, 0));
  return connect(fd, (struct sockaddr *)&address, length);
}

// connect-wait SLOT: the end of a connect-start; errno as connect() would have given it
static long do_connect_wait(int fd) {
  struct pollfd entry = {.fd = fd, .events = POLLOUT};
  int error = 0;
  socklen_t length = sizeof error;
  if (poll(&entry, 1, 10000) != 1 || fcntl(fd, F_SETFL, 0) != 0) return -1;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -1;
  errno = error;
  return error == 0 ? 0 : -1;
}

static long do_disconnect(int fd) {
  const struct sockaddr address = {.sa_family = AF_UNSPEC};
  return connect(fd, &address, sizeof address);
}

static long do_send(int fd, long total) {
  static const char block[4096];
  long done = 0;
  while (done < total) {
    const size_t part = (size_t)(total - done) < sizeof block ? (size_t)(total - done) : sizeof block;
    const ssize_t sent = send(fd, block, part, MSG_NOSIGNAL);
    if (sent < 0) return done ? done : -1;
    done += sent;
  }
  return done;
}

// Reads exactly total bytes, or less where the end comes first; total < 0: all up to the end.
static long do_recv(int fd, long total) {
  char block[4096];
  long done = 0;
  while (total < 0 || done < total) {
    const size_t part = total >= 0 && (size_t)(total - done) < sizeof block ? (size_t)(total - done) : sizeof block;
    const ssize_t got = recv(fd, block, part, 0);
    if (got < 0) return -1;
    if (got == 0) break;
    done += got;
  }
  return done;
}

static long do_shutdown(int fd, const char *how) {
  return shutdown(fd, strcmp(how, "rd") == 0 ? SHUT_RD : strcmp(how, "wr") == 0 ? SHUT_WR : SHUT_RDWR);
}

static long set_option(int fd, int level, int option, long value) {
  const int small = (int)value;
  return setsockopt(fd, level, option, &small, sizeof small);
}

static long do_keepalive(int fd, const struct command *c) {
  if (set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, number(c, 2, 1)) != 0) return -1;
  if (set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, number(c, 3, 1)) != 0) return -1;
  if (set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, number(c, 4, 1)) != 0) return -1;
  return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static long do_linger(int fd, long seconds) {
  const struct linger value = {.l_onoff = 1, .l_linger = (int)seconds};
  return setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
}

static long do_cookie(int fd) {
  unsigned long long cookie = 0;
  socklen_t length = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? (long)cookie : -1;
}

static int unix_socket(const char *path, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  (void)snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

// unix-listen SLOT PATH: where another actor's `pass` delivers
static long do_unix_listen(const struct command *c) {
  struct sockaddr_un address;
  const int fd = unix_socket(argument(c, 2), &address);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 8) != 0) return -1;
  return slot_set(argument(c, 1), fd);
}

union rights {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr alignment;
};

// pass SLOT PATH: sends the descriptor and keeps its own
static long do_pass(int fd, const char *path) {
  struct sockaddr_un address;
  union rights control = {0};
  char byte = 'd';
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  const int carrier = unix_socket(path, &address);
  if (carrier < 0 || connect(carrier, (struct sockaddr *)&address, sizeof address) != 0) return -1;
  const ssize_t sent = sendmsg(carrier, &message, 0);
  (void)close(carrier);
  return sent;
}

// take SLOT LISTENER: receives what a `pass` has sent
static long do_take(const struct command *c) {
  union rights control = {0};
  char byte = 0;
  int fd = -1;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  const int carrier = accept(slot_fd(argument(c, 2)), NULL, NULL);
  if (carrier < 0 || recvmsg(carrier, &message, 0) != 1) return -1;
  (void)close(carrier);
  const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (!header) return -1;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return slot_set(argument(c, 1), fd);
}

static long do_setns(const char *path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const int result = fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
  if (fd >= 0) (void)close(fd);
  return result;
}

static long do_close(const char *slot) {
  const int fd = slot_fd(slot);
  slot_forget(slot);
  return fd < 0 ? -1 : close(fd);
}

long socket_call(const struct command *c, bool *known) {
  const char *name = c->argv[0];
  const char *slot = argument(c, 1);
  *known = true;
  if (strcmp(name, "bind") == 0) return do_bind(c);
  if (strcmp(name, "listen") == 0) return do_listen(c);
  if (strcmp(name, "connect") == 0) return do_connect(c, true);
  if (strcmp(name, "connect-start") == 0) return do_connect(c, false);
  if (strcmp(name, "unix-listen") == 0) return do_unix_listen(c);
  if (strcmp(name, "take") == 0) return do_take(c);
  if (strcmp(name, "setns") == 0) return do_setns(slot);
  if (strcmp(name, "accept") == 0) {
    const int fd = accept(slot_fd(argument(c, 2)), NULL, NULL);
    return fd < 0 ? -1 : slot_set(slot, fd);
  }

  const int fd = slot_fd(slot);  // the rest works on an open slot
  if (strcmp(name, "close") == 0) return do_close(slot);
  if (strcmp(name, "show") == 0) return fd;  // no call at all: only the report
  if (strcmp(name, "connect-wait") == 0) return do_connect_wait(fd);
  if (strcmp(name, "disconnect") == 0) return do_disconnect(fd);
  if (strcmp(name, "send") == 0) return do_send(fd, number(c, 2, 1));
  if (strcmp(name, "recv") == 0) return do_recv(fd, number(c, 2, 1));
  if (strcmp(name, "recv-eof") == 0) return do_recv(fd, -1);
  if (strcmp(name, "shutdown") == 0) return do_shutdown(fd, argument(c, 2));
  if (strcmp(name, "linger") == 0) return do_linger(fd, number(c, 2, 0));
  if (strcmp(name, "linger2") == 0) return set_option(fd, IPPROTO_TCP, TCP_LINGER2, number(c, 2, -1));
  if (strcmp(name, "user-timeout") == 0) return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, number(c, 2, 500));
  if (strcmp(name, "keepalive") == 0) return do_keepalive(fd, c);
  if (strcmp(name, "cookie") == 0) return do_cookie(fd);
  if (strcmp(name, "pass") == 0) return do_pass(fd, argument(c, 2));
  if (strcmp(name, "cloexec") == 0) return fcntl(fd, F_SETFD, FD_CLOEXEC);
  *known = false;
  errno = ENOSYS;
  return -1;
}
