// SPDX-License-Identifier: BSD-2-Clause
#include "host/call_site.hpp"

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace closewatch {
namespace {

/// Bytes of the longest call instruction.
constexpr std::size_t longest_call = 7;

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

}  // namespace

bool follows_call(int fd, std::uint64_t file_offset) {
  std::array<unsigned char, longest_call> code{};
  if (file_offset < code.size()) return false;
  const auto at = static_cast<off_t>(file_offset - code.size());
  if (pread(fd, code.data(), code.size(), at) != static_cast<ssize_t>(code.size())) return false;
  return ends_in_call(code);
}

}  // namespace closewatch
