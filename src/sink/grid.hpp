// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_GRID_HPP
#define CLOSEWATCH_SINK_GRID_HPP

// A picture of a screen: a grid of cells. It knows no terminal.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

enum class Ink : std::uint8_t { plain, red, yellow, green, cyan };

struct Attributes {
  Ink ink = Ink::plain;
  bool bold = false;
  bool reverse = false;
  bool dim = false;
  bool operator==(const Attributes&) const = default;
};

struct Size {
  std::size_t rows = 24;
  std::size_t columns = 80;
  bool operator==(const Size&) const = default;
};

/// One column of a row. The cell behind a character of two columns is empty.
struct Cell {
  std::string text = " ";  ///< a character, in UTF-8
  Attributes look;
  bool operator==(const Cell&) const = default;
};

class Grid {
 public:
  explicit Grid(Size size) : size_(size), cells_(size.rows * size.columns) {}

  [[nodiscard]] Size size() const { return size_; }
  [[nodiscard]] const Cell& at(std::size_t row, std::size_t column) const {
    return cells_[row * size_.columns + column];
  }

  /// Writes printable text (escape.hpp), cut at the edge. What lies outside is not there. Returns the column behind it.
  std::size_t put(std::size_t row, std::size_t column, std::string_view text, Attributes look = {});
  /// To the left of `end`, the column behind its last.
  void put_right(std::size_t row, std::size_t end, std::string_view text, Attributes look = {});
  /// Turns a whole row around: its characters keep their colours.
  void reverse(std::size_t row);

  /// The characters alone, rows ended by a line feed, blanks at their ends left out.
  [[nodiscard]] std::string text() const;
  /// Which cells look different: per row a string of letters (r, y, g, c; upper case: bold; `#`: reverse; `.`: dim).
  [[nodiscard]] std::string looks() const;

 private:
  Size size_;
  std::vector<Cell> cells_;
};

}  // namespace closewatch

#endif
