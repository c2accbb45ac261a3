// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_CALL_SITE_HPP
#define CLOSEWATCH_HOST_CALL_SITE_HPP

#include <cstdint>

namespace closewatch {

/// Whether the instruction before this offset in a file is a call. Read backwards it cannot be told for certain, which
/// is good enough to tell addresses that a call has left on a stack from other words there.
[[nodiscard]] bool follows_call(int fd, std::uint64_t file_offset);

}  // namespace closewatch

#endif
