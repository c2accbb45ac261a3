// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_PRIVILEGES_HPP
#define CLOSEWATCH_HOST_PRIVILEGES_HPP

// The capabilities that closewatch uses, in one table: what for, how long, and what is missing without. And the giving
// up of all others.

#include <closewatch/core/doctor.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace closewatch {

/// A bit each, by their numbers in linux/capability.h.
using Capabilities = std::uint64_t;
constexpr Capabilities capability_bit(unsigned number) { return Capabilities{1} << number; }

/// What is going to be done, as far as capabilities depend on it.
struct Undertaking {
  bool other_namespaces = true;  ///< false where a filter leaves only our own network namespace
  bool counts_descriptors = true;
  bool stacks = false;
  bool command = false;      ///< one was started, and is sent the signals that come in for it
  bool as_root = false;      ///< by uid
  bool old_kernel = false;   ///< before Linux 5.19 each bpf() takes CAP_BPF, a walk's too
};

/// All of the table, by that which /proc/self/status says that we have.
[[nodiscard]] Privileges privileges(const std::filesystem::path& root);

/// A check for each that tracing needs, or sees less without. `held`: empty where it is not known.
[[nodiscard]] std::vector<Check> capability_checks(std::optional<Capabilities> held);

/// Those without which nothing is attached, "CAP_BPF (to …) and CAP_PERFMON (to …)"; empty where all are held.
[[nodiscard]] std::string missing_to_start(Capabilities held);

/// What is not seen since a capability is missing.
struct Limit {
  std::string text;
  bool is_told_when_met = false;  ///< it may concern nothing on this machine; where it does, that is counted
};
[[nodiscard]] std::vector<Limit> limits_of(Capabilities held, const Undertaking& what);

/// Of what is held, all that is used once everything is attached.
[[nodiscard]] Capabilities kept_while_watching(Capabilities held, const Undertaking& what);

/// "CAP_SYS_ADMIN, CAP_SYS_PTRACE", or "none".
[[nodiscard]] std::string names_of(Capabilities capabilities);

/// How to get them without being root: the file's capabilities.
[[nodiscard]] std::string setcap_line();

/// For good: no other capability is left in the permitted, effective, inheritable and ambient sets, nor in the bounding
/// set where CAP_SETPCAP was held to empty that; and no program that is executed brings any (no_new_privs).
[[nodiscard]] std::expected<void, Error> give_up_all_but(Capabilities kept);

}  // namespace closewatch

#endif
