// SPDX-License-Identifier: BSD-2-Clause
// storage-walk: does this kernel let a BPF iterator walk socket storage? Prints `allowed` or `refused`.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
  const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
                                     {.code = BPF_JMP | BPF_EXIT}};
  struct bpf_prog_load_opts how;
  struct btf *kernel = btf__load_vmlinux_btf();
  if (!kernel) {
    perror("storage-walk: the kernel's BTF");
    return 1;
  }
  const int iterator = btf__find_by_name_kind(kernel, "bpf_iter_bpf_sk_storage_map", BTF_KIND_FUNC);
  btf__free(kernel);
  if (iterator <= 0) {
    (void)fprintf(stderr, "storage-walk: the kernel has no such iterator\n");
    return 1;
  }
  memset(&how, 0, sizeof how);
  how.sz = sizeof how;
  how.expected_attach_type = BPF_TRACE_ITER;
  how.attach_btf_id = (unsigned)iterator;
  const int program = bpf_prog_load(BPF_PROG_TYPE_TRACING, "nothing", "GPL", nothing, 2, &how);
  if (program < 0 && errno != EPERM) {
    perror("storage-walk: loading");
    return 1;
  }
  (void)puts(program < 0 ? "refused" : "allowed");
  if (program >= 0) (void)close(program);
  return 0;
}
