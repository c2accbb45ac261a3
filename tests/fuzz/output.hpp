// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_FUZZ_OUTPUT_HPP
#define CLOSEWATCH_TESTS_FUZZ_OUTPUT_HPP

// What holds of every output, whatever came in.

#include <string_view>

namespace closewatch::fuzz {

/// One JSON value in UTF-8 and nothing behind it (RFC 8259), as strict as the RFC: no control characters in strings.
[[nodiscard]] bool is_json(std::string_view text);

/// UTF-8 without control characters but line breaks: no name that a process gave itself can steer a terminal.
[[nodiscard]] bool is_plain_text(std::string_view text);

}  // namespace closewatch::fuzz

#endif
