// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_PROCESSES_HPP
#define CLOSEWATCH_HOST_PROCESSES_HPP

#include <closewatch/core/types.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// Where the machine below `root` tells of the process, or thread, with this id.
[[nodiscard]] std::filesystem::path process_folder(const std::filesystem::path& root, std::uint32_t pid);

/// Fields of /proc/PID/stat (proc(5)). The name in it may hold blanks and brackets.
struct ProcessStat {
  std::string comm;
  char state = '?';  ///< R, S, D, Z …
  std::uint32_t parent = 0;
  std::uint64_t cpu_ticks = 0;  ///< computed by all its threads, also by those that have ended
  std::uint64_t start_ticks = 0;
};
[[nodiscard]] std::optional<ProcessStat> parse_stat(std::string_view text);
/// Empty where there is no such process, or it cannot be seen (hidepid).
[[nodiscard]] std::optional<ProcessStat> stat_of(const std::filesystem::path& root, std::uint32_t pid);

/// What stands after `key:` and a tab in the text of /proc/PID/status; empty where it is missing. No name of a process
/// can pass for one: line breaks in it are escaped, and it comes first.
[[nodiscard]] std::string_view status_field(std::string_view status, std::string_view key);

/// The cgroup of /proc/PID/cgroup: the unified hierarchy's, or systemd's where that says nothing but the root.
[[nodiscard]] std::optional<std::string> parse_cgroup(std::string_view text);

/// The first twelve digits of a container's id (64 hexadecimal digits) in a cgroup's path.
[[nodiscard]] std::optional<std::string> container_of(std::string_view cgroup);

/// Empty where there is no such process.
[[nodiscard]] std::optional<ProcessTicks> process_now(const std::filesystem::path& root, std::uint32_t pid);

/// Still the same process by that pid? What was read of the pid before was its own then.
[[nodiscard]] bool runs_still(const std::filesystem::path& root, const ProcessTicks& process);

/// The process that this pid, or thread id, belongs to. /proc has a folder by the id of each thread, though none is
/// listed.
[[nodiscard]] std::optional<std::uint32_t> thread_group(const std::filesystem::path& root, std::uint32_t id);

/// What /proc says of this very process. Empty where it has ended, also where its pid has been given to another.
[[nodiscard]] std::optional<ProcessDetails> describe(const std::filesystem::path& root, const ProcessTicks& process);

/// It is known to have ended: /proc has another by its pid, or the kernel none. A /proc that hides others' processes
/// (hidepid) says nothing.
[[nodiscard]] bool has_ended(const std::filesystem::path& root, const ProcessTicks& process);

/// The command name of this very process; empty where it has ended, also where nobody has waited for it yet.
[[nodiscard]] std::optional<std::string> name_of_living(const std::filesystem::path& root, const ProcessTicks& process);

/// These processes and all that descend from them.
[[nodiscard]] std::vector<ProcessTicks> with_descendants(const std::filesystem::path& root,
                                                         const std::vector<ProcessTicks>& processes);

}  // namespace closewatch

#endif
