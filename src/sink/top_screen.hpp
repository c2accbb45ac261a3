// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TOP_SCREEN_HPP
#define CLOSEWATCH_SINK_TOP_SCREEN_HPP

// What `top` shows and how keys change it: view, size and what was typed in, a frame out. It touches no terminal.

#include "sink/frame.hpp"

#include <closewatch/core/top.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace closewatch {

enum class Key : std::uint8_t { up, down, page_up, page_down, home, end, enter, escape, backspace, character };

struct KeyPress {
  Key key = Key::character;
  std::string character;  ///< in UTF-8, of Key::character
};

enum class TopColumn : std::uint8_t {
  trouble,  ///< as the report orders them: the worst first
  name,
  processes,
  established,
  close_wait,
  leaked,
  oldest,
  time_wait,
  time_wait_rate,
  fin_wait2,
  last_ack,
  abort_rate,
  descriptors,
};

class TopScreen {
 public:
  struct Style {
    bool utf8 = true;
    bool colour = true;
    std::int64_t utc_offset_ns = 0;
  };
  /// What a key asks of whoever has the terminal.
  enum class Wish : std::uint8_t { none, quit, write_report };

  explicit TopScreen(Style style) : style_(style) {}

  Wish take(const KeyPress& press, const TopView& view, Size size);
  [[nodiscard]] Frame draw(const TopView& view, Size size) const;

  /// The picture stands; what is to be shown afterwards goes on being collected.
  [[nodiscard]] bool is_paused() const { return paused_; }
  /// A line for the foot of the screen until the next key: where the report was written, or why not.
  void say(std::string text) { said_ = std::move(text); }

 private:
  /// A row of the report with its pace, in the order and choice of the screen.
  struct Line {
    std::string key;
    std::string name;  ///< printable
    std::string where;
    std::string processes;
    const Findings* findings = nullptr;
    const TopPace* pace = nullptr;
  };

  [[nodiscard]] std::vector<Line> lines(const TopView& view) const;
  [[nodiscard]] bool is_wanted(const Line& line) const;
  void sort(std::vector<Line>& lines) const;
  void head(Frame& frame, const TopView& view) const;
  void table(Frame& frame, const TopView& view) const;
  void row(Frame& frame, std::size_t at, const Line& line, const std::vector<TopColumn>& columns, bool chosen) const;
  void opened(Frame& frame, const TopView& view) const;
  void help(Frame& frame) const;
  void foot(Frame& frame, std::size_t all, std::size_t shown) const;
  [[nodiscard]] std::vector<std::string> inside(const TopView& view, std::size_t columns) const;

  void type(const KeyPress& press);
  Wish command(char key, const TopView& view);
  void move(const KeyPress& press, const TopView& view, Size size);
  void choose(const std::vector<Line>& lines, std::size_t at);
  [[nodiscard]] std::size_t chosen_of(const std::vector<Line>& lines) const;

  Style style_;
  bool by_process_ = false;
  TopColumn sorted_by_ = TopColumn::trouble;
  bool reversed_ = false;
  bool paused_ = false;
  bool helps_ = false;
  bool types_ = false;       ///< the filter is being typed
  std::string filter_;
  std::string chosen_;       ///< the key of the row under the cursor; empty: the first
  std::optional<std::string> opened_;  ///< the key of the row that is looked into
  std::size_t scrolled_ = 0;  ///< lines, inside a row and of the help
  std::string said_;
};

}  // namespace closewatch

#endif
