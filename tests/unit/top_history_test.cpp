// SPDX-License-Identifier: BSD-2-Clause
// What `top` remembers from refresh to refresh: rates and graphs.
#include "catch.hpp"
#include "top_scene.hpp"

#include <string>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("top: rates and graphs forget rows that are gone", "[core][top]") {
  TopHistory history;
  TopView view = history.refresh(Leaking{4}.report(), 100, 10 * seconds);
  REQUIRE(view.workloads.size() == view.report.workloads.size());
  CHECK(view.events_per_second == 0);
  CHECK(view.workloads[0].close_wait == std::vector<std::uint32_t>{4});
  Leaking grown{6};
  for (std::uint16_t port = 41'001; port <= 41'010; ++port) grown.closed_into_bucket(client(), outgoing_from(port));
  view = history.refresh(grown.report(), 300, 12 * seconds);
  CHECK(view.events_per_second == 100);
  CHECK(view.workloads[0].close_wait == std::vector<std::uint32_t>{4, 6});
  CHECK(view.workloads[1].time_wait_per_second == 5);
  view = history.refresh(Scene{}.report(), 300, 14 * seconds);
  CHECK(view.workloads.empty());
  view = history.refresh(Leaking{2}.report(), 300, 16 * seconds);
  CHECK(view.workloads[0].close_wait == std::vector<std::uint32_t>{2});
  CHECK(view.workloads[1].time_wait_per_second == 0);
}

TEST_CASE("top: aborts a second", "[sink][top]") {
  TopHistory history;
  Leaking scene{0};
  static_cast<void>(history.refresh(scene.report(), 0, 10 * seconds));
  for (std::uint64_t at = 0; at < 30; ++at)
    scene.closed(client(), outgoing(), Ending::rst_received, Bucket::none, 500 + at);
  const TopView view = history.refresh(scene.report(), 0, 12 * seconds);
  CHECK(has(screen(false).draw(view, {8, 140}).text(), " ABORT/s "));
  CHECK(view.workloads[0].aborts_per_second == 15);
  CHECK(cell_text(TopColumn::abort_rate, view.report.workloads[0].findings, view.workloads[0], false) == "15");
  CHECK(rank(TopColumn::abort_rate, view.report.workloads[0].findings, view.workloads[0]) == 15);
}

TEST_CASE("top: a refresh right behind another does not make a rate of next to no time", "[core][top]") {
  TopHistory history;
  Leaking scene{2};
  constexpr std::uint64_t start = 10 * seconds;
  TopView view = history.refresh(scene.report(), 1000, start);
  for (std::uint16_t port = 41'001; port <= 41'010; ++port) scene.closed_into_bucket(client(), outgoing_from(port));
  view = history.refresh(scene.report(), 2000, start + 1 * seconds);
  CHECK(view.events_per_second == 1000);
  CHECK(view.workloads[1].time_wait_per_second == 10);
  // A burst of ten events: 1000 a second if only the last 10 ms counted.
  view = history.refresh(scene.report(), 2010, start + 1 * seconds + 10 * ms);
  CHECK(view.events_per_second == 1010 / 1.01);
  CHECK(view.workloads[1].time_wait_per_second == 10 / 1.01);
  CHECK(view.workloads[0].close_wait.size() == 2);
  view = history.refresh(scene.report(), 3010, start + 2 * seconds + 10 * ms);
  CHECK(view.events_per_second == 1000);
  CHECK(view.workloads[1].time_wait_per_second == 0);
  CHECK(view.workloads[0].close_wait.size() == 3);
  // Inside a row it is the same rate.
  CHECK(view.report.workloads[1].findings.time_wait.per_second == 0);
}

TEST_CASE("top: a graph goes back so many refreshes", "[core][top]") {
  TopHistory history;
  TopView view;
  const Leaking scene{2};
  for (std::uint64_t at = 1; at < 100; ++at) view = history.refresh(scene.report(), 0, at * seconds);
  CHECK(view.workloads[0].close_wait.size() == TopHistory::refreshes_kept);
  CHECK(graph({0, 1, 8}, 5, false) == "   .#");
  CHECK(graph({}, 3, false) == "   ");
  CHECK(graph({9, 9, 0, 5, 10}, 3, true) == "▇ █");  // a bar is the latest of two
  CHECK(graph({300, 310, 320, 330, 341}, 5, true) == "▁▂▄▆█");
  CHECK(graph({100, 101, 100, 101}, 4, true) == "▄▄▄▄");
  CHECK(graph({7, 7, 7}, 3, true) == "▄▄▄");
  CHECK(graph({1}, 1, true) == "▄");
  CHECK(graph({4, 3, 1}, 3, true) == "█▅▁");
  CHECK(graph({1, 2}, 0, true).empty());
}
