// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_TOLD_HPP
#define CLOSEWATCH_TESTS_UNIT_TOLD_HPP

// What an engine told, as lines to compare; and an engine whose questions are answered as the session does.

#include <closewatch/core/engine.hpp>

#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

namespace closewatch::test {

/// One fact on one line. Times spent are in ms where they are whole, `?` where not known:
///   81 FIN_WAIT1>FIN_WAIT2 in=1ms closer:812 network
///   81 TIME_WAIT>CLOSE in=60000ms closer:812 expired sweep                      (Transition::by_sweep)
///   81 closed closer:812 by=close:812 first=local fin errno=0 bucket=time_wait took=9ms sent=100 received=200
///   snapshot 81 CLOSE_WAIT age=5ms opener:812
///   81 raised eof_ignored stuck age=30000ms holder:812              (a Finding; `age=>` is a lower bound)
///   81 resolved eof_ignored stuck closed age=31000ms closer:812
///   ask 812/0     (a ProcessWanted: pid and exec_id)
///   name the opener of 81, name the reader of 81   (a StackWanted)
///   walk tables   (a WalkWanted)
std::string told(const Fact& fact);
std::vector<std::string> told(const std::vector<Fact>& facts);

class Watched {
 public:
  explicit Watched(const Engine::Settings& settings = {}) : engine_(settings) {}

  /// Steps through the events and returns the lines that came of them, questions included.
  std::vector<std::string> operator()(const std::vector<Event>& events);
  /// The head of every stream: a walk that finds `rows`, then `hello` and the snapshot, which are thrown away.
  void begin(const std::vector<Event>& rows = {});

  /// Answers to ProcessWanted and to StackWanted; without them each gets none.
  std::function<ProcessResolved(const Identity&)> answer;
  std::function<StackResolved(const StackWanted&)> resolve;
  [[nodiscard]] const std::vector<Fact>& facts() const { return facts_; }
  [[nodiscard]] bool holds_back() const { return engine_.holds_back(); }
  [[nodiscard]] Engine& engine() { return engine_; }

 private:
  Engine engine_;
  std::vector<Fact> facts_;  ///< of the last call
};

/// The facts of one type among others, in order.
template <typename Wanted>
std::vector<Wanted> only(const std::vector<Fact>& facts) {
  std::vector<Wanted> found;
  for (const Fact& fact : facts)
    if (const auto* wanted = std::get_if<Wanted>(&fact)) found.push_back(*wanted);
  return found;
}

using Lines = std::vector<std::string>;

}  // namespace closewatch::test

#endif
