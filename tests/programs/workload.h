// SPDX-License-Identifier: BSD-2-Clause
// A workload does one thing with its sockets for as long as it is left alone: leaks some, or only looks as if it did.
// It says as JSON lines which descriptors it holds in the end, so that a report can be held against the truth.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct mode {
  const char *name;
  void (*play)(void);
};
extern const struct mode leaks[], innocents[], uring_modes[];  // each ends with a mode without name

// -- what was asked for: workload MODE NAME PORT [ARGUMENT]
extern const char *workload_name;
extern long workload_port;
const char *argument(int index);                 // behind the port; fails the program where it is missing
long number(int index, long otherwise);

// -- the truth
void holds(int fd);                              // this process has this socket in this descriptor
void holds_for(pid_t pid, const char *comm, int fd);
void say(const char *key);                       // {"name":…,"pid":…,"KEY":true}
void in_place(void);                             // everything is as the case wants it

// -- the other end: a process of its own, told what to do with its connections and waited for
enum peer_call {
  PEER_CONNECT,       // count connections to the port; each sends ten bytes
  PEER_CLOSE,         // all that it has
  PEER_SHUT,          // its side of each
  PEER_RESET,         // SO_LINGER 0, and close
  PEER_FORGET_SOON,   // close; its FIN_WAIT2 lasts a second
  PEER_DRAIN,         // read from the latest for ever
  PEER_LISTEN,        // on the port + count
  PEER_ACCEPT,        // count connections
  PEER_CLOSE_TAKEN,   // all that it has accepted
  PEER_ENTER,         // another network namespace, argument(0); the port is reached at argument(1)
  PEER_VANISH,        // its only network link goes down
};
void peer_begin(void);  // before the first socket is made: it then holds none of the workload's own
void peer(enum peer_call call, int count);

// -- this end
void check(bool good, const char *what);
int serve(int backlog);                          // a listener on the port
int arrival(int listener);                       // one connection accepted, its ten bytes read
int untouched(int listener);                     // one connection accepted, nothing read
int dial(long port);                             // one connection to the peer
void read_to_end(int fd);
void serve_promptly(int listener, int count);    // so many connections are closed at once: the habit of the workload
void expect_dead(int fd);                        // waits until TCP has ended the connection
pid_t fork_as(const char *comm);                 // like fork(): the child has another name
void rename_to(const char *comm);
void nap(long milliseconds);
_Noreturn void stay(void);
long long now_ms(void);
