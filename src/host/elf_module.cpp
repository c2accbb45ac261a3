// SPDX-License-Identifier: BSD-2-Clause
#include "host/elf_module.hpp"

#include "host/dwarf.hpp"

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

/// Addresses that are kept with their answers; past it all are forgotten and asked for anew.
constexpr std::size_t answers_limit = 8192;
/// Debugging information that is read into memory, as it unfolds. Files with more have symbols only.
constexpr std::uint64_t debug_limit = std::uint64_t{256} << 20;
/// Of a name: what is longer is nothing to read.
constexpr std::size_t name_limit = 4096;

struct Segment {
  std::uint64_t file_offset = 0;
  std::uint64_t file_size = 0;
  std::uint64_t address = 0;
};

std::string in_words(const char* name) {
  if (name == nullptr) return {};
  std::string_view text{name};
  // GCC and Clang add suffixes to the copies that they make of a function; the demangler knows those.
  if (!text.starts_with("_Z") || text.size() > name_limit) return std::string{text.substr(0, name_limit)};
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> words{abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free};
  return status == 0 ? std::string{words.get()}.substr(0, name_limit) : std::string{text};
}

/// Bytes of the longest call instruction.
constexpr std::size_t longest_call = 7;

/// Is the last instruction of these bytes a call? Read backwards it cannot be told for certain, which is good enough to
/// tell addresses that a call has left on a stack from other words there.
bool ends_in_call(const std::array<unsigned char, longest_call>& code) {
#if defined(__aarch64__)
  std::uint32_t word = 0;
  std::memcpy(&word, code.data() + code.size() - sizeof word, sizeof word);
  return (word & 0xfc000000U) == 0x94000000U || (word & 0xfffffc1fU) == 0xd63f0000U;  // BL, BLR
#else
  if (code[code.size() - 5] == 0xe8) return true;  // to a relative address
  for (std::size_t length = 2; length <= code.size(); ++length) {
    const std::size_t at = code.size() - length;
    if (code[at] == 0xff && (code[at + 1] >> 3U & 7U) == 2) return true;  // through a register or memory
  }
  return false;
#endif
}

std::string hexadecimal(const unsigned char* bytes, std::size_t length) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (std::size_t at = 0; at < length; ++at) {
    out += digits[bytes[at] >> 4];
    out += digits[bytes[at] & 0xf];
  }
  return out;
}

/// Nobody but root can shorten it under us: a mapping of a file that became shorter ends the reader with SIGBUS.
bool is_roots(const struct stat& status) { return status.st_uid == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0; }

/// The size that a section will have in memory: a compressed one says itself what it unfolds to.
std::uint64_t unfolded_size(Elf_Scn* section, const GElf_Shdr& header) {
  GElf_Chdr compressed;
  if ((header.sh_flags & SHF_COMPRESSED) != 0 && gelf_getchdr(section, &compressed) != nullptr)
    return compressed.ch_size;
  return header.sh_size;
}

struct Sections {
  std::uint64_t debug_bytes = 0;
  bool packed_symbols = false;  ///< of a kind whose size is told nowhere (.gnu_debugdata, .zdebug_info)
};

Sections sections_of(Elf* elf) {
  Sections found;
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return found;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) continue;
    const char* name = elf_strptr(elf, names, header.sh_name);
    const std::string_view text = name != nullptr ? name : "";
    if (text.starts_with(".zdebug") || text == ".gnu_debugdata") found.packed_symbols = true;
    const std::uint64_t size = text.starts_with(".debug") ? unfolded_size(section, header) : 0;
    found.debug_bytes = size > debug_limit ? debug_limit + 1 : std::min(found.debug_bytes + size, debug_limit + 1);
  }
  return found;
}

struct EndDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};

}  // namespace

class ElfModule::Implementation {
 public:
  explicit Implementation(RegularFile file) : file_(std::move(file)) {
    // The library is told where to begin by the version that it was built against.
    if (elf_version(EV_CURRENT) == EV_NONE || !file_.file.is_open()) return;
    const bool mapped = is_roots(file_.status);
    Elf* elf = elf_begin(file_.file.get(), mapped ? ELF_C_READ_MMAP_PRIVATE : ELF_C_READ, nullptr);
    if (elf == nullptr || elf_kind(elf) != ELF_K_ELF || !read_segments(elf)) {
      elf_end(elf);
      return;
    }
    const Sections sections = sections_of(elf);
    if (!mapped) weight_ += std::min(sections.debug_bytes, debug_limit);
    use_debug_ = mapped || sections.debug_bytes <= debug_limit;
    // What unfolds to any size is only believed where root put it.
    use_symbols_ = mapped || !sections.packed_symbols;
    report(elf);
  }

  [[nodiscard]] const std::string& build_id() const { return build_id_; }
  [[nodiscard]] std::uint64_t weight() const { return weight_; }

  [[nodiscard]] bool follows_call(std::uint64_t file_offset) const {
    std::array<unsigned char, longest_call> code{};
    if (file_offset < code.size() || !file_.file.is_open()) return false;
    const auto at = static_cast<off_t>(file_offset - code.size());
    if (pread(file_.file.get(), code.data(), code.size(), at) != static_cast<ssize_t>(code.size())) return false;
    return ends_in_call(code);
  }

  [[nodiscard]] std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const {
    for (const Segment& segment : segments_)
      if (file_offset >= segment.file_offset && file_offset - segment.file_offset < segment.file_size)
        return segment.address + (file_offset - segment.file_offset);
    return std::nullopt;
  }

  const Location& look_up(std::uint64_t address) {
    if (const auto known = answers_.find(address); known != answers_.end()) return known->second;
    if (answers_.size() >= answers_limit) answers_.clear();
    return answers_[address] = find(address);
  }

 private:
  bool read_segments(Elf* elf) {
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) return false;
    for (std::size_t at = 0; at < count; ++at) {
      GElf_Phdr header;
      if (gelf_getphdr(elf, static_cast<int>(at), &header) == nullptr || header.p_type != PT_LOAD) continue;
      if (segments_.empty()) start_ = header.p_align > 1 ? header.p_vaddr & ~(header.p_align - 1) : header.p_vaddr;
      if (header.p_vaddr + header.p_memsz < header.p_vaddr) return false;
      end_ = std::max(end_, header.p_vaddr + header.p_memsz);
      segments_.push_back({.file_offset = header.p_offset, .file_size = header.p_filesz, .address = header.p_vaddr});
    }
    return !segments_.empty() && start_ < end_;
  }

  /// Takes the Elf. At the address that the file itself names, so that addresses are the file's own.
  void report(Elf* elf) {
    pending_ = elf;
    dwfl_.reset(dwfl_begin(&callbacks));
    if (dwfl_) {
      dwfl_report_begin(dwfl_.get());
      module_ = dwfl_report_module(dwfl_.get(), "module", start_, end_);
      void** data = nullptr;
      if (module_ != nullptr &&
          dwfl_module_info(module_, &data, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) != nullptr)
        *data = this;
      GElf_Addr bias = 0;
      if (dwfl_report_end(dwfl_.get(), nullptr, nullptr) != 0 || dwfl_module_getelf(module_, &bias) == nullptr)
        module_ = nullptr;
      bias_ = bias;
    }
    elf_end(std::exchange(pending_, nullptr));
    const unsigned char* bits = nullptr;
    GElf_Addr where = 0;
    const int length = module_ != nullptr ? dwfl_module_build_id(module_, &bits, &where) : 0;
    constexpr int longest = 64;
    if (length > 0) build_id_ = hexadecimal(bits, static_cast<std::size_t>(std::min(length, longest)));
  }

  Location find(std::uint64_t address) {
    Location location;
    if (module_ == nullptr || !use_symbols_) return location;
    const GElf_Addr at = address + bias_;
    if (use_debug_) location = lines_.look_up(module_, at);
    location.function = in_words(location.function.c_str());
    if (location.function.empty()) {
      GElf_Off offset = 0;
      GElf_Sym symbol;
      location.function = in_words(dwfl_module_addrinfo(module_, at, &offset, &symbol, nullptr, nullptr, nullptr));
    }
    return location;
  }

  static int find_elf(Dwfl_Module*, void** data, const char*, Dwarf_Addr, char**, Elf** elf) noexcept {
    auto* self = static_cast<Implementation*>(*data);
    *elf = self != nullptr ? std::exchange(self->pending_, nullptr) : nullptr;
    return -1;
  }

  static const Dwfl_Callbacks callbacks;

  RegularFile file_;
  std::vector<Segment> segments_;
  std::uint64_t start_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t bias_ = 0;
  std::uint64_t weight_ = std::uint64_t{1} << 20;
  bool use_debug_ = false;
  bool use_symbols_ = false;
  std::string build_id_;
  Elf* pending_ = nullptr;
  std::unique_ptr<Dwfl, EndDwfl> dwfl_;
  Dwfl_Module* module_ = nullptr;
  DwarfLines lines_;
  std::unordered_map<std::uint64_t, Location> answers_;
};

// The other standard way to debugging information opens paths that stand in the file itself, and asks debuginfod.
const Dwfl_Callbacks ElfModule::Implementation::callbacks = {
    .find_elf = find_elf,
    .find_debuginfo = dwfl_build_id_find_debuginfo,
    .section_address = nullptr,
    .debuginfo_path = nullptr,
};

ElfModule::ElfModule(RegularFile file) : implementation_(std::make_unique<Implementation>(std::move(file))) {}
ElfModule::ElfModule(ElfModule&&) noexcept = default;
ElfModule& ElfModule::operator=(ElfModule&&) noexcept = default;
ElfModule::~ElfModule() = default;

const std::string& ElfModule::build_id() const { return implementation_->build_id(); }
std::uint64_t ElfModule::weight() const { return implementation_->weight(); }
bool ElfModule::follows_call(std::uint64_t file_offset) const { return implementation_->follows_call(file_offset); }

std::optional<std::uint64_t> ElfModule::address_of(std::uint64_t file_offset) const {
  return implementation_->address_of(file_offset);
}
const Location& ElfModule::look_up(std::uint64_t address) { return implementation_->look_up(address); }

}  // namespace closewatch
