// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_NAMESPACES_HPP
#define CLOSEWATCH_HOST_NAMESPACES_HPP

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace closewatch {

/// A way into a network namespace, in words: a descriptor would keep the namespace alive.
struct NetworkNamespace {
  std::uint32_t inode = 0;
  /// By which it can be opened: /proc/PID/ns/net, where it is mounted, or an open descriptor of it in /proc/PID/fd.
  std::filesystem::path path;
  /// `path` is a socket in it, the descriptor `socket` of the process `pid`.
  struct Holder {
    std::uint32_t pid = 0;
    int socket = 0;
  };
  std::optional<Holder> holder;
};

/// Every network namespace that a process is in, or that is mounted somewhere (`ip netns add`). The one of the caller
/// comes first. Those that live by nothing but an open descriptor or socket are not among them. `between` is called now
/// and then: some 3 us a process.
[[nodiscard]] std::vector<NetworkNamespace> network_namespaces(const std::filesystem::path& root,
                                                               const std::function<void()>& between = {});

struct NamespaceSearch {
  std::vector<NetworkNamespace> found;
  /// All could be looked at: what was not found has gone. Otherwise nothing is known of it: a process would not let us
  /// look, or /proc does not show all of them (hidepid, another pid namespace).
  bool whole = false;
};

/// The ways into the namespaces with these inodes. Cheap ways are tried first: our own, mounts, then the processes
/// until all are found (some 3 us each). Only for what is still missing then, in one go: threads, mounts of other mount
/// namespaces, open descriptors of namespaces, and at last each socket of each process (some 4 us each), of which we
/// hold a second descriptor for that moment. Sockets take CAP_NET_ADMIN (SIOCGSKNS) and CAP_SYS_PTRACE (pidfd_getfd()).
/// What lives by a descriptor on its way through a unix socket, or by an io_uring, is not found. `between` is called
/// now and then.
[[nodiscard]] NamespaceSearch find_namespaces(const std::filesystem::path& root, std::span<const std::uint32_t> inodes,
                                              const std::function<void()>& between = {});

/// All that can be found in these ways but by sockets, each of which would have to be held for a moment; our own first.
[[nodiscard]] std::vector<NetworkNamespace> every_namespace(const std::filesystem::path& root);

/// The inode of the namespace at this path.
[[nodiscard]] std::expected<std::uint32_t, Error> namespace_inode(const std::string& path);

/// Runs `body` with this thread inside the namespace, and comes back. No descriptor of it is kept: it would keep the
/// namespace and its sockets alive. Needs CAP_SYS_ADMIN but for the caller's own. Where we are not let in the error is
/// EPERM; any other says that this way no longer leads to it. A way back that fails ends the program: it would go on in
/// the wrong place.
[[nodiscard]] std::expected<void, Error> inside(const NetworkNamespace& where,
                                                const std::function<std::expected<void, Error>()>& body);

}  // namespace closewatch

#endif
