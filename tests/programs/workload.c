// SPDX-License-Identifier: BSD-2-Clause
// workload MODE NAME PORT [ARGUMENT]: see workload.h. NAME becomes its command name.
#define _GNU_SOURCE
#include "workload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

const char *workload_name;
long workload_port;
static int argument_count;
static char **arguments;

void check(bool good, const char *what) {
  if (good) return;
  (void)fprintf(stderr, "workload %s: %s: %s\n", workload_name, what, strerror(errno));
  _exit(70);
}

const char *argument(int index) {
  check(index < argument_count, "an argument is missing");
  return arguments[index];
}

long number(int index, long otherwise) {
  return index < argument_count ? strtol(arguments[index], NULL, 10) : otherwise;
}

// -- the truth: one write() a line, so that those of several processes don't mix

static void write_line(const char *line, int length) {
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(0);  // the runner is gone
}

void holds_for(pid_t pid, const char *comm, int fd) {
  struct sockaddr_in local = {0};
  struct sockaddr_in other = {0};
  socklen_t length = sizeof local;
  char line[256];
  // A dead one has no peer any more, and may have lost its address.
  (void)getsockname(fd, (struct sockaddr *)&local, &length);
  length = sizeof other;
  (void)getpeername(fd, (struct sockaddr *)&other, &length);
  write_line(line,
             snprintf(line, sizeof line,
                      "{\"name\":\"%s\",\"pid\":%d,\"comm\":\"%s\",\"fd\":%d,\"local_port\":%u,\"peer_port\":%u}\n",
                      workload_name, pid, comm, fd, ntohs(local.sin_port), ntohs(other.sin_port)));
}

void holds(int fd) {
  char comm[16] = "";
  (void)prctl(PR_GET_NAME, comm);
  holds_for(getpid(), comm, fd);
}

void say(const char *key) {
  char line[128];
  write_line(line,
             snprintf(line, sizeof line, "{\"name\":\"%s\",\"pid\":%d,\"%s\":true}\n", workload_name, getpid(), key));
}

void in_place(void) { say("in_place"); }

// -- sockets

int serve(int backlog) {
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)workload_port)};
  const int one = 1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0, "SO_REUSEADDR");
  check(bind(fd, (const struct sockaddr *)&address, sizeof address) == 0, "bind");
  check(listen(fd, backlog) == 0, "listen");
  return fd;
}

int untouched(int listener) {
  peer(PEER_CONNECT, 1);
  const int fd = accept(listener, NULL, NULL);
  check(fd >= 0, "accept");
  return fd;
}

int arrival(int listener) {
  char text[10];
  const int fd = untouched(listener);
  check(recv(fd, text, sizeof text, MSG_WAITALL) == (ssize_t)sizeof text, "recv");
  return fd;
}

int dial(long port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0, "connect");
  return fd;
}

void read_to_end(int fd) {
  char text[4096];
  for (ssize_t got = 1; got > 0;) {
    got = recv(fd, text, sizeof text, 0);
    check(got >= 0, "recv to the end");
  }
}

void serve_promptly(int listener, int count) {
  for (int i = 0; i < count; i++) {
    const int fd = arrival(listener);
    peer(PEER_CLOSE, 0);
    read_to_end(fd);
    check(close(fd) == 0, "close");
  }
}

void expect_dead(int fd) {
  struct tcp_info info = {0};
  for (int i = 0; i < 800; i++) {
    socklen_t length = sizeof info;
    check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0, "TCP_INFO");
    if (info.tcpi_state == TCP_CLOSE) return;
    nap(10);
  }
  check(false, "the connection does not end");
}

// -- processes and time

void rename_to(const char *comm) { (void)prctl(PR_SET_NAME, comm); }

pid_t fork_as(const char *comm) {
  const pid_t pid = fork();
  check(pid >= 0, "fork");
  if (pid == 0) rename_to(comm);
  return pid;
}

void nap(long milliseconds) {
  const struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
  (void)nanosleep(&time, NULL);
}

long long now_ms(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (long long)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

_Noreturn void stay(void) {
  for (;;) (void)pause();
}

static bool play(const struct mode *modes, const char *name) {
  for (; modes->name; modes++) {
    if (strcmp(modes->name, name) != 0) continue;
    modes->play();
    return true;
  }
  return false;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    (void)fprintf(stderr, "usage: workload MODE NAME PORT [ARGUMENT]...\n");
    return 2;
  }
  workload_name = argv[2];
  workload_port = strtol(argv[3], NULL, 10);
  argument_count = argc - 4;
  arguments = argv + 4;
  rename_to(workload_name);
  (void)signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
  }
  // The service of an inetd has no connections but the one that it was given.
  if (workload_port > 0) peer_begin();
  if (!play(leaks, argv[1]) && !play(innocents, argv[1]) && !play(uring_modes, argv[1])) {
    (void)fprintf(stderr, "workload: no such mode: %s\n", argv[1]);
    return 2;
  }
  return 0;
}
