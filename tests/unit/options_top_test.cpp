// SPDX-License-Identifier: BSD-2-Clause
// What `top` takes, and when it is meant without being named.
#include "options.hpp"

#include "app/top_show.hpp"

using namespace closewatch;
using namespace closewatch::test;
using std::chrono::milliseconds;

TEST_CASE("top: alone", "[options][top]") {
  const Options options = parsed({"top"});
  CHECK(options.command == Subcommand::top);
  CHECK(options.interval == milliseconds{1'000});
  CHECK(options.sweep == milliseconds{1'000});
  CHECK(options.leak_after == milliseconds{30'000});
  CHECK_FALSE(options.duration);
  CHECK_FALSE(options.by_process);
}

TEST_CASE("top: the filters as the head says them", "[options][top]") {
  const auto scope = [](const std::vector<std::string>& words) { return scope_of("top", parsed(words).given); };
  CHECK(scope({"top"}).empty());
  CHECK(scope({"top", "-i", "2s", "--by", "process", "-v", "--leak-after", "1m"}).empty());
  CHECK(scope({"top", "-4"}) == "only -4");
  CHECK(scope({"top", "-4", "-6"}).empty());
  CHECK(scope({"top", "-p", "1", "--children", "-c", "a,b", "-6"}) == "only --pid 1, --children, --comm a,b, -6");
  CHECK(scope({"top", "--cgroup", "/x", "--netns", "/n", "-L", "80", "-D", "443"}) ==
        "only --cgroup /x, --netns /n, --local-port 80, --remote-port 443");
  CHECK(scope_of("demo", {}) == "only the demo's programs");
  CHECK(scope_of("run", {}) == "only the command's processes");
}

TEST_CASE("top: what it takes", "[options][top]") {
  const Options options = parsed({"top", "-i", "250ms", "--leak-after", "2s", "-L", "80", "-c", "nginx", "-d", "10",
                                  "--stacks", "--by", "process", "--record", "r.cwr", "--ring", "64K", "-v"});
  CHECK(options.interval == milliseconds{250});
  CHECK(options.sweep == milliseconds{500});
  CHECK(options.duration == milliseconds{10'000});
  CHECK(options.by_process);
  CHECK(options.stacks);
  CHECK(options.record == "r.cwr");
  CHECK(parsed({"top", "--sweep", "3s"}).sweep == milliseconds{3'000});
  CHECK(parsed({"top", "-i", "100ms"}).interval == milliseconds{100});
}

TEST_CASE("top: what makes no sense on a screen is refused", "[options][top]") {
  for (const char* option : {"--json", "-o", "--wide", "--events", "--fail-on-leak", "--all-states"}) {
    CAPTURE(option);
    CHECK(has(refused({"top", option, "x"}), option));
  }
  CHECK(has(refused({"top", "-i", "99ms"}), "at least 100ms"));
  CHECK(has(refused({"top", "-i", "0"}), "at least 100ms"));
  CHECK(has(refused({"top", "-i", "soon"}), "'soon' is no time"));
  for (const char* other : {"trace", "report", "doctor"}) CHECK(has(refused({other, "-i", "1s"}), "-i"));
}

TEST_CASE("top: meant on a terminal where no command is named", "[options][top]") {
  const auto on_terminal = [](const Arguments& arguments) { return parse_options(arguments, Subcommand::top); };
  CHECK(on_terminal({})->command == Subcommand::top);
  CHECK(on_terminal({"-i", "2s"})->interval == milliseconds{2'000});
  CHECK(on_terminal({"trace"})->command == Subcommand::trace);
  CHECK(parsed({}).command == Subcommand::trace);
  const auto json = on_terminal({"--json"});
  REQUIRE_FALSE(json);
  CHECK(json.error().exit == Exit::usage);
  CHECK(has(json.error().text, "'--json' is no option of top"));
  CHECK(has(json.error().text, "trace has it"));
  CHECK(has(on_terminal({"--jsom"}).error().text, "unknown option"));
  CHECK(has(on_terminal({"--help"}).error().text, "top on a terminal"));
}

TEST_CASE("top: of a recording", "[options][top][replay]") {
  const Options options = parsed({"replay", "r.cwr", "--", "top", "-i", "500ms", "--leak-after", "40s"});
  CHECK(options.command == Subcommand::top);
  CHECK(options.replay == "r.cwr");
  CHECK(options.interval == milliseconds{500});
  CHECK(has(refused({"replay", "r.cwr", "top", "--stacks"}), "was settled when it was made"));
  CHECK(has(refused({"replay", "r.cwr", "top", "-d", "1"}), "was settled when it was made"));
}
