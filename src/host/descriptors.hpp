// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_DESCRIPTORS_HPP
#define CLOSEWATCH_HOST_DESCRIPTORS_HPP

#include "host/folder.hpp"

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

namespace closewatch {

/// Open descriptors of a process, its limit of them (RLIMIT_NOFILE), and how many are sockets of any family.
struct Descriptors {
  std::uint64_t open = 0;
  std::uint64_t soft_limit = 0;
  std::uint64_t sockets = 0;
};

/// "unlimited", which the kernel does not grant for descriptors but may print.
inline constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

/// The soft limit in /proc/PID/limits.
[[nodiscard]] std::optional<std::uint64_t> parse_descriptor_limit(std::string_view limits);

/// The soft limit of a process; none where it has ended, or is not ours to ask.
[[nodiscard]] std::optional<std::uint64_t> descriptor_limit(const std::filesystem::path& root, std::uint32_t pid);

/// Counts them one by one, and exactly: which of them are sockets is told by nothing but their links. At some 3 us each
/// (19,000 of them: 53 ms, 108 ms the first time) whoever has something else to do does it in pieces.
class DescriptorCount {
 public:
  /// None where the process has ended, or is not ours to ask (CAP_SYS_PTRACE).
  [[nodiscard]] static std::optional<DescriptorCount> begin(const std::filesystem::path& root,
                                                            const ProcessTicks& process);
  /// Counts on for as long as `may` says so, which is asked now and then. True: to the end.
  [[nodiscard]] bool go_on(const std::function<bool()>& may);
  /// Of what was counted to its end. None where the process has ended meanwhile, also where its pid has been given to
  /// another.
  [[nodiscard]] std::optional<Descriptors> result() const;

 private:
  DescriptorCount(std::filesystem::path root, const ProcessTicks& process, Folder folder, std::uint64_t soft_limit)
      : root_(std::move(root)), process_(process), folder_(std::move(folder)), found_{0, soft_limit, 0} {}
  std::filesystem::path root_;
  ProcessTicks process_;
  Folder folder_;
  Descriptors found_;
};

/// All at once.
[[nodiscard]] std::optional<Descriptors> descriptors_of(const std::filesystem::path& root, const ProcessTicks& process);

/// Only how many are open. Linux keeps the number since 6.2 (st_size of /proc/PID/fd; 20 us); before, they are counted.
[[nodiscard]] std::optional<std::uint64_t> open_descriptors(const std::filesystem::path& root,
                                                            const ProcessTicks& process);

}  // namespace closewatch

#endif
