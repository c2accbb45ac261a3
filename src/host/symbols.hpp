// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SYMBOLS_HPP
#define CLOSEWATCH_HOST_SYMBOLS_HPP

// Addresses of user stacks in words.

#include "host/memory_map.hpp"
#include "host/perf_map.hpp"
#include "host/recent.hpp"
#include "host/symbol_worker.hpp"

#include <closewatch/core/finding.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace closewatch {

/// Reads files, which takes its time (milliseconds for the first look into a large one): off the path of events. No
/// process is stopped, nothing is fetched from the network. Symbols are read by a process of ours, which is started
/// when the first is wanted and lives as long as this.
class Symbols {
 public:
  explicit Symbols(std::filesystem::path root);

  /// Reads which files a process has mapped now, to have it when the process has ended. `exec_id` tells the programs
  /// apart that a process runs one after the other (Identity).
  void remember(const ProcessTicks& process, std::uint32_t exec_id);

  /// One frame an address, in their order, the innermost first. They have to be of the program that the process runs
  /// now, or ran when it was last asked for by this exec_id: what was mapped then is all that /proc tells.
  /// A process that has ended unremembered: frames with addresses alone.
  ///
  /// All are taken for return addresses, and the byte before is looked up: the call may be the last thing in its
  /// function. That is right for the innermost too, which is the instruction after the system call's.
  [[nodiscard]] std::vector<Frame> look_up(const ProcessTicks& process, std::uint32_t exec_id,
                                           std::span<const std::uint64_t> addresses);

  /// The first of these words of a stack that a call has left there: an address in code, behind a call instruction.
  /// Code made at run time is in no file and taken at its word.
  [[nodiscard]] std::optional<std::uint64_t> return_address(const ProcessTicks& process, std::uint32_t exec_id,
                                                            std::span<const std::uint64_t> words);

  /// Called now and then while a file's symbols are waited for: that can be seconds (SymbolWorker::ask()).
  void while_waiting(std::function<void()> callback) { worker_.while_waiting(std::move(callback)); }

  /// Processes and files that gave way to others.
  [[nodiscard]] std::uint64_t evicted() const { return memories_.evicted() + modules_.evicted(); }

  /// Files whose symbols could not be read without harm, or in time.
  [[nodiscard]] std::uint64_t failed() const { return worker_.failed(); }

 private:
  struct ProcessProgram {
    std::uint32_t pid = 0;
    std::uint64_t start_ticks = 0;
    std::uint32_t exec_id = 0;
    auto operator<=>(const ProcessProgram&) const = default;
  };
  struct Memory {
    std::vector<Mapping> mappings;
    std::optional<FileStamp> perf_map;          ///< as it was when the names were looked for
    std::map<std::uint64_t, std::string> made;  ///< names of code that was made at run time; empty: none
  };
  struct Module {
    Descriptor file;  ///< keeps its inode from becoming another's
    std::unordered_map<std::uint64_t, CodePlace> places;
    bool broken = false;  ///< the worker ended over it
  };

  [[nodiscard]] Memory* memory_of(const ProcessTicks& process, std::uint32_t exec_id,
                                  std::span<const std::uint64_t> addresses);
  Memory* read_memory(const ProcessTicks& process, std::uint32_t exec_id);
  [[nodiscard]] Module* module_of(const ProcessTicks& process, const Mapping& mapping);
  [[nodiscard]] const CodePlace* place_of(const FileKey& key, Module& module, std::uint64_t file_offset);
  void name_made_code(const ProcessTicks& process, Memory& memory, std::span<const std::uint64_t> addresses);
  void describe(const ProcessTicks& process, const Memory& memory, Frame& frame);

  std::filesystem::path root_;
  Recent<ProcessProgram, Memory> memories_;
  Recent<FileKey, Module> modules_;
  SymbolWorker worker_;
};

/// Whether there is more above than can be seen: no frame is one that programs and threads begin with. What was built
/// without frame pointers ends the walk.
[[nodiscard]] bool looks_cut_short(const std::vector<Frame>& frames);

}  // namespace closewatch

#endif
