// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DOCTOR_LOOK_HPP
#define CLOSEWATCH_APP_DOCTOR_LOOK_HPP

// What the doctor sees of network namespaces and of the kernel programs, without a watch.

#include "host/namespaces.hpp"
#include "source/hooks.hpp"

#include <closewatch/core/doctor.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace closewatch {

/// One look at each, from inside of it: settings, counters, sockets, ports. What cannot be seen is added to `unseen`.
[[nodiscard]] std::vector<NamespaceReport> look_at_namespaces(const std::filesystem::path& root,
                                                              const std::vector<NetworkNamespace>& namespaces,
                                                              std::vector<std::string>& unseen);

/// What to do where a hook can't be attached to.
struct HookRemedies {
  std::string refused;  ///< the kernel does not permit it
  std::string failed;   ///< any other error
};

/// A check by the id `hook_PROGRAM`.
[[nodiscard]] Check check_of(const HookTry& hook, const HookRemedies& remedies);

/// Sockets are looked at by one walk or, where the kernel refuses that, by two others: nothing is missing where either
/// way is open.
void weigh_walks(std::vector<Check>& checks);

}  // namespace closewatch

#endif
