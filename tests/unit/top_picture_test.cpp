// SPDX-License-Identifier: BSD-2-Clause
// The picture of `top` as strings, at many sizes.
#include "catch.hpp"
#include "top_scene.hpp"

#include <string>

using namespace closewatch;
using namespace closewatch::test;

TEST_CASE("top: one leaker, grown over the last refreshes", "[sink][top]") {
  const Utf8 locale;
  const TopView view = seen({10, 19, 28, 37});
  const Grid grid = screen().draw(view, usual);
  CHECK(grid.text() == R"(closewatch  box  watched 60s  1234 events/s  lost 0
CLOSE_WAIT 37, TIME_WAIT 12, LISTEN 1
Ports and descriptors: none about to run out.
WORKLOAD                    CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT▾VERDICT
server *:8080                       37     37   77.0s     ▁▃▅█         - leak
client 10.0.0.5:3306                 -      -       -                 12 ok

















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
server *:8080                            container ab12cd34ef56, /app.slice         1      -         37     37   77.0s       ▁█         -      -         -        -       -    43/1024 leak
client 10.0.0.5:3306                     /app.slice                                 1      -          -      -       -                 12      -         -        -       -          - ok

Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit  r reverse
)");
  CHECK(screen(false).draw(seen({10, 37}), {8, 120}).text() == R"(closewatch  box  watched 60s  1234 events/s  lost 0
CLOSE_WAIT 37, TIME_WAIT 12, LISTEN 1
Ports and descriptors: none about to run out.
WORKLOAD                   PROCS  ESTAB CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT   TW/s FIN_WAIT2        FDSvVERDICT
server *:8080                  1      -         37     37   77.0s       .#         -      -         -    43/1024 leak
client 10.0.0.5:3306           1      -          -      -       -                 12      -         -          - ok

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
pid 900 server; CLOSE_WAIT 3, LISTEN 1
descriptors of pid 900 server: 9 of 1024 in use

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
pid 812 client; TIME_WAIT 12

  nothing in CLOSE_WAIT
  12 in TIME_WAIT, 0.2 more a second: it closes first, so that they are its own
    10.0.0.7:* → 10.0.0.5:3306: 12 in TIME_WAIT, 12 of 28232 ports in use













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
  /               filter by name, place,  Esc     back; ends the filter
                  command line or pid     p       processes or workloads
  < >             sort by another column  r       the other way round
  space           pause: the picture stands, the watching goes on
  w               write the report now, as text and as JSON, in this directory
  ?               this help               q       quit; ends this help

CLOSE_WAIT  the peer has closed, and this program has not called close()
LEAKED      of these, and of those that TCP has ended since, the ones that are
            open by its own doing for longer than --leak-after: no sysctl cures
            it, its author can
OLDEST      for how long the oldest of them all
TREND       their number over the last 60 refreshes, the latest at the right
TIME_WAIT   is with the side that closed first, for 60 s, and needs no cure
            while ports are left
FDS         descriptors in use of the limit, of the process nearest to it
VERDICT     leak   sockets are leaked      ports  a route runs out of ports
            stuck  not closed, and not     fds    a process runs out of
                   for sure by its doing          descriptors
Esc back  arrows scroll  space pause  w write  q back
)");
}

TEST_CASE("top: an empty machine", "[sink][top]") {
  const std::string text = screen().draw(seen(Machine{}), {10, 80}).text();
  CHECK(text == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
no TCP sockets
Ports and descriptors: none about to run out.
WORKLOAD                    CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT▾VERDICT
nothing on the close path




Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit
)");
}

TEST_CASE("top: very long names", "[sink][top]") {
  const Utf8 locale;
  Machine scene;
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
WORKLOAD                    CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT▾VERDICT
nnnnnnn… …:5555:7777]:65535          1      1   40.0s        ▄         - leak



Enter open  / filter  <> sort  p processes  space pause  w write  ? help  q quit
)");
  type("p");
  CHECK(on.draw(view, {9, 80}).text() == R"(closewatch  box  watched 60s  0.0 events/s  lost 0
CLOSE_WAIT 1
Ports and descriptors: none about to run out.
PROCESS                 PID CLOSE_WAIT LEAKED  OLDEST    TREND TIME_WAIT▾VERDICT
a-name-of-kerne        4321          1      1   40.0s        ▄         - leak



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
CLOSE_WAIT 37, TIME_WAIT 12, …
)");
  CHECK(screen().draw(view, {6, 30}).text() == R"(closewatch  box  watched 60s
CLOSE_WAIT 37, TIME_WAIT 12, …
Ports and descriptors: none a…
WORKLOAD              ▾VERDICT
server *:8080          leak
Enter open  / filter  <> sort
)");
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
  Machine scene;
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

TEST_CASE("top: what runs out first is told in the head, and is the verdict", "[sink][top]") {
  Leaking scene{0};
  scene.settings({40'001, 40'012});  // each of its twelve ports is in TIME_WAIT
  auto& descriptors = scene.input.descriptors[server().key];
  descriptors = {1000, 1024, 10, 60.0};
  const auto text = [&] { return screen(false).draw(seen(scene), usual).text(); };
  CHECK(has(text(), "\nPorts: connect() fails now on 10.0.0.7:* -> 10.0.0.5:3306, 12 of 12 in use.\n"));
  CHECK(has(text(), " ports\n"));
  CHECK(has(text(), " fds\n"));
  descriptors.seconds_left = 0;  // both are at their end
  CHECK(has(text(), "\nPorts: "));
  scene.settings({40'001, 60'999});
  CHECK(has(text(), "\nDescriptors: none left for pid 900 server, 1000 of 1024 in use.\n"));
  descriptors.seconds_left = 60;
  CHECK(has(text(), "\nDescriptors: used up in 60.0s by pid 900 server, 1000 of 1024 in use.\n"));
  CHECK(!has(text(), " ports\n"));
  descriptors = {922, 1024, 10, std::nullopt};  // nine tenths of it
  CHECK(has(text(), "\nDescriptors: 922 of 1024 in use by pid 900 server.\n"));
  CHECK(has(text(), " fds\n"));
  descriptors = {63, 1024, 10, 3600};  // a server that has been started tells no more of its future
  CHECK(!has(text(), " fds\n"));
  descriptors = {64, 1024, 10, 3600};
  CHECK(has(text(), " fds\n"));
  descriptors = {20, 1024, 10, 599};
  CHECK(has(text(), " fds\n"));
  descriptors = {920, 1024, 10, 90'000};  // in more than a day
  CHECK(!has(text(), " fds\n"));
  CHECK(has(text(), "\nPorts and descriptors: none about to run out.\n"));
}

TEST_CASE("top: of ports and descriptors that one is told that ends first", "[sink][top]") {
  Leaking scene{0};
  scene.settings({40'000, 40'012});  // twelve have come in ten seconds, and one is left
  const auto text = [&] { return screen(false).draw(seen(scene), usual).text(); };
  CHECK(has(text(), "\nPorts: connect() fails in 833ms on 10.0.0.7:* -> 10.0.0.5:3306, 12 of 13 in use.\n"));
  scene.input.descriptors[server().key] = {500, 1024, 10, 0.5};
  CHECK(has(text(), "\nDescriptors: used up in 500ms by pid 900 server, "));
  scene.settings({40'000, 60'999});
  scene.input.descriptors[client().key] = {190, 200, 10, std::nullopt};
  CHECK(has(text(), "\nDescriptors: used up in 500ms by pid 900 server, "));
  scene.input.descriptors[server().key].seconds_left = 3600;
  CHECK(has(text(), "\nDescriptors: 190 of 200 in use by pid 812 client.\n"));
}

TEST_CASE("top: with filters ports are not said to be left", "[sink][top]") {
  Leaking scene{1};
  scene.input.namespaces.clear();
  const std::string text = screen(false).draw(seen(scene), usual).text();
  CHECK(has(text, "\nDescriptors: none about to run out. With filters ports are not counted.\n"));
}

TEST_CASE("top: inside it is said whose descriptors are told", "[sink][top]") {
  Leaking scene{2};
  const Identity worker = person(901, "server");
  scene.is(worker,
           {.exe = "/usr/sbin/server", .cmdline = "server -j 4", .cgroup = "/app.slice", .container = "ab12cd34ef56"});
  scene.judged(leaked_socket(77, worker, tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", 50'000), 90 * seconds));
  scene.input.descriptors[worker.key] = {700, 1024, 9, std::nullopt};
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view, {24, 100}};
  type(Key::enter);
  const std::string text = on.draw(view, {24, 100}).text();
  CHECK(has(text, "\n2 processes; CLOSE_WAIT 3, LISTEN 1\n"));
  CHECK(has(text, "\ndescriptors of pid 901 server, the nearest to its limit: 700 of 1024 in use\n"));
  type(Key::end);
  CHECK(has(on.draw(view, {24, 100}).text(), R"(
  its processes, with all that each of them has:
    pid 900 server, descriptors 8/1024: CLOSE_WAIT 2, LISTEN 1
      server, container ab12cd34ef56
    pid 901 server, descriptors 700/1024: CLOSE_WAIT 1
      server -j 4, container ab12cd34ef56
)"));
  type(Key::escape);
  type("p");
  type(Key::enter);
  CHECK(has(on.draw(view, {24, 100}).text(), "\ndescriptors: 8 of 1024 in use\n"));
}

TEST_CASE("top: of whom nobody knows it is said why", "[sink][top]") {
  Machine scene;
  scene.bucket(Identity{}, outgoing_from(33'001));
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view};
  type(Key::enter);
  CHECK(has(on.draw(view, usual).text(), "\nfrom before the start, when nobody saw whose they were; TIME_WAIT 1\n"));
}

TEST_CASE("top: what is missing is told in the help, and what was left out in the head", "[sink][top]") {
  Leaking scene{1};
  scene.input.incomplete_reasons = {"a \x1b[31mreason"};
  const TopView view = seen(scene);
  TopScreen on{{.utf8 = false, .scope = "only --netns"}};
  CHECK(has(on.draw(view, {24, 120}).text(), "lost 0  only --netns  incomplete (? says why)\n"));
  CHECK(has(on.draw(view, usual).text(),
            "\nPorts and descriptors: none about to run out, of those that could be seen.\n"));
  // It gives way to what else the line has to say, and is somebody's command line.
  on.narrows_to("only --comm \x1b[31mnginx, --netns /run/netns/with-a-long-name");
  CHECK(has(on.draw(view, {24, 100}).text(), "lost 0  only --comm ?[31mnginx~  incomplete (? says why)\n"));
  Typed type{on, view};
  type(" ");
  CHECK(has(on.draw(view, {24, 100}).text(), "lost 0  only --comm ?[~  incomplete (? says why) PAUSED\n"));
  CHECK(has(on.draw(view, {24, 60}).text(), "lost 0   PAUSED\n"));
  type(" ");
  type("?");
  CHECK(has(on.draw(view, usual).text(), "\nIncomplete: a ?[31mreason\n\n"));
  type(Key::end);
  CHECK(!has(on.draw(view, usual).text(), " below"));
}

TEST_CASE("top: of a command line that part is shown that tells programs apart", "[sink][top]") {
  Machine scene;
  const Identity one = person(77, "python3");
  scene.is(one, {.exe = "/opt/long/path/bin/python3.11",
                 .cmdline = "/opt/long/path/bin/python3.11 /srv/shop/serve.py --port 9090",
                 .cgroup = {},
                 .container = {}});
  scene.row(State::established, one, outgoing());
  const TopView view = seen(scene);
  TopScreen on = screen(false);
  Typed type{on, view, {24, 140}};
  type("p");
  CHECK(has(on.draw(view, {24, 140}).text(), " python3.11 /srv/shop/serve"));
  CHECK(!has(on.draw(view, {24, 140}).text(), "/opt"));
}

TEST_CASE("top: a list is cut between two of it", "[sink][top]") {
  Leaking scene{2};
  const auto head = [&](std::size_t columns) {
    const std::string text = screen(false).draw(seen(scene), {24, columns}).text();
    const std::size_t from = text.find('\n') + 1;
    return text.substr(from, text.find('\n', from) - from);
  };
  CHECK(head(80) == "TIME_WAIT 12, CLOSE_WAIT 2, LISTEN 1");
  CHECK(head(36) == "TIME_WAIT 12, CLOSE_WAIT 2, LISTEN 1");
  CHECK(head(35) == "TIME_WAIT 12, CLOSE_WAIT 2, ~");
  CHECK(head(28) == "TIME_WAIT 12, ~");
  CHECK(head(10) == "TIME_WAIT~");
}
