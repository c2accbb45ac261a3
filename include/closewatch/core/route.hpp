// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_ROUTE_HPP
#define CLOSEWATCH_CORE_ROUTE_HPP

#include <closewatch/core/types.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>

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

/// Of the numbers put in, one after the other.
class Hash {
 public:
  Hash& add(std::uint64_t number) {
    value_ = (value_ ^ number) * 0x9e3779b97f4a7c15ULL;
    value_ ^= value_ >> 32U;
    return *this;
  }
  Hash& add(const Address& address) {
    std::array<std::uint64_t, 2> words{};
    std::memcpy(words.data(), address.data(), sizeof words);
    return add(words[0]).add(words[1]);
  }
  [[nodiscard]] std::size_t value() const { return static_cast<std::size_t>(value_); }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

struct RouteHash {
  std::size_t operator()(const Route& route) const noexcept {
    return Hash{}
        .add(std::uint64_t{route.netns})
        .add(route.local)
        .add(route.peer.address)
        .add(std::uint64_t{route.peer.port})
        .value();
  }
};

}  // namespace closewatch

#endif
