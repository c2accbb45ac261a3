// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_MACHINE_HPP
#define CLOSEWATCH_HOST_MACHINE_HPP

// What is asked of the machine. Every reader takes the root under which /proc and /sys lie, so that a test can bring
// its own.

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>

namespace closewatch {

/// The whole file, without its last line break. Empty where it cannot be read: absence is an answer in /proc.
[[nodiscard]] std::optional<std::string> read_file(const std::filesystem::path& path);

struct MachineNames {
  std::string host;
  std::string kernel;   ///< release, as `uname -r`
  std::string boot_id;  ///< /proc/sys/kernel/random/boot_id
};
[[nodiscard]] MachineNames machine_names(const std::filesystem::path& root);

/// CPU time (user and system) and resident memory of this process.
struct OwnUsage {
  std::uint64_t cpu_ms = 0;
  std::uint64_t rss_bytes = 0;
};
[[nodiscard]] OwnUsage own_usage(const std::filesystem::path& root);

/// Inside the initial pid namespace? Elsewhere a pid of the kernel's is not one of this /proc.
[[nodiscard]] bool in_initial_pid_namespace(const std::filesystem::path& root);
/// Inside a user namespace that is not the initial one? Its map can be the same (0 0 4294967295). False where it cannot
/// be told.
[[nodiscard]] bool in_another_user_namespace(const std::filesystem::path& root);

/// Length of a jiffy, from the resolution of the coarse clocks (kernel/time/posix-timers.c: KTIME_LOW_RES).
[[nodiscard]] std::uint64_t tick_ns();

/// The id by which the kernel knows a cgroup of the unified hierarchy.
[[nodiscard]] std::expected<std::uint64_t, Error> cgroup_id(const std::string& path);

}  // namespace closewatch

#endif
