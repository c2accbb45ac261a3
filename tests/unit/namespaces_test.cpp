// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "tree.hpp"

#include "host/namespaces.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

std::vector<std::uint32_t> inodes(const std::vector<NetworkNamespace>& found) {
  std::vector<std::uint32_t> out;
  for (const NetworkNamespace& one : found) out.push_back(one.inode);
  return out;
}

std::filesystem::path path_of(const std::vector<NetworkNamespace>& found, std::uint32_t inode) {
  for (const NetworkNamespace& one : found)
    if (one.inode == inode) return one.path;
  return {};
}

using Inodes = std::vector<std::uint32_t>;

}  // namespace

TEST_CASE("namespaces: our own first, then those of processes, then those mounted, each once", "[host]") {
  Tree tree;
  tree.link("proc/thread-self/ns/net", "net:[4026531840]");
  tree.link("proc/1/ns/net", "net:[4026531840]");
  tree.link("proc/812/ns/net", "net:[4026532000]");
  tree.link("proc/813/ns/net", "net:[4026532000]");
  tree.file("proc/self/mountinfo",
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "500 22 0:4 net:[4026532000] /run/netns/known rw shared:1 - nsfs nsfs rw\n"
            "501 22 0:4 net:[4026532001] /run/netns/blue rw shared:1 - nsfs nsfs rw\n"
            "502 22 0:4 net:[4026532002] /run/netns/with\\040blank rw shared:1 - nsfs nsfs rw\n"
            "503 22 0:4 mnt:[4026532003] /run/mnt rw shared:1 - nsfs nsfs rw\n");
  const auto found = network_namespaces(tree.root());
  CHECK(inodes(found) == Inodes{4026531840, 4026532000, 4026532001, 4026532002});
  CHECK(path_of(found, 4026531840) == tree.root() / "proc/thread-self/ns/net");
  CHECK(path_of(found, 4026532001) == "/run/netns/blue");
  CHECK(path_of(found, 4026532002) == "/run/netns/with blank");
}

TEST_CASE("namespaces: what is no process, has ended or says nothing is left out", "[host]") {
  Tree tree;
  tree.link("proc/thread-self/ns/net", "net:[1]");
  tree.link("proc/self/ns/net", "net:[2]");
  tree.link("proc/12x/ns/net", "net:[3]");
  tree.folder("proc/14");
  tree.link("proc/15/ns/net", "mnt:[5]");
  tree.link("proc/16/ns/net", "net:[x]");
  tree.link("proc/17/ns/net", "net:[99999999999]");
  tree.link("proc/18/ns/net", "net:[8");
  tree.link("proc/19/ns/net", "net:[9]");
  CHECK(inodes(network_namespaces(tree.root())) == Inodes{1, 9});
}

TEST_CASE("namespaces: lines of mountinfo that are cut short", "[host]") {
  Tree tree;
  tree.file("proc/self/mountinfo", "\n500\n500 22 0:4\n500 22 0:4 net:[7]\n501 22 0:4 net:[8] /run/netns/end\\04");
  const auto found = network_namespaces(tree.root());
  CHECK(path_of(found, 8) == "/run/netns/end\\04");
}

TEST_CASE("namespaces: without /proc there are none", "[host]") {
  Tree tree;
  CHECK(network_namespaces(tree.root()).empty());
}

TEST_CASE("the inode of a namespace by its path", "[host]") {
  Tree tree;
  struct stat own{};
  REQUIRE(stat("/proc/self/ns/net", &own) == 0);
  CHECK(namespace_inode("/proc/self/ns/net") == static_cast<std::uint32_t>(own.st_ino));
  const auto missing = namespace_inode((tree.root() / "none").string());
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ENOENT);
  CHECK(missing.error().remedy.find("/run/netns/NAME") != std::string::npos);
  tree.file("plain", "");
  const auto plain = namespace_inode((tree.root() / "plain").string());
  REQUIRE_FALSE(plain);
  CHECK(plain.error().operation.find("it is none") != std::string::npos);
}

TEST_CASE("inside our own namespace nothing is entered", "[host]") {
  struct stat own{};
  REQUIRE(stat("/proc/self/ns/net", &own) == 0);
  bool ran = false;
  const auto result =
      inside({static_cast<std::uint32_t>(own.st_ino), "/nowhere", {}}, [&]() -> std::expected<void, Error> {
        ran = true;
        return std::unexpected(Error{"look around", EIO, ""});
      });
  CHECK(ran);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == EIO);
}

TEST_CASE("a namespace that has gone cannot be entered, and nothing runs", "[host]") {
  bool ran = false;
  const auto result = inside({1, "/nowhere/ns/net", {}}, [&]() -> std::expected<void, Error> {
    ran = true;
    return {};
  });
  CHECK_FALSE(ran);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ENOENT);
  CHECK(result.error().operation.find("/nowhere/ns/net") != std::string::npos);
}
