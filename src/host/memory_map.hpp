// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_MEMORY_MAP_HPP
#define CLOSEWATCH_HOST_MEMORY_MAP_HPP

// /proc/PID/maps: which file an address of a process belongs to. The names in it are the process's own choice.

#include <closewatch/core/types.hpp>

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// A piece of memory that can be run.
struct Mapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;     ///< the first address after it
  std::uint64_t offset = 0;  ///< of its start, in the file
  dev_t device = 0;
  std::uint64_t inode = 0;  ///< 0: no file
  std::string name;  ///< as the kernel writes it: a path, also `… (deleted)`, or `[vdso]`; empty for anonymous
  bool operator==(const Mapping&) const = default;
};

/// The executable mappings (proc(5)), by address. Lines that cannot be read are left out.
[[nodiscard]] std::vector<Mapping> parse_maps(std::string_view text);

/// Null where the address is in none of them, which are sorted by address.
[[nodiscard]] const Mapping* mapping_of(const std::vector<Mapping>& mappings, std::uint64_t address);

/// Those of this very process. Empty where it has ended, also where its pid has been given to another.
[[nodiscard]] std::optional<std::vector<Mapping>> executable_mappings(const std::filesystem::path& root,
                                                                      const ProcessTicks& process);

}  // namespace closewatch

#endif
