// SPDX-License-Identifier: BSD-2-Clause
#include "host/preflight.hpp"

#include "host/machine.hpp"
#include "host/processes.hpp"

#include <array>
#include <charconv>
#include <system_error>

namespace closewatch {
namespace {

// include/uapi/linux/capability.h
constexpr unsigned cap_sys_admin_bit = 21;
constexpr std::array required{
    Capability{"CAP_BPF", 39, "to load programs into the kernel"},
    Capability{"CAP_PERFMON", 38, "to attach them to tracepoints"},
};
constexpr std::array wanted{
    Capability{"CAP_SYS_ADMIN", cap_sys_admin_bit,
               "sockets from before the start in other network namespaces are seen only where a process holds them"},
    Capability{"CAP_SYS_PTRACE", 19, "the program and cgroup of other users' processes stay unknown"},
};

void check_kernel(const std::filesystem::path& root, Preflight& found) {
  const std::string release = machine_names(root).kernel;
  const auto version = parse_kernel_version(release);
  if (version && *version < kernel_floor)
    found.refusals.push_back("this kernel is " + release + "; closewatch needs Linux " +
                             std::to_string(kernel_floor.major) + "." + std::to_string(kernel_floor.minor) +
                             " or later: boot a newer kernel (bookworm's is 6.1)");
  std::error_code error;
  if (!std::filesystem::exists(root / "sys/kernel/btf/vmlinux", error))
    found.refusals.emplace_back(
        "this kernel has no BTF (no /sys/kernel/btf/vmlinux): run one built with CONFIG_DEBUG_INFO_BTF=y, as every "
        "Debian kernel since bullseye is");
}

void check_capabilities(const std::filesystem::path& root, Preflight& found) {
  const auto bits = effective_capabilities(root);
  if (!bits) {
    found.refusals.emplace_back("/proc/self/status cannot be read: mount /proc");
    return;
  }
  const auto has = [&](const Capability& capability) { return (*bits >> capability.bit & 1U) != 0; };
  // CAP_SYS_ADMIN stands in for both (bpf_capable(), perfmon_capable()).
  const bool all = (*bits >> cap_sys_admin_bit & 1U) != 0;
  std::string missing;
  for (const Capability& capability : required) {
    if (all || has(capability)) continue;
    missing += missing.empty() ? "" : " and ";
    missing += std::string{capability.name} + " (" + std::string{capability.what_for} + ")";
  }
  if (!missing.empty())
    found.refusals.push_back("not permitted: it lacks " + missing +
                             ". Run it as root (sudo), or give the program's file the capabilities: setcap "
                             "cap_bpf,cap_perfmon,cap_sys_admin,cap_sys_ptrace+ep FILE");
  for (const Capability& capability : wanted)
    if (!has(capability))
      found.limits.push_back("without " + std::string{capability.name} + " " + std::string{capability.what_for});
}

}  // namespace

std::optional<KernelVersion> parse_kernel_version(std::string_view release) {
  KernelVersion version;
  const char* begin = release.data();
  const char* end = begin + release.size();
  auto [dot, error] = std::from_chars(begin, end, version.major);
  if (error != std::errc{} || dot == end || *dot != '.') return std::nullopt;
  if (std::from_chars(dot + 1, end, version.minor).ec != std::errc{}) return std::nullopt;
  return version;
}

std::optional<std::uint64_t> effective_capabilities(const std::filesystem::path& root) {
  const auto status = read_file(root / "proc/self/status");
  if (!status) return std::nullopt;
  const std::string_view text = status_field(*status, "CapEff");
  std::uint64_t bits = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), bits, 16).ec != std::errc{}) return std::nullopt;
  return bits;
}

bool has_capability(const std::filesystem::path& root, unsigned bit) {
  const auto bits = effective_capabilities(root);
  return bits && (*bits >> bit & 1U) != 0;
}

std::optional<Lockdown> read_lockdown(const std::filesystem::path& root) {
  const auto text = read_file(root / "sys/kernel/security/lockdown");
  if (!text) return std::nullopt;
  if (text->find("[confidentiality]") != std::string::npos) return Lockdown::confidentiality;
  if (text->find("[integrity]") != std::string::npos) return Lockdown::integrity;
  return Lockdown::none;
}

Preflight preflight(const std::filesystem::path& root) {
  Preflight found;
  check_kernel(root, found);
  check_capabilities(root, found);
  return found;
}

}  // namespace closewatch
