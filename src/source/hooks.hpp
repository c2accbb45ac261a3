// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_HOOKS_HPP
#define CLOSEWATCH_SOURCE_HOOKS_HPP

// Which of the kernel programs this machine takes, found by trying.

#include <string>
#include <vector>

namespace closewatch {

/// A kernel program that was loaded by itself, attached, and detached at once.
struct HookTry {
  enum class Step { load, attach };
  std::string program;  ///< transition
  std::string hook;     ///< tp_btf/inet_sock_set_state
  int code = 0;         ///< errno where it failed; ENOENT: this kernel has no such hook
  Step failed = Step::load;
};

/// Each program in turn, in the order in which they were written. Nothing of it stays in the kernel. For a moment each
/// program sees what happens, and tells nobody.
[[nodiscard]] std::vector<HookTry> try_hooks();

}  // namespace closewatch

#endif
