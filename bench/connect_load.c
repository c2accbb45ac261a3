/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short connections over loopback, as many and as fast as it goes: connect, one request, one reply, close.
 * Servers and clients are processes of their own, named load-server and load-client. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
  long connections; /* over all clients */
  long servers;
  long clients;
  long addresses; /* 127.0.0.1 to 127.0.0.N: each has a port range of its own */
  long port;
  long bytes; /* of the request, and of the reply */
  bool server_closes_first;
};

enum { MAX_BYTES = 65536 };

static void die(const char *what) {
  fprintf(stderr, "connect_load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void read_all(int fd, size_t bytes) {
  static char buffer[MAX_BYTES];
  while (bytes > 0) {
    ssize_t got = read(fd, buffer, bytes);
    if (got <= 0) {
      if (got == 0) {
        errno = ECONNRESET;
      }
      die("read");
    }
    bytes -= (size_t)got;
  }
}

static void read_end(int fd) {
  char byte;
  ssize_t got = read(fd, &byte, 1);
  if (got != 0) {
    die("read of the end");
  }
}

static void write_all(int fd, size_t bytes) {
  static const char buffer[MAX_BYTES];
  while (bytes > 0) {
    ssize_t put = write(fd, buffer, bytes);
    if (put <= 0) {
      die("write");
    }
    bytes -= (size_t)put;
  }
}

static int listen_on(const struct options *options) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 4096) != 0) {
    die("listen");
  }
  return fd;
}

static void serve(const struct options *options, int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
      die("accept");
    }
    read_all(fd, (size_t)options->bytes);
    write_all(fd, (size_t)options->bytes);
    if (!options->server_closes_first) {
      read_end(fd);
    }
    close(fd);
  }
}

static void connect_once(const struct options *options, long turn) {
  struct sockaddr_in server = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)options->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(turn % options->addresses))};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0) {
    die("connect");
  }
  write_all(fd, (size_t)options->bytes);
  read_all(fd, (size_t)options->bytes);
  if (options->server_closes_first) {
    read_end(fd);
  }
  close(fd);
}

/* Starts a child that is named, and goes down with its parent. Returns 0 in the child. */
static pid_t start(const char *name) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) {
    die("fork");
  }
  if (pid == 0) {
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
      exit(1);
    }
  }
  return pid;
}

static double seconds_since(const struct timespec *from) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - from->tv_sec) + (double)(now.tv_nsec - from->tv_nsec) / 1e9;
}

static long number(const char *name, const char *text, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || end == text || value < 1 || value > most) {
    fprintf(stderr, "connect_load: --%s %s: want a number from 1 to %ld\n", name, text, most);
    exit(2);
  }
  return value;
}

static struct options parse(int argc, char **argv) {
  static const struct option known[] = {
      {"connections", required_argument, NULL, 'n'},   {"servers", required_argument, NULL, 's'},
      {"clients", required_argument, NULL, 'c'},       {"addresses", required_argument, NULL, 'a'},
      {"port", required_argument, NULL, 'p'},          {"bytes", required_argument, NULL, 'b'},
      {"server-closes-first", no_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
  struct options options = {
      .connections = 20000, .servers = 1, .clients = 1, .addresses = 8, .port = 8080, .bytes = 64};
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (option) {
      case 'n': options.connections = number("connections", optarg, 100000000); break;
      case 's': options.servers = number("servers", optarg, 256); break;
      case 'c': options.clients = number("clients", optarg, 256); break;
      case 'a': options.addresses = number("addresses", optarg, 250); break;
      case 'p': options.port = number("port", optarg, 65535); break;
      case 'b': options.bytes = number("bytes", optarg, MAX_BYTES); break;
      case 'f': options.server_closes_first = true; break;
      default: exit(2);
    }
  }
  return options;
}

int main(int argc, char **argv) {
  struct options options = parse(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  int listener = listen_on(&options);
  pid_t servers[256];
  for (long i = 0; i < options.servers; ++i) {
    servers[i] = start("load-server");
    if (servers[i] == 0) {
      serve(&options, listener);
    }
  }
  struct timespec began;
  clock_gettime(CLOCK_MONOTONIC, &began);
  pid_t clients[256];
  for (long i = 0; i < options.clients; ++i) {
    clients[i] = start("load-client");
    if (clients[i] == 0) {
      close(listener);
      for (long turn = i; turn < options.connections; turn += options.clients) {
        connect_once(&options, turn);
      }
      exit(0);
    }
  }
  bool good = true;
  for (long i = 0; i < options.clients; ++i) {
    int status;
    good = waitpid(clients[i], &status, 0) == clients[i] && status == 0 && good;
  }
  double seconds = seconds_since(&began);
  /* The last connections may still be closing on the server's side: leave them the time before the servers go. */
  usleep(100000);
  for (long i = 0; i < options.servers; ++i) {
    int status;
    /* A server ends by our signal; one that ended by itself had met an error. */
    good = waitpid(servers[i], &status, WNOHANG) == 0 && good;
    kill(servers[i], SIGTERM);
    waitpid(servers[i], &status, 0);
  }
  struct stat netns;
  if (stat("/proc/self/ns/net", &netns) != 0) {
    die("stat");
  }
  if (!good) {
    fprintf(stderr, "connect_load: a client or a server failed\n");
    return 1;
  }
  printf("{\"netns\":%lu,\"connections\":%ld,\"seconds\":%.6f,\"per_second\":%.1f}\n", (unsigned long)netns.st_ino,
         options.connections, seconds, (double)options.connections / seconds);
  return 0;
}
