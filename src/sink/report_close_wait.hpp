// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_CLOSE_WAIT_HPP
#define CLOSEWATCH_SINK_REPORT_CLOSE_WAIT_HPP

// The part of the report for people that is about CLOSE_WAIT: groups of sockets, who holds them, what to do.

#include "sink/page.hpp"

#include <closewatch/core/report.hpp>

#include <cstdint>
#include <set>
#include <string>

namespace closewatch {

/// worst: what is wrong, with a few examples. whole: all there is.
enum class Detail : std::uint8_t { worst, whole };

class CloseWaitText {
 public:
  CloseWaitText(Page& page, bool utf8, Detail detail = Detail::worst) : page_(page), utf8_(utf8), detail_(detail) {}

  /// Of a process or a workload. Advice on a kind is given once.
  void write(const CloseWaitReport& close_wait);

 private:
  void group(const GroupReport& group);
  [[nodiscard]] std::string headline(const GroupReport& group) const;
  [[nodiscard]] std::string queue_text(const GroupReport& group) const;
  void example(const SocketReport& socket, const GroupReport& group);
  void within_limit(const CloseWaitReport& close_wait);

  Page& page_;
  bool utf8_;
  Detail detail_;
  std::set<Kind> advised_;
};

}  // namespace closewatch

#endif
