// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TOP_HPP
#define CLOSEWATCH_APP_TOP_HPP

#include "app/options.hpp"
#include "sink/sink.hpp"

#include <closewatch/core/engine.hpp>

#include <cstdint>
#include <functional>

namespace closewatch {

/// `closewatch top`: everything from the options to the exit status. `on_started` is called once everything is attached
/// and what was there before is known.
[[nodiscard]] Exit run_top(const Options& options, std::function<void()> on_started = {});

/// What a screen shows is of now: the rules of a report, but for what has ended long since.
[[nodiscard]] Engine::Settings rules_of_top(Engine::Settings rules);

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
