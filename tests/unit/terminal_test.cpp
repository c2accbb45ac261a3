// SPDX-License-Identifier: BSD-2-Clause
// The terminal, against a pseudoterminal: what goes out, what keys are, and how it is given back.
#include "catch.hpp"

#include "sink/terminal.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <string>
#include <string_view>

using namespace closewatch;

namespace {

/// The two ends of a terminal, of a type that is known everywhere.
struct Pty {
  Pty() {
    REQUIRE(setenv("TERM", "xterm", 1) == 0);
    int master_fd = -1;
    int slave_fd = -1;
    const winsize size{.ws_row = 5, .ws_col = 20, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(openpty(&master_fd, &slave_fd, nullptr, nullptr, &size) == 0);
    master = Descriptor{master_fd};
    slave = Descriptor{slave_fd};
    REQUIRE(fcntl(slave_fd, F_SETFL, O_NONBLOCK) == 0);
  }
  /// What has come out of it by now.
  [[nodiscard]] std::string said() const {
    std::string all;
    pollfd entry{master.get(), POLLIN, 0};
    while (poll(&entry, 1, 20) > 0 && (entry.revents & POLLIN) != 0) {
      std::array<char, 4096> bytes{};
      const ssize_t length = read(master.get(), bytes.data(), bytes.size());
      if (length <= 0) break;
      all.append(bytes.data(), static_cast<std::size_t>(length));
    }
    return all;
  }
  void type(std::string_view text) const {
    REQUIRE(write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] termios modes() const {
    termios now{};
    REQUIRE(tcgetattr(slave.get(), &now) == 0);
    return now;
  }
  [[nodiscard]] Terminal open(bool colour = true) const {
    auto terminal = Terminal::open(slave.get(), slave.get(), colour);
    REQUIRE(terminal);
    return *std::move(terminal);
  }

  Descriptor master;
  Descriptor slave;
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

bool is_same(const termios& one, const termios& other) {
  return one.c_iflag == other.c_iflag && one.c_oflag == other.c_oflag && one.c_cflag == other.c_cflag &&
         one.c_lflag == other.c_lflag && std::memcmp(one.c_cc, other.c_cc, sizeof one.c_cc) == 0;
}

constexpr std::string_view enters = "\x1b[?1049h";
constexpr std::string_view leaves = "\x1b[?1049l";
constexpr std::string_view shows_cursor = "\x1b[?25h";
constexpr std::string_view takes_keys = "\x1b[?1h";
constexpr std::string_view red = "\x1b[31m";

std::optional<Key> next(Terminal& terminal) {
  const auto press = terminal.key();
  if (!press) return std::nullopt;
  return press->key;
}

}  // namespace

TEST_CASE("terminal: nothing happens to it before it is shown", "[terminal]") {
  const Pty pty;
  const termios before = pty.modes();
  {
    Terminal terminal = pty.open();
    CHECK_FALSE(terminal.is_shown());
    CHECK_FALSE(terminal.takes_grid());
    terminal.draw(Grid{{5, 20}});
    CHECK_FALSE(terminal.key());
  }
  CHECK(pty.said().empty());
  CHECK(is_same(before, pty.modes()));
}

TEST_CASE("terminal: a picture, and the terminal given back as it was", "[terminal]") {
  const Pty pty;
  const termios before = pty.modes();
  {
    Terminal terminal = pty.open();
    terminal.show();
    CHECK(terminal.size() == Size{5, 20});
    CHECK_FALSE(is_same(before, pty.modes()));
    CHECK((pty.modes().c_lflag & ISIG) != 0);
    Grid grid{{5, 20}};
    grid.put(0, 0, "words", {.ink = Ink::red});
    terminal.draw(grid);
    const std::string said = pty.said();
    CHECK(has(said, enters));
    CHECK(has(said, "words"));
    CHECK(has(said, red));
    CHECK_FALSE(has(said, leaves));
    terminal.hide();
    CHECK(has(pty.said(), leaves));
    CHECK(is_same(before, pty.modes()));
    terminal.show();
    terminal.draw(grid);
    const std::string again = pty.said();
    CHECK(has(again, enters));
    CHECK(has(again, "words"));
    CHECK(has(again, takes_keys));
  }
  const std::string end = pty.said();
  CHECK(has(end, leaves));
  CHECK(has(end, shows_cursor));
  CHECK(is_same(before, pty.modes()));
}

TEST_CASE("terminal: without colour none comes out", "[terminal]") {
  const Pty pty;
  Terminal terminal = pty.open(false);
  terminal.show();
  Grid grid{{5, 20}};
  grid.put(0, 0, "words", {.ink = Ink::red, .bold = true});
  terminal.draw(grid);
  const std::string said = pty.said();
  CHECK(has(said, "words"));
  CHECK_FALSE(has(said, "\x1b[31"));
  CHECK(has(said, ";1m"));
}

// What printable() lets through is never like this; the last one to look is this one all the same.
TEST_CASE("terminal: no cell steers it", "[terminal]") {
  const Pty pty;
  Terminal terminal = pty.open();
  terminal.show();
  terminal.draw(Grid{{5, 20}});
  static_cast<void>(pty.said());
  const std::array<const char*, 8> all{"\x1b", "\x07", "\x7f", "\xc2\x9b", "\xff", "\xc3", "\n", "\t"};
  Grid grid{{5, 20}};
  for (std::size_t at = 0; at < all.size(); ++at) grid.put(0, 2 * at, all[at]);
  grid.put(1, 0, "fine");
  terminal.draw(grid);
  const std::string said = pty.said();
  CHECK(std::count(said.begin(), said.end(), '?') == static_cast<std::ptrdiff_t>(all.size()));
  CHECK(has(said, "fine"));
  for (const char* bad : {"\x07", "\x7f", "\xc2\x9b", "\xff", "\xc3"}) CHECK_FALSE(has(said, bad));
}

TEST_CASE("terminal: keys", "[terminal]") {
  const Pty pty;
  Terminal terminal = pty.open();
  terminal.show();
  terminal.draw(Grid{{5, 20}});
  static_cast<void>(pty.said());
  CHECK_FALSE(terminal.key());
  for (const auto& [bytes, key] :
       {std::pair{"\x1bOA", Key::up}, std::pair{"\x1bOB", Key::down}, std::pair{"\x1b[5~", Key::page_up},
        std::pair{"\x1b[6~", Key::page_down}, std::pair{"\x1bOH", Key::home}, std::pair{"\x1bOF", Key::end},
        std::pair{"\r", Key::enter}, std::pair{"\n", Key::enter}, std::pair{"\x1b", Key::escape},
        std::pair{"\x7f", Key::backspace}, std::pair{"\b", Key::backspace}}) {
    CAPTURE(bytes);
    pty.type(bytes);
    CHECK(next(terminal) == key);
    CHECK_FALSE(terminal.key());
  }
  pty.type("q\x01/");  // Ctrl-A is none of ours
  CHECK(terminal.key()->character == "q");
  CHECK(terminal.key()->character == "/");
  CHECK_FALSE(terminal.key());
}

TEST_CASE("terminal: another size", "[terminal]") {
  const Pty pty;
  Terminal terminal = pty.open();
  terminal.show();
  for (const Size size : {Size{10, 60}, Size{1, 1}, Size{3, 200}}) {
    const winsize now{.ws_row = static_cast<unsigned short>(size.rows),
                      .ws_col = static_cast<unsigned short>(size.columns),
                      .ws_xpixel = 0,
                      .ws_ypixel = 0};
    REQUIRE(ioctl(pty.slave.get(), TIOCSWINSZ, &now) == 0);
    CHECK(terminal.size() == size);
    Grid grid{size};
    grid.put(size.rows - 1, size.columns - 1, "Z");
    terminal.draw(grid);
    CHECK(has(pty.said(), "Z"));
    CHECK_FALSE(terminal.key());
  }
}

TEST_CASE("terminal: one that takes nothing is not waited for", "[terminal]") {
  const Pty pty;
  Terminal terminal = pty.open();
  terminal.show();
  static_cast<void>(tcflow(pty.slave.get(), TCOOFF));  // Ctrl-S
  Grid grid{{5, 20}};
  grid.put(0, 0, "before");
  terminal.draw(grid);
  CHECK(terminal.waits_to_write());
  CHECK_FALSE(terminal.takes_grid());
  Grid other{{5, 20}};
  other.put(0, 0, "dropped");
  terminal.draw(other);
  CHECK(pty.said().empty());
  static_cast<void>(tcflow(pty.slave.get(), TCOON));
  terminal.write();
  CHECK(terminal.takes_grid());
  const std::string said = pty.said();
  CHECK(has(said, "before"));
  CHECK_FALSE(has(said, "dropped"));
}

TEST_CASE("terminal: one that is too slow is given back before what is on its way", "[terminal]") {
  const Pty pty;
  const termios before = pty.modes();
  constexpr Size large{400, 400};  // of more than a terminal's buffer holds
  Terminal terminal = pty.open();
  terminal.show();
  Grid grid{large};
  std::string line(large.columns, ' ');
  for (std::size_t column = 0; column < large.columns; ++column) line[column] = static_cast<char>('!' + column % 90);
  for (std::size_t row = 0; row < large.rows; ++row) grid.put(row, 0, line.substr(row % 90) + line.substr(0, row % 90));
  terminal.draw(grid);
  REQUIRE(terminal.waits_to_write());
  terminal.hide();
  const std::string said = pty.said();
  CHECK(said.size() < large.rows * large.columns);
  CHECK(has(said, "\x18"));  // ends an escape that was cut in half
  CHECK(has(said.substr(said.rfind('\x18')), leaves));
  CHECK(has(said.substr(said.rfind('\x18')), shows_cursor));
  CHECK(is_same(before, pty.modes()));
}

TEST_CASE("terminal: one that has gone is lost, and no more than that", "[terminal]") {
  Pty pty;
  Terminal terminal = pty.open();
  terminal.show();
  pty.master.close();
  terminal.draw(Grid{{5, 20}});
  CHECK(terminal.is_lost());
  CHECK_FALSE(terminal.key());
}

TEST_CASE("terminal: a type that nobody knows, and one without a cursor to move, are errors", "[terminal]") {
  const Pty pty;
  for (const char* type : {"no-such-terminal", "dumb"}) {
    REQUIRE(setenv("TERM", type, 1) == 0);
    const auto terminal = Terminal::open(pty.slave.get(), pty.slave.get(), true);
    REQUIRE_FALSE(terminal);
    CHECK(has(terminal.error().operation, type));
    CHECK(has(terminal.error().remedy, "TERM"));
  }
}

namespace {

constexpr int overflow = -1;  ///< in place of a signal

/// Until there is no stack any more.
int fall(int depth) {
  std::array<char, 4096> room{};
  volatile char* kept = room.data();
  *kept = static_cast<char>(depth);
  return depth < 0 ? 0 : fall(depth + 1) + *kept;
}

}  // namespace

TEST_CASE("terminal: a crash gives it back too", "[terminal]") {
  const Pty pty;
  const termios before = pty.modes();
  // SIGUSR1 and the like are nobody's, and end us all the same.
  for (const int end : {SIGABRT, SIGSEGV, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTRAP, SIGALRM, SIGXCPU, SIGPROF, SIGIO,
                        SIGPWR, SIGSYS, SIGRTMIN, SIGRTMAX, overflow}) {
    CAPTURE(end);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (const int signal : {SIGABRT, SIGSEGV, SIGTERM}) std::signal(signal, SIG_DFL);  // Catch2's
      Terminal terminal = *Terminal::open(pty.slave.get(), pty.slave.get(), true);
      terminal.show();
      terminal.hide();  // as when it is suspended: what is rescued is rescued anew
      terminal.show();
      terminal.draw(Grid{{5, 20}});
      alarm(10);  // for a signal that is raised without end
      if (end == overflow) _exit(fall(1));
      raise(end);
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == (end == overflow ? SIGSEGV : end));
    const std::string said = pty.said();
    CHECK(has(said, enters));
    CHECK(has(said.substr(said.rfind(enters)), leaves));
    CHECK(has(said.substr(said.rfind(enters)), shows_cursor));
    CHECK(is_same(before, pty.modes()));
  }
}
