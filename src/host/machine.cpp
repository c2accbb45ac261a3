// SPDX-License-Identifier: BSD-2-Clause
#include "host/machine.hpp"

#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>

namespace closewatch {
namespace {

/// PROC_PID_INIT_INO (include/linux/proc_ns.h)
constexpr ino_t initial_pid_namespace = 0xEFFFFFFC;
constexpr ino_t initial_user_namespace = 0xEFFFFFFD;

std::uint64_t milliseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1000 + static_cast<std::uint64_t>(time.tv_usec) / 1000;
}

}  // namespace

std::optional<std::string> read_file(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"), std::fclose};
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> piece{};
  while (const std::size_t length = std::fread(piece.data(), 1, piece.size(), file.get()))
    text.append(piece.data(), length);
  // A process that ends meanwhile (ESRCH), a folder (EISDIR): not there.
  if (std::ferror(file.get()) != 0) return std::nullopt;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

MachineNames machine_names(const std::filesystem::path& root) {
  utsname names{};
  uname(&names);
  return {
      .host = read_file(root / "proc/sys/kernel/hostname").value_or(names.nodename),
      .kernel = read_file(root / "proc/sys/kernel/osrelease").value_or(names.release),
      .boot_id = read_file(root / "proc/sys/kernel/random/boot_id").value_or(""),
  };
}

OwnUsage own_usage(const std::filesystem::path& root) {
  OwnUsage usage;
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  usage.cpu_ms = milliseconds(used.ru_utime) + milliseconds(used.ru_stime);
  // statm: size, resident, … in pages
  if (const auto statm = read_file(root / "proc/self/statm")) {
    const std::size_t at = statm->find(' ');
    std::uint64_t pages = 0;
    if (at != std::string::npos) std::from_chars(statm->data() + at + 1, statm->data() + statm->size(), pages);
    usage.rss_bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  }
  return usage;
}

bool in_initial_pid_namespace(const std::filesystem::path& root) {
  struct stat status{};
  // Without /proc nothing can be looked up by pid either.
  return stat((root / "proc/self/ns/pid").c_str(), &status) == 0 && status.st_ino == initial_pid_namespace;
}

bool in_another_user_namespace(const std::filesystem::path& root) {
  struct stat status{};
  return stat((root / "proc/self/ns/user").c_str(), &status) == 0 && status.st_ino != initial_user_namespace;
}

std::uint64_t tick_ns() {
  timespec resolution{};
  clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
  return static_cast<std::uint64_t>(resolution.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(resolution.tv_nsec);
}

std::expected<std::uint64_t, Error> cgroup_id(const std::string& path) {
  struct stat status{};
  struct statfs filesystem{};
  if (stat(path.c_str(), &status) != 0 || statfs(path.c_str(), &filesystem) != 0)
    return std::unexpected(Error{"look up the cgroup " + path, errno, "name a folder below the cgroup2 mount"});
  if (filesystem.f_type != CGROUP2_SUPER_MAGIC || !S_ISDIR(status.st_mode))
    return std::unexpected(Error{"use " + path + " as a cgroup: it is no folder of the unified hierarchy", 0,
                                 "name one below the cgroup2 mount (findmnt -t cgroup2)"});
  return std::uint64_t{status.st_ino};
}

}  // namespace closewatch
