// SPDX-License-Identifier: BSD-2-Clause
// The screen of `top` as strings: what it shows at which size, and what keys do to it.
#include "catch.hpp"
#include "locale.hpp"
#include "scene.hpp"

#include "sink/top_screen.hpp"

#include <string>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr Size usual{24, 80};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A server that has leaked `count` sockets, and a client that makes TIME_WAIT.
struct Leaking : Scene {
  explicit Leaking(std::uint64_t count = 37) {
    row(State::listen, server(), listening());
    for (std::uint64_t at = 1; at <= count; ++at)
      judged(leaked_socket(at, server(),
                           tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", static_cast<std::uint16_t>(40'000 + at)),
                           (40 + at) * seconds))
          .holders = {holder(server(), static_cast<std::uint32_t>(6 + at))};
    input.trend = [](WorkloadId, Kind) { return std::optional{Trend::growing}; };
    input.descriptors[server().key] = {count + 6, 1024, count, std::nullopt};
    for (std::uint16_t port = 40'001; port <= 40'012; ++port) closed_into_bucket(client(), outgoing_from(port));
  }
};

/// So many more processes, each with a connection in ESTABLISHED.
void add_crowd(Scene& scene, std::uint32_t count) {
  for (std::uint32_t at = 0; at < count; ++at) {
    const Identity one = person(2000 + at, "worker" + std::to_string(at));
    scene.is(one, {.exe = "/srv/worker" + std::to_string(at), .cmdline = {}, .cgroup = "/w.slice", .container = {}});
    scene.row(State::established, one, outgoing_from(static_cast<std::uint16_t>(10'000 + at)));
  }
}

/// A second later each.
TopView seen(std::initializer_list<std::uint64_t> leaks) {
  TopHistory history;
  TopView view;
  std::uint64_t now_ns = Scene::now_ns;
  std::uint64_t events = 0;
  for (const std::uint64_t count : leaks)
    view = history.refresh(Leaking{count}.report(), events += 1234, now_ns += seconds);
  return view;
}

TopView seen(const Scene& scene) {
  TopHistory history;
  return history.refresh(scene.report(), 0, Scene::now_ns);
}

TopScreen screen(bool utf8 = true) { return TopScreen{{.utf8 = utf8}}; }

struct Typed {
  TopScreen& on;
  const TopView& view;
  Size size = usual;
  TopScreen::Wish operator()(Key key) { return on.take({key, {}}, view, size); }
  TopScreen::Wish operator()(std::string_view characters) {
    TopScreen::Wish wish = TopScreen::Wish::none;
    for (const char c : characters) wish = on.take({Key::character, std::string{c}}, view, size);
    return wish;
  }
};

}  // namespace

TEST_CASE("top: one leaker, grown over the last refreshes", "[sink][top]") {
  const Utf8 locale;
  const TopView view = seen({10, 19, 28, 37});
  const Grid grid = screen().draw(view, usual);
  CHECK(grid.text() == R"(closewatch  box  watched 60s  1234 events/s  lost 0
CLOSE_WAIT 37, TIME_WAIT 12, LISTEN 1
Ports and descriptors: none about to run out.
WORKLOAD         CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT        FDS▾VERDICT
server *:8080            37     37   77.0s     ▃▅▇█         -    43/1024 leak
client …0.5:3306          -      -       -                 12          - ok

















Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit
)");
  CHECK(grid.looks() == R"(BBBBBBBBBB


################################################################################
################################################################################
                                                                         gg

















..........  ........  .......  ...........  ...........  .......  ......  ......
)");
}

TEST_CASE("top: wide", "[sink][top]") {
  const Utf8 locale;
  CHECK(screen().draw(seen({10, 37}), {8, 190}).text() == R"(closewatch  box  watched 60s  1234 events/s  lost 0
CLOSE_WAIT 37, TIME_WAIT 12, LISTEN 1
Ports and descriptors: none about to run out.
WORKLOAD                                 WHERE                                  PROCS  ESTAB CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT   TW/s FIN_WAIT2 LAST_ACK ABORT/s        FDS▾VERDICT
server *:8080                            container ab12cd34ef56, /app.slice         1      -         37     37   77.0s       ▃█         -      -         -        -       -    43/1024 leak
client 10.0.0.5:3306                     /app.slice                                 1      -          -      -       -                 12      -         -        -       -          - ok

Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit  r reverse
)");
  CHECK(screen(false).draw(seen({10, 37}), {8, 120}).text() == R"(closewatch  box  watched 60s  1234 events/s  lost 0
CLOSE_WAIT 37, TIME_WAIT 12, LISTEN 1
Ports and descriptors: none about to run out.
WORKLOAD           PROCS  ESTAB CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT   TW/s FIN_WAIT2 ABORT/s        FDSvVERDICT
server *:8080          1      -         37     37   77.0s       -#         -      -         -       -    43/1024 leak
client ~.0.5:3306      1      -          -      -       -                 12      -         -       -          - ok

Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit  r reverse
)");
}

TEST_CASE("top: looked into", "[sink][top]") {
  const Utf8 locale;
  const TopView view = seen({3});
  TopScreen on = screen();
  Typed type{on, view};
  type(Key::enter);
  CHECK(on.is_open());
  CHECK(on.draw(view, usual).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
TIME_WAIT 12, CLOSE_WAIT 3, LISTEN 1
Ports and descriptors: none about to run out.
server *:8080
container ab12cd34ef56, /app.slice
1 process; CLOSE_WAIT 3, LISTEN 1
descriptors in use of the limit: 9/1024

  3 leaked sockets, read to the end, not closed (eof_ignored); growing
    The program has read everything, the peer's end too, and has not called
    close(). Call close() on every way out once a read has returned 0, the error
    paths included; neither keepalive nor any sysctl cures CLOSE_WAIT.
    *:8080 ← *, held by descriptors 9, 8, 7 of pid 900 server
    43.0s CLOSE_WAIT 10.0.0.7:8080 ← 10.0.0.9:40003, descriptor 9 of pid 900
      server, end read
    42.0s CLOSE_WAIT 10.0.0.7:8080 ← 10.0.0.9:40002, descriptor 8 of pid 900
      server, end read
    41.0s CLOSE_WAIT 10.0.0.7:8080 ← 10.0.0.9:40001, descriptor 7 of pid 900
      server, end read




Esc back  arrows scroll  space pause  w write  q quit
)");
  type(Key::escape);
  type(Key::down);
  type(Key::enter);
  CHECK(on.draw(view, usual).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
TIME_WAIT 12, CLOSE_WAIT 3, LISTEN 1
Ports and descriptors: none about to run out.
client 10.0.0.5:3306
/app.slice
1 process; TIME_WAIT 12

  nothing in CLOSE_WAIT
  12 in TIME_WAIT, 0.2 more a second: it closes first, so that they are its own
    10.0.0.7:* → 10.0.0.5:3306: 12 in TIME_WAIT













Esc back  arrows scroll  space pause  w write  q quit
)");
  type("?");
  CHECK(on.draw(view, {30, 100}).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
TIME_WAIT 12, CLOSE_WAIT 3, LISTEN 1
Ports and descriptors: none about to run out.
Help
A row is a workload: a program, and the port it serves or the end it connects
to. The worst are first.

  arrows, j k     choose a row            Enter   look into it: its groups and
  PgUp PgDn       by screens                      sockets, who holds them, why,
  Home End        to the first, the last          and what to do
  /               filter by a part of     Esc     back; ends the filter
                  the name or place       p       processes or workloads
  < >             sort by another column  r       the other way round
  space           pause: the picture stands, the watching goes on
  w               write the report now, as text and as JSON, in this directory
  ?               this help               q       quit

CLOSE_WAIT  the peer has closed, and this program has not called close()
LEAKED      of these, for longer than --leak-after and by its own doing: no
            sysctl cures it, its author can
OLDEST      for how long
TREND       CLOSE_WAIT over the last refreshes, by the most of them
TIME_WAIT   is with the side that closed first, for 60 s, and needs no cure
            while ports are left
FDS         descriptors in use of the limit, of the process nearest to it
VERDICT     leak   sockets are leaked      ports  a route runs out of ports
            stuck  not closed, and not     fds    a process runs out of
                   for sure by its doing          descriptors

Esc back  arrows scroll  space pause  w write  q quit
)");
}

TEST_CASE("top: an empty machine", "[sink][top]") {
  const std::string text = screen().draw(seen(Scene{}), {10, 80}).text();
  CHECK(text == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
no TCP sockets
Ports and descriptors: none about to run out.
WORKLOAD         CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT        FDS▾VERDICT
nothing on the close path




Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit
)");
}

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
  CHECK(chosen() == "client …0.5:3306");
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
  type("<");  // from the verdict to the descriptors, of which the server alone is known
  CHECK(chosen() == "server *:8080");
  type("r");
  CHECK(chosen() != "server *:8080");
  type("r>>");  // by name
  CHECK(chosen() == "client …0.5:3306");
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

TEST_CASE("top: any size", "[sink][top]") {
  const Utf8 locale;
  const TopView view = seen({10, 37});
  for (const std::size_t rows : std::initializer_list<std::size_t>{0, 1, 2, 4, 5, 6, 24, 200})
    for (const std::size_t columns : std::initializer_list<std::size_t>{0, 1, 7, 20, 39, 80, 81, 133, 400}) {
      TopScreen on = screen();
      const Size size{rows, columns};
      Typed type{on, view, size};
      for (const std::string_view keys : {"", "?", "?", "j", "/x", "p"}) {
        type(keys);
        const Grid grid = on.draw(view, size);
        CHECK(grid.size() == size);
        type(Key::enter);
        static_cast<void>(on.draw(view, size));
        type(Key::end);
        static_cast<void>(on.draw(view, size));
        type(Key::escape);
      }
    }
}

TEST_CASE("top: names can do nothing to a terminal", "[sink][top]") {
  const Utf8 locale;
  Scene scene;
  const Identity evil = person(666, "\x1b[2Jx\x9b");
  scene.is(evil,
           {.exe = "/tmp/\x1b]0;owned\x07宽字", .cmdline = "a\nb\x1b[31m", .cgroup = "/\x1b[H", .container = "\r"});
  scene.judged(leaked_socket(1, evil, outgoing(), 40 * seconds));
  const TopView view = seen(scene);
  for (const bool utf8 : {true, false}) {
    TopScreen on = screen(utf8);
    Typed type{on, view};
    std::string all = on.draw(view, usual).text();
    type(Key::enter);
    all += on.draw(view, usual).text();
    type(Key::escape);
    type("p");
    all += on.draw(view, usual).text();
    type(Key::enter);
    all += on.draw(view, usual).text();
    on.say("\x1b[31m");
    all += on.draw(view, usual).text();
    for (const char c : all) CHECK((c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)));
    CHECK(all.find("\xc2\x9b") == std::string::npos);
    if (utf8) CHECK(has(all, "宽字"));
  }
}

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

TEST_CASE("top: what runs out first is told in the head, and is the verdict", "[sink][top]") {
  Leaking scene{0};
  scene.settings({40'001, 40'012});  // each of its twelve ports is in TIME_WAIT
  scene.input.descriptors[server().key] = {1000, 1024, 10, 60.0};
  std::string text = screen(false).draw(seen(scene), usual).text();
  CHECK(has(text, "\nPorts run out on 10.0.0.7:* -> 10.0.0.5:3306: 12 of 12 ports in use; connect()"));
  CHECK(has(text, " ports\n"));
  CHECK(has(text, " fds\n"));
  scene.settings({40'001, 60'999});
  text = screen(false).draw(seen(scene), usual).text();
  CHECK(has(text, "\nDescriptors: pid 900 server has 1000 of 1024, none left in 60.0s at this rate\n"));
  CHECK(!has(text, " ports\n"));
  scene.input.descriptors[server().key] = {922, 1024, 10, std::nullopt};  // nine tenths of it
  CHECK(has(screen(false).draw(seen(scene), usual).text(), " fds\n"));
  scene.input.descriptors[server().key] = {920, 1024, 10, std::nullopt};
  text = screen(false).draw(seen(scene), usual).text();
  CHECK(!has(text, " fds\n"));
  CHECK(has(text, "\nPorts and descriptors: none about to run out.\n"));
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

TEST_CASE("top: a graph goes back so many refreshes", "[core][top]") {
  TopHistory history;
  TopView view;
  const Leaking scene{2};
  for (std::uint64_t at = 1; at < 100; ++at) view = history.refresh(scene.report(), 0, at * seconds);
  CHECK(view.workloads[0].close_wait.size() == TopHistory::refreshes_kept);
  CHECK(graph({0, 1, 8}, 5, false) == "   .#");
  CHECK(graph({}, 3, false) == "   ");
  CHECK(graph({9, 9, 0, 5, 10}, 3, true) == " ▄█");
}

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

TEST_CASE("top: very long names", "[sink][top]") {
  const Utf8 locale;
  Scene scene;
  const Identity one = person(4321, "a-name-of-kernel");
  scene.is(one, {.exe = "/opt/" + std::string(300, 'x') + "/" + std::string(255, 'n'),
                 .cmdline = std::string(4000, 'c'),
                 .cgroup = "/" + std::string(900, 'g') + ".slice",
                 .container = std::string(64, 'f')});
  scene.judged(leaked_socket(1, one,
                             tuple(Role::connect, "2001:db8:1111:2222:3333:4444:5555:6666", 50'000,
                                   "2001:db8:1111:2222:3333:4444:5555:7777", 65'535),
                             40 * seconds));
  const TopView view = seen(scene);
  TopScreen on = screen();
  Typed type{on, view, {9, 80}};
  CHECK(on.draw(view, {9, 80}).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
CLOSE_WAIT 1
Ports and descriptors: none about to run out.
WORKLOAD         CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT        FDS▾VERDICT
nnnnnnnn …:65535          1      1   40.0s        █         -          - leak



Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit
)");
  type("p");
  CHECK(on.draw(view, {9, 80}).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
CLOSE_WAIT 1
Ports and descriptors: none about to run out.
PROCESS          CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT        FDS▾VERDICT
a-name-of-kerne           1      1   40.0s        █         -          - leak



Enter open  / filter  <> sort  p workloads  space pause  w write  ? help  q quit
)");
  for (const Size size : {Size{40, 80}, Size{40, 200}}) {
    type(Key::enter);
    CHECK(has(on.draw(view, size).text(), "2001:db8:1111:2222:3333:4444:5555:7777"));
    type(Key::escape);
  }
}

TEST_CASE("top: tiny terminals", "[sink][top]") {
  const Utf8 locale;
  const TopView view = seen({10, 37});
  CHECK(screen().draw(view, {1, 20}).text() == R"(closewatch  box  wat
)");
  CHECK(screen().draw(view, {2, 30}).text() == R"(closewatch  box  watched 60s
CLOSE_WAIT 37, TIME_WAIT 12, L
)");
  CHECK(screen().draw(view, {6, 30}).text() == R"(closewatch  box  watched 60s
CLOSE_WAIT 37, TIME_WAIT 12, L
Ports and descriptors: none ab
WORKLOAD              ▾VERDICT
server *:8080          leak
Enter open  / filter  <> sort
)");
}
