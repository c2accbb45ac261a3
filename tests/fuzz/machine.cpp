// SPDX-License-Identifier: BSD-2-Clause
// A made-up /proc, /sys and /etc: everything that reads them from a root is asked. An input is a row of files: a byte
// that says which, a length, the text.
#include "input.hpp"

#include "host/descriptors.hpp"
#include "host/machine.hpp"
#include "host/memory_map.hpp"
#include "host/namespaces.hpp"
#include "host/perf_map.hpp"
#include "host/preflight.hpp"
#include "host/process_files.hpp"
#include "host/processes.hpp"
#include "host/sysctl_files.hpp"
#include "host/tcp_look.hpp"
#include "host/tcp_table.hpp"

#include <filesystem>
#include <fstream>
#include <stdlib.h>
#include <string>

using namespace closewatch;
using closewatch::fuzz::demand;
using closewatch::fuzz::Input;

namespace {

constexpr const char* files[] = {"proc/41/stat",
                                 "proc/41/status",
                                 "proc/41/cgroup",
                                 "proc/41/cmdline",
                                 "proc/41/limits",
                                 "proc/41/maps",
                                 "proc/42/stat",
                                 "proc/42/status",
                                 "proc/42/root/tmp/perf-42.map",
                                 "proc/self/status",
                                 "proc/self/statm",
                                 "proc/self/uid_map",
                                 "proc/self/mountinfo",
                                 "proc/thread-self/net/tcp",
                                 "proc/thread-self/net/tcp6",
                                 "proc/thread-self/net/netstat",
                                 "proc/thread-self/net/sockstat",
                                 "proc/sys/kernel/hostname",
                                 "proc/sys/kernel/osrelease",
                                 "proc/sys/kernel/random/boot_id",
                                 "proc/sys/net/core/bpf_jit_enable",
                                 "proc/sys/net/core/somaxconn",
                                 "proc/sys/net/ipv4/tcp_fin_timeout",
                                 "proc/sys/net/ipv4/ip_local_port_range",
                                 "proc/sys/net/ipv4/ip_local_reserved_ports",
                                 "proc/sys/net/netfilter/nf_conntrack_max",
                                 "sys/kernel/security/lockdown",
                                 "etc/sysctl.conf",
                                 "etc/sysctl.d/10-a.conf",
                                 "usr/lib/sysctl.d/10-a.conf",
                                 "run/sysctl.d/20-b.conf"};

/// Made once; the files of an input go with it.
const std::filesystem::path& root() {
  static const std::filesystem::path made = [] {
    std::string name = (std::filesystem::temp_directory_path() / "closewatch-fuzz-XXXXXX").string();
    demand(mkdtemp(name.data()) != nullptr, "no temporary folder");
    for (const char* file : files)
      std::filesystem::create_directories((std::filesystem::path{name} / file).parent_path());
    static const std::filesystem::path kept = name;
    std::atexit([] {
      std::error_code error;
      std::filesystem::remove_all(kept, error);
    });
    return kept;
  }();
  return made;
}

void ask() {
  static_cast<void>(machine_names(root()));
  static_cast<void>(own_usage(root()));
  static_cast<void>(in_initial_pid_namespace(root()));
  static_cast<void>(in_another_user_namespace(root()));
  static_cast<void>(network_namespaces(root()));
  static_cast<void>(preflight(root(), {}));
  for (const Check& check : checks(root())) demand(!check.id.empty(), "a check without a name");
  static_cast<void>(look_at_tcp(root()));
  static_cast<void>(time_wait_overflows(root()));
  static_cast<void>(configured_sysctls(root()));
  static_cast<void>(each_tcp_socket(
      root(), 7, [](const TcpSocket& socket) { demand(!name(socket.state).empty(), "a socket without a state"); }));
  static_cast<void>(look_up_perf_map(root(), 42, {0x1000, 0x2000}, std::nullopt));
  for (const std::uint32_t pid : {41U, 42U}) {
    static_cast<void>(thread_group(root(), pid));
    const auto process = process_now(root(), pid);
    if (!process) continue;
    demand(runs_still(root(), *process), "a process that is another at once");
    demand(describe(root(), *process).has_value(), "nothing to say of a process that runs");
    demand(!has_ended(root(), *process), "it runs and has ended");
    static_cast<void>(name_of_living(root(), *process));
    static_cast<void>(descriptors_of(root(), *process));
    static_cast<void>(open_descriptors(root(), *process));
    if (const auto mappings = executable_mappings(root(), *process))
      for (const Mapping& mapping : *mappings) demand(mapping.start < mapping.end, "a mapping backwards");
    demand(!with_descendants(root(), {*process}).empty(), "a process that is not of its own family");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{data, size};
  std::vector<std::filesystem::path> written;
  while (!input.empty() && written.size() < 8) {
    const std::filesystem::path path = root() / files[input.byte() % std::size(files)];
    const std::string_view text = input.take(input.number<std::uint16_t>());
    std::ofstream{path, std::ios::binary} << text;
    written.push_back(path);
  }
  ask();
  for (const auto& path : written) std::filesystem::remove(path);
  return 0;
}
