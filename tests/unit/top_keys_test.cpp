// SPDX-License-Identifier: BSD-2-Clause
// What keys do to the picture of `top`.
#include "catch.hpp"
#include "top_scene.hpp"

#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("top: keys choose, filter and sort", "[sink][top]") {
  const Utf8 locale;
  Leaking scene{5};
  add_crowd(scene, 300);
  const TopView view = seen(scene);
  TopScreen on = screen();
  Typed type{on, view};
  const auto chosen = [&] {
    const Grid grid = on.draw(view, usual);
    for (std::size_t row = 4; row < 23; ++row)
      if (grid.at(row, 0).look.reverse) {
        std::string line;
        for (std::size_t column = 0; column < 22; ++column) line += grid.at(row, column).text;
        return line.substr(0, line.find_last_not_of(' ') + 1);
      }
    return std::string{};
  };
  CHECK(chosen() == "server *:8080");
  type("j");
  CHECK(chosen() == "client 10.0.0.5:3306");
  type("k");
  CHECK(chosen() == "server *:8080");
  type(Key::end);
  CHECK(has(chosen(), "worker"));
  const std::string last = chosen();
  type(Key::down);
  CHECK(chosen() == last);
  type(Key::page_up);
  CHECK(chosen() != last);
  type(Key::home);
  CHECK(chosen() == "server *:8080");

  type("/WORKER29");
  CHECK(has(on.draw(view, usual).text(), "\n/WORKER29"));
  CHECK(has(chosen(), "worker29"));
  type(Key::backspace);
  type("7");
  type(Key::enter);
  CHECK(has(on.draw(view, usual).text(), "\n/WORKER27: 11 of 302 "));
  type("q");  // no part of the filter any more
  type(Key::escape);
  CHECK(has(on.draw(view, usual).text(), "server *:8080"));

  type("p");
  CHECK(has(on.draw(view, usual).text(), "PROCESS"));
  type("p");
  Typed on_wide{on, view, {24, 120}};
  on_wide("<");  // from the verdict to the descriptors, of which the server alone is known
  CHECK(chosen() == "server *:8080");
  type("r");
  CHECK(chosen() != "server *:8080");
  on_wide("r>>");  // by name
  CHECK(chosen() == "client 10.0.0.5:3306");
  CHECK(type("q") == TopScreen::Wish::quit);
  CHECK(type("w") == TopScreen::Wish::write_report);
  CHECK(type(" ") == TopScreen::Wish::none);
  CHECK(on.is_paused());
  CHECK(has(on.draw(view, usual).text(), " PAUSED"));
}

TEST_CASE("top: the row under the cursor is the same when others come before it", "[sink][top]") {
  Leaking scene{5};
  add_crowd(scene, 3);
  TopScreen on = screen();
  const TopView before = seen(scene);
  Typed{on, before}("jj");
  const auto chosen_name = [&](const TopView& view) {
    const Grid grid = on.draw(view, usual);
    for (std::size_t row = 4; row < 23; ++row)
      if (grid.at(row, 0).look.reverse) return grid.at(row, 0).text + grid.at(row, 1).text + grid.at(row, 6).text;
    return std::string{};
  };
  const std::string name = chosen_name(before);
  for (std::uint16_t port = 1; port < 9; ++port)
    scene.judged(
        leaked_socket(700 + port, client(), outgoing_from(static_cast<std::uint16_t>(50'000 + port)), 90 * seconds));
  CHECK(chosen_name(seen(scene)) == name);
}

TEST_CASE("top: a filter is of the place too, ends with Esc, and has an end", "[sink][top]") {
  Leaking scene{5};
  add_crowd(scene, 3);
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  type("/W.SLICE");
  type(Key::enter);
  CHECK(has(on.draw(view, usual).text(), "/W.SLICE: 3 of 5"));
  type("/x");
  CHECK(has(on.draw(view, usual).text(), "\n/W.SLICEx"));
  CHECK(has(on.draw(view, usual).text(), "no row has that in its name"));
  type(Key::escape);
  CHECK(has(on.draw(view, usual).text(), "server *:8080"));
  type("/");
  for (int at = 0; at < 500; ++at) type("y");
  CHECK(on.draw(view, {24, 400}).text().find(std::string(80, 'y')) == std::string::npos);
}

TEST_CASE("top: a workload has the names, command lines and pids of its processes", "[sink][top]") {
  Leaking scene{5};
  // Of one workload: it is called after what they run.
  for (const std::uint32_t number : {0U, 1U}) {
    const Identity one = person(2000 + number, "worker" + std::to_string(number));
    scene.is(one, {.exe = "/usr/bin/python3", .cmdline = "python3 shop.py", .cgroup = "/w.slice", .container = {}});
    scene.row(State::established, one, outgoing_from(static_cast<std::uint16_t>(10'000 + number)));
  }
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  CHECK(!has(on.draw(view, usual).text(), "worker1"));
  for (const char* word : {"Worker1", "2001", "shop.py"}) {
    CAPTURE(word);
    type("/");
    type(word);
    type(Key::enter);
    CHECK(has(on.draw(view, usual).text(), ": 1 of 3"));
    CHECK(has(on.draw(view, usual).text(), "\npython3"));
    CHECK(!has(on.draw(view, usual).text(), "server *:8080"));
    type(Key::escape);
  }
}

TEST_CASE("top: what is sorted by a column that is not shown any more goes by the verdict", "[sink][top]") {
  Leaking scene{3};
  add_crowd(scene, 5);
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view, {24, 200}};
  const std::string worst_first = on.draw(view, usual).text();
  // ESTAB is of wide screens.
  while (!has(on.draw(view, type.size).text(), "vESTAB")) type(">");
  CHECK(on.draw(view, usual).text() == worst_first);
  CHECK(has(on.draw(view, usual).text(), "vVERDICT"));
  CHECK(has(on.draw(view, type.size).text(), "vESTAB"));
}

TEST_CASE("top: TREND goes by growth", "[sink][top]") {
  Leaking scene{3};
  add_crowd(scene, 2);
  TopView view = seen(scene);
  TopScreen on = screen(false);
  REQUIRE(view.workloads.size() >= 2);
  const Size wide{24, 200};
  Typed type{on, view, wide};
  while (!has(on.draw(view, wide).text(), "vTREND")) type(">");
  const auto first = [&] {
    const std::string text = on.draw(view, wide).text();
    const std::size_t row = text.find('\n', text.find("vTREND")) + 1;
    return text.substr(row, text.find(' ', row) - row);
  };
  view.workloads[0].close_wait = {50, 50};
  view.workloads[1].close_wait = {1, 3};
  const std::string grows = first();
  view.workloads[0].close_wait = {50, 60};
  CHECK(first() != grows);
}

TEST_CASE("top: at the first row the worst is under the cursor, whichever it is", "[sink][top]") {
  Leaking scene{3};
  TopScreen on = screen(false);
  const TopView before = seen(scene);
  Typed type{on, before};
  type("jk");
  for (std::uint16_t port = 1; port < 9; ++port)
    scene.judged(
        leaked_socket(700U + port, client(), outgoing_from(static_cast<std::uint16_t>(50'000 + port)), 90 * seconds));
  const TopView after = seen(scene);
  const Grid grid = on.draw(after, usual);
  CHECK(grid.at(4, 0).text == "c");
  CHECK(grid.at(4, 0).look.reverse);
}

TEST_CASE("top: scrolling inside ends with the text", "[sink][top]") {
  Leaking scene{40};
  scene.input.verbose = true;
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  type(Key::enter);
  const std::string top = on.draw(view, usual).text();
  CHECK(has(top, " more lines below"));
  for (int at = 0; at < 50; ++at) type(Key::page_down);
  const std::string bottom = on.draw(view, usual).text();
  CHECK(!has(bottom, " more lines below"));
  CHECK(has(bottom, " 41.0s CLOSE_WAIT 10.0.0.7:8080 <- 10.0.0.9:40001, "));
  type(Key::up);
  CHECK(on.draw(view, usual).text() != bottom);
  type(Key::home);
  CHECK(on.draw(view, usual).text() == top);
}

TEST_CASE("top: the row of what belongs to nobody can be chosen", "[sink][top]") {
  Leaking scene{3};
  for (std::uint16_t port = 33'001; port < 33'004; ++port) scene.bucket(Identity{}, outgoing_from(port));
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  type("p");
  type(Key::end);
  type(Key::enter);
  CHECK(has(on.draw(view, usual).text(), "\nunknown\n"));
  CHECK(has(on.draw(view, usual).text(), "3 in TIME_WAIT"));
}

TEST_CASE("top: j and k scroll the help and a row, to their ends and no further", "[sink][top]") {
  Leaking scene{40};
  scene.input.verbose = true;
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  const auto must_scroll = [&](int lines) {
    const std::string top = on.draw(view, usual).text();
    type("j");
    const std::string next = on.draw(view, usual).text();
    CHECK(next != top);
    for (int at = 0; at < lines; ++at) type("j");
    const std::string bottom = on.draw(view, usual).text();
    CHECK(!has(bottom, " more lines below"));
    type("k");
    CHECK(on.draw(view, usual).text() != bottom);
    for (int at = 0; at < lines; ++at) type("k");
    CHECK(on.draw(view, usual).text() == top);
  };
  type("?");
  must_scroll(50);
  CHECK(has(on.draw(view, usual).text(), "\nHelp"));
  type(Key::backspace);
  CHECK(!has(on.draw(view, usual).text(), "\nHelp"));
  type(Key::enter);
  must_scroll(200);
}

TEST_CASE("top: sorting goes by the columns that are shown", "[sink][top]") {
  const TopView view = seen({3});
  for (const std::size_t width : {30U, 80U, 120U, 190U}) {
    TopScreen on = screen(false);
    Typed type{on, view, {24, width}};
    const std::size_t columns = placed_columns(width, false).size();
    const auto titles = [&] {
      const std::string text = on.draw(view, {24, width}).text();
      std::string_view line = text;
      for (int skipped = 0; skipped < 3; ++skipped) line.remove_prefix(line.find('\n') + 1);
      return std::string{line.substr(0, line.find('\n'))};
    };
    std::set<std::string> marked;
    for (std::size_t step = 0; step < columns; ++step) {
      CHECK(has(titles(), "v"));
      marked.insert(titles());
      type(">");
    }
    CHECK(marked.size() == columns);
    const std::string first = titles();
    CHECK(marked.contains(first));
    type("<");
    type(">");
    CHECK(titles() == first);
  }
}

TEST_CASE("top: the worst is first, and what runs out comes before what is merely stuck", "[sink][top]") {
  Leaking scene{0};
  add_crowd(scene, 2);
  const auto stuck = [](std::uint64_t cookie, const Identity& one) {
    Judged socket =
        leaked_socket(cookie, one, outgoing_from(static_cast<std::uint16_t>(33'000 + cookie)), 40 * seconds);
    socket.verdict = Verdict::stuck;
    return socket;
  };
  scene.judged(stuck(1, person(2000, "worker0")));
  scene.judged(stuck(2, person(2000, "worker0")));
  scene.input.descriptors[server().key] = {1020, 1024, 1, std::nullopt};
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  const auto verdicts = [&] {
    const std::string text = on.draw(view, usual).text();
    std::vector<std::string> words;
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("server") || line.starts_with("worker") || line.starts_with("client"))
        words.push_back(line.substr(line.rfind(' ') + 1));
    return words;
  };
  CHECK(verdicts() == std::vector<std::string>{"fds", "stuck", "ok", "ok"});
  Typed{on, view}("r");
  CHECK(verdicts() == std::vector<std::string>{"ok", "ok", "stuck", "fds"});
}

TEST_CASE("top: of what is not at fault so far the most in CLOSE_WAIT comes first", "[sink][top]") {
  Leaking scene{0};
  for (const std::uint64_t cookie : {1U, 2U}) {
    Judged young = leaked_socket(cookie, server(), tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", 50'000), seconds);
    young.verdict = Verdict::ok;
    scene.judged(young);
  }
  TopScreen on = screen(false);
  const std::string text = on.draw(seen(scene), usual).text();
  CHECK(text.find("\nserver ") < text.find("\nclient "));  // though that one has TIME_WAIT
}

TEST_CASE("top: numbers go from the largest down, the pid too", "[sink][top]") {
  Leaking scene{3};
  add_crowd(scene, 5);
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view, {24, 120}};
  type("p>>>");  // past the name and the command
  const std::string text = on.draw(view, {24, 120}).text();
  CHECK(has(text, "vPID"));
  CHECK(text.find("2004") < text.find("2003"));
  CHECK(text.find("2000") < text.find(" 900 "));
}

TEST_CASE("top: arrows end the typing of a filter and move on", "[sink][top]") {
  Leaking scene{3};
  add_crowd(scene, 5);
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  type("/worker");
  type(Key::down);
  const Grid grid = on.draw(view, usual);
  CHECK(has(grid.text(), "/worker: 5 of 7"));
  CHECK(grid.at(5, 0).look.reverse);
}

TEST_CASE("top: q ends the help, and then the program", "[sink][top]") {
  const TopView view = seen({3});
  TopScreen on = screen(false);
  Typed type{on, view};
  CHECK(type("?q") == TopScreen::Wish::none);
  CHECK(!has(on.draw(view, usual).text(), "\nHelp"));
  CHECK(type("q") == TopScreen::Wish::quit);
}
