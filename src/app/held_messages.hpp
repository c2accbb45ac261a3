// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_HELD_MESSAGES_HPP
#define CLOSEWATCH_APP_HELD_MESSAGES_HPP

#include <memory>
#include <string>
#include <vector>

namespace spdlog::sinks {
class sink;
}

namespace closewatch {

/// Messages would tear a picture on the same terminal: while there is one they wait, and go out with the end of it.
class HeldMessages {
 public:
  HeldMessages();
  HeldMessages(const HeldMessages&) = delete;
  HeldMessages& operator=(const HeldMessages&) = delete;
  ~HeldMessages();

  void hold();
  void let_go();
  /// The latest warning or error since it was last asked for; empty where there was none.
  [[nodiscard]] std::string take_latest();

 private:
  class Sink;
  std::shared_ptr<Sink> sink_;
  std::vector<std::shared_ptr<spdlog::sinks::sink>> before_;
};

}  // namespace closewatch

#endif
