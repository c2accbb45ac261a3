// SPDX-License-Identifier: BSD-2-Clause
#include "host/descriptors.hpp"

#include "host/folder.hpp"
#include "host/machine.hpp"
#include "host/processes.hpp"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

namespace closewatch {
namespace {

bool is_socket(DIR* folder, const char* name) {
  constexpr std::string_view prefix = "socket:[";
  std::array<char, prefix.size()> target{};  // the rest is cut off, and not needed
  const ssize_t length = readlinkat(dirfd(folder), name, target.data(), target.size());
  return length >= 0 && std::string_view{target.data(), static_cast<std::size_t>(length)} == prefix;
}

}  // namespace

std::optional<std::uint64_t> parse_descriptor_limit(std::string_view limits) {
  constexpr std::string_view key = "Max open files ";
  const std::size_t at = limits.starts_with(key) ? 0 : limits.find("\nMax open files ");
  if (at == std::string_view::npos) return std::nullopt;
  limits.remove_prefix(limits.find("Max", at) + key.size());
  limits.remove_prefix(std::min(limits.find_first_not_of(' '), limits.size()));
  const std::string_view soft = limits.substr(0, limits.find(' '));
  if (soft == "unlimited") return no_limit;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(soft.data(), soft.data() + soft.size(), value);
  if (soft.empty() || error != std::errc{} || end != soft.data() + soft.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> descriptor_limit(const std::filesystem::path& root, std::uint32_t pid) {
  const auto limits = read_file(process_folder(root, pid) / "limits");
  return limits ? parse_descriptor_limit(*limits) : std::nullopt;
}

std::optional<DescriptorCount> DescriptorCount::begin(const std::filesystem::path& root, const ProcessTicks& process) {
  Folder folder = open_folder(process_folder(root, process.pid) / "fd");
  const auto limit = descriptor_limit(root, process.pid);
  if (!folder || !limit) return std::nullopt;
  return DescriptorCount{root, process, std::move(folder), *limit};
}

bool DescriptorCount::go_on(const std::function<bool()>& may) {
  constexpr std::uint64_t at_once = 256;  // less than a millisecond
  while (may()) {
    const std::uint64_t until = found_.open + at_once;
    while (found_.open < until) {
      const char* name = next_entry(folder_.get());
      if (name == nullptr) return true;
      ++found_.open;
      if (is_socket(folder_.get(), name)) ++found_.sockets;
    }
  }
  return false;
}

std::optional<Descriptors> DescriptorCount::result() const {
  if (!runs_still(root_, process_)) return std::nullopt;
  return found_;
}

std::optional<Descriptors> descriptors_of(const std::filesystem::path& root, const ProcessTicks& process) {
  auto count = DescriptorCount::begin(root, process);
  if (!count) return std::nullopt;
  while (!count->go_on([] { return true; })) {
  }
  return count->result();
}

std::optional<std::uint64_t> open_descriptors(const std::filesystem::path& root, const ProcessTicks& process) {
  const Folder folder = open_folder(process_folder(root, process.pid) / "fd");
  if (!folder) return std::nullopt;
  std::uint64_t open = 0;
  struct stat status{};
  struct statfs filesystem{};
  // Elsewhere than in /proc the size is one of bytes; before 6.2 it is 0.
  if (fstat(dirfd(folder.get()), &status) == 0 && fstatfs(dirfd(folder.get()), &filesystem) == 0 &&
      filesystem.f_type == PROC_SUPER_MAGIC && status.st_size > 0)
    open = static_cast<std::uint64_t>(status.st_size);
  else
    for_each_entry(folder.get(), [&](const char*) { ++open; });
  if (!runs_still(root, process)) return std::nullopt;
  return open;
}

}  // namespace closewatch
