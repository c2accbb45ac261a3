// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"

#include <closewatch/core/processes.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

ProcessResolved answer(const Identity& identity, const char* exe, bool exited = false) {
  ProcessResolved out;
  out.key = identity.key;
  out.exec_id = identity.exec_id;
  out.exited = exited;
  out.details.exe = exe;
  return out;
}

}  // namespace

TEST_CASE("a process is wanted once, and its entry is shared", "[processes]") {
  Processes processes{10};
  const auto first = processes.find(person(1, "a"));
  CHECK(first.wanted);
  CHECK_FALSE(processes.find(person(1, "a")).wanted);
  CHECK(processes.find(person(1, "a")).entry == first.entry);
  processes.resolve(answer(person(1, "a"), "/bin/a"));
  CHECK(first.entry->details.exe == "/bin/a");
}

TEST_CASE("the name is no part of the identity, pid and start time are", "[processes]") {
  Processes processes{10};
  (void)processes.find(person(1, "a"));
  CHECK_FALSE(processes.find(person(1, "renamed")).wanted);
  Identity again = person(1, "a");
  again.key.start_ns += 1;
  CHECK(processes.find(again).wanted);
  CHECK(processes.size() == 2);
}

TEST_CASE("exec() makes it another program", "[processes]") {
  Processes processes{10};
  const auto before = processes.find(person(1, "a", 0));
  processes.resolve(answer(person(1, "a", 0), "/bin/a"));
  const auto after = processes.find(person(1, "b", 1));
  CHECK(after.wanted);
  CHECK_FALSE(after.entry->details.exe);
  CHECK(before.entry->details.exe == "/bin/a");
  processes.resolve(answer(person(1, "a", 0), "/bin/late"));
  CHECK_FALSE(after.entry->details.exe);
  processes.resolve(answer(person(1, "b", 1), "/bin/b"));
  CHECK(after.entry->details.exe == "/bin/b");
  CHECK(processes.size() == 1);
}

TEST_CASE("the program that it was before exec() is not asked for: /proc knows the present one alone", "[processes]") {
  Processes processes{10};
  (void)processes.find(person(1, "b", 1));
  processes.resolve(answer(person(1, "b", 1), "/bin/b"));
  const auto before = processes.find(person(1, "a", 0));
  CHECK_FALSE(before.wanted);
  CHECK_FALSE(before.entry->details.exe);
  CHECK(processes.find(person(1, "b", 1)).entry->details.exe == "/bin/b");
}

TEST_CASE("who was not looked up this time is asked for again", "[processes]") {
  Processes processes{10};
  (void)processes.find(person(1, "a"));
  ProcessResolved skipped;
  skipped.key = person(1, "a").key;
  skipped.skipped = true;
  processes.resolve(skipped);
  CHECK(processes.find(person(1, "a")).wanted);
}

TEST_CASE("who has exited", "[processes]") {
  Processes processes{10};
  CHECK_FALSE(processes.has_exited(person(1, "a").key));
  const auto found = processes.find(person(1, "a"));
  CHECK_FALSE(processes.has_exited(person(1, "a").key));
  processes.exited(person(1, "a").key);
  CHECK(processes.has_exited(person(1, "a").key));
  CHECK(found.entry->exited);
  SECTION("stays so after an exec seen late") { CHECK(processes.find(person(1, "b", 1)).entry->exited); }
}

TEST_CASE("an answer may say that it has exited", "[processes]") {
  Processes processes{10};
  (void)processes.find(person(1, "a"));
  processes.resolve(answer(person(1, "a"), "", true));
  CHECK(processes.has_exited(person(1, "a").key));
}

TEST_CASE("answers and ends of those never asked for change nothing", "[processes]") {
  Processes processes{10};
  processes.resolve(answer(person(1, "a"), "/bin/a"));
  processes.exited(person(1, "a").key);
  CHECK(processes.size() == 0);
}

TEST_CASE("the cache is bounded: who has exited longest ago goes first", "[processes]") {
  Processes processes{3};
  for (std::uint32_t pid = 1; pid <= 3; ++pid) (void)processes.find(person(pid, "a"));
  processes.exited(person(3, "a").key);
  processes.exited(person(2, "a").key);
  (void)processes.find(person(4, "a"));
  CHECK(processes.size() == 3);
  CHECK(processes.evicted() == 1);
  CHECK_FALSE(processes.has_exited(person(3, "a").key));  // forgotten
  CHECK(processes.has_exited(person(2, "a").key));
  CHECK_FALSE(processes.find(person(1, "a")).wanted);
  (void)processes.find(person(5, "a"));
  CHECK_FALSE(processes.find(person(1, "a")).wanted);
  CHECK(processes.evicted() == 2);
  CHECK(processes.size() == 3);
}

TEST_CASE("where nobody has exited somebody goes all the same, and is asked for again", "[processes]") {
  Processes processes{3};
  for (std::uint32_t pid = 1; pid <= 10; ++pid) {
    CHECK(processes.find(person(pid, "a")).wanted);
    CHECK(processes.size() <= 3);
  }
  CHECK(processes.evicted() == 7);
  CHECK_FALSE(processes.find(person(10, "a")).wanted);
}

TEST_CASE("a fact keeps its process although the cache has forgotten it", "[processes]") {
  Processes processes{1};
  const auto kept = processes.find(person(1, "a"));
  processes.resolve(answer(person(1, "a"), "/bin/a"));
  (void)processes.find(person(2, "b"));
  CHECK(kept.entry->details.exe == "/bin/a");
}
