// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/address.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <iterator>

namespace closewatch {
namespace {

constexpr std::size_t group_count = 8;
using Groups = std::array<unsigned, group_count>;

/// The longest run of zeroes, the first of two as long; one alone is written out.
struct Zeroes {
  std::size_t first = group_count;
  std::size_t length = 0;
};

Zeroes longest_zeroes(const Groups& groups) {
  Zeroes best;
  for (std::size_t at = 0; at < group_count;) {
    std::size_t end = at;
    while (end < group_count && groups[end] == 0) ++end;
    if (end - at > std::max<std::size_t>(best.length, 1)) best = {at, end - at};
    at = end + 1;
  }
  return best;
}

void append_hex(std::string& out, unsigned value) {
  std::array<char, 4> digits{};
  const auto end = std::to_chars(digits.begin(), digits.end(), value, 16).ptr;
  out.append(digits.begin(), end);
}

std::string ipv4_text(const std::uint8_t* bytes) {
  std::string out;
  for (std::size_t at = 0; at < 4; ++at) {
    if (at != 0) out += '.';
    out += std::to_string(bytes[at]);
  }
  return out;
}

std::string ipv6_text(const Address& address) {
  Groups groups{};
  for (std::size_t at = 0; at < group_count; ++at) groups[at] = address[2 * at] * 256U + address[2 * at + 1];
  const Zeroes zeroes = longest_zeroes(groups);
  // An IPv4 address in the last four bytes is written as one: ::192.0.2.1, ::ffff:192.0.2.1.
  const bool has_ipv4 = zeroes.first == 0 && (zeroes.length == 6 || (zeroes.length == 5 && groups[5] == 0xFFFF));
  const std::size_t hex_groups = has_ipv4 ? group_count - 2 : group_count;
  std::string out;
  for (std::size_t at = 0; at < hex_groups; ++at) {
    if (at == zeroes.first) {
      out += "::";
      at += zeroes.length - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    append_hex(out, groups[at]);
  }
  if (!has_ipv4) return out;
  if (out.back() != ':') out += ':';
  return out + ipv4_text(std::next(address.data(), 12));
}

}  // namespace

std::string address_text(const Address& address, Family family) {
  return family == Family::ipv4 ? ipv4_text(address.data()) : ipv6_text(address);
}

std::string endpoint_text(const Endpoint& endpoint, Family family) {
  const std::string address = address_text(endpoint.address, family);
  const std::string port = std::to_string(endpoint.port);
  return family == Family::ipv4 ? address + ":" + port : "[" + address + "]:" + port;
}

bool is_loopback(const Address& address, Family family) {
  constexpr Address ipv6_loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return family == Family::ipv4 ? address[0] == 127 : address == ipv6_loopback;
}

}  // namespace closewatch
