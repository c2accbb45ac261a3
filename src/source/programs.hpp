// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_PROGRAMS_HPP
#define CLOSEWATCH_SOURCE_PROGRAMS_HPP

// What the trial of single programs and the source proper both do with libbpf's objects.

#include <closewatch/abi/control.h>
#include <closewatch/abi/record.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <closewatch_bpf.skel.h>

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
