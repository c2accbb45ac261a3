// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_SYMBOLS_INLINED_HPP
#define CLOSEWATCH_TESTS_UNIT_SYMBOLS_INLINED_HPP

#include <cstdint>

namespace closewatch::test {

/// An address behind a call that an inlined function makes, and the line of that call.
std::uint64_t return_address_in_inlined();
std::uint32_t line_of_inlined_call();

}  // namespace closewatch::test

#endif
