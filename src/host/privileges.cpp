// SPDX-License-Identifier: BSD-2-Clause
#include "host/privileges.hpp"

#include "host/preflight.hpp"

#include <sys/capability.h>
#include <sys/prctl.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>

namespace closewatch {
namespace {

using Status = Check::Status;
using Kept = Privilege::Kept;

struct Row {
  unsigned bit;
  const char* name;
  unsigned instead;  ///< this one will do too; else the same
  Kept kept;
  Status status;  ///< without it; ok: no less is seen
  bool (*is_used)(const Undertaking&);
  const char* only;  ///< when; empty: always
  const char* what_for;
  const char* without;
};

constexpr const char* elsewhere = "not with --netns of its own network namespace";

constexpr std::array rows{
    Row{CAP_BPF, "CAP_BPF", CAP_SYS_ADMIN, Kept::start, Status::missing,
        [](const Undertaking& what) { return what.old_kernel; }, "", "to load programs into the kernel",
        "no program can be loaded into the kernel"},
    Row{CAP_PERFMON, "CAP_PERFMON", CAP_SYS_ADMIN, Kept::start, Status::missing,
        [](const Undertaking&) { return false; }, "", "to attach them to tracepoints",
        "no program can be attached to a tracepoint"},
    Row{CAP_SETPCAP, "CAP_SETPCAP", CAP_SETPCAP, Kept::start, Status::ok, [](const Undertaking&) { return false; }, "",
        "to give up the bounding set",
        "the bounding set stays as it was, and no_new_privs alone keeps what was given up from coming back"},
    Row{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", CAP_SYS_ADMIN, Kept::watching, Status::degraded,
        [](const Undertaking& what) { return what.other_namespaces || what.stacks; },
        "not with --netns of its own network namespace, unless --stacks opens mapped files",
        "to enter other network namespaces",
        "no other network namespace can be entered: its TIME_WAIT sockets and settings are not seen, and sockets from "
        "before the start only where a process holds them"},
    Row{CAP_SYS_PTRACE, "CAP_SYS_PTRACE", CAP_SYS_PTRACE, Kept::watching, Status::degraded,
        [](const Undertaking&) { return true; }, "",
        "to look at other users' processes: their programs, namespaces, descriptors and stacks",
        "the program, the namespaces and the stacks of other users' processes stay unknown"},
    Row{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", CAP_DAC_OVERRIDE, Kept::watching, Status::degraded,
        [](const Undertaking& what) { return what.counts_descriptors || what.other_namespaces || what.stacks; },
        "not for trace with --netns of its own network namespace", "to list the descriptors of other users' processes",
        "the descriptors of other users' processes are not counted, and a network namespace that only they lead to is "
        "not found"},
    Row{CAP_NET_ADMIN, "CAP_NET_ADMIN", CAP_NET_ADMIN, Kept::watching, Status::degraded,
        [](const Undertaking& what) { return what.other_namespaces; }, elsewhere,
        "to ask an open socket which network namespace it is in",
        "a network namespace that nothing but an open socket keeps is not found"},
    Row{CAP_SETUID, "CAP_SETUID", CAP_SETUID, Kept::watching, Status::ok,
        [](const Undertaking& what) { return what.stacks && what.as_root; }, "only with --stacks, started as root",
        "to have debugging information read by nobody", "it is read by the user that closewatch runs as"},
    Row{CAP_SETGID, "CAP_SETGID", CAP_SETGID, Kept::watching, Status::ok,
        [](const Undertaking& what) { return what.stacks && what.as_root; }, "only with --stacks, started as root",
        "likewise, in no group", "it is read in the groups that closewatch runs in"},
    // That reader is another user's process by then.
    Row{CAP_KILL, "CAP_KILL", CAP_KILL, Kept::watching, Status::ok,
        [](const Undertaking& what) { return what.command || (what.stacks && what.as_root); },
        "only for run, and with --stacks, started as root",
        "to pass signals on to a COMMAND that has become another user, and to end a reader of debugging information",
        "Ctrl-C and SIGTERM do not reach such a COMMAND through closewatch, and a reader that hangs stays to our end"},
};

constexpr bool is_usual(const Row& row) { return row.is_used({}) || row.kept == Kept::start; }

bool has(Capabilities held, unsigned bit) { return (held & capability_bit(bit)) != 0; }
bool serves(Capabilities held, const Row& row) { return has(held, row.bit) || has(held, row.instead); }

/// "bpf", as setpriv(1) has it; with `cap_` before it setcap(8)'s and systemd's.
std::string short_name(const Row& row) {
  std::string name{row.name};
  name.erase(0, std::string_view{"CAP_"}.size());
  for (char& letter : name)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return name;
}

/// In two clauses, so that a line can be broken between them.
std::string clause(Kept kept) {
  std::string names;
  for (const Row& row : rows)
    if (is_usual(row) && row.kept == kept) names += (names.empty() ? "cap_" : ",cap_") + short_name(row);
  return names + "=ep";
}

std::string setpriv_lines() {
  std::string names;
  for (const Row& row : rows)
    if (is_usual(row)) names += (names.empty() ? "+" : ",+") + short_name(row);
  return "c=" + names +
         "; setpriv --reuid=USER --regid=GROUP --clear-groups --inh-caps=-all,$c --ambient-caps=-all,$c "
         "--bounding-set=-all,$c closewatch";
}

struct FreeCapabilities {
  void operator()(cap_t set) const { cap_free(set); }
};
using CapabilitySet = std::unique_ptr<_cap_struct, FreeCapabilities>;

bool is_in(cap_t set, cap_value_t capability, cap_flag_t which) {
  cap_flag_value_t value = CAP_CLEAR;
  return cap_get_flag(set, capability, which, &value) == 0 && value == CAP_SET;
}

bool empty_bounding_set(Capabilities kept) {
  for (cap_value_t capability = 0; capability < cap_max_bits(); ++capability)
    if (!has(kept, static_cast<unsigned>(capability)) && cap_get_bound(capability) > 0 &&
        cap_drop_bound(capability) != 0)
      return false;
  return true;
}

}  // namespace

Privileges privileges(const std::filesystem::path& root) {
  const Capabilities held = effective_capabilities(root).value_or(0);
  const Undertaking here{.old_kernel = walks_take_bpf(root)};
  Privileges all{.capabilities = {}, .setcap = setcap_line(), .setpriv = setpriv_lines()};
  for (const Row& row : rows)
    all.capabilities.push_back({.name = row.name,
                                .kept = row.is_used(here) ? Kept::watching : row.kept,
                                .usual = is_usual(row),
                                .needed = row.status == Status::missing,
                                .held = has(held, row.bit),
                                .only = row.only,
                                .what_for = row.what_for,
                                .without = row.without});
  return all;
}

std::vector<Check> capability_checks(std::optional<Capabilities> held) {
  std::vector<Check> found;
  for (const Row& row : rows) {
    if (row.status == Status::ok) continue;
    const std::string name = row.name;
    Check check{.id = "cap_" + short_name(row), .status = Status::ok, .text = "has " + name, .remedy = {}};
    if (!held) {
      // What cannot do without it is not begun where it cannot be told either.
      check = {check.id, row.status == Status::missing ? Status::missing : Status::unknown,
               "/proc/self/status does not tell whether it has " + name, "mount /proc"};
    } else if (!serves(*held, row)) {
      check = {check.id, row.status, "without " + name + " " + row.without,
               "run it as root (sudo), or give the program's file the capabilities: " + setcap_line()};
    } else if (!has(*held, row.bit)) {
      const auto instead = std::unique_ptr<char, int (*)(void*)>{cap_to_name(static_cast<int>(row.instead)), cap_free};
      check.text = "has another capability, which stands in for " + name;
      if (instead) check.text = "has " + std::string{instead.get()} + ", which stands in for " + name;
    }
    found.push_back(std::move(check));
  }
  return found;
}

std::string missing_to_start(Capabilities held) {
  std::string missing;
  for (const Row& row : rows) {
    if (row.status != Status::missing || serves(held, row)) continue;
    missing += std::string{missing.empty() ? "" : " and "} + row.name + " (" + row.what_for + ")";
  }
  return missing;
}

std::vector<Limit> limits_of(Capabilities held, const Undertaking& what) {
  std::vector<Limit> limits;
  for (const Row& row : rows)
    if (row.status == Status::degraded && row.is_used(what) && !serves(held, row))
      limits.push_back({"without " + std::string{row.name} + " " + row.without, row.bit == CAP_SYS_ADMIN});
  return limits;
}

Capabilities kept_while_watching(Capabilities held, const Undertaking& what) {
  Capabilities kept = 0;
  for (const Row& row : rows)
    if (row.is_used(what)) kept |= capability_bit(has(held, row.bit) ? row.bit : row.instead) & held;
  return kept;
}

std::string names_of(Capabilities capabilities) {
  std::string names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (!has(capabilities, bit)) continue;
    const auto name = std::unique_ptr<char, int (*)(void*)>{cap_to_name(static_cast<int>(bit)), cap_free};
    names += (names.empty() ? "" : ", ") + (name ? std::string{name.get()} : std::to_string(bit));
  }
  return names.empty() ? "none" : names;
}

std::string setcap_line() { return "setcap '" + clause(Kept::start) + " " + clause(Kept::watching) + "' FILE"; }

std::expected<void, Error> give_up_all_but(Capabilities kept) {
  const auto failed = [] { return std::unexpected(Error{"give up privileges", errno, ""}); };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed();
  const CapabilitySet now{cap_get_proc()};
  const CapabilitySet left{cap_init()};
  if (!now || !left) return failed();
  if (is_in(now.get(), CAP_SETPCAP, CAP_EFFECTIVE) && !empty_bounding_set(kept)) return failed();
  for (cap_value_t capability = 0; capability < cap_max_bits(); ++capability) {
    if (!has(kept, static_cast<unsigned>(capability)) || !is_in(now.get(), capability, CAP_PERMITTED)) continue;
    for (const cap_flag_t which : {CAP_PERMITTED, CAP_EFFECTIVE})
      if (cap_set_flag(left.get(), which, 1, &capability, CAP_SET) != 0) return failed();
  }
  // The inheritable set is empty, and with it goes the ambient one.
  if (cap_set_proc(left.get()) != 0) return failed();
  return {};
}

}  // namespace closewatch
