// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SYSCTL_FILES_HPP
#define CLOSEWATCH_HOST_SYSCTL_FILES_HPP

#include <closewatch/core/health.hpp>

#include <filesystem>
#include <string_view>
#include <vector>

namespace closewatch {

/// The lines of such a file (sysctl.d(5)) in their order, under names with dots; `file` is taken over. Names with
/// wildcards are left out.
[[nodiscard]] std::vector<SysctlLine> parse_sysctl_file(std::string_view text, std::string_view file);

/// What is set at boot below net.ipv4, net.core and net.netfilter, by its name, each from the line that counts
/// (sysctl.d(5)): of files with the same name in several folders the first one, of the files that are left the one
/// whose name sorts last, and after all of them /etc/sysctl.conf, as `sysctl --system` has it. `file` is as on that
/// machine: /etc/sysctl.d/50-tcp.conf.
[[nodiscard]] std::vector<SysctlLine> configured_sysctls(const std::filesystem::path& root);

}  // namespace closewatch

#endif
