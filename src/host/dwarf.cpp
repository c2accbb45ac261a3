// SPDX-License-Identifier: BSD-2-Clause
#include "host/dwarf.hpp"

#include "host/elf_module.hpp"

#include <dwarf.h>

#include <algorithm>
#include <cstddef>

namespace closewatch {
namespace {

/// Of scopes within scopes: lexical blocks, and functions inlined into inlined ones.
constexpr int depth_limit = 64;
/// Entries looked at for one address. A large unit has some hundred thousand; a forged one may go in circles.
constexpr std::size_t entries_limit = 1'000'000;
constexpr std::size_t ranges_limit = 4'000'000;

bool holds_functions(int tag) {
  return tag == DW_TAG_namespace || tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_module ||
         tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
}

bool is_code(int tag) {
  return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
         tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

/// The innermost function around an address. It goes down by hand: dwarf_getscopes() recurses as deep as the file says.
class Innermost {
 public:
  explicit Innermost(Dwarf_Addr address) : address_(address) {}

  /// Whether the address was found below.
  bool descend(Dwarf_Die& parent, int depth) {
    Dwarf_Die child;
    if (depth == 0 || dwarf_child(&parent, &child) != 0) return false;
    do {
      if (++entries_ > entries_limit) return true;
      const int tag = dwarf_tag(&child);
      if (is_code(tag) && dwarf_haspc(&child, address_) > 0) {
        if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine) {
          function_ = child;
          found_ = true;
        }
        descend(child, depth - 1);
        return true;
      }
      if (holds_functions(tag) && descend(child, depth - 1)) return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
  }

  [[nodiscard]] std::string name() {
    if (!found_) return {};
    Dwarf_Attribute attribute;
    for (const unsigned kind : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name})
      if (dwarf_attr_integrate(&function_, kind, &attribute) != nullptr)
        if (const char* text = dwarf_formstring(&attribute)) return text;
    return {};
  }

 private:
  Dwarf_Addr address_;
  std::size_t entries_ = 0;
  bool found_ = false;
  Dwarf_Die function_{};
};

/// A unit whose entries are in another file (split DWARF), which libdw would open by the name that stands here.
bool is_split(Dwarf_Die& unit) {
  return dwarf_hasattr(&unit, DW_AT_dwo_name) != 0 || dwarf_hasattr(&unit, DW_AT_GNU_dwo_name) != 0;
}

}  // namespace

Location DwarfLines::look_up(Dwfl_Module* module, Dwarf_Addr address) {
  Location location;
  Dwarf_Die unit;
  Dwarf_Addr bias = 0;
  if (!find_unit(module, address, unit, bias)) return location;
  const Dwarf_Addr own = address - bias;
  if (Dwarf_Line* line = dwarf_getsrc_die(&unit, own)) {
    const char* file = dwarf_linesrc(line, nullptr, nullptr);
    int number = 0;
    if (file != nullptr && dwarf_lineno(line, &number) == 0) {
      location.file = file;
      location.line = static_cast<std::uint32_t>(std::max(number, 0));
    }
  }
  if (is_split(unit)) return location;
  Innermost innermost{own};
  innermost.descend(unit, depth_limit);
  location.function = innermost.name();
  return location;
}

void DwarfLines::index(Dwfl_Module* module) {
  indexed_ = true;
  Dwarf_Addr bias = 0;
  for (Dwarf_Die* unit = nullptr; (unit = dwfl_module_nextcu(module, unit, &bias)) != nullptr;) {
    Dwarf_Addr base = 0;
    Range range{.start = 0, .end = 0, .unit = dwarf_dieoffset(unit)};
    for (std::ptrdiff_t at = 0; (at = dwarf_ranges(unit, at, &base, &range.start, &range.end)) > 0;) {
      // What the linker has thrown away lies at 0.
      if (range.start != 0 && range.start < range.end) ranges_.push_back(range);
      if (ranges_.size() >= ranges_limit) break;
    }
  }
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& left, const Range& right) { return left.start < right.start; });
}

bool DwarfLines::find_unit(Dwfl_Module* module, Dwarf_Addr address, Dwarf_Die& unit, Dwarf_Addr& bias) {
  if (Dwarf_Die* found = dwfl_module_addrdie(module, address, &bias)) {
    unit = *found;
    return true;
  }
  // Clang and rustc write no table of which unit an address is in (.debug_aranges), and libdw before 0.190 knows no
  // other way.
  Dwarf* dwarf = dwfl_module_getdwarf(module, &bias);
  if (dwarf == nullptr) return false;
  if (!indexed_) index(module);
  const Dwarf_Addr own = address - bias;
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), own,
                                [](Dwarf_Addr wanted, const Range& range) { return wanted < range.start; });
  if (after == ranges_.begin() || own >= (--after)->end) return false;
  return dwarf_offdie(dwarf, after->unit, &unit) != nullptr;
}

}  // namespace closewatch
