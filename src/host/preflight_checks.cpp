// SPDX-License-Identifier: BSD-2-Clause
#include "host/machine.hpp"
#include "host/preflight.hpp"
#include "host/words.hpp"

#include <linux/capability.h>

#include <array>
#include <string>
#include <system_error>
#include <utility>

namespace closewatch {
namespace {

using Status = Check::Status;

/// sock_recv_length and sock_send_length.
constexpr KernelVersion sees_use{6, 3};

Check ok(std::string id, std::string text) { return {std::move(id), Status::ok, std::move(text), {}}; }

Check kernel(const std::filesystem::path& root) {
  const std::string release = machine_names(root).kernel;
  const auto version = parse_kernel_version(release);
  if (!version)
    return {"kernel", Status::unknown, "the kernel's version is not understood: " + release,
            "closewatch needs Linux 5.15 or later"};
  if (*version < kernel_floor)
    return {"kernel", Status::missing,
            "Linux " + release + " is older than 5.15: its programs cannot keep what they know of a socket",
            "boot a newer kernel (bookworm's is 6.1)"};
  if (*version < sees_use)
    return {"kernel", Status::degraded,
            "Linux " + release +
                " does not tell of reads and writes (6.3 does): accepted connections are named after their listener "
                "until they close, nothing is called inherited, and `eof` is consumed at best",
            "boot Linux 6.3 or later to see them"};
  return ok("kernel", "Linux " + release + " has all that is needed");
}

Check btf(const std::filesystem::path& root) {
  std::error_code error;
  if (std::filesystem::exists(root / "sys/kernel/btf/vmlinux", error))
    return ok("btf", "the kernel describes its types");
  return {"btf", Status::missing,
          "the kernel does not describe its types (no /sys/kernel/btf/vmlinux): no program can be fitted to it",
          "run one built with CONFIG_DEBUG_INFO_BTF=y, as every Debian kernel since bullseye is; in a container, mount "
          "/sys"};
}

/// Mounted, or the kernel has none.
bool has_securityfs(const std::filesystem::path& root) {
  std::error_code error;
  const std::filesystem::path place = root / "sys/kernel/security";
  if (std::filesystem::exists(place, error)) return !std::filesystem::is_empty(place, error);
  return std::filesystem::exists(root / "sys/kernel", error);
}

/// No program of closewatch's reads the kernel's memory by probe, which is all that confidentiality refuses them.
Check lockdown(const std::filesystem::path& root) {
  const auto found = read_lockdown(root);
  if (!found && !has_securityfs(root))
    return {"lockdown", Status::unknown, "securityfs is not mounted: whether the kernel is locked down is not known",
            "mount -t securityfs none /sys/kernel/security"};
  if (!found || *found == Lockdown::none) return ok("lockdown", "the kernel is not locked down");
  return ok("lockdown", std::string{"the kernel is locked down ("} +
                            (*found == Lockdown::integrity ? "integrity" : "confidentiality") +
                            "), which closewatch can do with");
}

Check user_namespace(const std::filesystem::path& root) {
  const auto map = read_file(root / "proc/self/uid_map");
  if (!map) return {"user_namespace", Status::unknown, "/proc/self/uid_map cannot be read", "mount /proc"};
  std::string_view text = *map;
  // The first namespace maps everybody to himself; capabilities in any other are none for bpf().
  const std::array words{take_word(text), take_word(text), take_word(text)};
  if (words == std::array<std::string_view, 3>{"0", "0", "4294967295"} && !in_another_user_namespace(root))
    return ok("user_namespace", "in the initial user namespace");
  return {"user_namespace", Status::missing,
          "in a user namespace of its own (a rootless container): the kernel does not let its root trace",
          "run it on the host, or in a container of the real root's"};
}

Check bpf_jit(const std::filesystem::path& root) {
  const auto text = read_file(root / "proc/sys/net/core/bpf_jit_enable");
  const auto value = text ? whole_number<unsigned>(*text) : std::nullopt;
  if (!value)
    return {"bpf_jit", Status::unknown,
            "/proc/sys/net/core/bpf_jit_enable cannot be read: if BPF programs are interpreted, each event costs more",
            "look as root, in the initial network namespace"};
  if (*value != 0) return ok("bpf_jit", "BPF programs are compiled");
  return {"bpf_jit", Status::degraded, "BPF programs are interpreted: each event costs several times as much",
          "sysctl net.core.bpf_jit_enable=1"};
}

Check pid_namespace(const std::filesystem::path& root) {
  std::error_code error;
  if (!std::filesystem::exists(root / "proc/self/ns/pid", error))
    return {"pid_namespace", Status::unknown, "/proc/self/ns/pid cannot be read", "mount /proc"};
  if (in_initial_pid_namespace(root)) return ok("pid_namespace", "in the initial pid namespace");
  return {"pid_namespace", Status::degraded,
          "not in the initial pid namespace: holders are seen only in this one, nothing is looked up by pid, and every "
          "result is incomplete",
          "run it on the host, or in a container with hostPID: true (docker: --pid=host)"};
}

/// The value of `hidepid=` among the options of the last mount at /proc (proc(5)); empty where it has none.
std::string hidepid_in(std::string_view mountinfo) {
  constexpr std::string_view key = "hidepid=";
  std::string value;
  while (!mountinfo.empty()) {
    const std::string_view line = take_line(mountinfo);
    const std::size_t proc = line.find(" - proc ");
    if (proc == std::string_view::npos || line.find(" /proc ") > proc) continue;
    std::string_view options = line.substr(proc);
    const std::size_t at = options.find(key);
    options.remove_prefix(at == std::string_view::npos ? options.size() : at + key.size());
    value = options.substr(0, options.find(','));
  }
  return value;
}

Check hidepid(const std::filesystem::path& root) {
  const auto mountinfo = read_file(root / "proc/self/mountinfo");
  if (!mountinfo) return {"hidepid", Status::unknown, "/proc/self/mountinfo cannot be read", "mount /proc"};
  const std::string value = hidepid_in(*mountinfo);
  if (value.empty() || value == "0" || value == "off") return ok("hidepid", "/proc shows all processes");
  if (has_capability(root, CAP_SYS_PTRACE))
    return ok("hidepid", "/proc is mounted with hidepid=" + value + ", which CAP_SYS_PTRACE sees through");
  return {"hidepid", Status::degraded,
          "/proc is mounted with hidepid=" + value + ": the processes of other users stay unknown",
          "run it as root (sudo), or give the program's file the capabilities: " + setcap_line()};
}

}  // namespace

std::vector<Check> checks(const std::filesystem::path& root) {
  std::vector<Check> found{kernel(root), btf(root), lockdown(root), user_namespace(root)};
  for (Check& one : capability_checks(effective_capabilities(root))) found.push_back(std::move(one));
  found.push_back(bpf_jit(root));
  found.push_back(pid_namespace(root));
  found.push_back(hidepid(root));
  return found;
}

}  // namespace closewatch
