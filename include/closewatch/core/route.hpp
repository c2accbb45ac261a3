// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_ROUTE_HPP
#define CLOSEWATCH_CORE_ROUTE_HPP

#include <closewatch/core/types.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace closewatch {

/// Where connections go out from and to. Among those of one route each has a local port of its own: connect() looks for
/// one that is free in it (__inet_hash_connect()).
struct Route {
  std::uint32_t netns = 0;
  Family family = Family::ipv4;
  Address local{};
  Endpoint peer;
  auto operator<=>(const Route&) const = default;
};

[[nodiscard]] inline Route route_of(const Tuple& tuple) {
  return {tuple.netns, tuple.family, tuple.local.address, tuple.peer};
}

/// Of the bytes, one after the other (FNV-1a).
class Hash {
 public:
  template <typename Number>
  Hash& add(Number number) {
    for (std::size_t at = 0; at < sizeof number; ++at) mix(static_cast<std::uint8_t>(number >> (8 * at)));
    return *this;
  }
  Hash& add(const Address& address) {
    for (const std::uint8_t byte : address) mix(byte);
    return *this;
  }
  [[nodiscard]] std::size_t value() const { return static_cast<std::size_t>(value_); }

 private:
  void mix(std::uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3ULL; }
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

struct RouteHash {
  std::size_t operator()(const Route& route) const noexcept {
    return Hash{}.add(route.netns).add(route.local).add(route.peer.address).add(route.peer.port).value();
  }
};

}  // namespace closewatch

#endif
