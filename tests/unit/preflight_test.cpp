// SPDX-License-Identifier: BSD-2-Clause
// Each refusal by a machine that raises it, and by one that does not.
#include "catch.hpp"
#include "tree.hpp"

#include "host/preflight.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr const char* every_capability = "000001ffffffffff";

/// A machine that can be traced; each test takes something away.
class Machine : public Tree {
 public:
  Machine() {
    kernel("6.1.0-18-amd64");
    file("sys/kernel/btf/vmlinux", "x");
    capabilities(every_capability);
  }
  void kernel(std::string_view release) { file("proc/sys/kernel/osrelease", std::string{release} + "\n"); }
  void capabilities(std::string_view bits) {
    file("proc/self/status", "Name:\tclosewatch\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t" +
                                 std::string{bits} + "\nCapBnd:\t000001ffffffffff\n");
  }
  [[nodiscard]] std::string refusal() const {
    const auto refusals = preflight(root(), {}).refusals;
    REQUIRE(refusals.size() == 1);
    return refusals.front();
  }
  [[nodiscard]] bool passes() const { return preflight(root(), {}).refusals.empty(); }
};

bool says(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a machine with everything is refused nothing and limited in nothing", "[host][preflight]") {
  const Machine machine;
  CHECK(machine.passes());
  CHECK(preflight(machine.root(), {}).limits.empty());
}

TEST_CASE("a kernel below 5.15 is refused by its version, with a remedy", "[host][preflight]") {
  Machine machine;
  for (const char* release : {"5.14.21", "5.10.0-28-amd64", "4.19.0", "3.10.0-1160.el7"}) {
    machine.kernel(release);
    const std::string refusal = machine.refusal();
    CHECK(says(refusal, release));
    CHECK(says(refusal, "5.15"));
    CHECK(says(refusal, "newer kernel"));
  }
  for (const char* release : {"5.15.0", "5.15", "5.16.1", "6.0", "6.18.0-rc1", "10.1"}) {
    machine.kernel(release);
    CHECK(machine.passes());
  }
}

TEST_CASE("without BTF", "[host][preflight]") {
  Machine machine;
  machine.remove("sys/kernel/btf/vmlinux");
  CHECK(says(machine.refusal(), "BTF"));
  CHECK(says(machine.refusal(), "CONFIG_DEBUG_INFO_BTF"));
}

TEST_CASE("missing capabilities are named", "[host][preflight]") {
  Machine machine;
  SECTION("CAP_BPF alone") {
    machine.capabilities("0000004000000000");  // CAP_PERFMON
    CHECK(says(machine.refusal(), "lacks CAP_BPF"));
    CHECK_FALSE(says(machine.refusal(), "lacks CAP_PERFMON"));
    CHECK_FALSE(says(machine.refusal(), "and CAP_PERFMON"));
  }
  SECTION("CAP_PERFMON alone") {
    machine.capabilities("0000008000000000");  // CAP_BPF
    CHECK(says(machine.refusal(), "lacks CAP_PERFMON"));
    CHECK_FALSE(says(machine.refusal(), "lacks CAP_BPF"));
  }
  SECTION("both, in one message, with the remedy") {
    machine.capabilities("0000000000000000");
    CHECK(says(machine.refusal(), "CAP_BPF"));
    CHECK(says(machine.refusal(), "CAP_PERFMON"));
    CHECK(says(machine.refusal(), "sudo"));
    CHECK(says(machine.refusal(), "setcap"));
  }
  SECTION("neither, where it has both") {
    machine.capabilities("000000c000000000");
    CHECK(machine.passes());
  }
  SECTION("CAP_SYS_ADMIN stands in for both") {
    machine.capabilities("0000000000200000");
    CHECK(machine.passes());
  }
}

TEST_CASE("what will not be seen, and what is kept, go by the capabilities held", "[host][preflight]") {
  Machine machine;
  machine.capabilities("000000c000000000");
  const Preflight neither = preflight(machine.root(), {});
  REQUIRE(neither.limits.size() == 4);
  CHECK(says(neither.limits[0].text, "CAP_SYS_ADMIN"));
  CHECK(says(neither.limits[1].text, "CAP_SYS_PTRACE"));
  CHECK(neither.kept == 0);
  machine.capabilities("000000c000080000");
  const Preflight with_ptrace = preflight(machine.root(), {});
  CHECK(with_ptrace.limits.size() == 3);
  CHECK(with_ptrace.kept == 0x80000);
}

TEST_CASE("before 5.19 each walk takes CAP_BPF, which is kept there", "[host][preflight]") {
  Machine machine;
  constexpr Capabilities bpf = capability_bit(39);
  for (const auto& [release, keeps] : {std::pair{"5.15.0-91-generic", true}, std::pair{"5.18.19", true},
                                       std::pair{"5.19.0", false}, std::pair{"6.18.1", false}}) {
    CAPTURE(release);
    machine.kernel(release);
    CHECK(((preflight(machine.root(), {}).kept & bpf) != 0) == keeps);
  }
}

TEST_CASE("without /proc, or with a status that says nothing", "[host][preflight]") {
  Machine machine;
  SECTION("no file") { machine.remove("proc/self/status"); }
  SECTION("no CapEff") { machine.file("proc/self/status", "Name:\tclosewatch\n"); }
  SECTION("no number") { machine.capabilities("zzz"); }
  CHECK(says(machine.refusal(), "/proc"));
}

TEST_CASE("all that is missing is told", "[host][preflight]") {
  Machine machine;
  machine.kernel("4.19.0");
  machine.remove("sys");
  machine.capabilities("0");
  CHECK(preflight(machine.root(), {}).refusals.size() == 3);
}

TEST_CASE("kernel versions", "[host][preflight]") {
  CHECK(parse_kernel_version("6.18.0") == KernelVersion{6, 18});
  CHECK(parse_kernel_version("5.15-rc1") == KernelVersion{5, 15});
  CHECK(parse_kernel_version("6.1") == KernelVersion{6, 1});
  for (const char* none : {"", "6", "6.", "six.one", ".1", "-6.1", "6,1"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_kernel_version(none));
  }
  CHECK(KernelVersion{5, 9} < KernelVersion{5, 15});
  CHECK(KernelVersion{5, 15} < KernelVersion{6, 0});
}

TEST_CASE("lockdown", "[host][preflight]") {
  Tree tree;
  CHECK_FALSE(read_lockdown(tree.root()));
  const auto with = [&](std::string_view text) {
    tree.file("sys/kernel/security/lockdown", text);
    return read_lockdown(tree.root());
  };
  CHECK(with("[none] integrity confidentiality\n") == Lockdown::none);
  CHECK(with("none [integrity] confidentiality\n") == Lockdown::integrity);
  CHECK(with("none integrity [confidentiality]\n") == Lockdown::confidentiality);
}
