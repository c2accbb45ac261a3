// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_DWARF_HPP
#define CLOSEWATCH_HOST_DWARF_HPP

#include <elfutils/libdwfl.h>

#include <cstdint>
#include <string>
#include <vector>

namespace closewatch {

struct Location;

/// Functions and lines of one module from its DWARF. The file is anybody's: how deep and how far it is followed is
/// bounded, and no other file is opened because it says so.
class DwarfLines {
 public:
  /// An address of the module as libdwfl has placed it. The function's name is the linker's, where it has one.
  [[nodiscard]] Location look_up(Dwfl_Module* module, Dwarf_Addr address);

 private:
  struct Range {
    Dwarf_Addr start = 0;
    Dwarf_Addr end = 0;
    Dwarf_Off unit = 0;  ///< of its DIE
  };
  void index(Dwfl_Module* module);
  [[nodiscard]] bool find_unit(Dwfl_Module* module, Dwarf_Addr address, Dwarf_Die& unit, Dwarf_Addr& bias);

  bool indexed_ = false;
  std::vector<Range> ranges_;  ///< by start
};

}  // namespace closewatch

#endif
