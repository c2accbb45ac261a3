// SPDX-License-Identifier: BSD-2-Clause
// Which capabilities are asked for, kept and missed; and that all others are really given up.
#include "catch.hpp"
#include "tree.hpp"

#include "host/preflight.hpp"
#include "host/privileges.hpp"

#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr Capabilities all = ~Capabilities{0};

Capabilities bits(std::initializer_list<unsigned> numbers) {
  Capabilities set = 0;
  for (const unsigned number : numbers) set |= capability_bit(number);
  return set;
}

std::string limits(Capabilities held, const Undertaking& what) {
  std::string names;
  for (const Limit& limit : limits_of(held, what)) {
    const std::string name = limit.text.substr(sizeof("without ") - 1);
    names += name.substr(0, name.find(' ')) + (limit.is_told_when_met ? "? " : " ");
  }
  return names;
}

/// One of the sets in /proc/self/status, of a child that has given up all but these.
std::string left_of(const char* set, Capabilities kept) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const bool done = give_up_all_but(kept).has_value();
    std::ifstream status{"/proc/self/status"};
    std::string line;
    while (std::getline(status, line))
      if (line.starts_with(set)) break;
    const std::string said = done ? line.substr(line.find('\t') + 1) : "refused";
    _exit(::write(ends[1], said.data(), said.size()) < 0 ? 1 : 0);
  }
  ::close(ends[1]);
  std::array<char, 64> room{};
  const ssize_t length = ::read(ends[0], room.data(), room.size());
  ::close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(length > 0);
  return {room.data(), static_cast<std::size_t>(length)};
}

}  // namespace

TEST_CASE("what is kept while it watches, by what it is about to do", "[host][privileges]") {
  const Capabilities usual_ones = bits({CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN});
  CHECK(kept_while_watching(all, {}) == usual_ones);
  CHECK(kept_while_watching(0, {}) == 0);
  const Undertaking here{.other_namespaces = false};
  CHECK(kept_while_watching(all, here) == bits({CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH}));
  CHECK(kept_while_watching(all, {.other_namespaces = false, .counts_descriptors = false}) == bits({CAP_SYS_PTRACE}));
  CHECK(kept_while_watching(all, {.other_namespaces = false, .counts_descriptors = false, .stacks = true}) ==
        bits({CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH}));
  CHECK(kept_while_watching(all, {.stacks = true, .as_root = true}) ==
        (usual_ones | bits({CAP_SETUID, CAP_SETGID, CAP_KILL})));
  CHECK(kept_while_watching(all, {.as_root = true}) == usual_ones);
  CHECK(kept_while_watching(all, {.command = true}) == (usual_ones | bits({CAP_KILL})));
  CHECK(kept_while_watching(all, {.old_kernel = true}) == (usual_ones | bits({CAP_BPF})));
}

TEST_CASE("what stands in for a capability is kept in its place, and not beside it", "[host][privileges]") {
  const Undertaking here{.other_namespaces = false};
  CHECK(kept_while_watching(bits({CAP_DAC_OVERRIDE}), here) == bits({CAP_DAC_OVERRIDE}));
  CHECK(kept_while_watching(bits({CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH}), here) == bits({CAP_DAC_READ_SEARCH}));
  CHECK(kept_while_watching(bits({CAP_SYS_ADMIN}), {.other_namespaces = false, .old_kernel = true}) ==
        bits({CAP_SYS_ADMIN}));
}

TEST_CASE("what is missing is told where it would be used", "[host][privileges]") {
  CHECK(limits(all, {.stacks = true, .command = true, .as_root = true}).empty());
  CHECK(limits(0, {}) == "CAP_SYS_ADMIN? CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_NET_ADMIN ");
  CHECK(limits(0, {.other_namespaces = false}) == "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH ");
  CHECK(limits(0, {.other_namespaces = false, .counts_descriptors = false}) == "CAP_SYS_PTRACE ");
  CHECK(limits(bits({CAP_DAC_OVERRIDE}), {.other_namespaces = false}) == "CAP_SYS_PTRACE ");
}

TEST_CASE("the table, its checks and its command lines name the same ones", "[host][privileges]") {
  const Privileges told = privileges("/");
  const auto start = usual(told, false);
  const auto watching = usual(told, true);
  CHECK(watching ==
        std::vector<std::string>{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"});
  CHECK(start.size() == watching.size() + 3);
  for (const std::string& name : start) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char letter) { return letter == '_' ? '_' : static_cast<char>(letter | 0x20); });
    CAPTURE(lower);
    CHECK(told.setcap.find(lower) != std::string::npos);
    CHECK(told.setpriv.find("+" + lower.substr(4)) != std::string::npos);
  }
  for (const Privilege& one : told.capabilities) {
    CAPTURE(one.name);
    CHECK(one.usual == (std::find(start.begin(), start.end(), one.name) != start.end()));
    CHECK(one.needed == (one.name == "CAP_BPF" || one.name == "CAP_PERFMON"));
    CHECK_FALSE(one.without.empty());
  }
  CHECK(told.setcap.find("cap_kill") == std::string::npos);
  std::set<std::string> checked;
  for (const Check& one : capability_checks(0)) checked.insert(one.id);
  CHECK(checked == std::set<std::string>{"cap_bpf", "cap_perfmon", "cap_sys_admin", "cap_sys_ptrace",
                                         "cap_dac_read_search", "cap_net_admin"});
}

TEST_CASE("what is told to be kept goes by the kernel", "[host][privileges]") {
  Tree tree;
  const auto kept = [&](const char* release) {
    tree.file("proc/sys/kernel/osrelease", release);
    return privileges(tree.root()).capabilities.front().kept;
  };
  CHECK(kept("5.15.0-91-generic\n") == Privilege::Kept::watching);
  CHECK(kept("6.1.0-18-amd64\n") == Privilege::Kept::start);
}

TEST_CASE("capabilities have their names", "[host][privileges]") {
  CHECK(names_of(0) == "none");
  CHECK(names_of(bits({CAP_BPF, CAP_SYS_ADMIN})) == "cap_sys_admin, cap_bpf");
}

TEST_CASE("all others are given up, in each set, and no program brings any back", "[host][privileges]") {
  const auto held = effective_capabilities("/");
  REQUIRE(held);
  const Capabilities asked = bits({CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH});
  const auto digits = [](Capabilities set) {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(set));
    return std::string{text.data()};
  };
  CHECK(left_of("CapEff", asked) == digits(asked & *held));
  CHECK(left_of("CapPrm", asked) == digits(asked & *held));
  CHECK(left_of("CapInh", asked) == digits(0));
  CHECK(left_of("CapAmb", asked) == digits(0));
  CHECK(left_of("NoNewPrivs", asked) == "1");
  // One that is not held is no error, and is not had by asking for it.
  CHECK(left_of("CapEff", all) == digits(*held));
  if ((*held & capability_bit(CAP_SETPCAP)) == 0) {
    WARN("without CAP_SETPCAP: the bounding set cannot be given up");
    return;
  }
  CHECK(left_of("CapBnd", asked) == digits(asked & *held));
  CHECK(left_of("CapBnd", 0) == digits(0));
}
