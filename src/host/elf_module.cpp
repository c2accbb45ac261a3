// SPDX-License-Identifier: BSD-2-Clause
#include "host/elf_module.hpp"

#include "host/dwarf.hpp"

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

/// No weight is taken for more, so that their sum stays a number.
constexpr std::uint64_t weight_limit = std::uint64_t{1} << 40;
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

std::string hexadecimal(const unsigned char* bytes, std::size_t length) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (std::size_t at = 0; at < length; ++at) {
    out += digits[bytes[at] >> 4];
    out += digits[bytes[at] & 0xf];
  }
  return out;
}

/// What compressed sections unfold to, as they say themselves: that is kept in memory.
std::uint64_t unfolded_size(Elf* elf) {
  std::uint64_t sum = 0;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    GElf_Chdr compressed;
    if (gelf_getshdr(section, &header) == nullptr || (header.sh_flags & SHF_COMPRESSED) == 0) continue;
    if (gelf_getchdr(section, &compressed) != nullptr) sum += std::min(compressed.ch_size, weight_limit);
  }
  return std::min(sum, weight_limit);
}

struct EndDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};

}  // namespace

class ElfModule::Implementation {
 public:
  explicit Implementation(Descriptor file) : file_(std::move(file)) {
    // The library is told where to begin by the version that it was built against.
    if (elf_version(EV_CURRENT) == EV_NONE) return;
    Elf* elf = elf_begin(file_.get(), ELF_C_READ_MMAP, nullptr);
    if (elf == nullptr || elf_kind(elf) != ELF_K_ELF || !read_segments(elf)) {
      elf_end(elf);
      return;
    }
    weight_ += unfolded_size(elf);
    report(elf);
  }

  [[nodiscard]] const std::string& build_id() const { return build_id_; }
  [[nodiscard]] std::uint64_t weight() const { return weight_; }

  [[nodiscard]] std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const {
    for (const Segment& segment : segments_)
      if (file_offset >= segment.file_offset && file_offset - segment.file_offset < segment.file_size)
        return segment.address + (file_offset - segment.file_offset);
    return std::nullopt;
  }

  Location look_up(std::uint64_t address) {
    Location location;
    if (module_ == nullptr) return location;
    const GElf_Addr at = address + bias_;
    location = lines_.look_up(module_, at);
    location.function = in_words(location.function.c_str());
    if (location.function.empty()) {
      GElf_Off offset = 0;
      GElf_Sym symbol;
      location.function = in_words(dwfl_module_addrinfo(module_, at, &offset, &symbol, nullptr, nullptr, nullptr));
    }
    return location;
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

  static int find_elf(Dwfl_Module*, void** data, const char*, Dwarf_Addr, char**, Elf** elf) noexcept {
    auto* self = static_cast<Implementation*>(*data);
    *elf = self != nullptr ? std::exchange(self->pending_, nullptr) : nullptr;
    return -1;
  }

  static const Dwfl_Callbacks callbacks;

  Descriptor file_;
  std::vector<Segment> segments_;
  std::uint64_t start_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t bias_ = 0;
  std::uint64_t weight_ = std::uint64_t{1} << 20;
  std::string build_id_;
  Elf* pending_ = nullptr;
  std::unique_ptr<Dwfl, EndDwfl> dwfl_;
  Dwfl_Module* module_ = nullptr;
  DwarfLines lines_;
};

// The other standard way to debugging information opens paths that stand in the file itself, and asks debuginfod.
const Dwfl_Callbacks ElfModule::Implementation::callbacks = {
    .find_elf = find_elf,
    .find_debuginfo = dwfl_build_id_find_debuginfo,
    .section_address = nullptr,
    .debuginfo_path = nullptr,
};

ElfModule::ElfModule(Descriptor file) : implementation_(std::make_unique<Implementation>(std::move(file))) {}
ElfModule::ElfModule(ElfModule&&) noexcept = default;
ElfModule& ElfModule::operator=(ElfModule&&) noexcept = default;
ElfModule::~ElfModule() = default;

const std::string& ElfModule::build_id() const { return implementation_->build_id(); }
std::uint64_t ElfModule::weight() const { return implementation_->weight(); }
std::optional<std::uint64_t> ElfModule::address_of(std::uint64_t file_offset) const {
  return implementation_->address_of(file_offset);
}
Location ElfModule::look_up(std::uint64_t address) { return implementation_->look_up(address); }

}  // namespace closewatch
