// SPDX-License-Identifier: BSD-2-Clause
// Each check by a machine that raises it, and by one that does not.
#include "catch.hpp"
#include "tree.hpp"

#include "host/machine.hpp"
#include "host/preflight.hpp"

#include <linux/capability.h>

#include <cstdio>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Status = Check::Status;

/// A machine with everything; each test takes something away.
class Machine : public Tree {
 public:
  Machine() {
    file("proc/sys/kernel/osrelease", "6.12.0-amd64\n");
    file("sys/kernel/btf/vmlinux", "x");
    file("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    file("proc/self/uid_map", "         0          0 4294967295\n");
    file("proc/sys/net/core/bpf_jit_enable", "1\n");
    mounts("rw");
    link("proc/self/ns/pid", "/proc/self/ns/pid");
    capabilities(~std::uint64_t{0});
  }
  void capabilities(std::uint64_t bits) {
    std::array<char, 17> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(bits));
    file("proc/self/status", "Name:\tx\nCapEff:\t" + std::string{digits.data()} + "\n");
  }
  void mounts(const std::string& options) {
    file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw shared:5 - proc proc " +
                                    options + "\n24 22 0:22 / /somewhere/proc rw - proc proc rw,hidepid=4\n");
  }
  [[nodiscard]] Check check(std::string_view id) const {
    for (Check& one : checks(root()))
      if (one.id == id) return one;
    FAIL("no such check: " << id);
    return {};
  }
  [[nodiscard]] Status status(std::string_view id) const { return check(id).status; }
  /// The ids of all that are not ok, but for the pid namespace, which is that of the test.
  [[nodiscard]] std::string raised() const {
    std::string ids;
    for (const Check& one : checks(root()))
      if (one.status != Status::ok && one.id != "pid_namespace") ids += one.id + " ";
    return ids;
  }
};

constexpr std::uint64_t all = ~std::uint64_t{0};
constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

bool says(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a machine with everything raises nothing; the checks are in a fixed order", "[host][preflight]") {
  const Machine machine;
  CHECK(machine.raised().empty());
  std::string ids;
  for (const Check& one : checks(machine.root())) ids += one.id + " ";
  CHECK(ids ==
        "kernel btf lockdown user_namespace cap_bpf cap_perfmon cap_sys_admin cap_sys_ptrace cap_dac_read_search "
        "cap_net_admin bpf_jit pid_namespace hidepid ");
}

TEST_CASE("a check that is ok has no remedy, any other has one", "[host][preflight]") {
  const Machine whole;
  const Tree nothing;
  for (const auto& root : {whole.root(), nothing.root()})
    for (const Check& one : checks(root)) {
      CAPTURE(one.id);
      CHECK_FALSE(one.text.empty());
      CHECK(one.remedy.empty() == (one.status == Status::ok));
    }
}

TEST_CASE("each capability that is taken away is named, and no other", "[host][preflight]") {
  Machine machine;
  const auto without = [&](std::uint64_t bits) {
    machine.capabilities(all & ~bits);
    return machine.raised();
  };
  CHECK(without(0).empty());
  CHECK(without(bit(CAP_SYS_ADMIN)) == "cap_sys_admin ");
  CHECK(without(bit(CAP_SYS_PTRACE)) == "cap_sys_ptrace ");
  CHECK(without(bit(CAP_NET_ADMIN)) == "cap_net_admin ");
  // Others stand in for these.
  CHECK(without(bit(CAP_BPF)).empty());
  CHECK(without(bit(CAP_PERFMON)).empty());
  CHECK(without(bit(CAP_DAC_READ_SEARCH)).empty());
  CHECK(without(bit(CAP_BPF) | bit(CAP_SYS_ADMIN)) == "cap_bpf cap_sys_admin ");
  CHECK(without(bit(CAP_PERFMON) | bit(CAP_SYS_ADMIN)) == "cap_perfmon cap_sys_admin ");
  CHECK(without(bit(CAP_DAC_READ_SEARCH) | bit(CAP_DAC_OVERRIDE)) == "cap_dac_read_search ");
  // Of all others none matters.
  CHECK(without(~(bit(CAP_BPF) | bit(CAP_PERFMON) | bit(CAP_SYS_ADMIN) | bit(CAP_SYS_PTRACE) |
                  bit(CAP_DAC_READ_SEARCH) | bit(CAP_NET_ADMIN)))
            .empty());
}

TEST_CASE("what a capability is needed for, and how to get it", "[host][preflight]") {
  Machine machine;
  machine.capabilities(0);
  CHECK(machine.status("cap_bpf") == Status::missing);
  CHECK(machine.status("cap_perfmon") == Status::missing);
  for (const char* id : {"cap_sys_admin", "cap_sys_ptrace", "cap_dac_read_search", "cap_net_admin"}) {
    CAPTURE(id);
    CHECK(machine.status(id) == Status::degraded);
    CHECK(says(machine.check(id).remedy, id));
    CHECK(says(machine.check(id).remedy, "sudo"));
  }
  CHECK(says(machine.check("cap_net_admin").text, "CAP_NET_ADMIN"));
  machine.file("proc/self/status", "Name:\tx\n");
  CHECK(machine.status("cap_bpf") == Status::missing);  // trace refuses then
  CHECK(machine.status("cap_perfmon") == Status::missing);
  CHECK(machine.status("cap_net_admin") == Status::unknown);
}

TEST_CASE("the kernel's version: too old, without use, whole, unknown", "[host][preflight]") {
  Machine machine;
  const auto status = [&](std::string_view release) {
    machine.file("proc/sys/kernel/osrelease", release);
    CHECK(says(machine.check("kernel").text, release));
    return machine.status("kernel");
  };
  CHECK(status("5.14.21") == Status::missing);
  CHECK(status("4.19.0") == Status::missing);
  CHECK(status("5.15.0") == Status::degraded);
  CHECK(status("6.2.16") == Status::degraded);
  CHECK(status("6.3.0") == Status::ok);
  CHECK(status("10.0") == Status::ok);
  CHECK(status("strange") == Status::unknown);
}

TEST_CASE("without BTF nothing is traced", "[host][preflight]") {
  Machine machine;
  machine.remove("sys/kernel/btf");
  CHECK(machine.raised() == "btf ");
  CHECK(machine.status("btf") == Status::missing);
  CHECK(says(machine.check("btf").remedy, "CONFIG_DEBUG_INFO_BTF"));
}

TEST_CASE("lockdown is told, and hinders nothing", "[host][preflight]") {
  Machine machine;
  machine.file("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
  CHECK(machine.status("lockdown") == Status::ok);
  CHECK(says(machine.check("lockdown").text, "confidentiality"));
  machine.file("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  CHECK(says(machine.check("lockdown").text, "integrity"));
  machine.remove("sys/kernel/security/lockdown");
  machine.file("sys/kernel/security/lsm", "capability\n");
  CHECK(machine.status("lockdown") == Status::ok);  // securityfs is there, lockdown is not
  machine.remove("sys/kernel/security/lsm");
  CHECK(machine.status("lockdown") == Status::unknown);  // not mounted
  machine.remove("sys/kernel/security");
  CHECK(machine.status("lockdown") == Status::ok);  // no securityfs in this kernel
  machine.remove("sys");
  CHECK(machine.status("lockdown") == Status::unknown);
}

TEST_CASE("capabilities of another user namespace are none", "[host][preflight]") {
  Machine machine;
  for (const char* map : {"0 100000 65536", "0 1000 1", "0 0 65536", "", "garbage"}) {
    CAPTURE(map);
    machine.file("proc/self/uid_map", map);
    CHECK(machine.raised() == "user_namespace ");
    CHECK(machine.status("user_namespace") == Status::missing);
  }
  machine.file("proc/self/uid_map", "0 0 4294967295");
  CHECK(machine.status("user_namespace") == Status::ok);
  machine.file("proc/self/ns/user", "");  // of another inode, whatever its map says
  CHECK(machine.status("user_namespace") == Status::missing);
  machine.remove("proc/self/uid_map");
  CHECK(machine.status("user_namespace") == Status::unknown);
}

TEST_CASE("an interpreter in place of the JIT", "[host][preflight]") {
  Machine machine;
  const auto status = [&](std::string_view value) {
    machine.file("proc/sys/net/core/bpf_jit_enable", value);
    return machine.status("bpf_jit");
  };
  CHECK(status("0\n") == Status::degraded);
  CHECK(status("1\n") == Status::ok);
  CHECK(status("2\n") == Status::ok);
  CHECK(status("x") == Status::unknown);
  machine.remove("proc/sys/net/core/bpf_jit_enable");
  CHECK(machine.raised() == "bpf_jit ");
  CHECK(machine.status("bpf_jit") == Status::unknown);
}

TEST_CASE("the pid namespace", "[host][preflight]") {
  Machine machine;
  CHECK(machine.status("pid_namespace") == (in_initial_pid_namespace("/") ? Status::ok : Status::degraded));
  machine.remove("proc/self/ns/pid");
  CHECK(machine.status("pid_namespace") == Status::unknown);
  machine.file("proc/self/ns/pid", "");  // another inode
  CHECK(machine.status("pid_namespace") == Status::degraded);
  CHECK(says(machine.check("pid_namespace").remedy, "hostPID"));
}

TEST_CASE("a /proc that hides others' processes", "[host][preflight]") {
  Machine machine;
  for (const char* options : {"rw,hidepid=2", "rw,gid=4,hidepid=invisible", "rw,hidepid=ptraceable,gid=4"}) {
    CAPTURE(options);
    machine.mounts(options);
    machine.capabilities(all);
    CHECK(machine.status("hidepid") == Status::ok);
    machine.capabilities(all & ~bit(CAP_SYS_PTRACE));
    CHECK(machine.raised() == "cap_sys_ptrace hidepid ");
    CHECK(machine.status("hidepid") == Status::degraded);
  }
  for (const char* options : {"rw", "rw,hidepid=0", "rw,hidepid=off,gid=4"}) {
    CAPTURE(options);
    machine.mounts(options);
    CHECK(machine.status("hidepid") == Status::ok);
  }
  machine.remove("proc/self/mountinfo");
  CHECK(machine.status("hidepid") == Status::unknown);
}
