// SPDX-License-Identifier: BSD-2-Clause
// Each way to a namespace by a machine where it is the only one. That they can be entered, tests/kernel holds.
#include "catch.hpp"
#include "tree.hpp"

#include "host/machine.hpp"
#include "host/namespaces.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint32_t here = 4026531840;
constexpr std::uint32_t there = 4026532000;
constexpr std::uint32_t elsewhere = 4026532001;
constexpr const char* every_capability = "000001ffffffffff";

/// We and process 1 are in `here`.
class Machine : public Tree {
 public:
  Machine() {
    link("proc/thread-self/ns/net", "net:[4026531840]");
    link("proc/self/ns/pid", "/proc/self/ns/pid");
    file("proc/thread-self/net/tcp", "");
    file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    capabilities(every_capability);
    link("proc/1/ns/net", "net:[4026531840]");
    in_namespace_of_ours(1);
    folder("proc/1/fd");
    folder("proc/812/fd");
    in_namespace_of_ours(812);
  }
  void capabilities(std::string_view bits) {
    remove("proc/self/status");
    file("proc/self/status", "Name:\tx\nCapEff:\t" + std::string{bits} + "\n");
  }
  void in_namespace_of_ours(std::uint32_t pid) {
    link("proc/" + std::to_string(pid) + "/net/tcp", (root() / "proc/thread-self/net/tcp").string());
  }
  [[nodiscard]] NamespaceSearch find(std::uint32_t inode) const { return find_namespaces(root(), std::array{inode}); }
  /// The one way to it.
  [[nodiscard]] NetworkNamespace way(std::uint32_t inode) const {
    auto search = find(inode);
    CHECK(search.whole);
    REQUIRE(search.found.size() == 1);
    CHECK(search.found.front().inode == inode);
    return search.found.front();
  }
  [[nodiscard]] std::filesystem::path path(std::uint32_t inode) const {
    const NetworkNamespace found = way(inode);
    CHECK_FALSE(found.holder);
    return found.path;
  }
};

/// As somebody whom the modes of files bind. The tree must be his to enter.
class AsNobody {
 public:
  explicit AsNobody(const Tree& tree) : was_root_(geteuid() == 0) {
    REQUIRE(chmod(tree.root().c_str(), 0755) == 0);
    if (was_root_) REQUIRE(seteuid(65534) == 0);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (was_root_ && seteuid(0) != 0) std::abort();
  }

 private:
  bool was_root_;
};

/// Nobody may look into it.
class Closed {
 public:
  explicit Closed(std::filesystem::path path) : path_(std::move(path)) { REQUIRE(chmod(path_.c_str(), 0) == 0); }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  ~Closed() { chmod(path_.c_str(), 0755); }

 private:
  std::filesystem::path path_;
};

/// In a container of its own pid namespace no absence is believed.
bool absence_is_told() { return in_initial_pid_namespace("/"); }

}  // namespace

TEST_CASE("a namespace is found as our own", "[host][namespaces]") {
  const Machine machine;
  CHECK(machine.path(here) == machine.root() / "proc/thread-self/ns/net");
}

TEST_CASE("a namespace is found by its mount", "[host][namespaces]") {
  Machine machine;
  machine.file("proc/self/mountinfo", "500 22 0:4 net:[4026532000] /run/netns/with\\040blank rw - nsfs nsfs rw\n");
  CHECK(machine.path(there) == "/run/netns/with blank");
}

TEST_CASE("every namespace: our own first, then those behind processes too", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/ns/net", "net:[4026532000]");
  machine.link("proc/812/task/813/ns/net", "net:[4026532001]");
  machine.link("proc/812/fd/3", "net:[4026532002]");
  machine.link("proc/812/fd/4", "net:[4026532000]");
  std::vector<std::uint32_t> inodes;
  for (const NetworkNamespace& one : every_namespace(machine.root())) inodes.push_back(one.inode);
  CHECK(inodes == std::vector<std::uint32_t>{here, there, elsewhere, 4026532002});
}

TEST_CASE("a namespace is found by a process in it", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/ns/net", "net:[4026532000]");
  CHECK(machine.path(there) == machine.root() / "proc/812/ns/net");
}

TEST_CASE("a namespace is found by a thread in it", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/task/812/ns/net", "net:[4026531840]");
  machine.link("proc/812/task/813/ns/net", "net:[4026532000]");
  CHECK(machine.path(there) == machine.root() / "proc/812/task/813/ns/net");
}

TEST_CASE("a namespace is found by a mount that only a process sees", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/ns/mnt", "mnt:[4026532100]");
  machine.file("proc/812/mountinfo", "500 22 0:4 net:[4026532000] /run/netns/blue rw - nsfs nsfs rw\n");
  CHECK(machine.path(there) == (machine.root() / "proc/812/root").string() + "/run/netns/blue");
}

TEST_CASE("a namespace is found by an open descriptor of it", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/fd/0", "/dev/null");
  machine.link("proc/812/fd/17", "net:[4026532000]");
  CHECK(machine.path(there) == machine.root() / "proc/812/fd/17");
}

TEST_CASE("several are found in one search, each once", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/ns/net", "net:[4026532000]");
  machine.link("proc/812/fd/17", "net:[4026532000]");
  machine.link("proc/812/fd/18", "net:[4026532001]");
  const auto search = find_namespaces(machine.root(), std::array{elsewhere, here, there, there});
  CHECK(search.whole);
  CHECK(search.found.size() == 3);
  CHECK(find_namespaces(machine.root(), {}).whole);
  CHECK(find_namespaces(machine.root(), {}).found.empty());
}

TEST_CASE("a socket that leads to another namespace, or to none, is none", "[host][namespaces]") {
  Machine machine;
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(socket >= 0);
  const std::string own = "proc/" + std::to_string(getpid()) + "/fd/";
  machine.link(own + std::to_string(socket), "socket:[7]");
  machine.link(own + "999999", "socket:[8]");
  machine.link("proc/812/fd/x", "socket:[9]");
  CHECK(machine.find(there).found.empty());
  ::close(socket);
}

TEST_CASE("nothing is found where all could be looked at: it has gone", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/fd/0", "net:[x]");
  machine.link("proc/812/fd/1", "net:[4026532000");
  machine.link("proc/812/fd/2", "mnt:[4026532000]");
  machine.file("proc/812/mountinfo", "garbage\n500 22 0:4 net:[4026532000");
  const auto search = machine.find(there);
  CHECK(search.found.empty());
  CHECK(search.whole == absence_is_told());
}

TEST_CASE("a process whose namespace may not be asked hides it", "[host][namespaces]") {
  Machine machine;
  machine.link("proc/812/ns/net", "net:[4026532000]");
  const auto search = [&] {
    const Closed closed{machine.root() / "proc/812/ns"};
    const AsNobody nobody{machine};
    return machine.find(there);
  };
  SECTION("in another namespace than ours") {
    machine.remove("proc/812/net/tcp");
    machine.file("proc/812/net/tcp", "");
    CHECK_FALSE(search().whole);
  }
  SECTION("in ours, where we are not privileged") {
    machine.capabilities("0");
    CHECK_FALSE(search().whole);
  }
  SECTION("but for one in ours that the kernel protects from everybody") { CHECK(search().whole == absence_is_told()); }
  SECTION("but for one that has ended meanwhile") {
    machine.remove("proc/812/net");
    machine.capabilities("0");
    CHECK(search().whole == absence_is_told());
  }
  CHECK(search().found.empty());
}

TEST_CASE("descriptors that may not be looked at hide it", "[host][namespaces]") {
  Machine machine;
  machine.capabilities("0");
  machine.link("proc/812/fd/3", "net:[4026532000]");
  const Closed closed{machine.root() / "proc/812/fd"};
  const AsNobody nobody{machine};
  const auto search = machine.find(there);
  CHECK(search.found.empty());
  CHECK_FALSE(search.whole);
}

TEST_CASE("a /proc that does not show process 1 shows not all", "[host][namespaces]") {
  Machine machine;
  machine.remove("proc/1");
  CHECK_FALSE(machine.find(there).whole);
  CHECK(machine.find(here).whole);  // it was found
}

TEST_CASE("a way that leads to something else by now is not gone through, nor opened", "[host][namespaces]") {
  const Tree tree;
  const auto pipe = tree.root() / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);  // to open it for reading would wait
  const auto enter = [](const NetworkNamespace& where) {
    return inside(where, []() -> std::expected<void, Error> {
      FAIL("entered");
      return {};
    });
  };
  const auto fifo = enter({1, pipe, {}});
  REQUIRE_FALSE(fifo);
  CHECK(fifo.error().code == ENOENT);
  // A namespace, and not the one meant.
  const auto other = enter({1, "/proc/self/ns/net", {}});
  REQUIRE_FALSE(other);
  CHECK(other.error().code == ENOENT);
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(socket >= 0);
  CHECK_FALSE(enter({1, "/proc/self/fd", NetworkNamespace::Holder{static_cast<std::uint32_t>(getpid()), socket}}));
  ::close(socket);
  const auto gone = enter({1, "/proc/self/fd", NetworkNamespace::Holder{static_cast<std::uint32_t>(getpid()), 999999}});
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code != EPERM);
}

TEST_CASE("where we are not let in it is EPERM", "[host][namespaces]") {
  Tree tree;
  tree.folder("closed");
  const Closed closed{tree.root() / "closed"};
  const AsNobody nobody{tree};
  const auto entered = inside({1, tree.root() / "closed/net", {}}, []() -> std::expected<void, Error> { return {}; });
  REQUIRE_FALSE(entered);
  CHECK(entered.error().code == EPERM);
}
