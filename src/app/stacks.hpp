// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_STACKS_HPP
#define CLOSEWATCH_APP_STACKS_HPP

#include "app/session.hpp"
#include "host/symbols.hpp"

#include <closewatch/core/event.hpp>

#include <optional>

namespace closewatch {

/// Answers a session's questions about stacks, where they were asked for.
class StackNames {
 public:
  explicit StackNames(bool wanted);
  void serve(Session& session);

 private:
  [[nodiscard]] Stack name(const RawStack& raw);
  std::optional<Symbols> symbols_;
};

}  // namespace closewatch

#endif
