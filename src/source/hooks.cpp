// SPDX-License-Identifier: BSD-2-Clause
#include "source/hooks.hpp"

#include "programs.hpp"

#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string_view>

namespace closewatch {
namespace {

struct FreeTypes {
  void operator()(btf* types) const { btf__free(types); }
};
using TypesPtr = std::unique_ptr<btf, FreeTypes>;

constexpr std::string_view tracepoint_prefix = "tp_btf/";
constexpr std::string_view storage_walk = "iter/bpf_sk_storage_map";

/// What libbpf has to say of each failure is told by the code.
class Silence {
 public:
  Silence() : before_(libbpf_set_print(nullptr)) {}
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() { libbpf_set_print(before_); }

 private:
  libbpf_print_fn_t before_;
};

/// Loading against a tracepoint that is not there fails with a code that says something else.
bool has_hook(const btf* kernel, std::string_view hook) {
  if (kernel == nullptr || !hook.starts_with(tracepoint_prefix)) return true;
  return has_tracepoint(kernel, std::string{hook.substr(tracepoint_prefix.size())});
}

/// The open object with this program alone to be loaded, and small.
bpf_program* alone(closewatch_bpf& skeleton, const std::string& name) {
  bpf_program* wanted = nullptr;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton.obj) {
    const bool is_it = name == bpf_program__name(program);
    bpf_program__set_autoload(program, is_it);
    if (is_it) wanted = program;
  }
  bpf_map__set_max_entries(skeleton.maps.events, static_cast<__u32>(sysconf(_SC_PAGESIZE)));
  skeleton.rodata->config.netns = std::numeric_limits<__u32>::max();  // of none: nothing is to be told
  return wanted;
}

bpf_link* attach(const closewatch_bpf& skeleton, const bpf_program* program, std::string_view hook) {
  if (!hook.starts_with("iter/")) return bpf_program__attach(program);
  if (hook == storage_walk) return attach_storage_walk(program, skeleton.maps.sockets);
  return bpf_program__attach_iter(program, nullptr);
}

HookTry tried(HookTry hook, const btf* kernel) {
  if (!has_hook(kernel, hook.hook)) {
    hook.code = ENOENT;
    return hook;
  }
  const SkeletonPtr skeleton{closewatch_bpf__open()};
  if (!skeleton) {
    hook.code = errno;
    return hook;
  }
  const bpf_program* program = alone(*skeleton, hook.program);
  if (const int result = closewatch_bpf__load(skeleton.get()); result != 0) {
    hook.code = -result;
    return hook;
  }
  hook.failed = HookTry::Step::attach;
  const LinkPtr link{attach(*skeleton, program, hook.hook)};
  hook.code = link ? 0 : errno;
  return hook;
}

}  // namespace

std::vector<HookTry> try_hooks() {
  const Silence silence;
  const SkeletonPtr programs{closewatch_bpf__open()};
  std::vector<HookTry> out;
  if (!programs) return out;
  const TypesPtr kernel{btf__load_vmlinux_btf()};
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, programs->obj)
      out.push_back(tried({bpf_program__name(program), bpf_program__section_name(program)}, kernel.get()));
  return out;
}

}  // namespace closewatch
