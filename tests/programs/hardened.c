// SPDX-License-Identifier: BSD-2-Clause
// LD_PRELOAD: bpf() as on a hardened kernel, which refuses every iterator over the elements of a map. libbpf makes the
// call by syscall(2), and that is what stands in front of the C library's here.
#define _GNU_SOURCE
#include <bpf/btf.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

static int is_over_a_map(const union bpf_attr *attr) {
  static const char *const iterators[] = {"bpf_iter_bpf_sk_storage_map", "bpf_iter_bpf_map_elem", "bpf_iter_sockmap"};
  static int ids[3];
  if (attr->prog_type != BPF_PROG_TYPE_TRACING || attr->expected_attach_type != BPF_TRACE_ITER) return 0;
  if (ids[0] == 0) {
    struct btf *kernel = btf__load_vmlinux_btf();
    for (size_t i = 0; i < 3; i++) ids[i] = kernel ? btf__find_by_name_kind(kernel, iterators[i], BTF_KIND_FUNC) : -1;
    btf__free(kernel);
  }
  for (size_t i = 0; i < 3; i++)
    if (ids[i] > 0 && attr->attach_btf_id == (__u32)ids[i]) return 1;
  return 0;
}

long syscall(long number, ...) {
  static long (*of_libc)(long, ...);
  long words[6];
  va_list arguments;
  va_start(arguments, number);
  for (size_t i = 0; i < 6; i++) words[i] = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_bpf && words[0] == BPF_PROG_LOAD) {
    const union bpf_attr *attr = NULL;
    memcpy(&attr, &words[1], sizeof attr);
    if (is_over_a_map(attr)) {
      errno = EPERM;
      return -1;
    }
  }
  if (!of_libc) {
    void *found = dlsym(RTLD_NEXT, "syscall");
    memcpy(&of_libc, &found, sizeof of_libc);
  }
  return of_libc(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
