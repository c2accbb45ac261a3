// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DEMO_CAST_HPP
#define CLOSEWATCH_APP_DEMO_CAST_HPP

// The processes of `closewatch demo`: how they begin, and that none outlives it.

#include "app/demo_stage.hpp"

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace closewatch::demo {

/// A manager, and all others below it. They give up every privilege, have a session of their own (the terminal's
/// signals reach closewatch alone), keep none of our descriptors, and end with us, whatever ends us. They stay the
/// user's that we are: as another's, closewatch could not end them once it has given up CAP_KILL, and neither could the
/// kernel at its end (PR_SET_PDEATHSIG asks for the same permission).
class Cast {
 public:
  /// Forks the manager, which waits. To be called before anything else is opened.
  [[nodiscard]] static std::expected<Cast, Error> gather(CommandLine line);
  Cast(Cast&& other) noexcept;
  Cast& operator=(Cast&&) = delete;
  ~Cast() { end(); }

  /// Of the manager: all others are its descendants.
  [[nodiscard]] std::uint32_t pid() const { return static_cast<std::uint32_t>(pid_); }
  /// The programs start.
  void begin();
  /// Returns when none of them is left; what they could not do, a sentence each.
  std::vector<std::string> end();

 private:
  Cast(int pid, Descriptor pidfd, Descriptor channel);
  int pid_ = -1;  ///< -1 once waited for
  Descriptor pidfd_;
  Descriptor channel_;  ///< to the manager: a word begins; from all: what they could not do
};

}  // namespace closewatch::demo

#endif
