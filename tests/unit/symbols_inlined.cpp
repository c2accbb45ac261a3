// SPDX-License-Identifier: BSD-2-Clause
#include "symbols_inlined.hpp"

namespace closewatch::test {
namespace {

constexpr std::uint32_t call_line = __LINE__ + 5;
volatile std::uint64_t seen = 0;

[[gnu::noinline]] void callee() { seen = reinterpret_cast<std::uint64_t>(__builtin_return_address(0)); }
[[gnu::always_inline]] inline void inner_of_the_inlined() {
  callee();
  seen = seen + 0;
}
[[gnu::always_inline]] inline void outer_of_the_inlined() { inner_of_the_inlined(); }

}  // namespace

[[gnu::noinline]] std::uint64_t return_address_in_inlined() {
  outer_of_the_inlined();
  return seen;
}
std::uint32_t line_of_inlined_call() { return call_line; }

}  // namespace closewatch::test
