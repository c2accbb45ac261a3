// SPDX-License-Identifier: BSD-2-Clause
// Each input that is no record of the kernel's, there and back.
#include "builders.hpp"
#include "catch.hpp"

#include "source/recorded.hpp"

#include <cstdint>
#include <limits>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// Back from what it was written as.
template <typename Kind>
Kind there_and_back(const Kind& what) {
  const auto item = recorded(Event{what});
  REQUIRE(item);
  const auto back = from_recorded(static_cast<std::uint16_t>(item->kind), item->json);
  REQUIRE(back);
  return std::get<Kind>(std::get<Event>(*back));
}

std::string refusal(ItemKind kind, std::string_view json) {
  const auto item = from_recorded(static_cast<std::uint16_t>(kind), json);
  REQUIRE_FALSE(item);
  return item.error();
}

constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("recorded: what a run was", "[recorded]") {
  RecordingHead head{.version = "0.1.0", .command = "run", .began_ns = largest, .stacks = true, .engine = {}};
  head.engine.filters_processes = true;
  head.engine.sees_all_sockets = false;
  head.engine.detector.leak_after_ns = 1'000;
  head.engine.detector.sweep_ns = 250;
  head.engine.detector.sanitizer = true;
  head.engine.detector.sees_all_processes = false;
  const RecordedItem item = recorded(head);
  const auto back = from_recorded(static_cast<std::uint16_t>(item.kind), item.json);
  REQUIRE(back);
  const auto& read = std::get<RecordingHead>(*back);
  CHECK(read.version == "0.1.0");
  CHECK(read.command == "run");
  CHECK(read.began_ns == largest);
  CHECK(read.stacks);
  CHECK(read.engine.filters_processes);
  CHECK_FALSE(read.engine.sees_all_sockets);
  CHECK(read.engine.detector.leak_after_ns == 1'000);
  CHECK(read.engine.detector.sweep_ns == 250);
  CHECK(read.engine.detector.sanitizer);
  CHECK_FALSE(read.engine.detector.sees_all_processes);
}

TEST_CASE("recorded: how it ended", "[recorded]") {
  const RecordedItem item = recorded(RecordingEnd{.blind_spots = {"one", "two \xff"}, .at_limit = true});
  const auto back = from_recorded(static_cast<std::uint16_t>(item.kind), item.json);
  REQUIRE(back);
  CHECK(std::get<RecordingEnd>(*back).blind_spots == std::vector<std::string>{"one", "two \xff"});
  CHECK(std::get<RecordingEnd>(*back).at_limit);
}

TEST_CASE("recorded: the clock, walks, losses and totals", "[recorded]") {
  CHECK(there_and_back(Tick{7, -5}).time_ns == 7);
  CHECK(there_and_back(Tick{7, -5}).realtime_offset_ns == -5);
  CHECK(there_and_back(Tick{0, std::numeric_limits<std::int64_t>::min()}).realtime_offset_ns ==
        std::numeric_limits<std::int64_t>::min());
  const auto done = there_and_back(WalkDone{9, 8, true});
  CHECK((done.time_ns == 9 && done.began_ns == 8 && done.census && !done.by_tables && done.entered.empty()));
  const auto by_tables = there_and_back(WalkDone{9, 8, true, true, {netns, netns + 1}});
  CHECK((by_tables.by_tables && by_tables.entered == std::vector<std::uint32_t>{netns, netns + 1}));
  // A recording from before there were such walks.
  CHECK(recorded(Event{WalkDone{9, 8, true}})->json == R"({"began":8,"census":true,"time":9})");
  const auto walked = there_and_back(TablesWalked{9, 8, netns, 3});
  CHECK((walked.time_ns == 9 && walked.began_ns == 8 && walked.netns == netns && walked.overflows == 3));
  CHECK_FALSE(there_and_back(TablesWalked{9, 8, netns, std::nullopt}).overflows);
  CHECK(there_and_back(NamespaceGone{1, 2}).netns == 2);
  const auto loss = there_and_back(LossSeen{1, 2, largest});
  CHECK((loss.time_ns == 1 && loss.ring == 2 && loss.storage == largest));
  const auto usage = there_and_back(Usage{1, 2, 3});
  CHECK((usage.time_ns == 1 && usage.cpu_ms == 2 && usage.rss_bytes == 3));
  const auto stopped = there_and_back(Stopped{1, 2, 3});
  CHECK((stopped.time_ns == 1 && stopped.cpu_ms == 2 && stopped.rss_bytes == 3));
}

TEST_CASE("recorded: the head of the stream", "[recorded]") {
  Started started{.time_ns = 5,
                  .run = "ab",
                  .version = "1",
                  .host = "h",
                  .kernel = "6",
                  .boot_id = "b",
                  .options = {{"pid", "1,2"}, {"comm", "\x80\xff\n"}}};
  const Started back = there_and_back(started);
  CHECK(back.time_ns == 5);
  CHECK(back.run == "ab");
  CHECK(back.version == "1");
  CHECK(back.host == "h");
  CHECK(back.kernel == "6");
  CHECK(back.boot_id == "b");
  CHECK(back.options == started.options);
}

TEST_CASE("recorded: how a namespace is set", "[recorded]") {
  TcpLook look;
  look.settings.values = {{"tcp_fin_timeout", 60}, {"odd \xc3", largest}};
  look.settings.port_range = PortRange{32768, 60999};
  look.settings.reserved_ports = {{1, 2}, {8080, 8080}};
  look.counters = {{"TCPTimeWaitOverflow", 4}};
  look.conntrack = {{"nf_conntrack_count", 5}};
  const NamespaceSeen back = there_and_back(NamespaceSeen{1, netns, look});
  CHECK(back.time_ns == 1);
  CHECK(back.netns == netns);
  CHECK(back.look.settings.values == look.settings.values);
  CHECK(back.look.settings.port_range == look.settings.port_range);
  CHECK(back.look.settings.reserved_ports == look.settings.reserved_ports);
  CHECK(back.look.counters == look.counters);
  CHECK(back.look.conntrack == look.conntrack);
  for (int name = 0; name < 3000; ++name) look.counters["forged" + std::to_string(name)] = 1;
  CHECK(refusal(ItemKind::namespace_seen, recorded(Event{NamespaceSeen{1, netns, look}})->json)
            .find("more names than the kernel has") != std::string::npos);
}

TEST_CASE("recorded: answers about processes and stacks, whatever bytes they are of", "[recorded]") {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  const ProcessResolved back = there_and_back(ProcessResolved{
      .key = {812, 5},
      .exec_id = 3,
      .skipped = true,
      .exited = true,
      .details = {
          .exe = "/usr/sbin/\xfe", .cmdline = every_byte, .cgroup = std::nullopt, .container = "ab12cd34ef56"}});
  CHECK(back.key == ProcessKey{812, 5});
  CHECK(back.exec_id == 3);
  CHECK(back.skipped);
  CHECK(back.exited);
  CHECK(back.details.exe == "/usr/sbin/\xfe");
  CHECK(back.details.cmdline == every_byte);
  CHECK_FALSE(back.details.cgroup);
  CHECK(back.details.container == "ab12cd34ef56");

  const DescriptorsSeen seen = there_and_back(DescriptorsSeen{1, {2, 3}, 4, 5, 6});
  CHECK((seen.time_ns == 1 && seen.key == ProcessKey{2, 3} && seen.open == 4 && seen.soft_limit == 5 &&
         seen.sockets == 6));

  const Stack stack{.frames = {{.address = largest,
                                .function = "f",
                                .file = "a.c",
                                .line = 4,
                                .module = "m",
                                .build_id = "ab",
                                .offset = 9},
                               {}},
                    .cut_short = true};
  const StackResolved answer = there_and_back(StackResolved{81, true, stack});
  CHECK(answer.cookie == 81);
  CHECK(answer.end_read);
  CHECK(answer.stack == stack);
}

TEST_CASE("recorded: a text of a process is as long as the kernel and /proc make it, and no longer", "[recorded]") {
  const auto answer = [](std::size_t length) {
    ProcessResolved resolved{.key = {7, 8}, .exec_id = 0, .skipped = false, .exited = false, .details = {}};
    resolved.details.exe = std::string(length, '/') + " (deleted)";
    resolved.details.cmdline = std::string(length, '\xff');
    return resolved;
  };
  CHECK(there_and_back(answer(4096)).details.cmdline == std::string(4096, '\xff'));
  CHECK(refusal(ItemKind::process_resolved, recorded(Event{answer(5000)})->json) ==
        "a text of a process that is too long");
}

TEST_CASE("recorded: records are kept as they came, and lost lines are no input", "[recorded]") {
  CHECK_FALSE(recorded(Event{change(1, State::established, State::close_wait)}));
  CHECK_FALSE(recorded(Event{row(1, State::listen, Attribution::listener, server())}));
  CHECK_FALSE(recorded(Event{OutputLost{1, 2}}));
}

TEST_CASE("recorded: what is forged is refused, with what is wrong", "[recorded]") {
  CHECK(refusal(ItemKind::tick, "") == "no JSON");
  CHECK(refusal(ItemKind::tick, "{") == "no JSON");
  CHECK(refusal(ItemKind::tick, "[1,2]") == "no object");
  CHECK(refusal(ItemKind::tick, R"({"time":1})") == "no field 'realtime_offset'");
  CHECK(refusal(ItemKind::tick, R"({"time":-1,"realtime_offset":0})") == "field 'time': no number of its range");
  CHECK(refusal(ItemKind::tick, R"({"time":1.5,"realtime_offset":0})") == "field 'time': no number of its range");
  CHECK(refusal(ItemKind::tick, R"({"time":1e300,"realtime_offset":0})") == "field 'time': no number of its range");
  CHECK(refusal(ItemKind::tick, R"({"time":1,"realtime_offset":9223372036854775808})") ==
        "field 'realtime_offset': no number of its range");
  CHECK(refusal(ItemKind::namespace_gone, R"({"time":1,"netns":4294967296})") ==
        "field 'netns': no number of its range");
  CHECK(refusal(ItemKind::walk_done, R"({"time":1,"began":1,"census":1})") == "field 'census': no boolean");
  CHECK(refusal(ItemKind::end, R"({"blind_spots":["\u0100"],"at_limit":false})") ==
        "field 'blind_spots': a character that is no byte");
  CHECK(refusal(ItemKind::end, R"({"blind_spots":[1],"at_limit":false})") == "field 'blind_spots': no string");
  CHECK(refusal(ItemKind::end, "{\"blind_spots\":[\"\xff\"],\"at_limit\":false}") == "no JSON");
  CHECK(refusal(ItemKind::record, "{}") == "an item of an unknown kind");
  CHECK(refusal(static_cast<ItemKind>(999), "{}") == "an item of an unknown kind");
  // Neither the parser nor what it builds goes by recursion.
  CHECK(refusal(ItemKind::tick, std::string(1'000'000, '[')) == "nested too deep");
  CHECK(refusal(ItemKind::tick, std::string(500'000, '[') + std::string(500'000, ']')) == "nested too deep");
}
