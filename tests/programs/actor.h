// SPDX-License-Identifier: BSD-2-Clause
// An actor performs TCP calls on command and says what it did, so that a runner can order the calls of several
// processes strictly and hold a trace against the truth.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { MAX_ARGUMENTS = 8, MAX_SLOTS = 128, SLOT_NAME = 16 };

// Descriptors go by names ("slots") so that a test case never has to know a number.
struct slot {
  char name[SLOT_NAME];
  int fd;
};

struct command {
  int argc;
  char *argv[MAX_ARGUMENTS];  // argv[0] is the call, argv[1] usually the slot
};

// -- descriptors (actor_slots.c)
int slot_fd(const char *name);              // -1 with EBADF where there is none
int slot_set(const char *name, int fd);     // gives fd back, closes nothing
void slot_forget(const char *name);
const struct slot *slot_at(size_t index);   // NULL past the end; a free slot has an empty name

// -- the calls (actor_calls.c): the result of the system call, -1 with errno
// *known is false where no such call exists.
long socket_call(const struct command *command, bool *known);

// -- the truth (actor_report.c)
struct endpoints {
  char local[64], peer[64];  // "[address]:port", empty where unknown
};
void report_set_output(int fd);
void report_set_comm(const char *comm);     // also the leader's name in the kernel
const char *report_comm(void);
struct endpoints endpoints_of(int fd);
void report(const struct command *command, int fd, struct endpoints before, long result, int error);
