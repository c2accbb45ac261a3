// SPDX-License-Identifier: BSD-2-Clause
// Workloads that leak. Where the kind needs it, many connections have been closed at once before: the habit.
#define _GNU_SOURCE
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HABIT = 60, FORGOTTEN = 3 };

static void forget(int listener, int count, int *kept) {
  for (int i = 0; i < count; i++) kept[i] = arrival(listener);
  peer(PEER_CLOSE, 0);
  for (int i = 0; i < count; i++) {
    read_to_end(kept[i]);
    holds(kept[i]);
  }
}

static int forget_three(int *kept, int habit) {
  const int listener = serve(64);
  serve_promptly(listener, habit);
  forget(listener, FORGOTTEN, kept);
  return listener;
}

// workload forgot NAME PORT [HABIT]: reads the end and forgets.
static void forgot(void) {
  int kept[FORGOTTEN];
  (void)forget_three(kept, (int)number(0, HABIT));
  in_place();
  stay();
}

// The same, and mends it when it is told to.
static void mended(void) {
  int kept[FORGOTTEN];
  sigset_t told;
  (void)sigemptyset(&told);
  (void)sigaddset(&told, SIGUSR1);
  (void)sigprocmask(SIG_BLOCK, &told, NULL);
  (void)forget_three(kept, HABIT);
  in_place();
  int got = 0;
  (void)sigwait(&told, &got);
  for (int i = 0; i < FORGOTTEN; i++) check(close(kept[i]) == 0, "close");
  say("mended");
  stay();
}

// The same, and ends after a while: the kernel closes for it.
static void died(void) {
  int kept[FORGOTTEN];
  (void)forget_three(kept, HABIT);
  in_place();
  nap(number(0, 5000));
  _exit(0);
}

// workload many NAME PORT COUNT
static void many(void) {
  const int listener = serve(4096);
  const int count = (int)number(0, 2000);
  int *kept = calloc((size_t)count, sizeof *kept);
  check(kept != NULL, "calloc");
  serve_promptly(listener, HABIT);
  for (int i = 0; i < count; i++) kept[i] = arrival(listener);
  peer(PEER_CLOSE, 0);
  for (int i = 0; i < count; i++) read_to_end(kept[i]);
  in_place();
  stay();
}

// Two are forgotten, a third is a reply that goes on: the same process, the same age.
static void mixed(void) {
  static const char text[100];
  int kept[2];
  const int listener = serve(64);
  serve_promptly(listener, HABIT);
  forget(listener, 2, kept);
  const int replying = arrival(listener);
  peer(PEER_SHUT, 0);
  peer(PEER_DRAIN, 0);
  read_to_end(replying);
  holds(replying);
  in_place();
  for (;;) {
    check(send(replying, text, sizeof text, MSG_NOSIGNAL) > 0, "send");
    nap(200);
  }
}

// A process for each connection; the last three of them forget it.
static void forkserver(void) {
  const int listener = serve(64);
  for (int i = 0; i < HABIT + FORGOTTEN; i++) {
    const int fd = untouched(listener);
    const pid_t pid = fork_as(workload_name);
    if (pid == 0) {
      (void)close(listener);
      read_to_end(fd);
      if (i < HABIT) {
        (void)close(fd);
        _exit(0);
      }
      holds(fd);
      stay();
    }
    (void)close(fd);
    peer(PEER_CLOSE, 0);
    if (i < HABIT) (void)waitpid(pid, NULL, 0);
  }
  in_place();
  stay();
}

// The connecting side forgets.
static void connecting(void) {
  int kept[FORGOTTEN];
  peer(PEER_LISTEN, 0);
  for (int i = 0; i < HABIT; i++) {
    const int fd = dial(workload_port);
    peer(PEER_ACCEPT, 1);
    peer(PEER_CLOSE_TAKEN, 0);
    read_to_end(fd);
    (void)close(fd);
  }
  for (int i = 0; i < FORGOTTEN; i++) kept[i] = dial(workload_port);
  peer(PEER_ACCEPT, FORGOTTEN);
  peer(PEER_CLOSE_TAKEN, 0);
  for (int i = 0; i < FORGOTTEN; i++) {
    read_to_end(kept[i]);
    holds(kept[i]);
  }
  in_place();
  stay();
}

// One of two descriptors of the same socket is closed.
static void duplicated(void) {
  const int listener = serve(64);
  serve_promptly(listener, HABIT);
  const int fd = arrival(listener);
  const int copy = dup(fd);
  peer(PEER_CLOSE, 0);
  read_to_end(fd);
  check(close(fd) == 0, "close");
  holds(copy);
  in_place();
  stay();
}

// The child gets it by fork and never touches it; the parent, who used it, has closed.
static void inherited_fork(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  if (fork_as("kid") == 0) {
    (void)close(listener);
    holds(fd);
    stay();
  }
  (void)close(fd);
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// Without FD_CLOEXEC it also gets into another program.
static void inherited_exec(void) {
  int told[2];
  char nothing = 0;
  const int listener = serve(64);
  const int fd = arrival(listener);
  check(pipe2(told, O_CLOEXEC) == 0, "pipe");
  const pid_t pid = fork_as("kid");
  if (pid == 0) {
    (void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    check(false, "exec");
  }
  (void)close(told[1]);
  check(read(told[0], &nothing, 1) == 0, "the end of the pipe at exec");
  holds_for(pid, "sleep", fd);
  (void)close(fd);
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// The same process as before, and another program, which does not know of it.
static void inherited_own_exec(void) {
  const int fd = arrival(serve(64));
  peer(PEER_CLOSE, 0);
  holds_for(getpid(), "sleep", fd);
  in_place();
  (void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
  check(false, "exec");
}

static pid_t fork_with_pid(pid_t wanted) {
  pid_t set[] = {wanted};
  struct clone_args how = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)set, .set_tid_size = 1};
  return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

// Who used it has ended, and another process that never did has got its pid.
static void reused_pid(void) {
  const int listener = serve(64);
  int carrier[2];
  int first[2];
  check(pipe2(carrier, O_CLOEXEC) == 0 && pipe2(first, O_CLOEXEC) == 0, "pipe");
  const pid_t user = fork_as("user");
  if (user == 0) {
    const int fd = arrival(listener);
    if (fork_as("between") != 0) _exit(0);
    pid_t wanted = 0;
    check(read(carrier[0], &wanted, sizeof wanted) == (ssize_t)sizeof wanted, "read");
    const pid_t pid = fork_with_pid(wanted);
    check(pid >= 0, "clone3 with set_tid");
    if (pid == 0) {
      rename_to("reuser");
      check(getpid() == wanted, "the pid");
      (void)close(listener);
      holds(fd);
      check(write(first[1], "x", 1) == 1, "write");
      stay();
    }
    (void)close(fd);
    stay();
  }
  check(waitpid(user, NULL, 0) == user, "waitpid");
  check(write(carrier[1], &user, sizeof user) == (ssize_t)sizeof user, "write");
  char byte = 0;
  check(read(first[0], &byte, 1) == 1, "read");
  peer(PEER_CLOSE, 0);
  in_place();
  stay();
}

// Data sent to a peer that has closed: it answers with a RST, and the descriptor stays.
static void dead_written(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  peer(PEER_CLOSE, 0);
  read_to_end(fd);
  check(send(fd, "x", 1, MSG_NOSIGNAL) == 1, "send");
  expect_dead(fd);
  holds(fd);
  in_place();
  stay();
}

// The peer's RST in ESTABLISHED: never in CLOSE_WAIT at all.
static void dead_reset(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  peer(PEER_RESET, 0);
  expect_dead(fd);
  holds(fd);
  in_place();
  stay();
}

// Keepalive probes a peer whose FIN_WAIT2 has expired.
static void dead_keepalive(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  const int one = 1;
  check(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof one) == 0, "TCP_KEEPIDLE");
  check(setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof one) == 0, "TCP_KEEPINTVL");
  check(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) == 0, "SO_KEEPALIVE");
  peer(PEER_FORGET_SOON, 0);
  read_to_end(fd);
  holds(fd);
  in_place();
  expect_dead(fd);
  say("dead");
  stay();
}

static void grow(bool reads) {
  const int listener = serve(64);
  in_place();
  for (int i = 0; i < 200; i++) {
    const int fd = reads ? arrival(listener) : untouched(listener);
    peer(PEER_CLOSE, 0);
    if (reads) read_to_end(fd);
    holds(fd);
    nap(number(0, 1000));
  }
  stay();
}

static void growing_unread(void) { grow(false); }
static void growing_ignored(void) { grow(true); }

// -- for `closewatch run`: they end by themselves

// workload ends NAME PORT MILLISECONDS STATUS: forgets one, and ends
static void ends(void) {
  int kept[1];
  forget(serve(64), 1, kept);
  in_place();
  nap(number(0, 2500));
  _exit((int)number(1, 0));
}

// workload ends-unread …: likewise, and has not read it
static void ends_unread(void) {
  const int fd = arrival(serve(64));
  peer(PEER_CLOSE, 0);
  holds(fd);
  in_place();
  nap(number(0, 2500));
  _exit((int)number(1, 0));
}

// workload ends-closing …: likewise, and closes at last
static void ends_closing(void) {
  int kept[1];
  forget(serve(64), 1, kept);
  in_place();
  nap(number(0, 2500));
  check(close(kept[0]) == 0, "close");
  _exit((int)number(1, 0));
}

// workload ends-dead …: it is reset, and the program does not care
static void ends_dead(void) {
  const int fd = arrival(serve(64));
  peer(PEER_RESET, 0);
  expect_dead(fd);
  holds(fd);
  in_place();
  nap(number(0, 2500));
  _exit((int)number(1, 0));
}

// workload ends-child …: a child forgets one, and ends before COMMAND does
static void ends_child(void) {
  const int listener = serve(64);
  const pid_t pid = fork_as("child");
  if (pid == 0) {
    int kept[1];
    forget(listener, 1, kept);
    nap(number(0, 2500));
    _exit(0);
  }
  (void)waitpid(pid, NULL, 0);
  _exit((int)number(1, 0));
}

// workload ends-before NAME PORT MILLISECONDS STATUS: a daemon has it, of nobody's session and parent, and lives on
static void ends_before(void) {
  const int listener = serve(64);
  const int fd = arrival(listener);
  if (fork_as("between") == 0) {
    check(setsid() > 0, "setsid");
    if (fork_as("daemon") != 0) _exit(0);
    peer(PEER_CLOSE, 0);
    read_to_end(fd);
    holds(fd);
    stay();
  }
  (void)close(fd);
  (void)close(listener);
  (void)wait(NULL);
  nap(number(0, 2500));
  _exit((int)number(1, 0));
}

const struct mode leaks[] = {{"forgot", forgot},
                             {"mended", mended},
                             {"died", died},
                             {"many", many},
                             {"mixed", mixed},
                             {"forkserver", forkserver},
                             {"connecting", connecting},
                             {"dup", duplicated},
                             {"inherited-fork", inherited_fork},
                             {"inherited-exec", inherited_exec},
                             {"inherited-own-exec", inherited_own_exec},
                             {"reused-pid", reused_pid},
                             {"dead-written", dead_written},
                             {"dead-reset", dead_reset},
                             {"dead-keepalive", dead_keepalive},
                             {"growing-unread", growing_unread},
                             {"growing-ignored", growing_ignored},
                             {"ends", ends},
                             {"ends-unread", ends_unread},
                             {"ends-closing", ends_closing},
                             {"ends-dead", ends_dead},
                             {"ends-child", ends_child},
                             {"ends-before", ends_before},
                             {NULL, NULL}};
