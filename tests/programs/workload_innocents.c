// SPDX-License-Identifier: BSD-2-Clause
// Workloads that look as if they leaked, and do not.
#define _GNU_SOURCE
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POOL = 10, STALLED = 3, SLOW_MS = 3000 };

// Connections that were opened together and that the other end has closed all at once; nobody reads them.
static void pool(void) {
  int fds[POOL];
  peer(PEER_LISTEN, 0);
  for (int i = 0; i < POOL; i++) fds[i] = dial(workload_port);
  peer(PEER_ACCEPT, POOL);
  peer(PEER_CLOSE_TAKEN, 0);
  for (int i = 0; i < POOL; i++) holds(fds[i]);
  in_place();
  stay();
}

// Closes each, three seconds after its end; with an argument they come faster and faster.
static void slow(void) {
  enum { SLOTS = 512, EACH_MS = 250, FASTEST_MS = 30 };
  int fds[SLOTS];
  long long since[SLOTS];
  int count = 0;
  long pause = EACH_MS;
  const int listener = serve(64);
  in_place();
  for (;;) {
    if (number(0, 0) && pause > FASTEST_MS) pause -= pause / 16;
    while (count > 0 && now_ms() - since[0] >= SLOW_MS) {
      check(close(fds[0]) == 0, "close");
      count--;
      memmove(fds, fds + 1, sizeof *fds * (size_t)count);
      memmove(since, since + 1, sizeof *since * (size_t)count);
    }
    fds[count] = arrival(listener);
    peer(PEER_CLOSE, 0);
    read_to_end(fds[count]);
    since[count++] = now_ms();
    nap(pause);
  }
}

// The client has shut its side down, and the answer goes on.
static void replying(void) {
  static const char text[1000];
  const int fd = arrival(serve(64));
  peer(PEER_SHUT, 0);
  peer(PEER_DRAIN, 0);
  read_to_end(fd);
  holds(fd);
  in_place();
  for (;;) {
    check(send(fd, text, sizeof text, MSG_NOSIGNAL) == (ssize_t)sizeof text, "send");
    nap(200);
  }
}

// Half of a CPU: the machine has other things to do as well.
static void burn(long long milliseconds) {
  const long long end = now_ms() + milliseconds;
  while (now_ms() < end) {
    const clock_t spent = clock() + CLOCKS_PER_SEC / 50;
    while (clock() < spent) {
    }
    nap(20);
  }
}

// workload busy NAME PORT MILLISECONDS: works that long before it looks at its socket again
static void busy(void) {
  const int fd = arrival(serve(64));
  peer(PEER_CLOSE, 0);
  check(nice(19) != -1, "nice");
  holds(fd);
  in_place();
  burn(number(0, 5000));
  read_to_end(fd);
  check(close(fd) == 0, "close");
  say("closed");
  stay();
}

// Each client waits for an upstream that does not answer, and so does the proxy.
static void stalled(void) {
  char answer = 0;
  int clients[STALLED];
  const int listener = serve(64);
  peer(PEER_LISTEN, 1000);
  for (int i = 0; i < STALLED; i++) clients[i] = arrival(listener);
  const int upstream = dial(workload_port + 1000);
  check(send(upstream, "request", 7, 0) == 7, "send");
  peer(PEER_CLOSE, 0);
  for (int i = 0; i < STALLED; i++) holds(clients[i]);
  in_place();
  (void)recv(upstream, &answer, 1, 0);
  check(false, "the upstream has answered");
}

// Nobody calls accept(): the queue holds one more than it was asked for.
static void full_queue(void) {
  (void)serve(3);
  peer(PEER_CONNECT, 4);
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// A process for each connection, which takes a while after its end, closes, and ends.
static void postmaster(void) {
  const int listener = serve(64);
  (void)signal(SIGCHLD, SIG_IGN);
  in_place();
  for (;;) {
    const int fd = untouched(listener);
    if (fork_as(workload_name) == 0) {
      (void)close(listener);
      read_to_end(fd);
      nap(2500);
      (void)close(fd);
      _exit(0);
    }
    (void)close(fd);
    peer(PEER_CLOSE, 0);
    nap(200);
  }
}

// inetd: accepts for another program, which has the connection as its standard input.
static void inetd(void) {
  const int listener = serve(64);
  const int fd = untouched(listener);
  if (fork_as("inetd-kid") == 0) {
    check(dup2(fd, STDIN_FILENO) == STDIN_FILENO && close(fd) == 0, "dup2");
    (void)execl("/proc/self/exe", "workload", "service", argument(0), "0", (char *)NULL);
    check(false, "exec");
  }
  (void)close(fd);
  peer(PEER_CLOSE, 0);
  stay();
}

static void service(void) {
  read_to_end(STDIN_FILENO);
  holds(STDIN_FILENO);
  in_place();
  stay();
}

// sshd: the monitor, which began with the connection, keeps it; its child is the one that works on it.
static void privsep(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  if (fork_as("unprivileged") == 0) {
    (void)close(listener);
    check(send(fd, "x", 1, 0) == 1, "send");
    peer(PEER_SHUT, 0);
    read_to_end(fd);
    holds(fd);
    in_place();
    stay();
  }
  holds(fd);
  stay();
}

union rights {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr alignment;
};

static struct msghdr message_with(union rights *control, struct iovec *data) {
  return (struct msghdr){
      .msg_iov = data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control->bytes};
}

static void pass(int carrier, int fd) {
  union rights control = {0};
  char byte = 'd';
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = message_with(&control, &data);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  check(sendmsg(carrier, &message, 0) == 1, "sendmsg");
}

static int take(int carrier) {
  union rights control = {0};
  char byte = 0;
  int fd = -1;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = message_with(&control, &data);
  check(recvmsg(carrier, &message, 0) == 1, "recvmsg");
  const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  check(header != NULL, "no descriptor came");
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

// Passed on over a unix socket, and used where it went.
static void passed(void) {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
  if (fork_as("receiver") == 0) {
    (void)close(ends[0]);
    const int fd = take(ends[1]);
    check(send(fd, "x", 1, 0) == 1, "send");
    peer(PEER_SHUT, 0);
    read_to_end(fd);
    holds(fd);
    in_place();
    stay();
  }
  (void)close(ends[1]);
  const int fd = arrival(serve(64));
  pass(ends[0], fd);
  (void)close(fd);
  stay();
}

// Passed on, and emptied there by splice(), which no read of a process is.
static void spliced(void) {
  int ends[2];
  int through[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && pipe(through) == 0, "socketpair");
  if (fork_as("splicer") == 0) {
    (void)close(ends[0]);
    const int fd = take(ends[1]);
    peer(PEER_CLOSE, 0);
    check(splice(fd, NULL, through[1], NULL, 4096, 0) == 0, "splice to the end");
    holds(fd);
    in_place();
    stay();
  }
  (void)close(ends[1]);
  const int fd = arrival(serve(64));
  pass(ends[0], fd);
  (void)close(fd);
  stay();
}

// A child has a copy that it does not use, and the one who uses the connection has it still.
static void copied(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  if (fork_as("copy") == 0) {
    (void)close(listener);
    holds(fd);
    stay();
  }
  holds(fd);
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// Accepts at last, and closes.
static void late_accept(void) {
  enum { LATE = 2 };
  const int listener = serve(64);
  peer(PEER_CONNECT, LATE);
  peer(PEER_CLOSE, 0);
  in_place();
  nap(number(0, 5000));
  for (int i = 0; i < LATE; i++) {
    const int fd = accept(listener, NULL, NULL);
    check(fd >= 0, "accept");
    read_to_end(fd);
    nap(number(1, 900));  // long enough for a sweep to come by
    check(close(fd) == 0, "close");
  }
  say("accepted");
  stay();
}

// Reset by the other end, and closed soon after.
static void dead_closed(void) {
  const int fd = arrival(serve(64));
  peer(PEER_RESET, 0);
  expect_dead(fd);
  holds(fd);
  in_place();
  nap(500);
  check(close(fd) == 0, "close");
  say("closed");
  stay();
}

// Refused: a descriptor of what was never a connection.
static void refused(void) {
  const struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)workload_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  check(connect(fd, (const struct sockaddr *)&address, sizeof address) != 0, "connect to nobody");
  holds(fd);
  in_place();
  stay();
}

// Passed on, and never received: no process has a descriptor of it.
static void in_flight(void) {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
  const int fd = arrival(serve(64));
  pass(ends[0], fd);
  (void)close(fd);
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// Looks at the end again and again without taking it.
static void peeking(void) {
  char byte = 0;
  const int fd = arrival(serve(64));
  peer(PEER_CLOSE, 0);
  holds(fd);
  in_place();
  for (;;) {
    check(recv(fd, &byte, 1, MSG_PEEK) == 0, "a peek at the end");
    nap(200);
  }
}

static _Noreturn void write_for_ever(int fd) {
  static const char text[4096];
  for (;;) check(send(fd, text, sizeof text, MSG_NOSIGNAL) > 0, "send");
}

// The other end has shut its side down and does not read: the window is full.
static void write_blocked(void) {
  const int fd = arrival(serve(64));
  peer(PEER_SHUT, 0);
  read_to_end(fd);
  holds(fd);
  in_place();
  write_for_ever(fd);
}

// workload vanished NAME PORT NAMESPACE ADDRESS: the other end, in a namespace of its own, does not answer any more
static void vanished(void) {
  peer(PEER_ENTER, 0);
  const int fd = arrival(serve(64));
  peer(PEER_SHUT, 0);
  read_to_end(fd);
  peer(PEER_VANISH, 0);
  holds(fd);
  in_place();
  write_for_ever(fd);
}

// Processes that end with their connections, all the time: something always goes while it is looked at.
static void churn(void) {
  const int listener = serve(64);
  (void)signal(SIGCHLD, SIG_IGN);
  in_place();
  for (unsigned i = 0;; i++) {
    const int fd = untouched(listener);
    if (fork_as(workload_name) == 0) {
      read_to_end(fd);
      nap(i * 37 % 300);
      _exit(0);
    }
    (void)close(fd);
    peer(PEER_CLOSE, 0);
    nap(10);
  }
}

const struct mode innocents[] = {{"pool", pool},
                                 {"slow", slow},
                                 {"replying", replying},
                                 {"busy", busy},
                                 {"stalled", stalled},
                                 {"full-queue", full_queue},
                                 {"postmaster", postmaster},
                                 {"inetd", inetd},
                                 {"service", service},
                                 {"privsep", privsep},
                                 {"passed", passed},
                                 {"spliced", spliced},
                                 {"copied", copied},
                                 {"late-accept", late_accept},
                                 {"dead-closed", dead_closed},
                                 {"refused", refused},
                                 {"in-flight", in_flight},
                                 {"peeking", peeking},
                                 {"write-blocked", write_blocked},
                                 {"vanished", vanished},
                                 {"churn", churn},
                                 {NULL, NULL}};
