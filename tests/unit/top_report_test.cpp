// SPDX-License-Identifier: BSD-2-Clause
// What `top` saves: names, places, and whose files they are.
#include "catch.hpp"
#include "tree.hpp"

#include "app/top_report.hpp"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::int64_t hour_ns = 3'600'000'000'000;
constexpr std::int64_t new_year_ns = 1'767'225'599'000'000'000;  // 2025-12-31 23:59:59 UTC
const std::string stem = "closewatch-web1-20251231-235959";

Report small_report() {
  Report report;
  report.host = "web1";
  report.kernel = "6.1";
  report.from_ns = new_year_ns - hour_ns;
  report.to_ns = new_year_ns;
  return report;
}

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("saved report: the name has the host and the local time", "[top]") {
  CHECK(report_name("web1", new_year_ns, 0) == stem);
  CHECK(report_name("web1", new_year_ns, hour_ns) == "closewatch-web1-20260101-005959");
  CHECK(report_name("web1", new_year_ns, -24 * hour_ns) == "closewatch-web1-20251230-235959");
}

TEST_CASE("saved report: a host's name leads nowhere else", "[top]") {
  CHECK(report_name("../../etc/x", 0, 0) == "closewatch-.._.._etc_x-19700101-000000");
  CHECK(report_name("a b\n\x1b[31m;$(x)", 0, 0) == "closewatch-a_b___31m___x_-19700101-000000");
  CHECK(report_name("", 0, 0) == "closewatch-host-19700101-000000");
  CHECK(report_name(std::string(300, 'h'), 0, 0).size() < 100);
}

TEST_CASE("saved report: both forms, for the owner alone", "[top]") {
  const Tree tree;
  const std::string said = save_report(small_report(), {}, {tree.root().string()});
  CHECK(said == "written: " + (tree.root() / stem).string() + ".txt and .json");
  CHECK(content(tree.root() / (stem + ".txt")).find("web1") != std::string::npos);
  CHECK(content(tree.root() / (stem + ".json")).starts_with(R"({"schema":"closewatch/report/1","host":"web1")"));
  for (const char* ending : {".txt", ".json"}) {
    struct stat status{};
    REQUIRE(stat((tree.root() / (stem + ending)).c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0600);
  }
}

TEST_CASE("saved report: what is there already is neither followed nor written to", "[top]") {
  Tree tree;
  tree.file("other", "mine");
  tree.link(stem + ".txt", (tree.root() / "other").string());
  tree.file(stem + "-2.json", "mine too");
  const std::string said = save_report(small_report(), {}, {tree.root().string(), "/tmp"});
  CHECK(said == "written: " + (tree.root() / stem).string() + "-3.txt and .json");
  CHECK(content(tree.root() / "other") == "mine");
  CHECK(content(tree.root() / (stem + "-2.json")) == "mine too");
  CHECK_FALSE(std::filesystem::exists(tree.root() / (stem + ".json")));
  CHECK_FALSE(std::filesystem::exists(tree.root() / (stem + "-2.txt")));
}

TEST_CASE("saved report: names come to an end", "[top]") {
  Tree tree;
  tree.file(stem + ".txt", "");
  for (int number = 2; number < 100; ++number) tree.file(stem + "-" + std::to_string(number) + ".txt", "");
  const std::string said = save_report(small_report(), {}, {tree.root().string()});
  CHECK(said.starts_with("cannot write " + (tree.root() / stem).string()));
  CHECK(said.find("exists") != std::string::npos);
}

TEST_CASE("saved report: a folder that takes none is told, and the next is tried", "[top]") {
  const Tree tree;
  const std::string missing = (tree.root() / "missing").string();
  const std::string said = save_report(small_report(), {}, {missing, tree.root().string()});
  CHECK(said.starts_with("written: " + (tree.root() / stem).string()));
  CHECK(said.ends_with("(not in " + missing + ": No such file or directory)"));
  CHECK(save_report(small_report(), {}, {missing}).starts_with("cannot write " + missing));
}
