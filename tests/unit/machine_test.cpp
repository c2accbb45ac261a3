// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "tree.hpp"

#include "host/machine.hpp"

#include <sys/stat.h>

#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("a file is read whole, without its last line break", "[host]") {
  Tree tree;
  tree.file("a", "one\ntwo\n");
  CHECK(read_file(tree.root() / "a") == "one\ntwo");
  tree.file("b", "");
  CHECK(read_file(tree.root() / "b") == "");
  tree.file("c", std::string_view{"a\0b", 3});
  CHECK(read_file(tree.root() / "c") == std::string("a\0b", 3));
  CHECK_FALSE(read_file(tree.root() / "none"));
}

TEST_CASE("a file that opens and cannot be read is empty, as one that is not there", "[host]") {
  Tree tree;
  tree.folder("folder");
  CHECK_NOTHROW(read_file(tree.root() / "folder"));
}

TEST_CASE("names of the machine", "[host]") {
  Tree tree;
  tree.file("proc/sys/kernel/hostname", "box\n");
  tree.file("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
  tree.file("proc/sys/kernel/random/boot_id", "2f1c\n");
  const MachineNames names = machine_names(tree.root());
  CHECK(names.host == "box");
  CHECK(names.kernel == "6.1.0-18-amd64");
  CHECK(names.boot_id == "2f1c");
}

TEST_CASE("without /proc the names are uname's, and the boot has none", "[host]") {
  Tree tree;
  const MachineNames names = machine_names(tree.root());
  CHECK_FALSE(names.kernel.empty());
  CHECK(names.boot_id.empty());
}

TEST_CASE("resident memory is the second number of statm, in pages", "[host]") {
  Tree tree;
  tree.file("proc/self/statm", "9000 25 3 4 0 5 0\n");
  const std::uint64_t bytes = own_usage(tree.root()).rss_bytes;
  CHECK(bytes > 0);
  CHECK(bytes % 25 == 0);
  tree.file("proc/self/statm", "9000 50 3 4 0 5 0\n");
  CHECK(own_usage(tree.root()).rss_bytes == 2 * bytes);
  tree.file("proc/self/statm", "9000");
  CHECK(own_usage(tree.root()).rss_bytes == 0);
  tree.remove("proc");
  CHECK(own_usage(tree.root()).rss_bytes == 0);
}

TEST_CASE("the initial pid namespace is told by its inode", "[host]") {
  Tree tree;
  CHECK_FALSE(in_initial_pid_namespace(tree.root()));  // no /proc
  tree.file("proc/self/ns/pid", "");
  CHECK_FALSE(in_initial_pid_namespace(tree.root()));  // another inode
  struct stat own{};
  REQUIRE(stat("/proc/self/ns/pid", &own) == 0);
  tree.remove("proc/self/ns/pid");
  tree.link("proc/self/ns/pid", "/proc/self/ns/pid");
  CHECK(in_initial_pid_namespace(tree.root()) == (own.st_ino == 0xEFFFFFFC));
}

TEST_CASE("a cgroup that is none is refused with a remedy", "[host]") {
  Tree tree;
  const auto missing = cgroup_id((tree.root() / "none").string());
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ENOENT);
  CHECK_FALSE(missing.error().remedy.empty());
  const auto other = cgroup_id(tree.root().string());
  REQUIRE_FALSE(other);
  CHECK(other.error().operation.find(tree.root().string()) != std::string::npos);
  CHECK(other.error().remedy.find("cgroup2") != std::string::npos);
}
