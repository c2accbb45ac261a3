// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_NAMESPACES_HPP
#define CLOSEWATCH_HOST_NAMESPACES_HPP

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace closewatch {

struct NetworkNamespace {
  std::uint32_t inode = 0;
  std::filesystem::path path;  ///< by which it can be entered: /proc/PID/ns/net, or where it is mounted
};

/// Every network namespace that a process is in, or that is mounted somewhere (`ip netns add`). The one of the caller
/// comes first. Those that live by nothing but an open socket are not among them.
[[nodiscard]] std::vector<NetworkNamespace> network_namespaces(const std::filesystem::path& root);

/// The inode of the namespace at this path.
[[nodiscard]] std::expected<std::uint32_t, Error> namespace_inode(const std::string& path);

/// Runs `body` with this thread inside the namespace, and comes back. No descriptor of it is kept: it would keep the
/// namespace and its sockets alive. Needs CAP_SYS_ADMIN but for the caller's own. A way back that fails ends the
/// program: it would go on in the wrong place.
[[nodiscard]] std::expected<void, Error> inside(const NetworkNamespace& where,
                                                const std::function<std::expected<void, Error>()>& body);

}  // namespace closewatch

#endif
