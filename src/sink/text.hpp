// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TEXT_HPP
#define CLOSEWATCH_SINK_TEXT_HPP

#include "sink/escape.hpp"
#include "sink/sink.hpp"
#include "sink/writer.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace closewatch {

/// One aligned line an event, of at most 80 columns unless wide.
class TextSink final : public Sink {
 public:
  struct Style {
    bool wide = false;
    bool utf8 = true;
    bool colour = false;
    /// Local time less UTC, at a time in nanoseconds UTC: a recording is of another season than its replay.
    std::function<std::int64_t(std::int64_t)> utc_offset_ns = [](std::int64_t) { return std::int64_t{0}; };
    std::size_t rows = 0;            ///< of the screen: the header comes again on each; 0: once
  };

  TextSink(Writer& writer, EventTypes types, const Style& style) : writer_(writer), types_(types), style_(style) {}
  void take(const Fact& fact) override;
  void resize(std::size_t rows) { style_.rows = rows; }

 private:
  /// What a line shows, whatever fact it comes from.
  struct Line {
    std::int64_t time_ns = 0;
    const Connection* connection = nullptr;
    const Responsible* responsible = nullptr;
    std::optional<State> from;
    std::string_view to;
    std::optional<Ending> ending;
    std::optional<std::uint64_t> in_state_ns;
    std::string more;  ///< wide: what else there is to say
    bool age_is_lower_bound = false;
    std::optional<Verdict> verdict = std::nullopt;  ///< of a finding that stands
    std::string_view word = "";  ///< how it ended, a bucket too
  };

  void show(const Line& line);
  void show_narrow(const Line& line, std::string_view pid, std::string_view comm);
  void show_wide(const Line& line, std::string_view pid, std::string_view comm);
  void header();
  void put();
  [[nodiscard]] std::string age_text(const Line& line) const;
  [[nodiscard]] std::string_view colour_of(const Line& line) const;
  [[nodiscard]] std::size_t append_change(const Line& line);
  /// Good until the next call.
  [[nodiscard]] std::string_view clock(std::int64_t time_ns, int digits);
  [[nodiscard]] std::string_view arrow() const { return style_.utf8 ? "→" : ">"; }

  void body(const Snapshot& row);
  void body(const Transition& transition);
  void body(const Closed& closed);
  void body(const Finding& finding);
  void body(const Gap& gap);
  template <typename Other>
  void body(const Other&) {}

  Writer& writer_;
  EventTypes types_;
  Style style_;
  Buffer line_;
  std::size_t lines_ = 0;
  static constexpr std::size_t clock_digits = 8;  ///< hh:mm:ss
  std::int64_t clock_second_ = 0;
  std::string clock_;  ///< of that second
};

/// At most six columns: 85us, 1.2ms, 12.3s, 599s, 10m, 3.4h, 12d.
[[nodiscard]] std::string duration_text(std::uint64_t ns);

/// 812B, 1.2K, 3.0M: by 1024.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

}  // namespace closewatch

#endif
