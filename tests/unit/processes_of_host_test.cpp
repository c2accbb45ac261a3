// SPDX-License-Identifier: BSD-2-Clause
// What /proc says of processes.
#include "catch.hpp"
#include "tree.hpp"

#include "host/processes.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::string_view fields = "S 17 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 100";

std::string stat_of(std::string_view name) { return "812 (" + std::string{name} + ") " + std::string{fields}; }

const std::string id64(64, 'a');

std::vector<std::uint32_t> pids(const std::vector<ProcessTicks>& processes) {
  std::vector<std::uint32_t> out;
  for (const ProcessTicks& process : processes) out.push_back(process.pid);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("stat: the name may hold anything", "[host]") {
  for (const std::string_view name :
       {"server", "", "two words", "a) S 1 2 (b", ")", "((", "line\nbreak", "tab\t", "\xff\x1b[2J", ") R 9 9 9"}) {
    CAPTURE(std::string{name});
    const auto stat = parse_stat(stat_of(name));
    REQUIRE(stat);
    CHECK(stat->parent == 17);
    CHECK(stat->cpu_ticks == 5 + 6);
    CHECK(stat->start_ticks == 123456);
  }
}

TEST_CASE("stat: what is none", "[host]") {
  const std::string whole = stat_of("server");
  for (const std::string_view text :
       {"", "812", "812 (server", "812 (server)", "812 (server) S", "812 (server) S 17", "812 (server) S x 1 1"})
    CHECK_FALSE(parse_stat(text));
  CHECK_FALSE(parse_stat(whole.substr(0, whole.find(" 123456"))));
  CHECK_FALSE(parse_stat("812 (server) S -1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456"));
  CHECK_FALSE(parse_stat("812 (server) S 17 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99999999999999999999999"));
  CHECK(parse_stat(whole.substr(0, whole.find(" 1000 100"))));
}

TEST_CASE("cgroup: the unified hierarchy's", "[host]") {
  CHECK(parse_cgroup("0::/system.slice/nginx.service") == "/system.slice/nginx.service");
  CHECK(parse_cgroup("0::/") == "/");
  CHECK(parse_cgroup("0::/with:colon/in it") == "/with:colon/in it");
}

TEST_CASE("cgroup: a hybrid machine has it in systemd's", "[host]") {
  const std::string hybrid = "12:memory:/user\n1:name=systemd:/system.slice/nginx.service\n0::/";
  CHECK(parse_cgroup(hybrid) == "/system.slice/nginx.service");
  CHECK(parse_cgroup("1:name=systemd:/old\n0::/new") == "/new");
  CHECK(parse_cgroup("1:name=systemd:/old") == "/old");
}

TEST_CASE("cgroup: what is none", "[host]") {
  CHECK_FALSE(parse_cgroup(""));
  CHECK_FALSE(parse_cgroup("12:memory:/user"));
  CHECK_FALSE(parse_cgroup("nonsense\n0:nonsense"));
}

TEST_CASE("container: first twelve digits of its id", "[host]") {
  const std::string id = "ab12cd34ef56" + std::string(52, '7');
  CHECK(container_of("/system.slice/docker-" + id + ".scope") == "ab12cd34ef56");
  CHECK(container_of("/docker/" + id) == "ab12cd34ef56");
  CHECK(container_of("/kubepods.slice/kubepods-pod1234.slice/cri-containerd-" + id + ".scope") == "ab12cd34ef56");
  CHECK(container_of("/docker/" + id64 + "/docker/" + id) == "ab12cd34ef56");  // the innermost
}

TEST_CASE("container: what is none", "[host]") {
  for (const std::string& cgroup :
       {std::string{}, std::string{"/"}, std::string{"/system.slice/nginx.service"}, "/x/" + id64.substr(1),
        "/x/" + id64 + "a", "/x/" + std::string(63, 'a') + "g", "/x/" + std::string(63, 'a') + "B"})
    CHECK_FALSE(container_of(cgroup));
}

TEST_CASE("a process now: pid and start", "[host]") {
  Tree tree;
  tree.process(812, 1, 4711, "a) b (c");
  const auto now = process_now(tree.root(), 812);
  REQUIRE(now);
  CHECK(now->pid == 812);
  CHECK(now->start_ticks == 4711);
  CHECK_FALSE(process_now(tree.root(), 813));
  tree.file("proc/814/stat", "");
  CHECK_FALSE(process_now(tree.root(), 814));
}

TEST_CASE("a process runs still, or its pid is another's", "[host]") {
  Tree tree;
  tree.process(812, 1, 55);
  CHECK(process_folder(tree.root(), 812) == tree.root() / "proc/812");
  CHECK(runs_still(tree.root(), {812, 55}));
  CHECK_FALSE(runs_still(tree.root(), {812, 56}));
  CHECK_FALSE(runs_still(tree.root(), {813, 55}));
}

TEST_CASE("status: a field by its whole name", "[host]") {
  constexpr std::string_view status = "Name:\tUid:\t7\nUid:\t1\t2\t3\t4\nNSpid:\t812\t5\nCapEff:\t0\nEnd:\t";
  CHECK(status_field(status, "Uid") == "1\t2\t3\t4");
  CHECK(status_field(status, "NSpid") == "812\t5");
  CHECK(status_field(status, "CapEff") == "0");
  CHECK(status_field(status, "End").empty());
  CHECK(status_field(status, "pid").empty());
  CHECK(status_field("", "Uid").empty());
  CHECK(status_field("Uid:\t1", "Uid").empty());  // the name comes first
}

TEST_CASE("a thread's id leads to its process", "[host]") {
  Tree tree;
  tree.file("proc/812/status", "Name:\tTgid:\t9\nUmask:\t0022\nTgid:\t812\nNgid:\t0\nPid:\t812\n");
  tree.file("proc/815/status", "Name:\tworker\nTgid:\t812\nNgid:\t0\nPid:\t815\n");
  tree.file("proc/816/status", "Name:\tworker\n");
  tree.file("proc/817/status", "Name:\tworker\nTgid:\tx\n");
  CHECK(thread_group(tree.root(), 812) == 812U);
  CHECK(thread_group(tree.root(), 815) == 812U);
  for (const std::uint32_t none : {816U, 817U, 818U}) CHECK_FALSE(thread_group(tree.root(), none));
}

TEST_CASE("a process described", "[host]") {
  Tree tree;
  tree.process(812, 1, 4711);
  tree.link("proc/812/exe", "/usr/sbin/my server");
  tree.file("proc/812/cmdline", std::string_view{"server\0-p\08080\0", 15});
  tree.file("proc/812/cgroup", "0::/system.slice/docker-ab12cd34ef56" + std::string(52, '0') + ".scope\n");
  const auto details = describe(tree.root(), {812, 4711});
  REQUIRE(details);
  CHECK(details->exe == "/usr/sbin/my server");
  CHECK(details->cmdline == "server -p 8080");
  CHECK(details->cgroup == "/system.slice/docker-ab12cd34ef56" + std::string(52, '0') + ".scope");
  CHECK(details->container == "ab12cd34ef56");
  SECTION("its pid used again by another") { CHECK_FALSE(describe(tree.root(), {812, 4712})); }
  SECTION("gone while it was asked") {
    tree.remove("proc/812/stat");
    CHECK_FALSE(describe(tree.root(), {812, 4711}));
  }
  SECTION("never there") { CHECK_FALSE(describe(tree.root(), {813, 1})); }
}

TEST_CASE("what cannot be read of a process is empty", "[host]") {
  Tree tree;
  tree.process(812, 1, 4711);
  const auto details = describe(tree.root(), {812, 4711});
  REQUIRE(details);
  CHECK_FALSE(details->exe);
  CHECK_FALSE(details->cmdline);
  CHECK_FALSE(details->cgroup);
  CHECK_FALSE(details->container);
}

TEST_CASE("a process that ends while its file is read is gone, and nothing breaks", "[host]") {
  // read(2) fails behind an open(2) that did not: ESRCH in /proc, EISDIR here.
  Tree tree;
  tree.folder("proc/812/stat");
  CHECK_NOTHROW(process_now(tree.root(), 812));
  tree.process(813, 1, 4711);
  tree.folder("proc/813/cgroup");
  CHECK_NOTHROW(describe(tree.root(), {813, 4711}));
}

TEST_CASE("descendants of descendants, each once", "[host]") {
  Tree tree;
  tree.process(1, 0, 1);
  tree.process(10, 1, 10);
  tree.process(11, 10, 11, "child) 1 (");
  tree.process(12, 11, 12);
  tree.process(13, 10, 13);
  tree.process(20, 1, 20);
  tree.file("proc/30/stat", "unreadable");
  tree.file("proc/self/stat", "no pid");
  const auto found = with_descendants(tree.root(), {{10, 10}});
  CHECK(pids(found) == std::vector<std::uint32_t>{10, 11, 12, 13});
  for (const ProcessTicks& process : found) CHECK(process.start_ticks == process.pid);
  CHECK(pids(with_descendants(tree.root(), {{10, 10}, {11, 11}, {20, 20}})) ==
        std::vector<std::uint32_t>{10, 11, 12, 13, 20});
  CHECK(pids(with_descendants(tree.root(), {{12, 12}})) == std::vector<std::uint32_t>{12});
  CHECK(with_descendants(tree.root(), {}).empty());
}

TEST_CASE("parents that go round in a circle end", "[host]") {
  Tree tree;
  tree.process(10, 11, 10);
  tree.process(11, 10, 11);
  CHECK(pids(with_descendants(tree.root(), {{10, 10}})) == std::vector<std::uint32_t>{10, 11});
}

TEST_CASE("without /proc there is nobody", "[host]") {
  Tree tree;
  CHECK_FALSE(process_now(tree.root(), 1));
  CHECK(pids(with_descendants(tree.root(), {{1, 1}})) == std::vector<std::uint32_t>{1});
}
