// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TOP_COLUMNS_HPP
#define CLOSEWATCH_SINK_TOP_COLUMNS_HPP

// The columns of the table of `top`: which a screen has room for, what stands in them, and by what rows are compared.

#include "sink/grid.hpp"

#include <closewatch/core/top.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace closewatch {

/// From left to right.
enum class TopColumn : std::uint8_t {
  name,
  where,
  processes,
  established,
  close_wait,
  leaked,
  oldest,
  trend,
  time_wait,
  time_wait_rate,
  fin_wait2,
  last_ack,
  abort_rate,
  descriptors,
  verdict,
};

struct PlacedColumn {
  TopColumn column = TopColumn::name;
  std::size_t at = 0;     ///< its first cell, behind the blank before it
  std::size_t width = 0;
};

/// From left to right, as many as there is room for: a name and a verdict at the least.
[[nodiscard]] std::vector<PlacedColumn> placed_columns(std::size_t width, bool by_process);

[[nodiscard]] std::string_view title(TopColumn column, bool by_process);
[[nodiscard]] bool is_number(TopColumn column);

/// What stands in a column of numbers.
[[nodiscard]] std::string cell_text(TopColumn column, const Findings& findings, const TopPace& pace, bool utf8);

/// The course of a number in so many columns, its latest at the right, from the least of it to the most.
[[nodiscard]] std::string graph(const std::vector<std::uint32_t>& numbers, std::size_t width, bool utf8);

/// A larger one stands before a smaller one.
[[nodiscard]] double rank(TopColumn column, const Findings& findings, const TopPace& pace);

/// What is wrong with a row, in a word; the worst first.
enum class TopVerdict : std::uint8_t { leak, ports, fds, stuck, ok };
[[nodiscard]] TopVerdict verdict_of(const Findings& findings);
[[nodiscard]] std::string_view name(TopVerdict verdict);
[[nodiscard]] Ink ink_of(TopVerdict verdict);

}  // namespace closewatch

#endif
