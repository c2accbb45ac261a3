// SPDX-License-Identifier: BSD-2-Clause
// The grid of cells that a screen is made of.
#include "catch.hpp"
#include "top_scene.hpp"

#include <string>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("grid: wide characters take two cells, and none is cut in half", "[sink][top]") {
  const Utf8 locale;
  Grid grid{{2, 5}};
  CHECK(grid.put(0, 0, "a宽字x") == 5);
  CHECK(grid.text() == "a宽字\n\n");
  CHECK(grid.at(0, 2).text.empty());
  CHECK(grid.put(1, 0, "abcd宽", {.bold = true}) == 4);
  CHECK(grid.text() == "a宽字\nabcd\n");
  CHECK(grid.looks() == "\nBBBB\n");
  grid.put_right(1, 5, "zz", {.ink = Ink::red});
  CHECK(grid.text() == "a宽字\nabczz\n");
  CHECK(grid.looks() == "\nBBBrr\n");
  CHECK(grid.put(2, 0, "outside") == 0);
}
