// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_PERF_MAP_HPP
#define CLOSEWATCH_HOST_PERF_MAP_HPP

// /tmp/perf-PID.map, in which a program that makes code as it runs (Node, Java, Python's trampolines) names it: lines
// of START SIZE NAME, in hexadecimal (Linux, tools/perf/Documentation/jit-interface.txt). Any program may write what it
// likes there.

#include <closewatch/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// Finds names for a few addresses in one pass, piece by piece, and keeps nothing else of the file.
class PerfMapReader {
 public:
  explicit PerfMapReader(std::vector<std::uint64_t> addresses);

  /// The next bytes of the file, cut anywhere.
  void read(std::string_view piece);
  /// After the last piece. One name for each address, in their order; empty: none. Where several lines have an
  /// address, the last one counts: code moves, and its place is used again.
  [[nodiscard]] std::vector<std::string> names() &&;

 private:
  struct Wanted {
    std::uint64_t address = 0;
    std::size_t place = 0;
  };
  void take(std::string_view line);

  std::vector<Wanted> wanted_;  ///< by address
  std::vector<std::string> names_;
  std::string unfinished_;  ///< of a line whose end has not come yet: its beginning, up to a limit
};

/// What tells whether a file has changed.
struct FileStamp {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::uint64_t changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

struct PerfMapNames {
  FileStamp stamp;
  std::vector<std::string> names;  ///< one an address; empty: none
};

/// Of the process's own root and by its own pid (of the innermost pid namespace). Empty where there is none, where it
/// is no regular file or neither the process's user's nor root's, and where it is still as `known` says. At most the
/// first 64 MiB are read.
[[nodiscard]] std::optional<PerfMapNames> look_up_perf_map(const std::filesystem::path& root, std::uint32_t pid,
                                                           const std::vector<std::uint64_t>& addresses,
                                                           const std::optional<FileStamp>& known);

}  // namespace closewatch

#endif
