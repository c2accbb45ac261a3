// SPDX-License-Identifier: BSD-2-Clause
// What `demo` takes.
#include "options.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

using std::chrono::milliseconds;

}  // namespace

TEST_CASE("demo: a report, of what comes about in seconds", "[options]") {
  const Options options = parsed({"demo", "--report"});
  CHECK(options.report);
  CHECK(options.duration == milliseconds{12'000});
  CHECK(options.leak_after == milliseconds{3'000});
  CHECK(options.sweep == milliseconds{750});
  CHECK(options.by_process);
  CHECK_FALSE(options.json);
  CHECK(options.ipv4);
  CHECK(options.ipv6);
}

TEST_CASE("demo: on the screen, until it is left", "[options]") {
  const Options options = parsed({"demo"});
  CHECK(options.command == Subcommand::demo);
  CHECK_FALSE(options.report);
  CHECK_FALSE(options.duration);
  CHECK(options.by_process);
  CHECK(options.leak_after == milliseconds{3'000});
  CHECK(options.sweep == milliseconds{750});
  CHECK(parsed({"demo", "--leak-after", "1m"}).sweep == milliseconds{1'000});
  CHECK(parsed({"demo", "--report", "--leak-after", "1m"}).sweep == milliseconds{5'000});
  CHECK(parsed({"demo", "-i", "2s", "-d", "1m", "--by", "workload"}).interval == milliseconds{2'000});
}

TEST_CASE("demo: what it takes", "[options]") {
  const Options options = parsed({"demo",     "--report", "-d",           "20s", "--leak-after", "4s",     "--sweep",
                                  "1s",       "--by",     "workload",     "-jw", "-o",           "r.json", "--stacks",
                                  "--record", "r.cwr",    "--record-max", "1M",  "--ring",       "64K",    "-v"});
  CHECK(options.duration == milliseconds{20'000});
  CHECK(options.leak_after == milliseconds{4'000});
  CHECK(options.sweep == milliseconds{1'000});
  CHECK_FALSE(options.by_process);
  CHECK(options.json);
  CHECK(options.wide);
  CHECK(options.output == "r.json");
  CHECK(options.stacks);
  CHECK(options.record == "r.cwr");
  CHECK(options.record_max == 1U << 20U);
  CHECK(options.ring_bytes == 65536);
  CHECK(options.verbose);
}

TEST_CASE("demo: refused", "[options]") {
  // It chooses the processes itself.
  for (const char* option : {"--pid=1", "--comm=a", "--netns=1", "--cgroup=/c", "-4", "--children", "--local-port=80"})
    CHECK(has(refused({"demo", "--report", option}), "unknown option"));
  for (const char* option : {"--fail-on-leak", "--events=finding", "--all-states", "--strict"})
    CHECK(has(refused({"demo", "--report", option}), "unknown option"));
  CHECK(has(refused({"demo", "--report", "-d", "0"}), "--duration: "));
  CHECK(has(refused({"demo", "--report", "--leak-after", "1s", "--sweep", "300ms"}), "at most 250ms"));
  CHECK(has(refused({"demo", "--report", "sleep"}), "'sleep'"));
  CHECK(has(refused({"report", "--report"}), "--report"));
}

TEST_CASE("demo: what only a report has takes --report", "[options]") {
  for (const Arguments& arguments : {Arguments{"demo", "--json"}, {"demo", "-o", "f"}, {"demo", "-w"}})
    CHECK(has(refused(arguments), "add --report"));
  CHECK(has(refused({"demo", "--report", "-i", "1s"}), "leave --report out"));
}

TEST_CASE("demo: nothing is fed through it", "[options]") {
  CHECK(has(refused({"replay", "r.cwr", "demo"}), "'demo' cannot be fed with it"));
}
