// SPDX-License-Identifier: BSD-2-Clause
#include "host/namespaces.hpp"

#include "host/machine.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>

namespace closewatch {
namespace {

constexpr const char* own_namespace = "/proc/thread-self/ns/net";

/// "net:[4026531840]", as /proc writes it.
std::optional<std::uint32_t> inode_in(std::string_view text) {
  constexpr std::string_view prefix = "net:[";
  if (!text.starts_with(prefix)) return std::nullopt;
  std::uint32_t inode = 0;
  const auto [end, error] = std::from_chars(text.data() + prefix.size(), text.data() + text.size(), inode);
  if (error != std::errc{} || end == text.data() + text.size() || *end != ']') return std::nullopt;
  return inode;
}

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Mount points in /proc/self/mountinfo write blanks and the like as \ooo (proc(5)).
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned value = 0;
    if (text[at] == '\\' && at + 3 < text.size() &&
        std::from_chars(text.data() + at + 1, text.data() + at + 4, value, 8).ec == std::errc{}) {
      out += static_cast<char>(value);
      at += 3;
    } else {
      out += text[at];
    }
  }
  return out;
}

Descriptor open_namespace(const char* path) { return Descriptor{::open(path, O_RDONLY | O_CLOEXEC)}; }

void add_of_processes(const std::filesystem::path& root, std::set<std::uint32_t>& seen,
                      std::vector<NetworkNamespace>& found) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{root / "proc", error}) {
    if (!is_number(entry.path().filename().string())) continue;
    const std::filesystem::path path = entry.path() / "ns/net";
    std::error_code gone;
    const auto inode = inode_in(std::filesystem::read_symlink(path, gone).string());
    if (!gone && inode && seen.insert(*inode).second) found.push_back({*inode, path});
  }
}

void add_of_mounts(const std::filesystem::path& root, std::set<std::uint32_t>& seen,
                   std::vector<NetworkNamespace>& found) {
  const auto text = read_file(root / "proc/self/mountinfo");
  if (!text) return;
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    // mount id, parent id, device, root (for nsfs: which namespace), mount point, …
    std::array<std::string_view, 5> fields;
    for (std::string_view& field : fields) {
      field = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(line.size(), field.size() + 1));
    }
    const auto inode = inode_in(fields[3]);
    if (inode && seen.insert(*inode).second) found.push_back({*inode, unescaped(fields[4])});
  }
}

}  // namespace

std::vector<NetworkNamespace> network_namespaces(const std::filesystem::path& root) {
  std::vector<NetworkNamespace> found;
  std::set<std::uint32_t> seen;
  const std::filesystem::path own = root / "proc/thread-self/ns/net";
  std::error_code error;
  if (const auto inode = inode_in(std::filesystem::read_symlink(own, error).string()); inode && !error) {
    seen.insert(*inode);
    found.push_back({*inode, own});
  }
  add_of_processes(root, seen, found);
  add_of_mounts(root, seen, found);
  return found;
}

std::expected<std::uint32_t, Error> namespace_inode(const std::string& path) {
  struct stat status{};
  struct statfs filesystem{};
  if (stat(path.c_str(), &status) != 0 || statfs(path.c_str(), &filesystem) != 0)
    return std::unexpected(
        Error{"look up the network namespace " + path, errno, "name its inode, /proc/PID/ns/net or /run/netns/NAME"});
  if (filesystem.f_type != NSFS_MAGIC)
    return std::unexpected(Error{"use " + path + " as a network namespace: it is none", 0,
                                 "name its inode, /proc/PID/ns/net or /run/netns/NAME"});
  return static_cast<std::uint32_t>(status.st_ino);
}

std::expected<void, Error> inside(const NetworkNamespace& where,
                                  const std::function<std::expected<void, Error>()>& body) {
  struct stat own{};
  if (stat(own_namespace, &own) == 0 && own.st_ino == where.inode) return body();
  const Descriptor home = open_namespace(own_namespace);
  const Descriptor there = open_namespace(where.path.c_str());
  if (!home.is_open() || !there.is_open() || setns(there.get(), CLONE_NEWNET) != 0)
    return std::unexpected(
        Error{"enter the network namespace " + where.path.string(), errno, "run it as root (CAP_SYS_ADMIN)"});
  auto result = body();
  if (setns(home.get(), CLONE_NEWNET) != 0) std::abort();
  return result;
}

}  // namespace closewatch
