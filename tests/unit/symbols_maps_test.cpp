// SPDX-License-Identifier: BSD-2-Clause
// The two texts that a process may fill as it likes: /proc/PID/maps and /tmp/perf-PID.map.
#include "catch.hpp"
#include "tree.hpp"

#include "host/memory_map.hpp"
#include "host/perf_map.hpp"
#include "host/symbols.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <utility>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Names = std::vector<std::string>;

Names read_in_pieces(std::string_view text, std::vector<std::uint64_t> addresses, std::size_t size) {
  PerfMapReader reader{std::move(addresses)};
  for (std::size_t at = 0; at < text.size(); at += size) reader.read(text.substr(at, size));
  return std::move(reader).names();
}

/// A process 9 with code of its own making at 0x1000 to 0x2000, whose pid in its own namespace is 3.
void add_maker(Tree& tree) {
  tree.process(9, 1, 5);
  tree.file("proc/9/maps", "1000-2000 r-xp 00000000 00:00 0 \n");
  tree.file("proc/9/status", "Name:\tnode\nUid:\t" + std::to_string(getuid() + 1) + "\t" + std::to_string(getuid()) +
                                 "\t9\t9\nNSpid:\t9\t3\n");
}

std::string name_at(Symbols& symbols, std::uint64_t address) {
  const std::array addresses{address};
  return symbols.look_up({9, 5}, 0, addresses).at(0).function;
}

}  // namespace

TEST_CASE("maps: executable mappings, by address", "[host][symbols]") {
  const auto mappings = parse_maps(
      "7f0000001000-7f0000003000 r-xp 00002000 fe:01 1234                       /usr/lib/libc.so.6\n"
      "560000000000-560000001000 r--p 00000000 fe:01 99                         /usr/bin/server\n"
      "560000001000-560000002000 r-xp 00001000 fe:01 99                         /usr/bin/a b (deleted)\n"
      "560000003000-560000004000 rwxp 00000000 00:00 0 \n"
      "560000005000-560000006000 rwxp 00000000 00:00 0\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
  REQUIRE(mappings.size() == 5);
  CHECK(mappings[0] == Mapping{0x560000001000, 0x560000002000, 0x1000, makedev(0xfe, 1), 99, "/usr/bin/a b (deleted)"});
  CHECK(mappings[1].name.empty());
  CHECK(mappings[1].inode == 0);
  CHECK(mappings[2].start == 0x560000005000);
  CHECK(mappings[3] == Mapping{0x7f0000001000, 0x7f0000003000, 0x2000, makedev(0xfe, 1), 1234, "/usr/lib/libc.so.6"});
  CHECK(mappings[4].name == "[vsyscall]");

  CHECK(mapping_of(mappings, 0x560000000fff) == nullptr);
  CHECK(mapping_of(mappings, 0x560000001000) == &mappings[0]);
  CHECK(mapping_of(mappings, 0x560000001fff) == &mappings[0]);
  CHECK(mapping_of(mappings, 0x560000002000) == nullptr);
  CHECK(mapping_of(mappings, ~std::uint64_t{0}) == nullptr);
  CHECK(mapping_of({}, 0) == nullptr);
}

TEST_CASE("maps: names may hold anything", "[host][symbols]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/tmp/two\\012lines", "/tmp/two\nlines"},
      {"/tmp/\\012", "/tmp/\n"},
      {"/tmp/1000-2000 r-xp 00000000 00:00 0 x", "/tmp/1000-2000 r-xp 00000000 00:00 0 x"},
      {"/tmp/back\\slash\\01", "/tmp/back\\slash\\01"},
      {"/tmp/\xff\x1b[2J ", "/tmp/\xff\x1b[2J "}};
  for (const auto& [written, meant] : cases) {
    CAPTURE(written);
    const auto mappings = parse_maps("1000-2000 r-xp 00000000 00:00 7        " + written + "\n");
    REQUIRE(mappings.size() == 1);
    CHECK(mappings[0].name == meant);
  }
}

TEST_CASE("maps: lines that cannot be read are left out", "[host][symbols]") {
  const std::string good = "1000-2000 r-xp 00000000 00:00 0 good";
  for (const std::string bad : {"",
                                " ",
                                "-",
                                "1000",
                                "1000-",
                                "1000-2000",
                                "1000-2000 ",
                                "1000-2000 r-xp",
                                "1000-2000 r-xp ",
                                "1000-2000 r-xp 0",
                                "1000-2000 r-xp 0 0",
                                "1000-2000 r-xp 0 0:0",
                                "1000-2000 r-xp 0 0:0 ",
                                "1000-2000 r-xp 0 0:0 x",
                                "1000-2000 r-xp 0 0:0 7x",
                                "2000-1000 r-xp 0 0:0 0 x",
                                "1000-1000 r-xp 0 0:0 0 x",
                                "g000-2000 r-xp 0 0:0 0 x",
                                "11112222333344445-2 r-xp 0 0:0 0 x",
                                "1000-2000 r-xpp 0 0:0 0 x",
                                "-1000-2000 r-xp 0 0:0 0 x",
                                "1000-2000 r-xp 0 0:0 99999999999999999999 x",
                                "\n\n\n"}) {
    CAPTURE(bad);
    CHECK(parse_maps(bad).empty());
    const auto mappings = parse_maps(bad + "\n" + good + "\n" + bad);
    REQUIRE(mappings.size() == 1);
    CHECK(mappings[0].name == "good");
  }
  // Cut anywhere.
  for (std::size_t length = 0; length < good.size(); ++length) CHECK(parse_maps(good.substr(0, length)).size() <= 1);
}

TEST_CASE("perf map: names by address, wherever the pieces are cut", "[host][symbols]") {
  const std::string text =
      "1000 20 LazyCompile:~handler /srv/app.js:12\n"
      "0x2000 0x10 with prefix\n"
      "1010 8 newer at the same place\n"
      "3000 0 nothing\n"
      "4000 5 last without a line break";
  for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{60}, text.size()}) {
    CAPTURE(size);
    CHECK(read_in_pieces(text, {0x4004, 0x1000, 0x100f, 0x1010, 0x1018, 0x101f, 0x1020, 0x200f, 0x3000, 0xfff, 0x4005},
                         size) == Names{"last without a line break", "LazyCompile:~handler /srv/app.js:12",
                                        "LazyCompile:~handler /srv/app.js:12", "newer at the same place",
                                        "LazyCompile:~handler /srv/app.js:12", "LazyCompile:~handler /srv/app.js:12",
                                        "", "with prefix", "", "", ""});
  }
  CHECK(read_in_pieces(text, {}, 5).empty());
}

TEST_CASE("perf map: garbage", "[host][symbols]") {
  const std::string good = "\n1000 20 good\n";
  const std::string giant(100'000, 'a');
  for (const std::string& bad :
       {std::string{}, std::string{"\n\n"}, std::string{"1000"}, std::string{"1000 "}, std::string{"1000 20"},
        std::string{"1000 20 "}, std::string{"x 20 y"}, std::string{"1000 x y"}, std::string{"-1 20 y"},
        std::string{"11112222333344445 20 y"}, giant, giant + " 20 y", "1000 " + giant, std::string{"\0\0 \0", 4},
        std::string{"2000 ffffffffffffffff beyond the end"}, std::string{"\xff\xfe"}}) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{4096}}) {
      const Names names = read_in_pieces(bad + good + bad, {0x1008}, size);
      CHECK(names == Names{"good"});
    }
  }
  CHECK(read_in_pieces("ffffffffffffff00 ffffffffffffffff all\n", {~std::uint64_t{0}, 0, 5}, 3) ==
        Names{"all", "", ""});
  const Names cut = read_in_pieces("1000 20 " + giant + "\n", {0x1000}, 333);
  CHECK(cut.at(0).size() < 1100);
  CHECK(cut == read_in_pieces("1000 20 " + giant + "\n", {0x1000}, 1'000'000));
}

TEST_CASE("perf map: of the process's own root and pid", "[host][symbols]") {
  Tree tree;
  add_maker(tree);
  tree.file("tmp/perf-9.map", "1000 100 not its own\n");
  tree.file("proc/9/root/tmp/perf-9.map", "1000 100 another's in its namespace\n");
  Symbols symbols{tree.root()};
  CHECK(name_at(symbols, 0x1010).empty());
  tree.file("proc/9/root/tmp/perf-3.map", "1000 100 handler\n");
  CHECK(name_at(symbols, 0x1010) == "handler");
  // The address after a call may be another function's.
  CHECK(name_at(symbols, 0x1100) == "handler");
  CHECK(name_at(symbols, 0x1101).empty());
  // Once it has grown, what had no name is looked for again.
  tree.file("proc/9/root/tmp/perf-3.map", "1000 100 handler\n1100 100 compiled since\n");
  CHECK(name_at(symbols, 0x1101) == "compiled since");
  // What is known stays, also when the process has ended.
  tree.remove("proc");
  CHECK(name_at(symbols, 0x1010) == "handler");
}

TEST_CASE("perf map: only a regular file of the process's user or root's", "[host][symbols]") {
  Tree tree;
  add_maker(tree);
  tree.folder("proc/9/root/tmp");
  const std::filesystem::path path = tree.root() / "proc/9/root/tmp/perf-3.map";
  const auto name = [&] {
    Symbols symbols{tree.root()};
    return name_at(symbols, 0x1010);
  };
  // Opening one would wait for a writer.
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(name().empty());
  std::filesystem::remove(path);
  tree.file("proc/9/root/elsewhere", "1000 100 handler\n");
  tree.link("proc/9/root/tmp/perf-3.map", "/elsewhere");
  CHECK(name().empty());
  std::filesystem::remove(path);
  tree.folder("proc/9/root/tmp/perf-3.map");
  CHECK(name().empty());
  std::filesystem::remove(path);
  tree.file("proc/9/root/tmp/perf-3.map", "1000 100 handler\n");
  CHECK(name() == "handler");
  if (geteuid() == 0) {
    constexpr uid_t somebody = 12345;
    REQUIRE(chown(path.c_str(), somebody, somebody) == 0);
    CHECK(name().empty());
    tree.file("proc/9/status", "Name:\tnode\nUid:\t1\t12345\t1\t1\nNSpid:\t9\t3\n");
    CHECK(name() == "handler");
  }
}

TEST_CASE("perf map: of a pid that is another's by now", "[host][symbols]") {
  Tree tree;
  add_maker(tree);
  Symbols symbols{tree.root()};
  symbols.remember({9, 5}, 0);
  tree.process(9, 1, 6);
  tree.file("proc/9/root/tmp/perf-3.map", "1000 100 another's\n");
  CHECK(name_at(symbols, 0x1010).empty());
}
