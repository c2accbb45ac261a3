// SPDX-License-Identifier: BSD-2-Clause
// Command lines that start something, and those that ask for help.
#include "options.hpp"

#include <limits>
#include <set>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using std::chrono::milliseconds;

std::string asked(const Arguments& arguments) {
  const auto options = parse_options(arguments);
  REQUIRE_FALSE(options);
  CHECK(options.error().exit == Exit::done);
  return options.error().text;
}

}  // namespace

TEST_CASE("options: none at all", "[options]") {
  for (const Arguments& arguments : {Arguments{}, Arguments{"trace"}}) {
    const Options options = parsed(arguments);
    CHECK(options.pids.empty());
    CHECK(options.comms.empty());
    CHECK(options.cgroup.empty());
    CHECK(options.netns.empty());
    CHECK(options.local_ports.empty());
    CHECK(options.remote_ports.empty());
    CHECK(options.ipv4);
    CHECK(options.ipv6);
    CHECK_FALSE(options.duration);
    CHECK_FALSE(options.children);
    CHECK_FALSE(options.json);
    CHECK(options.output.empty());
    CHECK_FALSE(options.wide);
    CHECK_FALSE(options.all_states);
    CHECK_FALSE(options.quiet);
    CHECK_FALSE(options.verbose);
    CHECK(options.ring_bytes == 8U << 20U);
    CHECK(options.given.empty());
    for (int type = 0; type <= static_cast<int>(EventType::bye); ++type)
      CHECK(options.events.has(static_cast<EventType>(type)));
  }
}

TEST_CASE("options: a command line without a command traces", "[options]") {
  CHECK(parsed({"-j"}).json);
  CHECK(parsed({"--json", "-p", "1"}).pids == std::vector<std::uint32_t>{1});
}

TEST_CASE("options: flags, short and long", "[options]") {
  for (const char* flag : {"-j", "--json"}) CHECK(parsed({"trace", flag}).json);
  for (const char* flag : {"-w", "--wide"}) CHECK(parsed({"trace", flag}).wide);
  for (const char* flag : {"-q", "--quiet"}) CHECK(parsed({"trace", flag}).quiet);
  for (const char* flag : {"-v", "--verbose"}) CHECK(parsed({"trace", flag}).verbose);
  CHECK(parsed({"trace", "--all-states"}).all_states);
  const Options together = parsed({"-jw"});
  CHECK(together.json);
  CHECK(together.wide);
}

TEST_CASE("options: families", "[options]") {
  CHECK(parsed({"-4"}).ipv4);
  CHECK_FALSE(parsed({"-4"}).ipv6);
  CHECK_FALSE(parsed({"-6"}).ipv4);
  CHECK(parsed({"-6"}).ipv6);
  CHECK(parsed({"-4", "-6"}).ipv4);
  CHECK(parsed({"-4", "-6"}).ipv6);
}

TEST_CASE("options: lists by comma and by repetition", "[options]") {
  using Pids = std::vector<std::uint32_t>;
  CHECK(parsed({"-p", "1,2", "--pid", "3", "--pid=4"}).pids == Pids{1, 2, 3, 4});
  CHECK(parsed({"-p4194304"}).pids == Pids{4'194'304});
  CHECK(parsed({"-p", "1", "--children"}).children);
  using Ports = std::vector<std::uint16_t>;
  CHECK(parsed({"-L", "80,443", "--local-port", "8080"}).local_ports == Ports{80, 443, 8080});
  CHECK(parsed({"-D", "1", "--remote-port", "65535"}).remote_ports == Ports{1, 65535});
  using Names = std::vector<std::string>;
  CHECK(parsed({"-c", "nginx,php-fpm", "--comm", "a b"}).comms == Names{"nginx", "php-fpm", "a b"});
  CHECK(parsed({"-c", "a-name-that-is-longer-than-fifteen"}).comms == Names{"a-name-that-is-longer-than-fifteen"});
}

TEST_CASE("options: a list takes no argument that is not its own", "[options]") {
  const Options options = parsed({"-p", "1", "-L", "80", "-j"});
  CHECK(options.pids.size() == 1);
  CHECK(options.local_ports.size() == 1);
  CHECK(options.json);
}

TEST_CASE("options: texts", "[options]") {
  CHECK(parsed({"--cgroup", "/sys/fs/cgroup/a"}).cgroup == "/sys/fs/cgroup/a");
  CHECK(parsed({"--netns", "/run/netns/blue"}).netns == "/run/netns/blue");
  CHECK(parsed({"--netns", "4026531840"}).netns == "4026531840");
  CHECK(parsed({"-o", "out.json"}).output == "out.json");
  CHECK(parsed({"--output=out.json"}).output == "out.json");
}

TEST_CASE("options: durations and sizes", "[options]") {
  CHECK(parsed({"-d", "10"}).duration == milliseconds{10'000});
  CHECK(parsed({"--duration", "500ms"}).duration == milliseconds{500});
  CHECK(parsed({"--duration=0"}).duration == milliseconds{0});
  CHECK(parsed({"--ring", "4096"}).ring_bytes == 4096);
  CHECK(parsed({"--ring", "64K"}).ring_bytes == 65536);
  CHECK(parsed({"--ring", "1G"}).ring_bytes == 1U << 30U);
}

TEST_CASE("options: types of event", "[options]") {
  const Options options = parsed({"--events", "closed,gap", "--events", "bye"});
  std::set<std::string_view> chosen;
  for (int type = 0; type <= static_cast<int>(EventType::bye); ++type)
    if (options.events.has(static_cast<EventType>(type))) chosen.insert(name(static_cast<EventType>(type)));
  CHECK(chosen == std::set<std::string_view>{"closed", "gap", "bye"});
  for (const char* type :
       {"hello", "snapshot", "snapshot_end", "transition", "closed", "finding", "gap", "stats", "bye"})
    CHECK(event_type(type).has_value());
}

TEST_CASE("options: what was given, by its long name, for hello", "[options]") {
  using Given = std::vector<std::pair<std::string, std::string>>;
  CHECK(parsed({"-p", "1,2", "-p", "3", "--ring", "64K"}).given == Given{{"pid", "1,2,3"}, {"ring", "64K"}});
  const Given flag = parsed({"-j"}).given;
  REQUIRE(flag.size() == 1);
  CHECK(flag[0].first == "json");
}

TEST_CASE("options: times", "[options]") {
  CHECK(parse_time("10") == milliseconds{10'000});
  CHECK(parse_time("10s") == milliseconds{10'000});
  CHECK(parse_time("500ms") == milliseconds{500});
  CHECK(parse_time("2m") == milliseconds{120'000});
  CHECK(parse_time("1h") == milliseconds{3'600'000});
  CHECK(parse_time("0") == milliseconds{0});
  CHECK(parse_time("876000h") == milliseconds{876'000LL * 3'600'000});  // a century
  for (const char* none :
       {"", "-1", "+1", "1x", "1 s", " 1", "s", "ms", "1.5s", "1ss", "0x10", "876001h", "18446744073709551615",
        "18446744073709551616", "99999999999999999999h", "307445734561825861m"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_time(none));
  }
}

TEST_CASE("options: sizes", "[options]") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("65536") == 65536);
  for (const char* text : {"64K", "64k", "64KB", "64KiB", "64kB"}) CHECK(parse_size(text) == 65536);
  CHECK(parse_size("8M") == 8U << 20U);
  CHECK(parse_size("1GiB") == 1U << 30U);
  CHECK(parse_size("18446744073709551615") == std::numeric_limits<std::uint64_t>::max());
  CHECK(parse_size("17179869183G") == 17'179'869'183ULL << 30U);
  for (const char* none : {"", "K", "-1", "1T", "1Kx", "1KBB", "1 K", "1.5M", "64Ki", "18446744073709551616",
                           "17179869184G", "18014398509481984K"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_size(none));
  }
}

TEST_CASE("options: what is near", "[options]") {
  const Arguments candidates{"--duration", "--pid", "--events", "--netns"};
  CHECK(suggestion("--duraton", candidates) == "--duration");
  CHECK(suggestion("--dur", candidates) == std::nullopt);
  CHECK(suggestion("--event", candidates) == "--events");
  CHECK(suggestion("--pid", candidates) == "--pid");
  CHECK(suggestion("xyzzy-nothing-like-it", candidates) == std::nullopt);
  CHECK(suggestion("--pid", {}) == std::nullopt);
}

TEST_CASE("help: of the whole, and of the command", "[options]") {
  for (const char* flag : {"-h", "--help"}) {
    const std::string whole = asked({flag});
    CHECK(has(whole, "closewatch"));
    CHECK(has(whole, "trace"));
    for (const Arguments& arguments : {Arguments{"trace", flag}, Arguments{"-j", flag}}) {
      const std::string command = asked(arguments);
      for (const char* option :
           {"-p,--pid",         "--children",   "-c,--comm",    "--cgroup",      "--netns",   "-L,--local-port",
            "-D,--remote-port", "-4",           "-6",           "-d,--duration", "-j,--json", "-o,--output",
            "-w,--wide",        "--all-states", "--events",     "--leak-after",  "--sweep",   "--stacks",
            "--ring",           "-q,--quiet",   "-v,--verbose", "-h,--help"}) {
        CAPTURE(option);
        CHECK(has(command, option));
      }
    }
  }
}

TEST_CASE("help names the command as it is typed", "[options]") {
  CHECK(has(asked({"trace", "--help"}), "closewatch trace [OPTIONS]"));
  CHECK(has(asked({"report", "--help"}), "closewatch report [OPTIONS]"));
  CHECK(has(asked({"demo", "--help"}), "closewatch demo [OPTIONS]"));
  CHECK(has(asked({"run", "--help"}), "closewatch run [OPTIONS] [--] COMMAND [ARG...]"));
}

TEST_CASE("help of the whole names every command", "[options]") {
  const std::string whole = asked({"--help"});
  for (const char* command : {"\n  top ", "\n  trace ", "\n  report ", "\n  run ", "\n  demo "})
    CHECK(has(whole, command));
}

TEST_CASE("help of a command lists only what it takes", "[options]") {
  const std::string report = asked({"report", "-h"});
  const std::string run = asked({"run", "-h"});
  const std::string trace = asked({"trace", "-h"});
  for (const char* option : {"--leak-after", "--sweep", "--stacks", "--by", "-j,--json", "-o,--output", "-w,--wide",
                             "--ring", "-q,--quiet", "-v,--verbose", "--version"}) {
    CAPTURE(option);
    CHECK(has(report, option));
    CHECK(has(run, option));
  }
  for (const char* option : {"-p,--pid", "--children", "-c,--comm", "--cgroup", "--netns", "-L,--local-port",
                             "-D,--remote-port", "-d,--duration"}) {
    CAPTURE(option);
    CHECK(has(report, option));
    CHECK_FALSE(has(run, option));
  }
  CHECK(has(report, "--fail-on-leak"));
  for (const char* option : {"--strict", "--leak-exit-code", "--user"}) {
    CAPTURE(option);
    CHECK(has(run, option));
    CHECK_FALSE(has(report, option));
    CHECK_FALSE(has(trace, option));
  }
  for (const char* option : {"--all-states", "--events"}) CHECK_FALSE(has(report + run, option));
  for (const char* option : {"--by", "--fail-on-leak"}) CHECK_FALSE(has(trace, option));
  CHECK_FALSE(has(run, "--fail-on-leak"));
}

TEST_CASE("version", "[options]") {
  const std::string text = asked({"--version"});
  CHECK(text.starts_with("closewatch "));
  CHECK(text.find_first_of("0123456789") == std::string{"closewatch "}.size());
  CHECK(text.ends_with("\n"));
}

TEST_CASE("version is asked for of a command too", "[options]") {
  CHECK(has(asked({"trace", "--version"}), "closewatch "));
}
