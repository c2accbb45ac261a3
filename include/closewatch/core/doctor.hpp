// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DOCTOR_HPP
#define CLOSEWATCH_CORE_DOCTOR_HPP

// What `closewatch doctor` has found, as values. Sinks print it.

#include <closewatch/core/health.hpp>
#include <closewatch/core/types.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

struct NamespaceReport {
  NamespaceHealth health;
  std::array<std::uint64_t, state_slots> states{};  ///< sockets by the number of their state, as `ss -tan` has them
};

/// A capability that closewatch uses (capabilities(7)).
struct Privilege {
  enum class Kept : std::uint8_t { start, watching };  ///< until everything is attached, or to the end
  std::string name;       ///< CAP_BPF
  Kept kept = Kept::start;
  bool usual = true;      ///< without any option
  bool needed = false;    ///< without it nothing is traced
  bool held = false;
  std::string only;       ///< when it is used; empty: always
  std::string what_for;   ///< "to …"
  std::string without;    ///< what is missing then
};
[[nodiscard]] std::string_view name(Privilege::Kept kept);

struct Privileges {
  std::vector<Privilege> capabilities;
  std::string setcap;   ///< a command line that gives them to the program's file
  std::string setpriv;  ///< one that runs it with them as another user
};
/// The usual ones by their names: those to start with, or of these those that are kept while it watches.
[[nodiscard]] std::vector<std::string> usual(const Privileges& all, bool while_watching);

struct DoctorReport {
  std::string host;
  std::string kernel;
  std::int64_t time_ns = 0;  ///< since 1970 (UTC)
  std::vector<Check> checks;
  Privileges privileges;
  std::vector<NamespaceReport> namespaces;  ///< our own first
  std::vector<HostFinding> findings;        ///< the worst first
  std::vector<std::string> unseen;          ///< what could not be looked at, and why
};

/// Nothing is missing that tracing cannot do without.
[[nodiscard]] bool can_trace(const DoctorReport& report);

}  // namespace closewatch

#endif
