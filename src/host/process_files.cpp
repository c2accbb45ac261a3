// SPDX-License-Identifier: BSD-2-Clause
#include "host/process_files.hpp"

#include "host/processes.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>

namespace closewatch {
namespace {

/// From a descriptor that is only a place (O_PATH): opening a device or a FIFO can wait, or do something.
std::optional<RegularFile> opened(const Descriptor& place) {
  RegularFile regular;
  if (!place.is_open() || fstat(place.get(), &regular.status) != 0 || !S_ISREG(regular.status.st_mode))
    return std::nullopt;
  const std::string self = "/proc/self/fd/" + std::to_string(place.get());
  regular.file = Descriptor{::open(self.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
  if (!regular.file.is_open()) return std::nullopt;
  return regular;
}

std::optional<RegularFile> opened(const std::filesystem::path& path) {
  return opened(Descriptor{::open(path.c_str(), O_PATH | O_CLOEXEC)});
}

/// By the names under which the kernel gives a process's own files. A device number is not compared: that of the maps
/// is the file system's, where stat(2) has another for btrfs and overlayfs.
std::optional<RegularFile> open_by_process(const std::filesystem::path& root, const ProcessTicks& process,
                                           const Mapping& mapping) {
  std::array<char, 40> range{};
  std::snprintf(range.data(), range.size(), "%llx-%llx", static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  // This one is the mapped file, whatever its inode number is said to be (overlayfs). It takes a capability.
  if (auto file = opened(process_folder(root, process.pid) / "map_files" / range.data())) return file;
  if (auto file = open_within(root, process.pid, mapping.name); file && file->status.st_ino == mapping.inode)
    return file;
  auto program = opened(process_folder(root, process.pid) / "exe");
  if (program && program->status.st_ino == mapping.inode) return program;
  return std::nullopt;
}

}  // namespace

std::optional<RegularFile> open_mapped(const std::filesystem::path& root, const ProcessTicks& process,
                                       const Mapping& mapping) {
  if (mapping.inode == 0 || !mapping.name.starts_with('/')) return std::nullopt;
  auto file = open_by_process(root, process, mapping);
  // Asked last: if it is the same process now, the file was its own.
  if (file && runs_still(root, process)) return file;
  file = opened(std::filesystem::path{root.string() + mapping.name});
  if (file && file->status.st_ino == mapping.inode && file->status.st_dev == mapping.device) return file;
  return std::nullopt;
}

std::optional<RegularFile> open_within(const std::filesystem::path& root, std::uint32_t pid, const std::string& path) {
  const Descriptor top{::open((process_folder(root, pid) / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!top.is_open()) return std::nullopt;
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return opened(Descriptor{static_cast<int>(syscall(SYS_openat2, top.get(), path.c_str(), &how, sizeof(how)))});
}

}  // namespace closewatch
