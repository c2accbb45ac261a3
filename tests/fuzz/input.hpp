// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_FUZZ_INPUT_HPP
#define CLOSEWATCH_TESTS_FUZZ_INPUT_HPP

// The bytes of an input, taken from the front. Behind their end there are zeroes: every input means something.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace closewatch::fuzz {

/// A promise that an input has broken: told, and then it is a crash as any other.
inline void demand(bool holds, std::string_view what, std::string_view shown = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %.*s\n%.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(shown.size()), shown.data());
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }

  std::string_view take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view all() { return take(rest_.size()); }

  /// In the byte order of this machine.
  template <typename Number>
  Number number() {
    Number value{};
    const std::string_view bytes = take(sizeof value);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::uint8_t byte() { return number<std::uint8_t>(); }

  /// One byte for a number of any size: small ones, powers of two and what is beside them, the largest.
  std::uint64_t wide() {
    const std::uint8_t drawn = byte();
    if (drawn < 0x40) return drawn;
    const std::uint64_t power = std::uint64_t{1} << (drawn & 0x3fU);
    return drawn < 0x80 ? power : drawn < 0xc0 ? power - 1 : ~std::uint64_t{0} - (drawn & 0x3fU);
  }

  /// Of at most `most` bytes, a length before them.
  std::string_view text(std::size_t most) { return take(std::min<std::size_t>(byte(), most)); }

 private:
  std::string_view rest_;
};

}  // namespace closewatch::fuzz

#endif
