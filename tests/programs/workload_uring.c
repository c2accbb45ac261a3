// SPDX-License-Identifier: BSD-2-Clause
// Workloads that use io_uring, by its system calls: no library is needed for one operation at a time.
#define _GNU_SOURCE
#include "workload.h"

#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 4, FIXED_FILES = 4 };

static struct {
  int fd;
  unsigned *sq_tail, *sq_mask, *sq_array;
  unsigned *cq_head, *cq_tail, *cq_mask;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
} ring;

static char *map(size_t size, off_t what) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, what);
  check(at != MAP_FAILED, "mmap of the ring");
  return at;
}

static unsigned *word(char *base, unsigned offset) { return (unsigned *)(void *)(base + offset); }

static void set_up(void) {
  struct io_uring_params made = {0};
  ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &made);
  check(ring.fd >= 0, "io_uring_setup");
  char *sq = map(made.sq_off.array + made.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  char *cq = map(made.cq_off.cqes + made.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
  ring.sq_tail = word(sq, made.sq_off.tail);
  ring.sq_mask = word(sq, made.sq_off.ring_mask);
  ring.sq_array = word(sq, made.sq_off.array);
  ring.cq_head = word(cq, made.cq_off.head);
  ring.cq_tail = word(cq, made.cq_off.tail);
  ring.cq_mask = word(cq, made.cq_off.ring_mask);
  ring.cqes = (struct io_uring_cqe *)(void *)(cq + made.cq_off.cqes);
  ring.sqes = (struct io_uring_sqe *)(void *)map(made.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

static void register_files(void) {
  int files[FIXED_FILES];
  for (int i = 0; i < FIXED_FILES; i++) files[i] = -1;
  check(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, files, FIXED_FILES) == 0,
        "IORING_REGISTER_FILES");
}

// The result of one operation, waited for.
static int perform(const struct io_uring_sqe *operation) {
  const unsigned tail = *ring.sq_tail;
  const unsigned slot = tail & *ring.sq_mask;
  ring.sqes[slot] = *operation;
  ring.sq_array[slot] = slot;
  __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
  check(syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "io_uring_enter");
  const unsigned head = *ring.cq_head;
  check(__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) != head, "no completion");
  const int result = ring.cqes[head & *ring.cq_mask].res;
  __atomic_store_n(ring.cq_head, head + 1, __ATOMIC_RELEASE);
  return result;
}

// fixed: 1 puts it into the first registered file and into no descriptor
static int accept_one(int listener, unsigned fixed) {
  const struct io_uring_sqe operation = {.opcode = IORING_OP_ACCEPT, .fd = listener, .file_index = fixed};
  peer(PEER_CONNECT, 1);
  const int result = perform(&operation);
  check(result >= 0, "IORING_OP_ACCEPT");
  return fixed ? (int)fixed - 1 : result;
}

static void read_end(int file, bool fixed) {
  char text[64];
  struct io_uring_sqe operation = {
      .opcode = IORING_OP_RECV, .fd = file, .addr = (uint64_t)(uintptr_t)text, .len = sizeof text};
  if (fixed) operation.flags = IOSQE_FIXED_FILE;
  int got = 1;
  while (got > 0) got = perform(&operation);
  check(got == 0, "IORING_OP_RECV");
}

static int begin(bool fixed) {
  const int listener = serve(64);
  set_up();
  if (fixed) register_files();
  const int file = accept_one(listener, fixed ? 1 : 0);
  peer(PEER_CLOSE, 0);
  read_end(file, fixed);
  return file;
}

// Accepted and read by io_uring, an ordinary descriptor.
static void uring(void) {
  holds(begin(false));
  in_place();
  stay();
}

// In a registered file: no process has a descriptor of it.
static void uring_fixed(void) {
  (void)begin(true);
  in_place();
  stay();
}

// workload uring-closes NAME PORT MILLISECONDS: likewise, and closed after a while
static void uring_closes(void) {
  const struct io_uring_sqe operation = {.opcode = IORING_OP_CLOSE, .file_index = 1};
  (void)begin(true);
  in_place();
  nap(number(0, 4000));
  check(perform(&operation) == 0, "IORING_OP_CLOSE");
  say("closed");
  stay();
}

const struct mode uring_modes[] = {
    {"uring", uring}, {"uring-fixed", uring_fixed}, {"uring-closes", uring_closes}, {NULL, NULL}};
