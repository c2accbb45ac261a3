// SPDX-License-Identifier: BSD-2-Clause
// Addresses as inet_ntop(3) writes them.
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/address.hpp>

#include <arpa/inet.h>

#include <random>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("addresses: as inet_ntop", "[address]") {
  std::mt19937 random{1337};
  for (int round = 0; round < 20'000; ++round) {
    Address address{};
    for (std::size_t at = 0; at < address.size(); at += 2) {
      // Zeroes in every place, and short groups.
      const auto kind = random() % 4;
      if (kind >= 2) address[at + 1] = static_cast<std::uint8_t>(random());
      if (kind == 3) address[at] = static_cast<std::uint8_t>(random());
    }
    if (round % 16 == 0) address[10] = address[11] = 0xFF;
    std::array<char, INET6_ADDRSTRLEN> expected{};
    REQUIRE(inet_ntop(AF_INET6, address.data(), expected.data(), expected.size()) != nullptr);
    REQUIRE(address_text(address, Family::ipv6) == expected.data());
    REQUIRE(inet_ntop(AF_INET, address.data(), expected.data(), expected.size()) != nullptr);
    REQUIRE(address_text(address, Family::ipv4) == expected.data());
  }
}

TEST_CASE("addresses: well-known ones", "[address]") {
  CHECK(endpoint_text(endpoint("::", 80), Family::ipv6) == "[::]:80");
  CHECK(endpoint_text(endpoint("::1", 80), Family::ipv6) == "[::1]:80");
  CHECK(endpoint_text(endpoint("2001:db8::7:0:0:1", 1), Family::ipv6) == "[2001:db8::7:0:0:1]:1");
  CHECK(endpoint_text(endpoint("127.0.0.1", 65'535), Family::ipv4) == "127.0.0.1:65535");
}

TEST_CASE("addresses: loopback", "[address]") {
  CHECK(is_loopback(endpoint("127.1.2.3", 0).address, Family::ipv4));
  CHECK_FALSE(is_loopback(endpoint("128.0.0.1", 0).address, Family::ipv4));
  CHECK(is_loopback(endpoint("::1", 0).address, Family::ipv6));
  CHECK_FALSE(is_loopback(endpoint("::2", 0).address, Family::ipv6));
}
