// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TOP_SCREEN_HPP
#define CLOSEWATCH_SINK_TOP_SCREEN_HPP

// What `top` shows and how keys change it: view, size and what was typed in, a grid out. It touches no terminal.

#include "sink/grid.hpp"
#include "sink/page.hpp"
#include "sink/report_rows.hpp"
#include "sink/top_columns.hpp"

#include <closewatch/core/top.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace closewatch {

enum class Key : std::uint8_t { up, down, page_up, page_down, home, end, enter, escape, backspace, character };

struct KeyPress {
  Key key = Key::character;
  std::string character;  ///< in UTF-8, of Key::character
};

class TopScreen {
 public:
  struct Style {
    bool utf8 = true;
    std::string scope{};  ///< what keeps others from the screen: "only --pid 812"; empty where all is there
  };
  /// What a key asks of whoever has the terminal.
  enum class Wish : std::uint8_t { none, quit, write_report };

  explicit TopScreen(Style style) : style_(std::move(style)) {}

  Wish take(const KeyPress& press, const TopView& view, Size size);
  [[nodiscard]] Grid draw(const TopView& view, Size size) const;

  /// The picture stands; what is to be shown afterwards goes on being collected.
  [[nodiscard]] bool is_paused() const { return paused_; }
  /// A row is open: its groups are to have all their sockets (ReportFrame::verbose).
  [[nodiscard]] bool is_open() const { return opened_.has_value(); }
  /// A line for the foot of the screen until the next key: where the report was written, or why not.
  void say(std::string text) { said_ = std::move(text); }
  void narrows_to(std::string scope) { style_.scope = std::move(scope); }

 private:
  /// A row of the report with its pace. Names are made for those alone that are shown or compared: there may be tens of
  /// thousands.
  struct Line {
    std::size_t at = 0;  ///< in the report
    const Findings* findings = nullptr;
    const TopPace* pace = nullptr;
  };

  [[nodiscard]] std::size_t rows_of(const TopView& view) const;
  [[nodiscard]] Line line_of(const TopView& view, std::size_t at) const;
  [[nodiscard]] std::vector<Line> lines(const TopView& view, std::size_t columns) const;
  [[nodiscard]] std::string key_of(const TopView& view, const Line& line) const;
  [[nodiscard]] RowName name_of(const TopView& view, const Line& line) const;
  [[nodiscard]] std::uint64_t number_of(const TopView& view, const Line& line) const;
  [[nodiscard]] std::vector<Line> filtered(const TopView& view) const;
  /// Of a screen that has the column no more, the verdict's.
  [[nodiscard]] TopColumn sorted_by(const std::vector<PlacedColumn>& shown) const;
  void sort(const TopView& view, std::vector<Line>& lines, TopColumn by) const;
  [[nodiscard]] std::size_t chosen_of(const TopView& view, const std::vector<Line>& lines) const;

  void head(Grid& grid, const TopView& view) const;
  void titles(Grid& grid, const std::vector<PlacedColumn>& columns) const;
  void table(Grid& grid, const TopView& view, const std::vector<Line>& lines) const;
  void row(Grid& grid, std::size_t at, const TopView& view, const Line& line, const std::vector<PlacedColumn>& columns,
           bool chosen) const;
  void inside(Grid& grid, const TopView& view) const;
  void help(Grid& grid, const TopView& view) const;
  [[nodiscard]] std::vector<Page::Line> help_lines(const TopView& view, std::size_t columns) const;
  void list_processes(Page& page, const Report& report, const WorkloadReport& workload) const;
  void foot(Grid& grid, std::size_t shown, std::size_t all) const;
  void show(Grid& grid, const std::vector<Page::Line>& text) const;
  [[nodiscard]] std::vector<Page::Line> inside_text(const TopView& view, std::size_t columns) const;
  [[nodiscard]] Page::Line nearest(const TopView& view) const;

  void type(const KeyPress& press);
  Wish command(char key, Size size);
  void move(const KeyPress& press, const TopView& view, Size size);
  void move_in(const KeyPress& press, std::size_t lines, std::size_t page);

  Style style_;
  bool by_process_ = false;
  TopColumn sorted_by_ = TopColumn::verdict;
  bool reversed_ = false;
  bool paused_ = false;
  bool helps_ = false;
  bool types_ = false;  ///< the filter is being typed
  std::string filter_;
  std::optional<std::string> chosen_;  ///< the key of the row under the cursor; none: the first, whichever it is
  std::size_t chosen_at_ = 0;  ///< where it was: its place is taken by another when it goes
  std::optional<std::string> opened_;  ///< the key of the row that is looked into
  std::string opened_name_;
  std::size_t scrolled_ = 0;  ///< lines, inside a row and of the help
  std::string said_;
};

}  // namespace closewatch

#endif
