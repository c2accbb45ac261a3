// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_ELF_MODULE_HPP
#define CLOSEWATCH_HOST_ELF_MODULE_HPP

#include <closewatch/base/descriptor.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace closewatch {

/// What a program's files say of an address. Empty: not known.
struct Location {
  std::string function;
  std::string file;
  std::uint32_t line = 0;
};

/// An ELF file, with the debugging information that it has, or that lies in /usr/lib/debug/.build-id. Nothing is ever
/// fetched from the network: of libdwfl's ways to find such a file, only the one that looks there is used.
/// Symbols are read when the first address is asked for. The file is mapped, and may end the process that reads it
/// (SIGBUS, where its owner makes it shorter; libdw's own faults): SymbolWorker's.
class ElfModule {
 public:
  explicit ElfModule(Descriptor file);
  ElfModule(ElfModule&&) noexcept;
  ElfModule& operator=(ElfModule&&) noexcept;
  ElfModule(const ElfModule&) = delete;
  ElfModule& operator=(const ElfModule&) = delete;
  ~ElfModule();

  /// Hexadecimal; empty where it has none, or is no ELF file.
  [[nodiscard]] const std::string& build_id() const;

  /// Where an offset in the file is, as an address in the file's own terms: what addr2line takes.
  [[nodiscard]] std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const;

  /// The innermost function, inlined ones too, with C++ names in words.
  [[nodiscard]] Location look_up(std::uint64_t address);

  /// About how much memory it may take, without what is mapped and can be read again.
  [[nodiscard]] std::uint64_t weight() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace closewatch

#endif
