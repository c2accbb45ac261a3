// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_PREFLIGHT_HPP
#define CLOSEWATCH_HOST_PREFLIGHT_HPP

// Can this machine be traced at all? Asked before anything is loaded, so that what is missing is said by its name.

#include "host/privileges.hpp"

#include <closewatch/core/health.hpp>
#include <closewatch/core/types.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const KernelVersion&) const = default;
};
[[nodiscard]] std::optional<KernelVersion> parse_kernel_version(std::string_view release);

/// Socket storage, cookies and task storage in tracing programs are all there from here on.
inline constexpr KernelVersion kernel_floor{5, 15};

enum class Lockdown : std::uint8_t { none, integrity, confidentiality };
/// Empty where the kernel has no lockdown, or securityfs is not mounted.
[[nodiscard]] std::optional<Lockdown> read_lockdown(const std::filesystem::path& root);

/// The effective capabilities of this process, a bit each (linux/capability.h). Empty where /proc does not tell.
[[nodiscard]] std::optional<Capabilities> effective_capabilities(const std::filesystem::path& root);
[[nodiscard]] bool has_capability(const std::filesystem::path& root, unsigned bit);

/// Before Linux 5.19 whoever may load no programs may not call bpf() at all (kernel.unprivileged_bpf_disabled), so that
/// each walk takes CAP_BPF.
[[nodiscard]] bool walks_take_bpf(const std::filesystem::path& root);

struct Preflight {
  std::vector<std::string> refusals;  ///< reasons why it cannot be done, each with its remedy
  std::vector<Limit> limits;  ///< what will not be seen, and why
  Capabilities kept = 0;  ///< of those that are held, all that watching takes
};

/// `what.old_kernel` is found out.
[[nodiscard]] Preflight preflight(const std::filesystem::path& root, Undertaking what);

/// The same, and more, one by one: `kernel`, `btf`, `lockdown`, `user_namespace`, `cap_bpf`, `cap_perfmon`,
/// `cap_sys_admin`, `cap_sys_ptrace`, `cap_dac_read_search`, `cap_net_admin`, `bpf_jit`, `pid_namespace`, `hidepid`, in
/// this order. Where none is `missing` it can be traced, as far as can be told without trying. What is not needed is
/// not asked: tracefs, memlock limits (Linux 5.11), kernel.unprivileged_bpf_disabled.
[[nodiscard]] std::vector<Check> checks(const std::filesystem::path& root);

}  // namespace closewatch

#endif
