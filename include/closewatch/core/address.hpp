// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_ADDRESS_HPP
#define CLOSEWATCH_CORE_ADDRESS_HPP

#include <closewatch/core/types.hpp>

#include <string>

namespace closewatch {

/// As inet_ntop(3) has it (RFC 5952).
[[nodiscard]] std::string address_text(const Address& address, Family family);

/// As `ss` prints it: 127.0.0.1:8080, [::1]:8080.
[[nodiscard]] std::string endpoint_text(const Endpoint& endpoint, Family family);

/// Packets to it do not leave the machine: 127.0.0.0/8, ::1.
[[nodiscard]] bool is_loopback(const Address& address, Family family);

}  // namespace closewatch

#endif
