// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_TOP_SCENE_HPP
#define CLOSEWATCH_TESTS_UNIT_TOP_SCENE_HPP

// What the tests of `top` look at, and who types.

#include "locale.hpp"
#include "scene.hpp"

#include "sink/top_screen.hpp"

#include <initializer_list>
#include <string>
#include <string_view>

namespace closewatch::test {

inline constexpr Size usual{24, 80};

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Nothing was filtered out: ports can be counted.
struct Machine : Scene {
  Machine() { settings({32'768, 60'999}); }
};

/// A server that has leaked `count` sockets, and a client that makes TIME_WAIT.
struct Leaking : Machine {
  explicit Leaking(std::uint64_t count = 37);
};

/// So many more processes, each with a connection in ESTABLISHED.
void add_crowd(Scene& scene, std::uint32_t count);

/// The server with so many leaks, a second later each.
TopView seen(std::initializer_list<std::uint64_t> leaks);
TopView seen(const Scene& scene);

inline TopScreen screen(bool utf8 = true) { return TopScreen{{.utf8 = utf8}}; }

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

}  // namespace closewatch::test

#endif
