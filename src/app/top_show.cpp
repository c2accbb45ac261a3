// SPDX-License-Identifier: BSD-2-Clause
#include "app/top_show.hpp"

#include "app/clock.hpp"
#include "app/top_report.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace closewatch {
namespace {

/// Of a CPU at most: it is the machine's. How long it takes says less, since others want the CPUs too.
constexpr std::uint64_t refresh_share = 5;
/// Of a row that was just opened more is wanted than the last refresh has brought; rates over less time say little.
constexpr std::uint64_t shortest_step_ns = 200'000'000;
constexpr int keys_at_once = 256;
constexpr short gone = POLLHUP | POLLERR | POLLNVAL;

bool is_plain(const char* type) { return type == nullptr || *type == '\0' || std::strcmp(type, "dumb") == 0; }

std::size_t columns_of_table(int fd) {
  constexpr std::size_t usual = 80;
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

}  // namespace

std::string scope_of(std::string_view command, const std::vector<std::pair<std::string, std::string>>& given) {
  if (command == command_name(Subcommand::demo)) return "only the demo's programs";
  if (command == command_name(Subcommand::run)) return "only the command's processes";
  const auto is_family = [](const auto& option) { return option.first == "4" || option.first == "6"; };
  const bool has_both = std::count_if(given.begin(), given.end(), is_family) == 2;
  constexpr std::array<std::string_view, 6> with_value{"pid", "comm", "cgroup", "netns", "local-port", "remote-port"};
  std::string scope;
  for (const auto& option : given) {
    std::string filter;
    if (std::find(with_value.begin(), with_value.end(), option.first) != with_value.end())
      filter = "--" + option.first + " " + option.second;
    else if (option.first == "children")
      filter = "--children";
    else if (is_family(option) && !has_both)
      filter = "-" + option.first;
    if (!filter.empty()) scope.append(scope.empty() ? "only " : ", ").append(filter);
  }
  return scope;
}

std::expected<std::optional<TopTerminal>, Error> open_terminal(const Options& options, const Output& output) {
  if (isatty(output.fd()) == 0 || is_plain(std::getenv("TERM"))) return std::nullopt;
  Descriptor other;
  if (isatty(STDIN_FILENO) == 0) {
    other = Descriptor{::open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC)};
    if (!other.is_open()) return std::nullopt;
  }
  const int keyboard = other.is_open() ? other.get() : STDIN_FILENO;
  auto terminal = Terminal::open(keyboard, output.fd(), text_style(options, output.fd()).colour);
  if (!terminal) return std::unexpected(terminal.error());
  return TopTerminal{std::move(other), *std::move(terminal)};
}

TopShow::TopShow(const Options& options, const Output& output, std::optional<TopTerminal> terminal)
    : interval_(options.interval),
      verbose_(options.verbose),
      style_(text_style(options, output.fd())),
      writer_(output.fd(), output.name()),
      screen_({.utf8 = style_.utf8, .scope = scope_of(command_name(options.command), options.given)}),
      terminal_(std::move(terminal)) {
  style_.colour = false;  // of what is saved
  style_.wide = true;
  if (options.by_process) static_cast<void>(screen_.take({Key::character, "p"}, view_, {}));
}

void TopShow::begin() {
  wants_screen_ = has_screen();
  take_screen();
}

// Whoever was started in the background, or goes on there, gets it when it comes to the foreground.
void TopShow::take_screen() {
  if (!wants_screen_ || terminal_->terminal.is_shown()) return;
  terminal_->terminal.show();
  if (!terminal_->terminal.is_shown()) return;
  messages_.hold();
  changed_ = true;
}

void TopShow::end() {
  save_when_wanted();
  wants_screen_ = false;
  if (!has_screen()) return;
  terminal_->terminal.hide();
  messages_.let_go();
}

void TopShow::stop() {
  if (!has_screen()) return;
  terminal_->terminal.hide();
  messages_.let_go();
}

void TopShow::go_on() {
  if (!has_screen()) return;
  terminal_->terminal.take_again();
  take_screen();
  changed_ = true;
  draw();
}

void TopShow::say(std::string text) {
  screen_.say(std::move(text));
  changed_ = true;
}

void TopShow::pulse(std::uint64_t time_ns, std::uint64_t events) {
  take_screen();
  if (std::string text = messages_.take_latest(); !text.empty()) say(std::move(text));
  save_when_wanted();
  refresh_when_due(time_ns, events);
  draw();
}

void TopShow::refresh(std::uint64_t time_ns, std::uint64_t events) {
  const std::uint64_t used_ns = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
  // Of a machine with tens of thousands of processes a report is large: the last one goes before the next is made.
  if (is_paused())
    newest_.reset();
  else
    view_ = TopView{};
  TopView view = history_.refresh(make_report_(screen_.is_open() || verbose_), events, time_ns);
  const auto interval_ns = static_cast<std::uint64_t>(interval_.count());
  const std::uint64_t earliest_ns = time_ns + refresh_share * (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - used_ns);
  next_ns_ = next_ns_ + interval_ns > time_ns ? next_ns_ + interval_ns : time_ns + interval_ns;
  next_ns_ = std::max(next_ns_, earliest_ns);
  shown_ns_ = time_ns;
  if (is_paused()) {
    newest_ = std::move(view);
    return;
  }
  view_ = std::move(view);
  newest_.reset();
  changed_ = true;
}

void TopShow::draw() {
  if (!changed_ || !has_screen() || !terminal_->terminal.takes_grid()) return;
  terminal_->terminal.draw(screen_.draw(view_, terminal_->terminal.size()));
  changed_ = false;
}

void TopShow::print() {
  // A head, the rows and the line for keys, which is of no use here.
  constexpr std::size_t others = 5;
  const std::size_t rows = std::max(view_.report.workloads.size(), view_.report.processes.size()) + others;
  std::string text = screen_.draw(view_, {rows, columns_of_table(writer_.fd())}).text();
  text.erase(text.rfind('\n', text.size() - 2) + 1);
  text.erase(text.find_last_not_of('\n') + 1);
  if (writer_.accepts()) writer_.put(text + "\n\n");
}

bool TopShow::refresh_when_due(std::uint64_t time_ns, std::uint64_t events) {
  if (time_ns < next_ns_) return false;
  refresh(time_ns, events);
  return true;
}

short TopShow::wanted_of_keyboard() const { return has_screen() && terminal_->terminal.is_shown() ? POLLIN : 0; }

short TopShow::wanted_of_display() const { return has_screen() && terminal_->terminal.waits_to_write() ? POLLOUT : 0; }

bool TopShow::keyboard_came(short events) {
  if ((events & gone) != 0) terminal_->terminal.lose();
  for (int keys = 0; keys < keys_at_once; ++keys) {
    const auto press = terminal_->terminal.key();
    if (!press) break;
    if (!take(*press)) return false;
  }
  draw();
  return !terminal_->terminal.is_lost();
}

bool TopShow::display_came(short events) {
  if ((events & gone) != 0) terminal_->terminal.lose();
  terminal_->terminal.write();
  draw();
  return !terminal_->terminal.is_lost();
}

bool TopShow::take(const KeyPress& press) {
  const bool was_open = screen_.is_open();
  changed_ = true;
  switch (screen_.take(press, view_, terminal_->terminal.size())) {
    case TopScreen::Wish::quit: return false;
    case TopScreen::Wish::write_report: wants_saving_ = true; break;
    case TopScreen::Wish::none: break;
  }
  if (!is_paused() && newest_) view_ = *std::exchange(newest_, std::nullopt);
  if (screen_.is_open() && !was_open) next_ns_ = std::min(next_ns_, shown_ns_ + shortest_step_ns);
  return true;
}

// The working directory may be somebody's who has not given it to us: the capability that would open it was given up.
void TopShow::save_when_wanted() {
  if (std::exchange(wants_saving_, false)) say(save_report(make_report_(verbose_), style_, {".", "/tmp"}));
}

}  // namespace closewatch
