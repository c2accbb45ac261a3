// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SYMBOL_WORKER_HPP
#define CLOSEWATCH_HOST_SYMBOL_WORKER_HPP

#include "host/elf_module.hpp"

#include <closewatch/base/descriptor.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace closewatch {

/// What tells files apart, as long as they are open. Not the build-id, which anybody can give to his own file.
using FileKey = std::pair<dev_t, std::uint64_t>;

/// What a file says of an offset in it.
struct CodePlace {
  std::string build_id;                  ///< hexadecimal; empty where it has none
  std::optional<std::uint64_t> address;  ///< in the file's own terms
  Location location;
};

/// A process of ours, without privileges, that reads programs' symbols. Any program may be written to break or to stall
/// its reader, and libdw was not made for that: then only this process ends, and another takes its place.
class SymbolWorker {
 public:
  SymbolWorker() = default;
  SymbolWorker(const SymbolWorker&) = delete;
  SymbolWorker& operator=(const SymbolWorker&) = delete;
  ~SymbolWorker();

  /// Starts it where it does not run. Takes as long as the file is large: three seconds of its work or its waiting for
  /// the file at most, and thirty where other programs leave it no CPU.
  /// Empty where it ended over this file, or could not be asked.
  [[nodiscard]] std::optional<CodePlace> ask(const FileKey& key, int fd, std::uint64_t file_offset);

  /// Called now and then while an answer is waited for.
  void while_waiting(std::function<void()> callback) { meanwhile_ = std::move(callback); }

  /// How often it ended over a file. Past a limit no more are started.
  [[nodiscard]] std::uint64_t failed() const { return failed_; }

 private:
  [[nodiscard]] bool start();
  void stop();
  [[nodiscard]] std::optional<CodePlace> answer() const;
  [[nodiscard]] bool answers() const;

  std::function<void()> meanwhile_;
  Descriptor socket_;
  pid_t pid_ = -1;
  std::uint64_t failed_ = 0;
};

}  // namespace closewatch

#endif
