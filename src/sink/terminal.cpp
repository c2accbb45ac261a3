// SPDX-License-Identifier: BSD-2-Clause
#include "sink/terminal.hpp"

#include "sink/terminal_rescue.hpp"
#include "sink/terminal_type.hpp"

#define NCURSES_NOMACROS 1
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

/// How long what an escape begins may take to come: an Esc by itself is told after that.
constexpr int escape_delay_ms = 25;
constexpr int least_colours = 8;

/// ncurses sets handlers of its own, which write and leave in the middle of anything: signals are the session's.
class KeepsActions {
 public:
  KeepsActions() {
    for (std::size_t at = 0; at < taken.size(); ++at) sigaction(taken[at], nullptr, &before_[at]);
  }
  KeepsActions(const KeepsActions&) = delete;
  KeepsActions& operator=(const KeepsActions&) = delete;
  ~KeepsActions() {
    for (std::size_t at = 0; at < taken.size(); ++at) {
      // Only what was changed: a SIGWINCH that waits is dropped when its default is set.
      struct sigaction now{};
      if (sigaction(taken[at], nullptr, &now) == 0 && now.sa_handler != before_[at].sa_handler)
        sigaction(taken[at], &before_[at], nullptr);
    }
  }

 private:
  static constexpr std::array taken{SIGTSTP, SIGINT, SIGTERM, SIGWINCH};
  std::array<struct sigaction, taken.size()> before_{};
};

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

struct DeleteScreen {
  void operator()(SCREEN* screen) const { delscreen(screen); }
};

/// Of the terminal's type; without the pauses that terminals of old need.
std::string capability(const char* name) {
  std::string text;
  const char* value = tigetstr(name);  // nullptr or -1: there is none
  if (value == nullptr || reinterpret_cast<std::intptr_t>(value) == -1) return text;
  text = value;
  for (std::size_t from = text.find("$<"); from != std::string::npos; from = text.find("$<", from)) {
    const std::size_t to = text.find('>', from);
    if (to == std::string::npos) break;
    text.erase(from, to + 1 - from);
  }
  return text;
}

/// Of a cell: one character. What a terminal would obey is no character, whoever let it through.
wchar_t character_of(std::string_view text) {
  constexpr wchar_t unknown = L'?';
  if (text.empty()) return L' ';
  const auto byte = [&](std::size_t at) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at])); };
  const std::uint32_t head = byte(0);
  const std::size_t length = head < 0x80U ? 1 : head >= 0xF0U ? 4 : head >= 0xE0U ? 3 : 2;
  if (text.size() != length || (head >= 0x80U && head < 0xC2U)) return unknown;
  std::uint32_t code = length == 1 ? head : head & (0x7FU >> length);
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xC0U) != 0x80U) return unknown;
    code = code << 6U | (byte(at) & 0x3FU);
  }
  if (code < 0x20U || (code >= 0x7FU && code < 0xA0U)) return unknown;
  const auto character = static_cast<wchar_t>(code);
  return wcwidth(character) > 0 ? character : unknown;
}

std::string utf8_of(std::uint32_t code) {
  std::string text;
  const auto tail = [&](unsigned shift) { text += static_cast<char>(0x80U | (code >> shift & 0x3FU)); };
  if (code < 0x80U) {
    text += static_cast<char>(code);
  } else if (code < 0x800U) {
    text += static_cast<char>(0xC0U | code >> 6U);
    tail(0);
  } else if (code < 0x10000U) {
    text += static_cast<char>(0xE0U | code >> 12U);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0U | (code >> 18U & 0x07U));
    tail(12);
    tail(6);
    tail(0);
  }
  return text;
}

std::optional<Key> key_of(wint_t code) {
  switch (code) {
    case KEY_UP: return Key::up;
    case KEY_DOWN: return Key::down;
    case KEY_PPAGE:
    case KEY_A3: return Key::page_up;
    case KEY_NPAGE:
    case KEY_C3: return Key::page_down;
    case KEY_HOME:
    case KEY_FIND:
    case KEY_A1: return Key::home;
    case KEY_END:
    case KEY_SELECT:
    case KEY_C1: return Key::end;
    case KEY_ENTER: return Key::enter;
    case KEY_BACKSPACE: return Key::backspace;
    default: return std::nullopt;
  }
}

bool is_in_foreground(int display) {
  const pid_t group = tcgetpgrp(display);
  return group < 0 || group == getpgrp();  // it need not be our controlling terminal
}

}  // namespace

/// ncurses paints into memory and knows no terminal: writing to one that is stopped waits without end.
struct Terminal::State {
  int keyboard = -1;
  int display = -1;
  bool coloured = false;
  File painted;  ///< what ncurses has written and nobody has taken yet
  File keys;
  std::unique_ptr<SCREEN, DeleteScreen> screen;
  WINDOW* key_window = nullptr;  ///< to read a key of the main window would paint that
  bool shown = false;
  bool lost = false;
  bool whole = false;  ///< somebody else may have written on the screen
  termios before{};
  std::string restoring;  ///< what gives the screen back
  bool has_other_screen = false;  ///< ours is another one: what was there before comes back
  std::string queue;
  std::size_t sent = 0;

  /// What ncurses has painted joins the queue.
  void collect() {
    const int file = fileno(painted.get());
    const off_t length = lseek(file, 0, SEEK_END);
    if (length <= 0) return;
    if (sent == queue.size()) {
      queue.clear();
      sent = 0;
    }
    const std::size_t at = queue.size();
    queue.resize(at + static_cast<std::size_t>(length));
    const ssize_t taken = pread(file, queue.data() + at, static_cast<std::size_t>(length), 0);
    queue.resize(at + static_cast<std::size_t>(std::max<ssize_t>(taken, 0)));
    if (ftruncate(file, 0) != 0 || lseek(file, 0, SEEK_SET) != 0) lost = true;  // of a file in memory: never
  }

  void write() {
    // A display that could not be opened anew waits where it has no room for all of it.
    constexpr std::size_t little = 256;
    const int flags = fcntl(display, F_GETFL);
    const bool never_waits = flags >= 0 && (flags & O_NONBLOCK) != 0;
    while (!lost && sent < queue.size()) {
      pollfd entry{display, POLLOUT, 0};
      if (poll(&entry, 1, 0) <= 0 || (entry.revents & POLLOUT) == 0) {
        lost = lost || (entry.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
        return;
      }
      const std::size_t left = queue.size() - sent;
      const ssize_t written = ::write(display, queue.data() + sent, never_waits ? left : std::min(left, little));
      if (written > 0) {
        sent += static_cast<std::size_t>(written);
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR) {
        lost = true;
      }
    }
  }

  /// A moment for what is on its way out. On a line that is too slow for that, what gives the screen back takes the
  /// place of all that is still to come, behind a CAN for the escape that may be cut in half.
  void finish(bool may_change) {
    constexpr int patience_ms = 50;
    for (int tries = 0; tries < 10; ++tries) {
      write();
      if (lost || sent == queue.size()) return;
      pollfd entry{display, POLLOUT, 0};
      poll(&entry, 1, patience_ms);
    }
    if (may_change) tcflush(display, TCOFLUSH);
    queue = "\x18" + restoring;
    sent = 0;
    write();
    queue.clear();
    sent = 0;
  }

  void take_keyboard() const {
    termios now = before;
    // Signals go on being made of Ctrl-C and Ctrl-Z. Output goes out as ncurses paints it, which knows of no terminal
    // that makes two characters of a line feed.
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ECHONL | IEXTEN);
    now.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR);
    now.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    tcsetattr(display, TCSADRAIN, &now);
  }

  [[nodiscard]] Size size() const {
    winsize found{};
    if (ioctl(display, TIOCGWINSZ, &found) == 0 && found.ws_row > 0 && found.ws_col > 0)
      return {found.ws_row, found.ws_col};
    return {static_cast<std::size_t>(getmaxy(stdscr)), static_cast<std::size_t>(getmaxx(stdscr))};
  }

  [[nodiscard]] attr_t attributes_of(const Attributes& look) const {
    attr_t attributes = A_NORMAL;
    if (look.bold) attributes |= A_BOLD;
    if (look.reverse) attributes |= A_REVERSE;
    if (look.dim) attributes |= A_DIM;
    return attributes;
  }

  void paint(std::size_t row, std::size_t column, const Cell& cell) const {
    const std::array<wchar_t, 2> text{character_of(cell.text), L'\0'};
    cchar_t character{};
    const auto pair = static_cast<short>(coloured ? std::to_underlying(cell.look.ink) : 0);
    setcchar(&character, text.data(), attributes_of(cell.look), pair, nullptr);
    mvwadd_wchnstr(stdscr, static_cast<int>(row), static_cast<int>(column), &character, 1);
  }
};

Terminal::Terminal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Terminal::Terminal(Terminal&&) noexcept = default;
Terminal& Terminal::operator=(Terminal&&) noexcept = default;
Terminal::~Terminal() {
  if (state_) hide();
}

std::expected<Terminal, Error> Terminal::open(int keyboard, int display, bool colour) {
  const char* type = std::getenv("TERM");
  const auto failed = [&](int code) {
    return std::unexpected(Error{std::string{"use a terminal of type '"} + (type != nullptr ? type : "") + "'", code,
                                 "set TERM to one that is known here, or to dumb for plain tables"});
  };
  if (!can_paint_terminal()) return failed(0);
  auto state = std::make_unique<State>();
  state->keyboard = keyboard;
  state->display = display;
  const int memory = memfd_create("closewatch-screen", MFD_CLOEXEC);
  if (memory < 0) return failed(errno);
  state->painted.reset(fdopen(memory, "w+"));
  const int same = fcntl(keyboard, F_DUPFD_CLOEXEC, 0);
  if (same < 0) return failed(errno);
  state->keys.reset(fdopen(same, "r"));
  if (!state->painted || !state->keys) return failed(ENOMEM);
  const KeepsActions actions;
  use_tioctl(true);
  state->screen.reset(newterm(nullptr, state->painted.get(), state->keys.get()));
  if (!state->screen) return failed(ENOMEM);
  set_escdelay(escape_delay_ms);
  noecho();
  nonl();
  curs_set(0);
  state->key_window = newpad(1, 1);
  if (state->key_window == nullptr) return failed(ENOMEM);
  keypad(state->key_window, true);
  nodelay(state->key_window, true);
  if (colour && start_color() == OK && COLORS >= least_colours && use_default_colors() == OK) {
    state->coloured = true;
    for (const auto& [ink, number] : {std::pair{Ink::red, COLOR_RED}, std::pair{Ink::yellow, COLOR_YELLOW},
                                      std::pair{Ink::green, COLOR_GREEN}, std::pair{Ink::cyan, COLOR_CYAN}})
      init_pair(static_cast<short>(std::to_underlying(ink)), static_cast<short>(number), -1);
  }
  for (const char* name : {"op", "sgr0", "rmkx", "cnorm", "rmcup"}) state->restoring += capability(name);
  state->has_other_screen = !capability("rmcup").empty();
  return Terminal{std::move(state)};
}

void Terminal::show() {
  State& state = *state_;
  if (state.shown || state.lost || !is_in_foreground(state.display)) return;
  if (tcgetattr(state.display, &state.before) != 0) {
    state.lost = true;
    return;
  }
  rescue_terminal(state.display, state.before, state.restoring);
  state.take_keyboard();
  state.shown = true;
  state.whole = true;
}

void Terminal::take_again() {
  State& state = *state_;
  if (!state.shown || !is_in_foreground(state.display)) return;
  state.take_keyboard();
  state.whole = true;
}

void Terminal::hide() {
  State& state = *state_;
  if (!state.shown) return;
  state.shown = false;
  {
    const KeepsActions actions;
    if (!state.has_other_screen) {
      // The picture stays, as with top(1), and the prompt comes in the place of its last line.
      wmove(stdscr, getmaxy(stdscr) - 1, 0);
      wclrtoeol(stdscr);
      wrefresh(stdscr);
    }
    endwin();
  }
  state.collect();
  // In the background a change of the terminal would stop us.
  const bool may_change = is_in_foreground(state.display);
  if (may_change) let_output_go(state.display);
  state.finish(may_change);
  if (may_change) tcsetattr(state.display, TCSANOW, &state.before);
  forget_terminal();
}

bool Terminal::is_shown() const { return state_->shown; }
bool Terminal::is_lost() const { return state_->lost; }
void Terminal::lose() { state_->lost = true; }
Size Terminal::size() const { return state_->size(); }
bool Terminal::takes_grid() const { return state_->shown && !state_->lost && !waits_to_write(); }
int Terminal::keyboard() const { return state_->keyboard; }
int Terminal::display() const { return state_->display; }
bool Terminal::waits_to_write() const { return state_->sent < state_->queue.size(); }
void Terminal::write() { state_->write(); }

void Terminal::draw(const Grid& grid) {
  State& state = *state_;
  if (!takes_grid()) return;
  const KeepsActions actions;
  const Size size = grid.size();
  if (getmaxy(stdscr) != static_cast<int>(size.rows) || getmaxx(stdscr) != static_cast<int>(size.columns)) {
    resizeterm(static_cast<int>(size.rows), static_cast<int>(size.columns));
    state.whole = true;
  }
  werase(stdscr);
  for (std::size_t row = 0; row < size.rows; ++row)
    for (std::size_t column = 0; column < size.columns; ++column)
      if (const Cell& cell = grid.at(row, column); !cell.text.empty()) state.paint(row, column, cell);
  const bool whole = std::exchange(state.whole, false);
  if (whole) clearok(curscr, true);
  wnoutrefresh(stdscr);
  doupdate();
  // Whoever had the screen meanwhile has arrow keys that say something else.
  if (whole) keypad(state.key_window, true);
  state.collect();
  state.write();
}

std::optional<KeyPress> Terminal::key() {
  State& state = *state_;
  if (!state.shown || state.lost) return std::nullopt;
  // Of what ncurses knows and we do not (a function key, its own word of a new size) some may come in a row.
  for (int tries = 0; tries < 64; ++tries) {
    wint_t code = 0;
    const int kind = wget_wch(state.key_window, &code);
    state.collect();
    if (kind == ERR) return std::nullopt;
    if (kind == KEY_CODE_YES) {
      if (const auto key = key_of(code)) return KeyPress{*key, {}};
      continue;
    }
    constexpr wint_t control_h = 0x08;
    constexpr wint_t control_l = 0x0C;
    constexpr wint_t escape = 0x1B;
    constexpr wint_t del = 0x7F;
    if (code == L'\r' || code == L'\n') return KeyPress{Key::enter, {}};
    if (code == escape) return KeyPress{Key::escape, {}};
    if (code == del || code == control_h) return KeyPress{Key::backspace, {}};
    if (code == control_l) {
      state.whole = true;
      return KeyPress{Key::character, {}};  // nothing to type, and a reason to draw
    }
    if (code >= 0x20 && !(code > del && code < 0xA0)) return KeyPress{Key::character, utf8_of(code)};
  }
  return std::nullopt;
}

}  // namespace closewatch
