// SPDX-License-Identifier: BSD-2-Clause
// Command lines that are wrong: status 2, one message, which names what is wrong.
#include "options.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// The message names the option, and what is wrong with it.
void refuses(const Arguments& arguments, std::string_view option, std::string_view value) {
  const std::string text = refused(arguments);
  CAPTURE(text);
  CHECK(has(text, option));
  CHECK(has(text, value));
}

}  // namespace

TEST_CASE("refused: pids", "[options]") {
  for (const char* value : {"abc", "0", "-1", "1x", "4194305", "4294967297", "99999999999999999999", "1.5"})
    refuses({"-p", value}, "--pid", value);
  refuses({"--pid", "1,abc"}, "--pid", "'abc'");
  refuses({"--pid", "1,"}, "--pid", "''");
  refuses({"--pid", "1,,2"}, "--pid", "''");
  refuses({"--pid", " 1"}, "--pid", "' 1'");
}

TEST_CASE("refused: ports", "[options]") {
  for (const char* value : {"65536", "0", "abc", "-1", "80x", "131152", "99999999999999999999"}) {
    refuses({"-L", value}, "--local-port", value);
    refuses({"--remote-port", value}, "--remote-port", value);
  }
  refuses({"-L", "80,65536"}, "--local-port", "'65536'");
}

TEST_CASE("refused: more values than the kernel's tables hold", "[options]") {
  std::string many = "1";
  for (int port = 2; port <= 1024; ++port) many += "," + std::to_string(port);
  CHECK(parse_options({"-L", many}));
  refuses({"-L", many + ",1025"}, "--local-port", "1024");
}

TEST_CASE("refused: times", "[options]") {
  for (const char* value : {"-1", "1x", "abc", "1.5s", "1 s"}) refuses({"--duration", value}, "--duration", value);
  refuses({"-d", "876001h"}, "--duration", "876001h");
}

TEST_CASE("refused: the ring", "[options]") {
  for (const char* value : {"1", "0", "abc", "4095", "2G", "1073741825", "18446744073709551616", "-1"})
    refuses({"--ring", value}, "--ring", value);
}

TEST_CASE("refused: types of event", "[options]") {
  refuses({"--events", "nonsense"}, "--events", "nonsense");
  refuses({"--events", "closed,nonsense"}, "--events", "'nonsense'");
  refuses({"--events", "findings"}, "--events", "'findings'");
  refuses({"--events", "CLOSED"}, "--events", "transition, closed");
}

TEST_CASE("refused: names that are none", "[options]") {
  refuses({"--comm", "a,,b"}, "--comm", "a,,b");
  refuses({"--comm", ""}, "--comm", "''");
}

TEST_CASE("refused: an empty value is no value left out", "[options]") {
  // A script's unset variable must not turn a filter off.
  for (const char* option : {"--duration", "--ring", "--netns", "--cgroup", "--output"})
    refuses({option, ""}, option, "");
}

TEST_CASE("refused: a value that is missing", "[options]") {
  for (const char* option : {"--pid", "--comm", "--cgroup", "--netns", "--local-port", "--remote-port", "--duration",
                             "--output", "--events", "--ring"})
    refuses({option}, option, "missing");
}

TEST_CASE("one value given twice: the last counts, as everywhere, or it is refused", "[options]") {
  const auto twice = [](const char* option, const char* first, const char* second) {
    const auto options = parse_options({option, first, option, second});
    if (options) return *options;
    CHECK(options.error().exit == Exit::usage);
    CHECK(has(options.error().text, option));
    const auto once = parse_options({option, second});
    REQUIRE(once);
    return *once;
  };
  CHECK(twice("--duration", "1", "2").duration == std::chrono::milliseconds{2000});
  CHECK(twice("--ring", "8K", "64K").ring_bytes == 65536);
  CHECK(twice("--netns", "1", "2").netns == "2");
  CHECK(twice("--cgroup", "/a", "/b").cgroup == "/b");
  CHECK(twice("--output", "a", "b").output == "b");
}

TEST_CASE("refused: options that need or exclude each other", "[options]") {
  refuses({"--children"}, "--children", "--pid");
  refuses({"--children", "-c", "x"}, "--children", "--pid");
  refuses({"-q", "-v"}, "--quiet", "--verbose");
}

TEST_CASE("refused: unknown options, with the nearest", "[options]") {
  refuses({"--duraton", "1"}, "'--duraton'", "did you mean '--duration'?");
  refuses({"trace", "--jsn"}, "'--jsn'", "did you mean '--json'?");
  refuses({"--remote-prot=80"}, "'--remote-prot'", "did you mean '--remote-port'?");
  const std::string far = refused({"--xyzzy-nothing"});
  CHECK(has(far, "'--xyzzy-nothing'"));
  CHECK_FALSE(has(far, "did you mean"));
  CHECK(has(refused({"-z"}), "'-z'"));
}

TEST_CASE("refused: unknown commands, with the nearest", "[options]") {
  refuses({"trac"}, "unknown command 'trac'", "did you mean 'trace'?");
  refuses({"reprot"}, "unknown command 'reprot'", "did you mean 'report'?");
  refuses({"trcae", "--json"}, "unknown command 'trcae'", "did you mean 'trace'?");
  const std::string far = refused({"xylophone"});
  CHECK(has(far, "unknown command 'xylophone'"));
  CHECK_FALSE(has(far, "did you mean"));
}

TEST_CASE("refused: a word too many", "[options]") {
  refuses({"trace", "foo"}, "'foo'", "unknown");
  refuses({"report", "foo"}, "'foo'", "unknown");
  refuses({"-j", "report"}, "the command comes first", "closewatch report");
  refuses({"trace", "run"}, "the command comes first", "closewatch run");
}

TEST_CASE("refused: the remedy is where to look", "[options]") {
  for (const Arguments& arguments :
       {Arguments{"-p", "abc"}, Arguments{"--nope"}, Arguments{"nope"}, Arguments{"-q", "-v"}})
    CHECK(has(refused(arguments), "--help"));
}
