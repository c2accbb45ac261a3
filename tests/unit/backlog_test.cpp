// SPDX-License-Identifier: BSD-2-Clause
// Records that wait while the engine must not be stepped.
#include "catch.hpp"

#include "app/backlog.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace closewatch;

namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span{text}); }

std::vector<std::string> handed_over(Backlog& backlog) {
  std::vector<std::string> out;
  backlog.hand_over([&](std::span<const std::byte> record) {
    CHECK(reinterpret_cast<std::uintptr_t>(record.data()) % 8 == 0);  // as in the ring
    out.emplace_back(reinterpret_cast<const char*>(record.data()), record.size());
  });
  return out;
}

}  // namespace

TEST_CASE("backlog: records come out as they went in, once", "[app][backlog]") {
  Backlog backlog;
  CHECK(backlog.is_empty());
  for (const char* record : {"a", "12345678", "", "123456789"}) backlog.add(bytes(record));
  CHECK_FALSE(backlog.is_empty());
  CHECK(handed_over(backlog) == std::vector<std::string>{"a", "12345678", "", "123456789"});
  CHECK(backlog.is_empty());
  CHECK(handed_over(backlog).empty());
}

TEST_CASE("backlog: what comes while it is handed over waits for the next time", "[app][backlog]") {
  Backlog backlog;
  backlog.add(bytes("first"));
  backlog.hand_over([&](std::span<const std::byte>) { backlog.add(bytes("behind")); });
  CHECK(handed_over(backlog) == std::vector<std::string>{"behind"});
}

TEST_CASE("backlog: it has an end", "[app][backlog]") {
  Backlog backlog;
  const std::string large(1U << 20U, 'x');
  for (std::size_t at = 0; at < Backlog::limit / large.size(); ++at) {
    CHECK_FALSE(backlog.is_full());
    backlog.add(bytes(large));
  }
  CHECK(backlog.is_full());
  CHECK(handed_over(backlog).size() == Backlog::limit / large.size());
  CHECK_FALSE(backlog.is_full());
}
