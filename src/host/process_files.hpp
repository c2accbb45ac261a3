// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_PROCESS_FILES_HPP
#define CLOSEWATCH_HOST_PROCESS_FILES_HPP

// Opening files that a process chose, which may live in another mount namespace. Whatever it put there, opening it
// neither waits nor does anything: only regular files are opened.

#include "host/memory_map.hpp"

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/types.hpp>

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>

namespace closewatch {

struct RegularFile {
  Descriptor file;
  struct stat status{};
};

/// The file that a process has mapped; also one that was deleted, or that only it sees. A process that has ended is
/// looked for by the path in our own mount namespace. Empty where it cannot be opened or is no regular file.
[[nodiscard]] std::optional<RegularFile> open_mapped(const std::filesystem::path& root, const ProcessTicks& process,
                                                     const Mapping& mapping);

/// A path as the process itself would resolve it; no symbolic link leads out of its root, and the last name may be
/// none.
[[nodiscard]] std::optional<RegularFile> open_within(const std::filesystem::path& root, std::uint32_t pid,
                                                     const std::string& path);

}  // namespace closewatch

#endif
