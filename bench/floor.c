/* SPDX-License-Identifier: BSD-2-Clause */
/* floor PROGRAM...: loads and attaches these programs of floor.bpf.c, says "ready", and waits to be ended. */
#include "floor_programs.skel.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **names) {
  struct floor_programs *floor = floor_programs__open();
  if (floor == NULL) {
    fprintf(stderr, "floor: open: %s\n", strerror(errno));
    return 1;
  }
  for (int at = 1; at < count; at++) {
    struct bpf_program *program = bpf_object__find_program_by_name(floor->obj, names[at]);
    if (program == NULL) {
      fprintf(stderr, "floor: no program '%s'\n", names[at]);
      return 2;
    }
    bpf_program__set_autoload(program, true);
  }
  if (floor_programs__load(floor) != 0 || floor_programs__attach(floor) != 0) {
    fprintf(stderr, "floor: load: %s\n", strerror(errno));
    return 1;
  }
  puts("ready");
  fflush(stdout);
  pause();
  return 0;
}
