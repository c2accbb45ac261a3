// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TOP_SHOW_HPP
#define CLOSEWATCH_APP_TOP_SHOW_HPP

#include "app/held_messages.hpp"
#include "app/options.hpp"
#include "app/output.hpp"
#include "sink/terminal.hpp"
#include "sink/top_screen.hpp"
#include "sink/writer.hpp"

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/top.hpp>

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {

/// A terminal with a keyboard.
struct TopTerminal {
  Descriptor keyboard;  ///< where standard input is none
  Terminal terminal;
};
/// None where the output is no terminal, or one that can only be written on. An error: it is none that is known.
[[nodiscard]] std::expected<std::optional<TopTerminal>, Error> open_terminal(const Options& options,
                                                                             const Output& output);

/// What keeps others from the screen: the filters, as they were given (Started::options); empty where all is there.
[[nodiscard]] std::string scope_of(std::string_view command,
                                   const std::vector<std::pair<std::string, std::string>>& given);

/// What `top` shows, live or of a recording: on a terminal a picture that keys change, elsewhere a table now and then.
class TopShow {
 public:
  /// What there is to report. `whole`: with all sockets of each group.
  using MakeReport = std::function<Report(bool whole)>;

  TopShow(const Options& options, const Output& output, std::optional<TopTerminal> terminal);

  void makes_reports_by(MakeReport make) { make_report_ = std::move(make); }

  /// Takes the screen, where there is one.
  void begin();
  /// Refreshes when it is time, and draws what has changed. `time_ns` is of what is watched, `events` are its
  /// transitions until then.
  void pulse(std::uint64_t time_ns, std::uint64_t events);
  /// Of what is watched, when the next refresh is due.
  [[nodiscard]] std::uint64_t next_ns() const { return next_ns_; }
  /// Whatever the interval says.
  void refresh(std::uint64_t time_ns, std::uint64_t events);
  /// Where there is no screen: the last view, as a table.
  void print();
  /// When it is time. True: it was.
  bool refresh_when_due(std::uint64_t time_ns, std::uint64_t events);
  /// Gives the screen back.
  void end();

  void stop();
  void go_on();
  void resize() { changed_ = true; }
  /// Of a recording it stands in there.
  void narrows_to(std::string scope) { screen_.narrows_to(std::move(scope)); }
  void say(std::string text);

  [[nodiscard]] bool has_screen() const { return terminal_.has_value(); }
  [[nodiscard]] bool is_paused() const { return screen_.is_paused(); }
  /// For poll(2): of the keyboard, and of the display.
  [[nodiscard]] int keyboard() const { return terminal_ ? terminal_->terminal.keyboard() : -1; }
  [[nodiscard]] int display() const { return terminal_ ? terminal_->terminal.display() : -1; }
  [[nodiscard]] short wanted_of_keyboard() const;
  [[nodiscard]] short wanted_of_display() const;
  /// False: it is over, by q or because the terminal has gone.
  [[nodiscard]] bool keyboard_came(short events);
  [[nodiscard]] bool display_came(short events);
  /// Of the tables, where there is no screen.
  [[nodiscard]] Writer& writer() { return writer_; }

 private:
  void take_screen();
  [[nodiscard]] bool take(const KeyPress& press);
  void draw();
  void save_when_wanted();

  std::chrono::nanoseconds interval_;
  bool verbose_;
  TextSink::Style style_;
  Writer writer_;
  TopScreen screen_;
  HeldMessages messages_;
  std::optional<TopTerminal> terminal_;
  MakeReport make_report_;
  TopHistory history_;
  TopView view_;                   ///< that is shown
  std::optional<TopView> newest_;  ///< while the picture stands
  bool changed_ = true;
  bool wants_screen_ = false;
  bool wants_saving_ = false;  ///< a key may come in the middle of a walk, when there is nothing whole to be told
  std::uint64_t next_ns_ = 0;
  std::uint64_t shown_ns_ = 0;  ///< the time of the last refresh
};

}  // namespace closewatch

#endif
