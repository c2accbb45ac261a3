// SPDX-License-Identifier: BSD-2-Clause
// --record, and what `replay` takes.
#include "options.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {}  // namespace

TEST_CASE("record: a file and its limit, of whatever watches", "[options][record]") {
  for (const char* command : {"trace", "report"}) {
    const Options options = parsed({command, "--record", "r.cwr", "--record-max", "100M"});
    CHECK(options.record == "r.cwr");
    CHECK(options.record_max == 100ULL << 20U);
    CHECK(options.replay.empty());
  }
  CHECK(parsed({"run", "--record", "r.cwr", "ls", "--record"}).record == "r.cwr");
  CHECK(parsed({"trace"}).record.empty());
  CHECK(has(refused({"doctor", "--record", "r.cwr"}), "--record"));
}

TEST_CASE("record: refused where it cannot be meant", "[options][record]") {
  CHECK(has(refused({"trace", "--record", ""}), "--record"));
  CHECK(has(refused({"trace", "--record", "x", "-o", "x"}), "name the same file"));
  CHECK(has(refused({"trace", "--record", "-"}), "name a file"));
  CHECK(has(refused({"trace", "--record-max", "1M"}), "name its file"));
  CHECK(has(refused({"trace", "--record", "x", "--record-max", "63K"}), "at least 64K"));
  CHECK(has(refused({"trace", "--record", "x", "--record-max", "much"}), "'much'"));
}

TEST_CASE("replay: a file, and the command that is fed with it", "[options][replay]") {
  const Options trace = parsed({"replay", "r.cwr", "--", "trace", "--json", "--events", "closed"});
  CHECK(trace.replay == "r.cwr");
  CHECK(trace.command == Subcommand::trace);
  CHECK(trace.json);
  CHECK_FALSE(trace.events.has(EventType::hello));
  CHECK(parsed({"replay", "-", "report"}).replay == "-");
  const Options report =
      parsed({"replay", "r.cwr", "report", "--by", "process", "-v", "--leak-after", "8s", "-o", "o"});
  CHECK(report.replay == "r.cwr");
  CHECK(report.command == Subcommand::report);
  CHECK(report.by_process);
  CHECK(report.verbose);
  CHECK(report.output == "o");
  CHECK(is_given(report, "leak-after"));
  CHECK_FALSE(is_given(report, "json"));
}

TEST_CASE("replay: what is missing or cannot be is said", "[options][replay]") {
  CHECK(has(refused({"replay"}), "FILE is missing"));
  CHECK(has(refused({"replay", "--", "trace"}), "FILE is missing"));
  CHECK(has(refused({"replay", ""}), "FILE is missing"));
  CHECK(has(refused({"replay", "--json", "f", "trace"}), "'--json' stands before"));
  CHECK(has(refused({"replay", "f"}), "trace, report or top"));
  CHECK(has(refused({"replay", "f", "--"}), "trace, report or top"));
  CHECK(has(refused({"replay", "f", "--", "run", "ls"}), "'run' cannot be fed"));
  CHECK(has(refused({"replay", "f", "--", "replay", "f"}), "'replay' cannot be fed"));
  for (const Arguments& option :
       {Arguments{"-p", "1"}, Arguments{"--netns", "1"}, Arguments{"-L", "1"}, Arguments{"-4"}, Arguments{"--stacks"},
        Arguments{"--ring", "1M"}, Arguments{"--sweep", "1s"}, Arguments{"-d", "1"}, Arguments{"--record", "g"},
        Arguments{"--all-states"}}) {
    Arguments arguments{"replay", "f", "--", "trace"};
    arguments.insert(arguments.end(), option.begin(), option.end());
    CHECK(has(refused(arguments), "was settled when it was made"));
  }
  CHECK(has(refused({"replay", "f", "--", "trace", "--fail-on-leak"}), "--fail-on-leak"));
}

TEST_CASE("replay: its own help", "[options][replay]") {
  for (const char* ask : {"-h", "--help"}) {
    const auto help = parse_options({"replay", ask});
    REQUIRE_FALSE(help);
    CHECK(help.error().exit == Exit::done);
    CHECK(has(help.error().text, "closewatch replay FILE"));
  }
  CHECK(parse_options({"replay", "--version"}).error().exit == Exit::done);
  CHECK(has(parse_options({"--help"}).error().text, "replay"));
}
