// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_PAGE_HPP
#define CLOSEWATCH_SINK_PAGE_HPP

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

enum class Colour { none, red, yellow, green };

/// Lines of a bounded width. Takes text that has been made printable.
class Page {
 public:
  Page(std::size_t width, bool coloured) : width_(width), coloured_(coloured) {}

  /// Broken between words, where it is too long.
  void paragraph(std::size_t indent, std::string_view text, Colour colour = Colour::none) {
    wrap(indent, indent, text, colour);
  }
  /// The same; what follows a break is indented by two more.
  void item(std::size_t indent, std::string_view text, Colour colour = Colour::none) {
    wrap(indent, indent + 2, text, colour);
  }
  /// As it is: a row of a table.
  void row(std::string_view text, Colour colour = Colour::none);
  void blank() { lines_.emplace_back(); }

  struct Line {
    std::string text;
    Colour colour = Colour::none;
  };
  [[nodiscard]] const std::vector<Line>& lines() const { return lines_; }
  /// As a terminal or a file takes it: each line ended by a line feed, in colour where that was asked for.
  [[nodiscard]] std::string text() const;

 private:
  void wrap(std::size_t indent, std::size_t hanging, std::string_view text, Colour colour);
  void put(std::string_view line, Colour colour);

  std::size_t width_;
  bool coloured_;
  std::vector<Line> lines_;
};

}  // namespace closewatch

#endif
