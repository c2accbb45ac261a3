// SPDX-License-Identifier: BSD-2-Clause
// What `report` and `run` take, and the limits by which all three judge.
#include "options.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

using std::chrono::milliseconds;

/// Which names the command whose help is worth reading, too.
std::string refused_with_help(const Arguments& arguments) {
  std::string text = closewatch::test::refused(arguments);
  CHECK(text.ends_with("; see closewatch " + arguments.front() + " --help"));
  return text;
}

}  // namespace

TEST_CASE("commands: the first word says which", "[options]") {
  CHECK(parsed({}).command == Subcommand::trace);
  CHECK(parsed({"-j"}).command == Subcommand::trace);
  CHECK(parsed({"trace"}).command == Subcommand::trace);
  CHECK(parsed({"report"}).command == Subcommand::report);
  CHECK(parsed({"run", "ls"}).command == Subcommand::run);
  CHECK(parsed({"doctor"}).command == Subcommand::doctor);
  CHECK(parsed({"demo", "--report"}).command == Subcommand::demo);
}

TEST_CASE("commands: a value that is a command's name is a value", "[options]") {
  CHECK(parsed({"-c", "run"}).comms == Arguments{"run"});
  CHECK(parsed({"trace", "-o", "report"}).output == "report");
  CHECK(parsed({"report", "--comm", "trace"}).comms == Arguments{"trace"});
}

TEST_CASE("report: alone", "[options]") {
  const Options options = parsed({"report"});
  CHECK(options.duration == milliseconds{60'000});
  CHECK(options.leak_after == milliseconds{30'000});
  CHECK(options.sweep == milliseconds{5'000});
  CHECK_FALSE(options.stacks);
  CHECK_FALSE(options.by_process);
  CHECK_FALSE(options.fail_on_leak);
  CHECK(options.ipv4);
  CHECK(options.ipv6);
  CHECK(options.given.empty());
}

TEST_CASE("report: what it takes", "[options]") {
  const Options options = parsed({"report", "-d", "0", "--leak-after", "10s", "--sweep", "500ms", "--by", "process",
                                  "--fail-on-leak", "--stacks", "-jw", "-o", "r.json", "--ring", "64K", "-v"});
  CHECK(options.duration == milliseconds{0});
  CHECK(options.leak_after == milliseconds{10'000});
  CHECK(options.sweep == milliseconds{500});
  CHECK(options.by_process);
  CHECK(options.fail_on_leak);
  CHECK(options.stacks);
  CHECK(options.json);
  CHECK(options.wide);
  CHECK(options.output == "r.json");
  CHECK(options.ring_bytes == 65536);
  CHECK(options.verbose);
}

TEST_CASE("report: filters as of trace", "[options]") {
  const Options options = parsed({"report", "-p", "1,2", "--children", "-c", "nginx", "--cgroup", "/c", "--netns", "/n",
                                  "-L", "80", "-D", "443", "-4"});
  CHECK(options.pids == std::vector<std::uint32_t>{1, 2});
  CHECK(options.children);
  CHECK(options.comms == Arguments{"nginx"});
  CHECK(options.cgroup == "/c");
  CHECK(options.netns == "/n");
  CHECK(options.local_ports == std::vector<std::uint16_t>{80});
  CHECK(options.remote_ports == std::vector<std::uint16_t>{443});
  CHECK(options.ipv4);
  CHECK_FALSE(options.ipv6);
}

TEST_CASE("report: what was given, by its long name", "[options]") {
  using Given = std::vector<std::pair<std::string, std::string>>;
  CHECK(parsed({"report", "--by", "process", "--leak-after", "10s"}).given ==
        Given{{"leak-after", "10s"}, {"by", "process"}});
}

TEST_CASE("trace: findings have their limit too", "[options]") {
  const Options options = parsed({"trace", "--leak-after", "2s", "--stacks", "--events", "finding"});
  CHECK(options.leak_after == milliseconds{2'000});
  CHECK(options.sweep == milliseconds{500});
  CHECK(options.stacks);
  CHECK(options.events.has(EventType::finding));
  CHECK_FALSE(options.events.has(EventType::closed));
}

TEST_CASE("limits: a sweep every 5 s, and at most a quarter of the limit", "[options]") {
  CHECK(parsed({"report", "--leak-after", "1m"}).sweep == milliseconds{5'000});
  CHECK(parsed({"report", "--leak-after", "20s"}).sweep == milliseconds{5'000});
  CHECK(parsed({"report", "--leak-after", "10s"}).sweep == milliseconds{2'500});
  CHECK(parsed({"report", "--leak-after", "100ms"}).sweep == milliseconds{25});
  CHECK(parsed({"run", "ls"}).sweep == milliseconds{250});
  CHECK(parsed({"report", "--leak-after", "10s", "--sweep", "2500ms"}).sweep == milliseconds{2'500});
  CHECK(parsed({"report", "--leak-after", "1m", "--sweep", "15"}).sweep == milliseconds{15'000});
}

TEST_CASE("limits: refused where they leave nothing to judge by", "[options]") {
  for (const char* command : {"trace", "report", "run"}) {
    const auto limits_refused = [&](Arguments arguments) {
      if (arguments.front() == "run") arguments.emplace_back("ls");
      return refused_with_help(arguments);
    };
    const std::string sweep = limits_refused({command, "--leak-after", "10s", "--sweep", "2501ms"});
    CHECK(has(sweep, "--sweep: '2501ms'"));
    CHECK(has(sweep, "--leak-after (10s): at most 2500ms"));
    CHECK(has(limits_refused({command, "--leak-after", "99ms"}), "--leak-after: '99ms'"));
    CHECK(has(limits_refused({command, "--leak-after", "0"}), "at least 100ms"));
    CHECK(has(limits_refused({command, "--leak-after", "soon"}), "--leak-after: 'soon' is no time"));
    CHECK(has(limits_refused({command, "--leak-after", ""}), "--leak-after: '' is no time"));
    CHECK(has(limits_refused({command, "--sweep", "9ms"}), "--sweep: '9ms'"));
    CHECK(has(limits_refused({command, "--sweep", "often"}), "--sweep: 'often' is no time"));
  }
}

TEST_CASE("report: refused", "[options]") {
  CHECK(has(refused_with_help({"report", "--by", "thread"}), "--by: 'thread'"));
  CHECK(has(refused_with_help({"report", "--by", ""}), "--by: ''"));
  CHECK(has(refused_with_help({"report", "--fail-on-leek"}), "did you mean '--fail-on-leak'?"));
  CHECK(has(refused_with_help({"report", "--events", "closed"}), "unknown option '--events'"));
  CHECK(has(refused_with_help({"report", "--strict"}), "unknown option '--strict'"));
  CHECK(has(refused_with_help({"report", "--all-states"}), "unknown option '--all-states'"));
  CHECK(has(refused_with_help({"report", "-q", "-v"}), "exclude each other"));
}

TEST_CASE("trace: refused what is another command's", "[options]") {
  for (const char* option : {"--by", "--fail-on-leak", "--strict", "--user", "--leak-exit-code"})
    CHECK(has(refused_with_help({"trace", option}), "unknown option"));
}

TEST_CASE("run: COMMAND begins with the first word that is no option", "[options]") {
  const Options options = parsed({"run", "-j", "ls", "-l"});
  CHECK(options.json);
  CHECK(options.command_line == Arguments{"ls", "-l"});
  CHECK(parsed({"run", "ls", "--help"}).command_line == Arguments{"ls", "--help"});
  CHECK(parsed({"run", "ls", "--json", "--", "-q"}).command_line == Arguments{"ls", "--json", "--", "-q"});
  CHECK(parsed({"run", "trace", "report", "run"}).command_line == Arguments{"trace", "report", "run"});
  CHECK(parsed({"run", "-"}).command_line == Arguments{"-"});
  CHECK(parsed({"run", "-q", ""}).command_line == Arguments{""});
}

TEST_CASE("run: COMMAND begins behind --", "[options]") {
  CHECK(parsed({"run", "--", "ls", "-l"}).command_line == Arguments{"ls", "-l"});
  CHECK(parsed({"run", "-j", "--", "-odd", "x"}).command_line == Arguments{"-odd", "x"});
  CHECK(parsed({"run", "--", "--", "x"}).command_line == Arguments{"--", "x"});
}

TEST_CASE("run: the value of an option is not COMMAND", "[options]") {
  for (const Arguments& arguments :
       {Arguments{"run", "-o", "file", "ls"}, Arguments{"run", "-ofile", "ls"}, Arguments{"run", "-jo", "file", "ls"},
        Arguments{"run", "-jofile", "ls"}, Arguments{"run", "--output", "file", "ls"},
        Arguments{"run", "--output=file", "ls"}, Arguments{"run", "--output=file", "--", "ls"}}) {
    const Options options = parsed(arguments);
    CHECK(options.output == "file");
    CHECK(options.command_line == Arguments{"ls"});
  }
  CHECK(parsed({"run", "-o", "--", "ls"}).output == "--");  // as getopt(3)
}

TEST_CASE("run: what it takes", "[options]") {
  const Options alone = parsed({"run", "ls"});
  CHECK_FALSE(alone.duration);
  CHECK(alone.leak_after == milliseconds{1'000});
  CHECK(alone.leak_exit_code == 3);
  CHECK_FALSE(alone.strict);
  CHECK(alone.user.empty());
  CHECK(alone.ipv4);
  CHECK(alone.ipv6);
  CHECK(alone.given.empty());
  const Options options =
      parsed({"run", "--leak-after", "4s", "--sweep", "1s", "--stacks", "--strict", "--leak-exit-code", "255", "--user",
              "nobody:nogroup", "--by", "process", "--ring", "64K", "-qw", "ls"});
  CHECK(options.leak_after == milliseconds{4'000});
  CHECK(options.sweep == milliseconds{1'000});
  CHECK(options.stacks);
  CHECK(options.strict);
  CHECK(options.leak_exit_code == 255);
  CHECK(options.user == "nobody:nogroup");
  CHECK(options.by_process);
  CHECK(options.ring_bytes == 65536);
  CHECK(options.quiet);
  CHECK(options.wide);
  CHECK(options.given.size() == 10);
}

TEST_CASE("run: refused", "[options]") {
  for (const Arguments& arguments : {Arguments{"run"}, Arguments{"run", "--"}, Arguments{"run", "-j"},
                                     Arguments{"run", "-o", "file"}, Arguments{"run", "--user", "nobody", "--"}})
    CHECK(has(refused_with_help(arguments), "COMMAND is missing"));
  for (const char* value : {"0", "256", "-1", "x", "1.5", ""})
    CHECK(has(refused_with_help({"run", "--leak-exit-code", value, "ls"}),
              "--leak-exit-code: '" + std::string{value} + "'"));
  CHECK(has(refused_with_help({"run", "--user", "", "ls"}), "--user: ''"));
  CHECK(has(refused_with_help({"run", "-p", "1", "ls"}), "unknown option '-p'"));
  CHECK(has(refused_with_help({"run", "--children", "ls"}), "unknown option '--children'"));
  CHECK(has(refused_with_help({"run", "--fail-on-leak", "ls"}), "unknown option '--fail-on-leak'"));
  CHECK(has(refused_with_help({"run", "--strickt", "ls"}), "did you mean '--strict'?"));
  CHECK(has(refused_with_help({"run", "-o"}), "--output"));
}

TEST_CASE("doctor: what it takes", "[options]") {
  const Options options = parsed({"doctor", "-jwv", "-o", "d.json", "--netns", "/run/netns/blue"});
  CHECK(options.json);
  CHECK(options.wide);
  CHECK(options.verbose);
  CHECK(options.output == "d.json");
  CHECK(options.netns == "/run/netns/blue");
  CHECK(parsed({"doctor", "-q"}).quiet);
}

TEST_CASE("doctor: refused", "[options]") {
  for (const char* option : {"-p", "-d", "--ring", "--leak-after", "--by", "-L", "-4", "--events", "--stacks"})
    CHECK(has(refused_with_help({"doctor", option}), "unknown option"));
  CHECK(has(refused_with_help({"doctor", "--netns", ""}), "--netns: ''"));
  CHECK(has(refused_with_help({"doctor", "-q", "-v"}), "exclude each other"));
}

TEST_CASE("values: times as they are said", "[options]") {
  for (const char* text : {"1ms", "250ms", "1s", "90s", "2m", "1h"}) CHECK(time_text(*parse_time(text)) == text);
  CHECK(time_text(milliseconds{0}) == "0ms");
  CHECK(time_text(milliseconds{1500}) == "1500ms");
  CHECK(time_text(milliseconds{60'000}) == "1m");
}
