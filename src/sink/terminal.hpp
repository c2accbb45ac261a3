// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_TERMINAL_HPP
#define CLOSEWATCH_SINK_TERMINAL_HPP

// The one room that touches the terminal: grids out, keys in.

#include "sink/grid.hpp"
#include "sink/top_screen.hpp"

#include <closewatch/core/types.hpp>

#include <expected>
#include <memory>
#include <optional>

namespace closewatch {

/// A full screen. Whoever watches must not wait for a terminal (Ctrl-S, a slow line): what is drawn is kept until it
/// has gone out, and nothing else is drawn meanwhile.
class Terminal {
 public:
  /// `keyboard` and `display` are of the same terminal; no ownership is taken. It is left alone until show().
  [[nodiscard]] static std::expected<Terminal, Error> open(int keyboard, int display, bool colour);
  Terminal(Terminal&&) noexcept;
  Terminal& operator=(Terminal&&) noexcept;
  /// Gives it back as it was.
  ~Terminal();

  /// Takes the screen and the keyboard, from nobody else: in the background nothing happens.
  void show();
  /// After a stop in which somebody else had them without being given them (SIGSTOP).
  void take_again();
  /// Gives both back as they were. What is on its way out gets a moment.
  void hide();
  [[nodiscard]] bool is_shown() const;
  /// It is gone: nobody will see anything any more. `lose` is for whoever has heard so from poll(2).
  [[nodiscard]] bool is_lost() const;
  void lose();

  [[nodiscard]] Size size() const;
  /// What was drawn before has gone out.
  [[nodiscard]] bool takes_grid() const;
  void draw(const Grid& grid);

  [[nodiscard]] int keyboard() const;
  [[nodiscard]] int display() const;
  /// There is something to write, whenever the display lets us.
  [[nodiscard]] bool waits_to_write() const;
  /// Without waiting.
  void write();
  /// The next key that was pressed, if one was.
  [[nodiscard]] std::optional<KeyPress> key();

 private:
  struct State;
  explicit Terminal(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace closewatch

#endif
