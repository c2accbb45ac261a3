// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "tree.hpp"

#include "host/descriptors.hpp"
#include "host/processes.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <closewatch/base/descriptor.hpp>

#include <array>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::string_view limits =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max processes             15442                15442                processes \n"
    "Max open files            1024                 524288               files     \n"
    "Max locked memory         8388608              8388608              bytes     \n";

}  // namespace

TEST_CASE("the limit of descriptors", "[host]") {
  CHECK(parse_descriptor_limit(limits) == 1024U);
  CHECK(parse_descriptor_limit("Max open files            7                    9                    files     \n") ==
        7U);
  CHECK(parse_descriptor_limit("\nMax open files            unlimited            unlimited            files") ==
        no_limit);
  for (const char* none : {"", "Max open files", "Max open files ", "Max open files            soon  9 files",
                           "Max open files            -1 9 files", "xMax open files            7 9 files",
                           "Max open files            99999999999999999999 9 files"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_descriptor_limit(none));
  }
}

TEST_CASE("descriptors: counted, and the sockets among them", "[host]") {
  Tree tree;
  tree.process(812, 1, 55);
  tree.file("proc/812/limits", limits);
  tree.link("proc/812/fd/0", "/dev/null");
  tree.link("proc/812/fd/1", "pipe:[17]");
  tree.link("proc/812/fd/7", "socket:[123456]");
  tree.link("proc/812/fd/80", "socket:[1]");
  tree.link("proc/812/fd/81", "socket:");
  tree.link("proc/812/fd/82", "/tmp/socket:[9]");
  const auto found = descriptors_of(tree.root(), {812, 55});
  REQUIRE(found);
  CHECK(found->open == 6);
  CHECK(found->sockets == 2);
  CHECK(found->soft_limit == 1024);
  CHECK(open_descriptors(tree.root(), {812, 55}) == 6U);
}

TEST_CASE("descriptors: of a process that has ended, or is another, there are none", "[host]") {
  Tree tree;
  tree.process(812, 1, 55);
  tree.file("proc/812/limits", limits);
  tree.folder("proc/812/fd");
  REQUIRE(descriptors_of(tree.root(), {812, 55}));
  CHECK_FALSE(descriptors_of(tree.root(), {812, 56}));
  CHECK_FALSE(open_descriptors(tree.root(), {812, 56}));
  CHECK_FALSE(descriptors_of(tree.root(), {813, 55}));
  CHECK_FALSE(open_descriptors(tree.root(), {813, 55}));
  tree.remove("proc/812/fd");
  CHECK_FALSE(descriptors_of(tree.root(), {812, 55}));
}

TEST_CASE("descriptors: our own", "[host]") {
  const auto own = process_now("/", static_cast<std::uint32_t>(getpid()));
  REQUIRE(own);
  const auto before = descriptors_of("/", *own);
  const auto open_before = open_descriptors("/", *own);
  REQUIRE(before);
  REQUIRE(open_before);
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const Descriptor first{ends[0]};
  const Descriptor second{ends[1]};
  const Descriptor no_socket{dup(STDIN_FILENO)};
  const auto after = descriptors_of("/", *own);
  REQUIRE(after);
  CHECK(after->open == before->open + 3);
  CHECK(after->sockets == before->sockets + 2);
  CHECK(open_descriptors("/", *own) == *open_before + 3);
  CHECK(*open_before == before->open);  // with the one that each opens to look
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(after->soft_limit == limit.rlim_cur);
}

TEST_CASE("a descriptor is closed once, by whoever has it last", "[base]") {
  const auto is_open = [](int fd) { return ::access(("/proc/self/fd/" + std::to_string(fd)).c_str(), F_OK) == 0; };
  int number = -1;
  {
    Descriptor first{dup(STDIN_FILENO)};
    number = first.get();
    REQUIRE(number >= 0);
    Descriptor second{std::move(first)};
    CHECK(second.get() == number);
    Descriptor third{dup(STDIN_FILENO)};
    const int replaced = third.get();
    third = std::move(second);
    CHECK(third.get() == number);
    CHECK_FALSE(is_open(replaced));
    CHECK(is_open(number));
    third.close();
    CHECK_FALSE(third.is_open());
    CHECK_FALSE(is_open(number));
    third = Descriptor{dup(STDIN_FILENO)};
    number = third.get();
  }
  CHECK_FALSE(is_open(number));
}
