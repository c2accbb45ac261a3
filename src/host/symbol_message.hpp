// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_SYMBOL_MESSAGE_HPP
#define CLOSEWATCH_HOST_SYMBOL_MESSAGE_HPP

// What is said between closewatch and its symbol worker: one packet each way.

#include "host/symbol_worker.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace closewatch {

/// Longer texts are cut.
inline constexpr std::size_t text_limit = 4096;
inline constexpr std::size_t reply_limit = 3 * text_limit + 64;

/// Comes with the descriptor of the file.
struct SymbolRequest {
  dev_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t file_offset = 0;
};

[[nodiscard]] std::string encoded(const CodePlace& place);
/// Empty where the packet is not whole: it comes from a process that reads hostile files.
[[nodiscard]] std::optional<CodePlace> decoded(std::string_view packet);

[[nodiscard]] bool send_request(int socket, const SymbolRequest& request, int fd);
/// Empty where the other side has closed.
[[nodiscard]] std::optional<std::pair<SymbolRequest, Descriptor>> receive_request(int socket);

}  // namespace closewatch

#endif
