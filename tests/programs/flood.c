// SPDX-License-Identifier: BSD-2-Clause
// flood COUNT SERVER_CPU CLIENT_CPU: COUNT short connections over loopback, one after the other; the client closes
// first, the server at the end of file. Two processes, flood-srv and flood-cli. Prints one JSON line at the end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Several ports, so that the ephemeral range (28,000) does not bound the number of connections left in TIME_WAIT.
enum { PORTS = 4, FIRST_PORT = 7000 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void become(const char *name, const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)strtoul(cpu, NULL, 10), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
  (void)prctl(PR_SET_NAME, name);
}

static struct sockaddr_in address_of(long index) {
  const struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)(FIRST_PORT + index % PORTS)),
                                      .sin_addr = {htonl(INADDR_LOOPBACK)}};
  return address;
}

static int listen_on(long index) {
  const struct sockaddr_in address = address_of(index);
  const int one = 1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) die("socket");
  if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0) die("listen");
  return fd;
}

static void serve(const int *listeners, long count) {
  char byte;
  for (long i = 0; i < count; i++) {
    const int fd = accept(listeners[i % PORTS], NULL, NULL);
    if (fd < 0) die("accept");
    while (read(fd, &byte, 1) > 0) {
    }
    (void)close(fd);
  }
}

static void visit(long count) {
  for (long i = 0; i < count; i++) {
    const struct sockaddr_in address = address_of(i);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) die("connect");
    (void)close(fd);
  }
}

int main(int argc, char **argv) {
  if (argc != 4) {
    (void)fprintf(stderr, "usage: flood COUNT SERVER_CPU CLIENT_CPU\n");
    return 2;
  }
  const long count = strtol(argv[1], NULL, 10);
  int listeners[PORTS];
  int status = 0;
  struct timespec from, to;
  become("flood-srv", argv[2]);
  for (long i = 0; i < PORTS; i++) listeners[i] = listen_on(i);
  const pid_t client = fork();
  if (client < 0) die("fork");
  if (client == 0) {
    for (int i = 0; i < PORTS; i++) (void)close(listeners[i]);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    become("flood-cli", argv[3]);
    visit(count);
    return 0;
  }
  (void)clock_gettime(CLOCK_MONOTONIC, &from);
  serve(listeners, count);
  if (waitpid(client, &status, 0) != client || status != 0) die("client");
  (void)clock_gettime(CLOCK_MONOTONIC, &to);
  (void)printf("{\"connections\":%ld,\"seconds\":%.3f,\"server_pid\":%d,\"client_pid\":%d}\n", count,
               (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9, getpid(), client);
  return 0;
}
