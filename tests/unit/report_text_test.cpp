// SPDX-License-Identifier: BSD-2-Clause
// The report for people, as whole screens.
#include "catch.hpp"
#include "locale.hpp"
#include "scene.hpp"

#include "sink/report_text.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

namespace {

TextSink::Style ascii() {
  TextSink::Style style;
  style.utf8 = false;
  return style;
}

TextSink::Style wide() {
  TextSink::Style style;
  style.wide = true;
  return style;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Without the breaks within an item.
std::string flat(std::string text) {
  for (const std::string indent : {"\n      ", "\n    "})
    for (std::size_t at = 0; (at = text.find(indent, at)) != std::string::npos;)
      if (text[at + indent.size()] != ' ')
        text.replace(at, indent.size(), " ");
      else
        ++at;
  return text;
}

std::size_t widest(const std::string& text) {
  std::size_t most = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    most = std::max(most, columns_of(std::string_view{text}.substr(at, end - at)));
    at = end + 1;
  }
  return most;
}

Tuple from_peer(std::uint16_t port) { return tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", port); }

/// A server that has leaked `count` sockets, one a second.
struct Leaker : Scene {
  explicit Leaker(std::uint64_t count = 37) {
    row(State::listen, server(), listening());
    for (std::uint64_t at = 1; at <= count; ++at) {
      Judged& one =
          judged(leaked_socket(at, server(), from_peer(static_cast<std::uint16_t>(40'000 + at)), (40 + at) * seconds));
      one.holders = {holder(server(), static_cast<std::uint32_t>(6 + at))};
    }
    input.trend = [](WorkloadId, Kind) { return std::optional{Trend::growing}; };
    input.descriptors[server().key] = {812, 1024, 700, 12'240};
  }
};

/// A machine where everything is closed in time.
struct Healthy : Scene {
  Healthy() {
    row(State::listen, server(), listening());
    for (int at = 0; at < 3; ++at) row(State::established, server(), incoming());
    for (std::uint16_t port = 40'001; port <= 40'012; ++port) closed_into_bucket(client(), outgoing_from(port));
    input.descriptors[client().key] = {9, 1'048'576, 1, std::nullopt};
  }
};

}  // namespace

TEST_CASE("report text: a healthy machine", "[sink][report]") {
  const Utf8 locale;
  CHECK(report_text(Healthy{}.report(), {}) ==
        R"(box, Linux 6.18.0: watched for 60s until 12:34:56
TIME_WAIT 12, ESTABLISHED 3, LISTEN 1

Nothing leaks: 16 sockets of 2 processes looked at.

WORKLOAD               PROCS CLOSE_WAIT LEAKED STUCK  OLDEST TIME_WAIT       FDS
client 10.0.0.5:3306       1          0      0     0       -        12      9/1M
and 1 more workload, nothing wrong with it
)");
}

TEST_CASE("report text: an empty machine", "[sink][report]") {
  CHECK(report_text(Scene{}.report(), {}) == R"(box, Linux 6.18.0: watched for 60s until 12:34:56
no TCP sockets

Nothing leaks: 0 sockets of 0 processes looked at.
)");
}

TEST_CASE("report text: one leaker", "[sink][report]") {
  const Utf8 locale;
  CHECK(report_text(Leaker{}.report(), {}) == R"(box, Linux 6.18.0: watched for 60s until 12:34:56
CLOSE_WAIT 37, LISTEN 1

37 sockets leaked, 0 stuck; 38 sockets of 1 process looked at.

WORKLOAD               PROCS CLOSE_WAIT LEAKED STUCK  OLDEST TIME_WAIT       FDS
server *:8080              1         37     37     0   77.0s         0  812/1024
  container ab12cd34ef56, /app.slice
  37 leaked sockets, read to the end, not closed (eof_ignored); growing
    The program has read everything, the peer's end too, and has not called
    close(). Call close() on every way out once a read has returned 0, the error
    paths included; neither keepalive nor any sysctl cures CLOSE_WAIT.
    *:8080 ← *, held by descriptors 43, 42, 41 and 34 more of pid 900 server
    77.0s 10.0.0.7:8080 ← 10.0.0.9:40037, descriptor 43 of pid 900 server
    76.0s 10.0.0.7:8080 ← 10.0.0.9:40036, descriptor 42 of pid 900 server
  descriptors: 812 of 1024 in use, used up in 3.4h at this rate
)");
}

TEST_CASE("report text: by process, and lower bounds", "[sink][report]") {
  const Utf8 locale;
  Leaker scene{1};
  scene.input.judged[0].since_is_lower_bound = true;
  const std::string expected = R"(box, Linux 6.18.0: watched for 60s until 12:34:56
LISTEN 1, CLOSE_WAIT 1

1 socket leaked, 0 stuck; 2 sockets of 1 process looked at.

PROCESS                  PID CLOSE_WAIT LEAKED STUCK  OLDEST TIME_WAIT       FDS
server                   900          1      1     0  ≥41.0s         0  812/1024
  server, container ab12cd34ef56
  1 leaked socket, read to the end, not closed (eof_ignored); growing
    The program has read everything, the peer's end too, and has not called
    close(). Call close() on every way out once a read has returned 0, the error
    paths included; neither keepalive nor any sysctl cures CLOSE_WAIT.
    ≥41.0s 10.0.0.7:8080 ← 10.0.0.9:40001, descriptor 7 of pid 900 server
  descriptors: 812 of 1024 in use, used up in 3.4h at this rate
)";
  CHECK(report_text(scene.report(), {}, ReportRows::process) == expected);
}

TEST_CASE("report text: without UTF-8 it is ASCII", "[sink][report]") {
  Leaker scene;
  scene.input.judged[0].since_is_lower_bound = scene.input.judged[36].since_is_lower_bound = true;
  scene.judged(leaked_socket(
      99, client(), tuple(Role::connect, "2001:db8::7", 5, "2001:db8:1111:2222:3333:4444:5555:6", 1), 9 * seconds));
  const std::string text = report_text(scene.report(), ascii());
  for (const char c : text) CHECK((c == '\n' || (c >= 0x20 && c < 0x7f)));
  CHECK(has(text, ">=77.0s"));
  CHECK(has(text, "*:8080 <- *, held by"));
  CHECK(has(text, " -> [2001:db8:1111:2222:3333:4444:5555:6]:1"));
  CHECK(has(text, "client [2001:db8:1111:2222:3333:4444:5555:6]:1\n"));
  CHECK(widest(text) <= 80);
}

TEST_CASE("report text: wide has more columns", "[sink][report]") {
  const Utf8 locale;
  const std::string text = report_text(Leaker{}.report(), wide());
  CHECK(has(text, "  OLDEST TREND    TIME_WAIT       FDS\n"));
  CHECK(has(text, "   77.0s growing          0  812/1024\n"));
  CHECK(widest(text) == 120);
}

TEST_CASE("report text: advice is given once for each kind", "[sink][report]") {
  Leaker scene{2};
  scene.judged(leaked_socket(99, client(), outgoing(), 50 * seconds));
  const std::string text = report_text(scene.report(), {});
  const std::size_t first = text.find("The program has read everything");
  REQUIRE(first != std::string::npos);
  CHECK(text.find("The program has read everything", first + 1) == std::string::npos);
}

TEST_CASE("report text: with stacks it says where", "[sink][report]") {
  const Utf8 locale;
  Leaker scene;
  scene.input.with_stacks = true;
  for (std::uint64_t cookie = 1; cookie <= 37; ++cookie) {
    scene.input.stacks[cookie].end_read = stack_at("handler", 88);
    scene.input.stacks[cookie].opened = stack_at("accept_one", 12);
    scene.input.stacks[cookie].opened->cut_short = true;
  }
  const std::string text = report_text(scene.report(), {});
  CHECK(has(text,
            "  37 leaked sockets, all read to the end at handler.cc:88 in handler() and not\n"
            "    closed (eof_ignored); growing\n"));
  CHECK(has(text, "    end read: recv() libc.so.6+0x1000, handler() handler.cc:88\n"));
  CHECK(has(text,
            "    first used: recv() libc.so.6+0x1000, accept_one() handler.cc:12 (cut short:\n"
            "      built without frame pointers)\n"));
}

TEST_CASE("report text: places without symbols", "[sink][report]") {
  const Utf8 locale;
  Leaker scene{1};
  scene.input.with_stacks = true;
  Stack& stack = scene.input.stacks[1].end_read.emplace(stack_at("handler", 88));
  const auto says = [&](std::string_view part) { return has(report_text(scene.report(), wide()), part); };
  stack.frames[1].file.clear();
  CHECK(says("1 leaked socket, read to the end at server+0x1058 in handler() and not closed"));
  stack.frames[1].function.clear();
  CHECK(says("read to the end at server+0x1058 and not closed"));
  stack.frames[1].module.clear();
  CHECK(says("read to the end at 0x401058 and not closed"));
  stack.frames[1].function = "jitted(int)";
  CHECK(says("read to the end at jitted(int) and not closed"));
  stack.frames.pop_back();
  CHECK(says("read to the end at libc.so.6+0x1000 in recv() and not closed"));
  stack.frames.clear();
  CHECK(says("1 leaked socket, read to the end, not closed"));
}

TEST_CASE("report text: stuck sockets, and why", "[sink][report]") {
  const Utf8 locale;
  Scene scene;
  Judged one = leaked_socket(1, client(), outgoing(), 50 * seconds);
  one.kind = Kind::write_blocked;
  one.verdict = Verdict::stuck;
  one.condition.unread_bytes = 12;
  one.condition.unsent_bytes = 2048;
  one.condition.probes = 1;
  one.condition.retransmits = 2;
  scene.judged(one);
  one.cookie = 2;
  one.kind = Kind::replying;
  one.verdict = Verdict::ok;
  scene.judged(one);
  one.cookie = 3;
  one.kind = Kind::never_accepted;
  one.verdict = Verdict::stuck;
  one.process = server();
  one.tuple = incoming();
  one.holders.clear();
  one.condition = {};
  one.accept_queue = AcceptQueue{129, 128};
  scene.judged(one);
  const std::string text = report_text(scene.report(), wide());
  CHECK(has(text, "\nNo leak was seen, but 2 sockets stuck; 3 sockets of 2 processes looked at.\n"));
  CHECK(has(text, "\n  1 stuck socket, blocked in writing (write_blocked)\n"));
  CHECK(has(flat(text), ", descriptor 7 of pid 812 client, 12B unread, 2.0K unsent, 1 probe, 2 retransmissions"));
  CHECK(has(text, "\n  1 other not at fault so far: 1 still replying\n"));
  CHECK(has(text, "\n    accept queue: 129 of 128, full, to be accepted by pid 900 server\n"));
  CHECK(has(text, "\n    50.0s 10.0.0.7:8080 ← 10.0.0.9:40000\n"));
}

TEST_CASE("report text: several holders", "[sink][report]") {
  const Utf8 locale;
  Scene scene;
  scene.judged(leaked_socket(1, server(), from_peer(1), 50 * seconds)).holders = {
      holder(server(), 7), holder(person(901, "child"), 8), holder(person(902, "child"), 9),
      holder(person(903, "child"), 10), holder(person(903, "child"), 11)};
  CHECK(
      has(flat(report_text(scene.report(), wide())),
          ", descriptor 7 of pid 900 server, descriptor 8 of pid 901 child, descriptor 9 of pid 902 child and 2 more"));
}

TEST_CASE("report text: what is over, what was mended, what could not be seen", "[sink][report]") {
  const Utf8 locale;
  Scene scene;
  Judged gone = leaked_socket(1, server(), from_peer(1), 50 * seconds);
  gone.resolution = Resolution::exit;
  gone.resolved_ns = Scene::now_ns;
  scene.ended(gone);
  scene.input.mended = {5, 40 * seconds};
  scene.input.incomplete_reasons = {"not in the initial pid namespace\x1b[2J"};
  scene.input.lost = 12;
  std::string text = report_text(scene.report(), {});
  CHECK(has(flat(text), "(eof_ignored); it is over by now, and not by a close()"));
  CHECK(has(text, "\n5 findings mended by the program while it was watched, the longest after 40.0s.\n"));
  CHECK(has(text, "\nIncomplete: not in the initial pid namespace?[2J\n"));
  CHECK(has(text, "\nLost: 12 events, so that counts are lower bounds\n"));
  scene.input.ended.clear();
  CHECK(has(report_text(scene.report(), {}), "\nNo leak was seen, though not all could be seen: "));
  scene.input.lost = 0;
  scene.input.incomplete_reasons.clear();
  CHECK(has(report_text(scene.report(), {}), "\nNothing leaks: "));
}

TEST_CASE("report text: sockets that TCP has ended are in no netstat", "[sink][report]") {
  Scene scene;
  Judged dead = leaked_socket(1, server(), from_peer(1), 50 * seconds);
  dead.state = State::close;
  dead.kind = Kind::dead_unclosed;
  scene.judged(dead);
  CHECK(has(report_text(scene.report(), {}), "\n1 ended by TCP, still open\n"));
  scene.row(State::established, client());
  CHECK(has(report_text(scene.report(), {}), "\nESTABLISHED 1; 1 ended by TCP, still open\n"));
}

TEST_CASE("report text: one look, and watches of other lengths", "[sink][report]") {
  Scene scene;
  const auto first_line = [&](std::uint64_t watched_ns) {
    scene.input.from_ns = scene.input.to_ns - static_cast<std::int64_t>(watched_ns);
    const std::string text = report_text(scene.report(), {});
    return text.substr(0, text.find('\n'));
  };
  CHECK(first_line(3 * ms) == "box, Linux 6.18.0: one look at 12:34:56");
  CHECK(first_line(500 * ms) == "box, Linux 6.18.0: watched for 500ms until 12:34:56");
  CHECK(first_line(60'003 * ms) == "box, Linux 6.18.0: watched for 60s until 12:34:56");
  CHECK(first_line(3600 * seconds) == "box, Linux 6.18.0: watched for 60m until 12:34:56");
  TextSink::Style style;
  style.utc_offset_ns = [](std::int64_t) { return 3600LL * 1'000'000'000; };
  CHECK(has(report_text(scene.report(), style), "until 13:34:56\n"));
}

TEST_CASE("report text: many workloads fit one screen", "[sink][report]") {
  Scene scene;
  for (std::uint32_t pid = 1; pid <= 40; ++pid) {
    const Identity one = person(pid, "p" + std::to_string(pid));
    scene.closed_into_bucket(one, outgoing_from(static_cast<std::uint16_t>(pid)));
  }
  std::string text = report_text(scene.report(), {});
  CHECK(std::count(text.begin(), text.end(), '\n') <= 24);
  CHECK(has(text, "\nand 32 more workloads, nothing wrong with them\n"));
  CHECK(
      has(report_text(scene.report(), {}, ReportRows::process), "\nand 32 more processes, nothing wrong with them\n"));
  for (std::uint32_t pid = 1; pid <= 12; ++pid)
    scene.judged(leaked_socket(100 + pid, person(pid, "p" + std::to_string(pid)), outgoing(), 50 * seconds));
  text = report_text(scene.report(), {});
  CHECK(has(text, "\n12 sockets leaked, "));
  CHECK(has(text, "\nand 2 more workloads with leaked or stuck sockets (--json has all)\n"));
  CHECK(has(text, "\nand 24 more workloads, nothing wrong with them\n"));
}

TEST_CASE("report text: many groups of one workload", "[sink][report]") {
  Scene scene;
  const std::vector kinds{Kind::eof_ignored, Kind::dead_unclosed, Kind::inherited,     Kind::eof_unread,
                          Kind::in_flight,   Kind::write_blocked, Kind::never_accepted};
  for (std::size_t at = 0; at < kinds.size(); ++at) {
    Judged one = leaked_socket(at + 1, client(), outgoing(), 50 * seconds);
    one.kind = kinds[at];
    one.verdict = at < 3 ? Verdict::leak : Verdict::stuck;
    scene.judged(one);
  }
  CHECK(has(report_text(scene.report(), {}), "\n  and 2 more groups (--json has all)\n"));
}

TEST_CASE("report text: unknown and others", "[sink][report]") {
  Scene scene;
  scene.judged(leaked_socket(1, {}, from_peer(1), 50 * seconds));
  CHECK(has(report_text(scene.report(), {}), "\nunknown *:8080             0          1      1 "));
  CHECK(has(report_text(scene.report(), {}, ReportRows::process), "\nunknown                    -          1      1 "));
  Judged other = leaked_socket(2, client(), from_peer(1), 50 * seconds);
  scene.input.judged.push_back(other);  // workload 0: found no room
  CHECK(has(report_text(scene.report(), {}), "\nothers                     1          1      1 "));
}

TEST_CASE("report text: names as long and as hostile as can be", "[sink][report]") {
  const Utf8 locale;
  for (const char* hostile : {"\x1b[2J\x1b]0;x\x07", "a\nb\rc", "\xC2\x9B\x33\x31m", "\xff\xfe\xfd",
                              "\xE2\x80\xAE\x65vil", "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"}) {
    Scene scene;
    Identity process = person(4'194'304, hostile);
    ProcessDetails details;
    details.exe = "/usr/bin/" + std::string{hostile} + std::string(200, 'x');
    details.cmdline = std::string{hostile} + " " + std::string(300, 'y') + " z  ";
    details.cgroup = "/" + std::string{hostile} + std::string(200, 'z');
    details.container = hostile;
    scene.is(process, details);
    const Tuple ends = tuple(Role::connect, "2001:db8:1111:2222:3333:4444:5555:6666", 65'535,
                             "2001:db8:1111:2222:3333:4444:5555:7777", 65'535);
    for (std::uint64_t cookie = 1; cookie <= 2; ++cookie)
      scene.judged(leaked_socket(cookie, process, ends, ~0ULL >> 2U)).since_ns = 0;
    scene.settings({65'530, 65'535});
    for (std::uint16_t port = 65'530; port != 0; ++port)
      scene.closed_into_bucket(process, tuple(Role::connect, "2001:db8:1111:2222:3333:4444:5555:6666", port,
                                              "2001:db8:1111:2222:3333:4444:5555:7777", 65'535));
    scene.bucket(process, tuple(Role::accept, "10.0.0.7", 1, "10.0.0.9", 1));
    scene.input.host = hostile;
    scene.input.with_stacks = true;
    Stack stack = stack_at(hostile + std::string(300, 'f'), 88);
    stack.frames[1].file = hostile;
    scene.input.stacks[1].end_read = scene.input.stacks[2].end_read = stack;
    scene.input.descriptors[process.key] = {812, 1024, 700, 12'240};
    for (const ReportRows rows : {ReportRows::workload, ReportRows::process})
      for (const bool utf8 : {true, false})
        for (const bool is_wide : {true, false}) {
          TextSink::Style style;
          style.utf8 = utf8;
          style.wide = is_wide;
          const std::string text = report_text(scene.report(), style, rows);
          CHECK(widest(text) <= (is_wide ? 120U : 80U));
          CHECK(has(text, "Ports run out"));
          CHECK(has(text, "Port 1, "));
          CHECK_FALSE(has(text, " \n"));
          for (const char c : text)
            if (c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) FAIL("a control character");
          for (const char* steering : {"\xC2\x9B", "\xff", "\xE2\x80\xAE"}) CHECK_FALSE(has(text, steering));
        }
  }
}

TEST_CASE("report text: colours only when asked for, and they change nothing else", "[sink][report]") {
  const Utf8 locale;
  TextSink::Style style;
  style.colour = true;
  const Leaker scene;
  const std::string plain = report_text(scene.report(), {});
  std::string coloured = report_text(scene.report(), style);
  CHECK_FALSE(has(plain, "\x1b"));
  CHECK(has(coloured, "\x1b[31m37 sockets leaked"));
  CHECK(has(report_text(Healthy{}.report(), style), "\x1b[32mNothing leaks"));
  for (std::size_t at = 0; (at = coloured.find('\x1b')) != std::string::npos;)
    coloured.erase(at, coloured.find('m', at) + 1 - at);
  CHECK(coloured == plain);
}
