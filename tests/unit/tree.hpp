// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_TREE_HPP
#define CLOSEWATCH_TESTS_UNIT_TREE_HPP

// A made-up /proc and /sys in a temporary folder that goes with the test.

#include "catch.hpp"

#include <filesystem>
#include <fstream>
#include <stdlib.h>
#include <string>
#include <string_view>

namespace closewatch::test {

class Tree {
 public:
  Tree() {
    std::string name = (std::filesystem::temp_directory_path() / "closewatch-unit-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() {
    std::error_code error;
    std::filesystem::remove_all(root_, error);
  }

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

  void file(std::string_view path, std::string_view content) {
    std::ofstream out{made(path), std::ios::binary};
    out << content;
    REQUIRE(out.good());
  }
  void folder(std::string_view path) { std::filesystem::create_directories(root_ / path); }
  void link(std::string_view path, std::string_view target) { std::filesystem::create_symlink(target, made(path)); }
  void remove(std::string_view path) { std::filesystem::remove_all(root_ / path); }

  /// The stat, and nothing else, of a process.
  void process(std::uint32_t pid, std::uint32_t parent, std::uint64_t start_ticks, std::string_view name = "someone") {
    const std::string id = std::to_string(pid);
    file("proc/" + id + "/stat", id + " (" + std::string{name} + ") S " + std::to_string(parent) +
                                     " 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " + std::to_string(start_ticks) +
                                     " 1000 100\n");
  }

 private:
  std::filesystem::path made(std::string_view path) {
    std::filesystem::create_directories((root_ / path).parent_path());
    return root_ / path;
  }

  std::filesystem::path root_;
};

}  // namespace closewatch::test

#endif
