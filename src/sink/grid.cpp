// SPDX-License-Identifier: BSD-2-Clause
#include "sink/grid.hpp"

#include "sink/escape.hpp"

#include <algorithm>
#include <cctype>

namespace closewatch {
namespace {

/// Of what printable() has let through: any other byte is the head of a character by itself.
std::size_t length_of(std::string_view text) {
  std::size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80U) ++length;
  return length;
}

char letter_of(const Attributes& look) {
  if (look.reverse) return '#';
  if (look.dim) return '.';
  char letter = ' ';
  switch (look.ink) {
    case Ink::plain: letter = look.bold ? 'b' : ' '; break;
    case Ink::red: letter = 'r'; break;
    case Ink::yellow: letter = 'y'; break;
    case Ink::green: letter = 'g'; break;
    case Ink::cyan: letter = 'c'; break;
  }
  return look.bold ? static_cast<char>(std::toupper(letter)) : letter;
}

void trim(std::string& text, std::size_t from) {
  while (text.size() > from && text.back() == ' ') text.pop_back();
  text += '\n';
}

}  // namespace

std::size_t Grid::put(std::size_t row, std::size_t column, std::string_view text, Attributes look) {
  if (row >= size_.rows) return column;
  while (!text.empty()) {
    const std::string_view character = text.substr(0, length_of(text));
    const std::size_t width = columns_of(character);
    if (column + width > size_.columns) break;
    Cell* cell = &cells_[row * size_.columns + column];
    *cell = {std::string{character}, look};
    for (std::size_t behind = 1; behind < width; ++behind) cell[behind] = {"", look};
    column += width;
    text.remove_prefix(character.size());
  }
  return column;
}

void Grid::put_right(std::size_t row, std::size_t end, std::string_view text, Attributes look) {
  const std::size_t width = columns_of(text);
  if (width <= end) put(row, end - width, text, look);
}

void Grid::reverse(std::size_t row) {
  if (row >= size_.rows) return;
  for (std::size_t column = 0; column < size_.columns; ++column)
    cells_[row * size_.columns + column].look.reverse = true;
}

std::string Grid::text() const {
  std::string out;
  for (std::size_t row = 0; row < size_.rows; ++row) {
    const std::size_t from = out.size();
    for (std::size_t column = 0; column < size_.columns; ++column) out += at(row, column).text;
    trim(out, from);
  }
  return out;
}

std::string Grid::looks() const {
  std::string out;
  for (std::size_t row = 0; row < size_.rows; ++row) {
    const std::size_t from = out.size();
    for (std::size_t column = 0; column < size_.columns; ++column) out += letter_of(at(row, column).look);
    trim(out, from);
  }
  return out;
}

}  // namespace closewatch
