// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_DESCRIPTORS_HPP
#define CLOSEWATCH_HOST_DESCRIPTORS_HPP

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string_view>

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

/// Counted one by one, and exactly: which of them are sockets is told by nothing but their links. At some 3 us each
/// (19,000 of them: 53 ms, 108 ms the first time) it is nothing for every sweep. Empty where the process has ended,
/// also where its pid has been given to another, and where it is not ours to ask (CAP_SYS_PTRACE).
[[nodiscard]] std::optional<Descriptors> descriptors_of(const std::filesystem::path& root, const ProcessTicks& process);

/// Only how many are open. Linux keeps the number since 6.2 (st_size of /proc/PID/fd; 20 us); before, they are counted.
[[nodiscard]] std::optional<std::uint64_t> open_descriptors(const std::filesystem::path& root,
                                                            const ProcessTicks& process);

}  // namespace closewatch

#endif
