// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_PROGRAMS_HPP
#define CLOSEWATCH_SOURCE_PROGRAMS_HPP

// What the trial of single programs and the source proper both do with libbpf's objects.

#include <closewatch/abi/control.h>
#include <closewatch/abi/record.h>
#include <closewatch/base/descriptor.hpp>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <closewatch_bpf.skel.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

namespace closewatch {

struct DestroySkeleton {
  void operator()(closewatch_bpf* skeleton) const { closewatch_bpf__destroy(skeleton); }
};
using SkeletonPtr = std::unique_ptr<closewatch_bpf, DestroySkeleton>;

struct DestroyLink {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using LinkPtr = std::unique_ptr<bpf_link, DestroyLink>;

/// A tp_btf program whose tracepoint the kernel does not have would fail the whole load: look first.
[[nodiscard]] inline bool has_tracepoint(const btf* kernel, const std::string& name) {
  return btf__find_by_name_kind(kernel, ("btf_trace_" + name).c_str(), BTF_KIND_TYPEDEF) > 0;
}

/// A kernel that lets BPF iterators walk may still refuse those over a map's elements (EPERM).
[[nodiscard]] inline bool can_walk_storage(const btf* kernel) {
  const __s32 iterator = btf__find_by_name_kind(kernel, "bpf_iter_bpf_sk_storage_map", BTF_KIND_FUNC);
  if (iterator <= 0) return false;  // and others will do
  const std::array<bpf_insn, 2> nothing{{
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  }};
  bpf_prog_load_opts how{};
  how.sz = sizeof how;
  how.expected_attach_type = BPF_TRACE_ITER;
  how.attach_btf_id = static_cast<__u32>(iterator);
  const Descriptor program{bpf_prog_load(BPF_PROG_TYPE_TRACING, "walk", "GPL", nothing.data(), nothing.size(), &how)};
  // Any other error is the load's to tell.
  return program.get() >= 0 || (errno != EPERM && errno != EACCES);
}

/// The walk over all that has storage in `sockets`. Null where it fails; errno says why.
[[nodiscard]] inline bpf_link* attach_storage_walk(const bpf_program* program, const bpf_map* sockets) {
  bpf_iter_link_info info{};
  info.map.map_fd = static_cast<__u32>(bpf_map__fd(sockets));
  bpf_iter_attach_opts of_map{};
  of_map.sz = sizeof of_map;
  of_map.link_info = &info;
  of_map.link_info_len = sizeof info;
  return bpf_program__attach_iter(program, &of_map);
}

}  // namespace closewatch

#endif
