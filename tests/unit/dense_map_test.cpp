// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/dense_map.hpp>

#include "catch.hpp"

#include <map>
#include <random>
#include <string>

using namespace closewatch;

namespace {

/// Only 16 homes, the last of them at the end of the table: searches run into each other, and around the end.
struct FewHomes {
  std::uint64_t operator()(std::uint32_t key) const { return key % 16 + 56; }
};
struct Same {
  bool operator()(std::uint32_t left, std::uint32_t right) const { return left == right; }
};
using Map = DenseMap<std::uint32_t, std::string, FewHomes, Same>;

void check_same(Map& map, const std::map<std::uint32_t, std::string>& wanted) {
  REQUIRE(map.size() == wanted.size());
  std::map<std::uint32_t, std::string> met;
  for (const auto& [key, value] : map) met.emplace(key, value);
  REQUIRE(met == wanted);
  for (std::uint32_t key = 0; key < 200; ++key) {
    const auto found = map.find(key);
    const bool is_there = wanted.contains(key);
    REQUIRE((found != map.end()) == is_there);
    if (is_there) REQUIRE(found->second == wanted.at(key));
  }
}

}  // namespace

TEST_CASE("a dense map holds what an ordered one does, however keys collide") {
  std::mt19937 engine{7};
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  Map map;
  std::map<std::uint32_t, std::string> wanted;
  CHECK(map.find(1) == map.end());
  for (int turn = 0; turn < 3000; ++turn) {
    const std::uint32_t key = random() % 200;
    // It fills, and empties again.
    const bool adds = random() % 100 < (turn / 500 % 2 == 0 ? 70U : 30U);
    if (adds) {
      const auto [place, fresh] = map.emplace(key, std::to_string(turn));
      REQUIRE(fresh == wanted.emplace(key, std::to_string(turn)).second);
      REQUIRE(place->second == wanted.at(key));
    } else if (const auto found = map.find(key); found != map.end()) {
      map.erase(found);
      wanted.erase(key);
    }
    if (turn % 10 == 0) check_same(map, wanted);
  }
}

TEST_CASE("a dense map is walked whole while entries are erased") {
  Map map;
  for (std::uint32_t key = 0; key < 1000; ++key) map.emplace(key, std::to_string(key));
  std::map<std::uint32_t, int> met;
  for (auto at = map.begin(); at != map.end();) {
    ++met[at->first];
    if (at->first % 3 != 0)
      at = map.erase(at);
    else
      ++at;
  }
  CHECK(met.size() == 1000);
  for (const auto& [key, times] : met) CHECK(times == 1);
  CHECK(map.size() == 334);
  for (std::uint32_t key = 0; key < 1000; ++key) CHECK(map.contains(key) == (key % 3 == 0));
}
