// SPDX-License-Identifier: BSD-2-Clause
#include "app/held_messages.hpp"

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstddef>
#include <deque>
#include <utility>

namespace closewatch {

class HeldMessages::Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit Sink(std::vector<std::shared_ptr<spdlog::sinks::sink>> onwards)
      : onwards_(std::move(onwards)), tears_(isatty(STDERR_FILENO) != 0) {}

  void hold() { holds_ = tears_; }
  void let_go() {
    holds_ = false;
    if (const std::size_t left_out = std::exchange(left_out_, 0); left_out > 0)
      pass_on({"", spdlog::level::warn, std::to_string(left_out) + " earlier messages are left out"});
    for (const auto& [level, text] : std::exchange(held_, {})) pass_on({"", level, text});
  }
  std::string take_latest() { return std::exchange(latest_, {}); }

 private:
  /// The latest are worth most: what ended it is among them.
  static constexpr std::size_t most_held = 100;

  void pass_on(const spdlog::details::log_msg& message) {
    for (const auto& onwards : onwards_) onwards->log(message);
  }
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string text{message.payload.data(), message.payload.size()};
    if (message.level >= spdlog::level::warn) latest_ = text;
    if (!holds_) {
      pass_on(message);
      return;
    }
    held_.emplace_back(message.level, text);
    if (held_.size() <= most_held) return;
    held_.pop_front();
    ++left_out_;
  }
  void flush_() override {}

  std::vector<std::shared_ptr<spdlog::sinks::sink>> onwards_;
  bool tears_;
  bool holds_ = false;
  std::deque<std::pair<spdlog::level::level_enum, std::string>> held_;
  std::size_t left_out_ = 0;
  std::string latest_;
};

HeldMessages::HeldMessages() {
  auto& sinks = spdlog::default_logger()->sinks();
  before_ = sinks;
  sink_ = std::make_shared<Sink>(before_);
  sinks = {sink_};
}

HeldMessages::~HeldMessages() {
  sink_->let_go();
  spdlog::default_logger()->sinks() = before_;
}

void HeldMessages::hold() { sink_->hold(); }
void HeldMessages::let_go() { sink_->let_go(); }
std::string HeldMessages::take_latest() { return sink_->take_latest(); }

}  // namespace closewatch
