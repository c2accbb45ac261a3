// SPDX-License-Identifier: BSD-2-Clause
// transition-counter NETNS_INUM: prints `ready` once counting, and {"transitions":N,"recursion_misses":M} at SIGINT,
// SIGTERM or the end of stdin. The misses are those of the whole machine: the kernel has no count by namespace.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counter_bpf.skel.h"

static volatile sig_atomic_t ended;

static void end(int signal_number) {
  (void)signal_number;
  ended = 1;
}

static void wait_for_end(void) {
  char byte;
  struct pollfd entry = {.fd = STDIN_FILENO, .events = POLLIN};
  while (!ended) {
    if (poll(&entry, 1, 100) == 1 && read(STDIN_FILENO, &byte, 1) <= 0) break;
  }
}

static unsigned long long counted(const struct counter_bpf *skeleton) {
  const int cpus = libbpf_num_possible_cpus();
  const __u32 zero = 0;
  unsigned long long total = 0;
  __u64 *values = cpus > 0 ? calloc((size_t)cpus, sizeof *values) : NULL;
  if (!values || bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.transitions), &zero, values) != 0) {
    perror("transition-counter: reading the count");
    exit(1);
  }
  for (int i = 0; i < cpus; i++) total += values[i];
  free(values);
  return total;
}

static unsigned long long recursion_misses(const struct counter_bpf *skeleton) {
  struct bpf_prog_info info;
  __u32 length = sizeof info;
  memset(&info, 0, sizeof info);
  if (bpf_obj_get_info_by_fd(bpf_program__fd(skeleton->progs.count), &info, &length) != 0) {
    perror("transition-counter: reading the program's info");
    exit(1);
  }
  return info.recursion_misses;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    (void)fprintf(stderr, "usage: transition-counter NETNS_INUM\n");
    return 2;
  }
  const struct sigaction action = {.sa_handler = end};
  (void)sigaction(SIGINT, &action, NULL);
  (void)sigaction(SIGTERM, &action, NULL);
  struct counter_bpf *skeleton = counter_bpf__open();
  if (!skeleton) {
    perror("transition-counter: open");
    return 1;
  }
  skeleton->rodata->netns_inum = (__u32)strtoul(argv[1], NULL, 10);
  if (counter_bpf__load(skeleton) != 0 || counter_bpf__attach(skeleton) != 0) {
    perror("transition-counter: load");
    return 1;
  }
  (void)puts("ready");
  (void)fflush(stdout);
  wait_for_end();
  counter_bpf__detach(skeleton);
  (void)printf("{\"transitions\":%llu,\"recursion_misses\":%llu}\n", counted(skeleton), recursion_misses(skeleton));
  counter_bpf__destroy(skeleton);
  return 0;
}
