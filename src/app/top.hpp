// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TOP_HPP
#define CLOSEWATCH_APP_TOP_HPP

#include "app/options.hpp"
#include "sink/sink.hpp"

#include <cstdint>

namespace closewatch {

/// `closewatch top`: everything from the options to the exit status.
[[nodiscard]] Exit run_top(const Options& options);

/// In place of the stream: how many transitions were in it.
class CountedTransitions final : public Sink {
 public:
  void take(const Fact& fact) override {
    if (std::holds_alternative<Transition>(fact)) ++count_;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  std::uint64_t count_ = 0;
};

}  // namespace closewatch

#endif
