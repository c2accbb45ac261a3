// SPDX-License-Identifier: BSD-2-Clause
#include "host/namespaces.hpp"

#include "host/folder.hpp"
#include "host/machine.hpp"
#include "host/preflight.hpp"
#include "host/processes.hpp"
#include "host/words.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

constexpr const char* own_namespace = "/proc/thread-self/ns/net";
/// Processes, or sockets, between two calls back.
constexpr std::size_t at_a_time = 64;
constexpr std::string_view network_kind = "net:[";
constexpr std::string_view mount_kind = "mnt:[";
constexpr std::string_view socket_kind = "socket:[";

/// "net:[4026531840]", as /proc writes it.
std::optional<std::uint32_t> inode_in(std::string_view text, std::string_view kind) {
  if (!text.starts_with(kind) || !text.ends_with(']')) return std::nullopt;
  text.remove_prefix(kind.size());
  text.remove_suffix(1);
  return whole_number<std::uint32_t>(text);
}

bool is_refusal(int error) { return error == EACCES || error == EPERM; }

/// The beginning of where a link leads to: more than any name of a namespace has.
struct Link {
  std::array<char, 64> bytes{};
  std::size_t length = 0;
  int error = 0;
  [[nodiscard]] std::string_view text() const { return {bytes.data(), length}; }
};

Link read_link(int folder, const char* name) {
  Link link;
  const ssize_t length = readlinkat(folder, name, link.bytes.data(), link.bytes.size());
  if (length < 0)
    link.error = errno;
  else
    link.length = static_cast<std::size_t>(length);
  return link;
}

Link read_link(const std::filesystem::path& path) { return read_link(AT_FDCWD, path.c_str()); }

/// Mount points in /proc/self/mountinfo write blanks and the like as \ooo (proc(5)).
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto value =
        text[at] == '\\' && at + 3 < text.size() ? whole_number<unsigned>(text.substr(at + 1, 3), 8) : std::nullopt;
    out += value ? static_cast<char>(*value) : text[at];
    if (value) at += 3;
  }
  return out;
}

/// Calls `take` with the inode and the place of each network namespace that is mounted.
template <typename Take>
void each_mounted(const std::filesystem::path& mountinfo, const Take& take) {
  const auto text = read_file(mountinfo);
  std::string_view rest = text ? *text : std::string_view{};
  while (!rest.empty()) {
    std::string_view line = take_line(rest);
    // mount id, parent id, device, root (for nsfs: which namespace), mount point, …
    for (int skipped = 0; skipped < 3; ++skipped) take_word(line);
    const auto inode = inode_in(take_word(line), network_kind);
    if (inode) take(*inode, unescaped(take_word(line)));
  }
}

std::vector<std::uint32_t> process_ids(const std::filesystem::path& root) {
  std::vector<std::uint32_t> ids;
  const Folder folder = open_folder(root / "proc");
  if (!folder) return ids;
  for_each_entry(folder.get(), [&](const char* name) {
    if (const auto pid = whole_number<std::uint32_t>(name)) ids.push_back(*pid);
  });
  return ids;
}

std::filesystem::path network_link(const std::filesystem::path& folder) { return folder / "ns/net"; }

/// A socket of another process, as a descriptor of ours; or none, with errno.
Descriptor borrow(const Descriptor& process, int fd) {
  return Descriptor{static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), fd, 0))};
}

Descriptor open_process(std::uint32_t pid) {
  return Descriptor{static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0))};
}

std::uint32_t inode_of(const Descriptor& file) {
  struct stat status{};
  struct statfs filesystem{};
  const bool known =
      fstat(file.get(), &status) == 0 && fstatfs(file.get(), &filesystem) == 0 && filesystem.f_type == NSFS_MAGIC;
  return known ? static_cast<std::uint32_t>(status.st_ino) : 0;
}

/// The namespace that a socket is in.
Descriptor open_of_socket(const Descriptor& socket) { return Descriptor{ioctl(socket.get(), SIOCGSKNS)}; }

/// Looks for namespaces by their inodes, in the ways of find_namespaces(); or for every one.
class Search {
 public:
  explicit Search(const std::filesystem::path& root) : root_(root), takes_all_(true) {}
  Search(const std::filesystem::path& root, std::span<const std::uint32_t> inodes, std::function<void()> between)
      : root_(root), wanted_(inodes.begin(), inodes.end()), between_(std::move(between)) {}

  NamespaceSearch run() && {
    look_at_own();
    if (!done())
      each_mounted(root_ / "proc/self/mountinfo", [&](auto inode, const auto& path) { take({inode, path, {}}); });
    if (!done()) pids_ = process_ids(root_);
    look_at_all(&Search::look_at_process);
    look_at_all(&Search::look_behind_process);
    if (!takes_all_) look_at_sockets();
    return {std::move(found_), done() || (!hidden_ && shows_all_processes())};
  }

 private:
  [[nodiscard]] bool done() const { return !takes_all_ && wanted_.empty(); }

  void pause() {
    if (between_ && ++looked_at_ % at_a_time == 0) between_();
  }

  void take(NetworkNamespace found) {
    const bool is_wanted = takes_all_ ? seen_.insert(found.inode).second : wanted_.erase(found.inode) > 0;
    if (is_wanted) found_.push_back(std::move(found));
  }

  void look_at_own() {
    const std::filesystem::path own = network_link(root_ / "proc/thread-self");
    struct stat status{};
    if (stat(own.c_str(), &status) == 0) device_ = status.st_dev;
    if (const auto inode = inode_in(read_link(own).text(), network_kind)) take({*inode, own, {}});
  }

  void look_at_all(void (Search::*look)(std::uint32_t)) {
    for (const std::uint32_t pid : pids_) {
      if (done()) return;
      (this->*look)(pid);
      pause();
    }
  }

  void look_at_process(std::uint32_t pid) {
    const std::filesystem::path path = network_link(process_folder(root_, pid));
    const Link link = read_link(path);
    if (is_refusal(link.error)) refused(pid);
    if (const auto inode = inode_in(link.text(), network_kind)) take({*inode, path, {}});
  }

  void look_behind_process(std::uint32_t pid) {
    const std::filesystem::path at = process_folder(root_, pid);
    if (const Folder threads = open_folder(at / "task"))
      for_each_entry(threads.get(), [&](const char* id) { look_at_thread(at / "task" / id); });
    const auto mounts = inode_in(read_link(at / "ns/mnt").text(), mount_kind);
    if (mounts && mounts_seen_.insert(*mounts).second)
      each_mounted(at / "mountinfo",
                   [&](auto inode, const auto& path) { take({inode, (at / "root").string() + path, {}}); });
    look_at_descriptors(pid, at / "fd");
  }

  void look_at_thread(const std::filesystem::path& at) {
    const std::filesystem::path path = network_link(at);
    if (const auto inode = inode_in(read_link(path).text(), network_kind)) take({*inode, path, {}});
  }

  void look_at_descriptors(std::uint32_t pid, const std::filesystem::path& at) {
    const Folder folder = open_folder(at);
    if (!folder && is_refusal(errno)) refused(pid);
    if (!folder) return;
    bool was_refused = false;
    for_each_entry(folder.get(), [&](const char* name) {
      const Link link = read_link(dirfd(folder.get()), name);
      was_refused = was_refused || is_refusal(link.error);
      const auto fd = whole_number<int>(name);
      if (fd && link.text().starts_with(socket_kind)) sockets_.push_back({pid, *fd});
      auto inode = inode_in(link.text(), network_kind);
      if (link.text().starts_with('/')) inode = namespace_at(dirfd(folder.get()), name);
      if (inode) take({*inode, at / name, {}});
    });
    if (was_refused) refused(pid);
  }

  /// A namespace that was opened where it is mounted has the name of that place, or `/` once it is mounted there no
  /// more. What is not of this machine's memory is not asked for: it could wait.
  [[nodiscard]] std::optional<std::uint32_t> namespace_at(int folder, const char* name) const {
    struct statx status{};
    if (statx(folder, name, AT_STATX_DONT_SYNC, STATX_INO, &status) != 0) return std::nullopt;
    if (makedev(status.stx_dev_major, status.stx_dev_minor) != device_) return std::nullopt;
    return static_cast<std::uint32_t>(status.stx_ino);
  }

  void look_at_sockets() {
    Descriptor process;
    std::uint32_t pid = 0;
    for (const NetworkNamespace::Holder& holder : sockets_) {
      if (done()) return;
      if (holder.pid != pid) process = open_process(holder.pid);
      pid = holder.pid;
      if (process.is_open()) look_at_socket(process, holder);
      pause();
    }
  }

  void look_at_socket(const Descriptor& process, const NetworkNamespace::Holder& holder) {
    const Descriptor socket = borrow(process, holder.socket);
    if (!socket.is_open()) {
      if (is_refusal(errno)) refused(holder.pid);
      return;
    }
    const Descriptor there = open_of_socket(socket);
    if (!there.is_open()) {
      hidden_ = hidden_ || is_refusal(errno);
      return;
    }
    const std::string name = std::to_string(holder.socket);
    take({inode_of(there), process_folder(root_, holder.pid) / "fd" / name, holder});
  }

  /// A process would not let us look at it. One that has ended has nothing to hide. With CAP_SYS_PTRACE it is one that
  /// its kernel protects from everybody; in our own network namespace that is no reason to believe of every other
  /// namespace for good that it may be there. /proc/PID/net/tcp is another file in each namespace, and not hidden.
  void refused(std::uint32_t pid) {
    struct stat own{};
    struct stat its{};
    if (hidden_ || (stat((process_folder(root_, pid) / "net/tcp").c_str(), &its) != 0 && errno == ENOENT)) return;
    const bool is_of_ours = stat((root_ / "proc/thread-self/net/tcp").c_str(), &own) == 0 && own.st_ino == its.st_ino;
    hidden_ = !is_of_ours || !has_capability(root_, CAP_SYS_PTRACE);
  }

  /// Process 1 is always there; with hidepid it is not shown to everybody.
  [[nodiscard]] bool shows_all_processes() const {
    std::error_code error;
    return std::filesystem::exists(process_folder(root_, 1), error) && in_initial_pid_namespace(root_);
  }

  const std::filesystem::path& root_;
  bool takes_all_ = false;
  std::set<std::uint32_t> wanted_;
  std::set<std::uint32_t> seen_;  ///< where all are taken
  std::vector<NetworkNamespace> found_;
  std::vector<std::uint32_t> pids_;
  std::set<std::uint32_t> mounts_seen_;
  std::vector<NetworkNamespace::Holder> sockets_;
  dev_t device_ = 0;  ///< that all namespaces are on
  bool hidden_ = false;
  std::function<void()> between_;
  std::size_t looked_at_ = 0;
};

/// Of what the path leads to by now, only a namespace is opened: opening a device or a FIFO can wait, or do something.
Descriptor open_path(const std::filesystem::path& path) {
  const Descriptor place{::open(path.c_str(), O_PATH | O_CLOEXEC)};
  if (!place.is_open()) return {};
  if (inode_of(place) == 0) {
    errno = ENOENT;
    return {};
  }
  return Descriptor{::open(("/proc/self/fd/" + std::to_string(place.get())).c_str(), O_RDONLY | O_CLOEXEC)};
}

Descriptor open_namespace(const NetworkNamespace& where) {
  if (!where.holder) return open_path(where.path);
  const Descriptor process = open_process(where.holder->pid);
  const Descriptor socket = process.is_open() ? borrow(process, where.holder->socket) : Descriptor{};
  return socket.is_open() ? open_of_socket(socket) : Descriptor{};
}

}  // namespace

std::vector<NetworkNamespace> network_namespaces(const std::filesystem::path& root,
                                                 const std::function<void()>& between) {
  std::vector<NetworkNamespace> found;
  std::set<std::uint32_t> seen;
  const auto take = [&](std::uint32_t inode, const std::filesystem::path& path) {
    if (seen.insert(inode).second) found.push_back({inode, path, {}});
  };
  const auto take_link = [&](const std::filesystem::path& path) {
    if (const auto inode = inode_in(read_link(path).text(), network_kind)) take(*inode, path);
  };
  take_link(network_link(root / "proc/thread-self"));
  std::size_t looked_at = 0;
  for (const std::uint32_t pid : process_ids(root)) {
    take_link(network_link(process_folder(root, pid)));
    if (between && ++looked_at % at_a_time == 0) between();
  }
  each_mounted(root / "proc/self/mountinfo", take);
  return found;
}

std::vector<NetworkNamespace> every_namespace(const std::filesystem::path& root) { return Search{root}.run().found; }

NamespaceSearch find_namespaces(const std::filesystem::path& root, std::span<const std::uint32_t> inodes,
                                const std::function<void()>& between) {
  return Search{root, inodes, between}.run();
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
  const auto failed = [&](int code) {
    return std::unexpected(Error{"enter the network namespace " + where.path.string(), is_refusal(code) ? EPERM : code,
                                 "run it as root (CAP_SYS_ADMIN)"});
  };
  const Descriptor home{::open(own_namespace, O_RDONLY | O_CLOEXEC)};
  if (!home.is_open()) return failed(errno);
  Descriptor there = open_namespace(where);
  if (!there.is_open()) return failed(errno);
  // The pid, or the descriptor, can be another's by now.
  if (inode_of(there) != where.inode) return failed(ENOENT);
  if (setns(there.get(), CLONE_NEWNET) != 0) return failed(errno);
  there.close();
  auto result = body();
  if (setns(home.get(), CLONE_NEWNET) != 0) std::abort();
  return result;
}

}  // namespace closewatch
