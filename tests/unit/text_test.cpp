// SPDX-License-Identifier: BSD-2-Clause
// Lines for people: aligned, of at most 80 columns, and harmless.
#include "catch.hpp"
#include "locale.hpp"
#include "output.hpp"

#include "sink/text.hpp"

#include <wchar.h>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// As a terminal counts them.
std::size_t columns(const std::string& line) {
  std::size_t sum = 0;
  std::mbstate_t state{};
  for (std::size_t at = 0; at < line.size();) {
    wchar_t c = 0;
    const std::size_t length = std::mbrtowc(&c, line.data() + at, line.size() - at, &state);
    if (length == 0 || length > line.size()) FAIL("no UTF-8: " << line);
    const int wide = wcwidth(c);
    if (wide < 0) FAIL("a control character: " << line);
    sum += static_cast<std::size_t>(wide);
    at += length;
  }
  return sum;
}

class Screen {
 public:
  explicit Screen(const TextSink::Style& style = {}, EventTypes types = EventTypes::all())
      : sink_(output_.writer(), types, style) {}
  /// The lines of these facts, the header among them where it comes.
  std::vector<std::string> operator()(const std::vector<Fact>& facts) {
    for (const Fact& fact : facts) sink_.take(fact);
    auto all = output_.lines();
    std::vector<std::string> fresh(all.begin() + static_cast<std::ptrdiff_t>(shown_), all.end());
    shown_ = all.size();
    return fresh;
  }
  TextSink& sink() { return sink_; }

 private:
  Captured output_;
  TextSink sink_;
  std::size_t shown_ = 0;
};

TextSink::Style wide() {
  TextSink::Style style;
  style.wide = true;
  return style;
}

/// The lines of these facts without the header.
std::vector<std::string> lines_of(const std::vector<Fact>& facts, const TextSink::Style& style = {}) {
  Screen screen{style};
  auto lines = screen(facts);
  REQUIRE_FALSE(lines.empty());
  lines.erase(lines.begin());
  return lines;
}

std::string line_of(const Fact& fact, const TextSink::Style& style = {}) {
  const auto lines = lines_of({fact}, style);
  REQUIRE(lines.size() == 1);
  return lines[0];
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
constexpr char escape = '\x1b';

}  // namespace

TEST_CASE("text: the header and a line under it", "[sink][text]") {
  const Utf8 locale;
  Screen screen;
  const auto lines = screen({a_transition()});
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "TIME         PID COMM      LOCAL PEER            FROM→TO END                  IN");
  CHECK(lines[1] == "12:34:56     812 client   :51234 10.0.0.5:3306   EST→FIN_WAIT1               1us");
  CHECK(columns(lines[0]) == 80);
  CHECK(columns(lines[1]) == 80);
}

TEST_CASE("text: without UTF-8 it is ASCII, and as wide", "[sink][text]") {
  TextSink::Style style;
  style.utf8 = false;
  Transition transition = a_transition();
  transition.connection =
      connection(tuple(Role::connect, "2001:db8::7", 51234, "2001:db8:1111:2222:3333:4444:5555:6666", 65535));
  transition.ending = Ending::never_accepted;
  transition.to = State::close;
  for (const std::string& line : Screen{style}({transition})) {
    CHECK(line.size() == 80);
    for (const char c : line) CHECK((c >= 0x20 && c < 0x7f));
  }
}

TEST_CASE("text: at most 80 columns, whatever ended in whatever state", "[sink][text]") {
  const Utf8 locale;
  Transition transition = a_transition();
  Identity long_name = person(4'194'304, "abcdefghijklmno");
  transition.responsible = responsible(long_name);
  transition.in_state_ns = 99'949'999;
  for (const char* peer : {"2001:db8:1111:2222:3333:4444:5555:6666", "::1"}) {
    transition.connection = connection(tuple(Role::connect, "2001:db8::7", 65535, peer, 65535));
    for (int from = 1; from <= 11; ++from)
      for (int to = 1; to <= 11; ++to) {
        transition.from = static_cast<State>(from);
        transition.to = static_cast<State>(to);
        transition.ending.reset();
        CHECK(columns(line_of(transition)) <= 80);
      }
    for (const State from : {State::established, State::fin_wait1, State::fin_wait2, State::closing, State::close_wait,
                             State::last_ack, State::syn_sent, State::syn_recv})
      for (int ending = 0; ending <= static_cast<int>(Ending::unknown); ++ending) {
        transition.from = from;
        transition.ending = static_cast<Ending>(ending);
        transition.to = State::close;
        CAPTURE(name(from), name(*transition.ending));
        const std::string line = line_of(transition);
        CHECK(columns(line) <= 80);
        CHECK(has(line, name(*transition.ending)));
      }
    transition.from = State::fin_wait2;
    transition.to = State::time_wait;
    transition.ending = Ending::fin;
    CHECK(columns(line_of(transition)) <= 80);
  }
}

TEST_CASE("text: closed and snapshots keep to 80 columns too", "[sink][text]") {
  const Utf8 locale;
  EventTypes types;
  types.add(EventType::closed);
  types.add(EventType::snapshot);
  Closed closed = a_closed();
  closed.connection =
      connection(tuple(Role::connect, "2001:db8::7", 65535, "2001:db8:1111:2222:3333:4444:5555:6666", 65535));
  for (const Bucket bucket : {Bucket::none, Bucket::fin_wait2, Bucket::time_wait, Bucket::unknown})
    for (int ending = 0; ending <= static_cast<int>(Ending::unknown); ++ending) {
      closed.bucket = bucket;
      closed.ending =
          bucket == Bucket::fin_wait2 || bucket == Bucket::time_wait ? Ending::fin : static_cast<Ending>(ending);
      for (const std::string& line : Screen{{}, types}({closed})) CHECK(columns(line) <= 80);
    }
  Snapshot snapshot = a_snapshot();
  snapshot.age_ns.reset();
  for (int state = 1; state <= 11; ++state) {
    snapshot.state = static_cast<State>(state);
    for (const std::string& line : Screen{{}, types}({snapshot})) CHECK(columns(line) <= 80);
  }
}

TEST_CASE("text: a gap fits as well", "[sink][text]") {
  const Utf8 locale;
  Screen screen;
  const auto lines =
      screen({Gap{leap_day_ns, 12, Gap::Where::ring}, Gap{leap_day_ns, 123'456'789, Gap::Where::storage}});
  REQUIRE(lines.size() == 2);
  CHECK(has(lines[0], "12 events lost (ring)"));
  for (const std::string& line : lines) CHECK(columns(line) <= 80);
}

TEST_CASE("text: columns stay where they are", "[sink][text]") {
  const Utf8 locale;
  Transition nobody = a_transition();
  nobody.responsible = {};
  nobody.in_state_ns.reset();
  Transition wide_name = a_transition();
  wide_name.responsible = responsible(person(7, "漢字漢字漢字"));
  wide_name.connection = connection(tuple(Role::connect, "10.0.0.7", 7, "10.0.0.5", 80));
  for (const Transition& transition : {a_transition(), nobody, wide_name}) {
    const std::string line = line_of(transition);
    CAPTURE(line);
    CHECK(columns(line) == 80);
    CHECK(columns(line.substr(0, line.find("EST"))) == 49);
  }
  CHECK(has(line_of(nobody), "      - -        :51234"));
  CHECK(line_of(nobody).ends_with("     -"));
}

TEST_CASE("text: of a long peer the end is shown, which has the port", "[sink][text]") {
  const Utf8 locale;
  Transition transition = a_transition();
  transition.connection =
      connection(tuple(Role::connect, "2001:db8::7", 1, "2001:db8:1111:2222:3333:4444:5555:6666", 65535));
  CHECK(has(line_of(transition), " …55:6666]:65535 "));
}

TEST_CASE("text: a connection's end stands on its last transition; an orphan's on a line of its own", "[sink][text]") {
  const Utf8 locale;
  Transition last = a_transition();
  last.from = State::fin_wait2;
  last.to = State::time_wait;
  last.ending = Ending::fin;
  const auto lines = lines_of({last, a_closed()});
  REQUIRE(lines.size() == 1);
  CHECK(has(lines[0], "FW2→TIME_WAIT fin "));
  Closed orphan = a_closed();
  orphan.bucket = Bucket::fin_wait2;
  CHECK(has(line_of(orphan), "FW2→orphan fin "));
}

TEST_CASE("text: with --events closed each end has its line", "[sink][text]") {
  const Utf8 locale;
  EventTypes types;
  types.add(EventType::closed);
  Closed plain = a_closed();
  plain.bucket = Bucket::none;
  plain.ending = Ending::rst_received;
  const auto lines = Screen{{}, types}({a_transition(), a_closed(), plain});
  REQUIRE(lines.size() == 3);
  CHECK(has(lines[1], " TIME_WAIT fin "));
  CHECK(has(lines[2], " CLOSE rst_received "));
}

TEST_CASE("text: findings are lines of the same table", "[sink][text]") {
  const Utf8 locale;
  Finding finding = a_finding();
  CHECK(line_of(finding) == "12:34:56     812 client   :51234 10.0.0.5:3306   CW leak eof_ignored       31.0s");
  finding.age_is_lower_bound = true;
  CHECK(line_of(finding) == "12:34:56     812 client   :51234 10.0.0.5:3306   CW leak eof_ignored      ≥31.0s");
  finding.kind = Kind::dead_unclosed;
  CHECK(has(line_of(finding), " CLO leak dead_unclosed "));
  finding.status = Finding::Status::changed;
  finding.verdict = Verdict::stuck;
  CHECK(has(line_of(finding), " CLO stuck dead_unclosed "));
  finding.status = Finding::Status::resolved;
  finding.resolution = Resolution::accepted;
  CHECK(has(line_of(finding), " mended: accepted "));
  CHECK(has(line_of(finding, wide()), " dead_unclosed, descriptor 7 of pid 812 client"));
  finding.resolution = Resolution::reset_still_open;
  CHECK(has(line_of(finding), " over: reset_still_open "));
}

TEST_CASE("text: findings keep to 80 columns", "[sink][text]") {
  const Utf8 locale;
  Finding finding = a_finding();
  finding.age_is_lower_bound = true;
  finding.connection =
      connection(tuple(Role::connect, "2001:db8::7", 65535, "2001:db8:1111:2222:3333:4444:5555:6666", 65535));
  for (const std::uint64_t age : {12 * ms, 99 * seconds, 700 * seconds, 150'000 * seconds})
    for (int kind = 0; kind <= static_cast<int>(Kind::eof_ignored); ++kind)
      for (int verdict = 0; verdict <= static_cast<int>(Verdict::leak); ++verdict) {
        finding.age_ns = age;
        finding.kind = static_cast<Kind>(kind);
        finding.verdict = static_cast<Verdict>(verdict);
        finding.status = Finding::Status::raised;
        finding.resolution.reset();
        CHECK(columns(line_of(finding)) == 80);
        CHECK(has(line_of(finding), name(finding.kind)));
        finding.status = Finding::Status::resolved;
        for (int resolution = 0; resolution <= static_cast<int>(Resolution::killed); ++resolution) {
          finding.resolution = static_cast<Resolution>(resolution);
          CHECK(columns(line_of(finding)) == 80);
        }
      }
}

TEST_CASE("text: findings in colour", "[sink][text]") {
  TextSink::Style style;
  style.colour = true;
  Finding finding = a_finding();
  CHECK(has(line_of(finding, style), "\x1b[31mCW leak"));
  finding.verdict = Verdict::stuck;
  CHECK(has(line_of(finding, style), "\x1b[33mCW stuck"));
  finding.verdict = Verdict::ok;
  CHECK_FALSE(has(line_of(finding, style), "\x1b"));
  finding.verdict = Verdict::leak;
  finding.resolution = Resolution::closed;
  finding.status = Finding::Status::resolved;
  CHECK_FALSE(has(line_of(finding, style), "\x1b"));
}

TEST_CASE("text: what is no line for people", "[sink][text]") {
  Screen screen;
  CHECK(screen({Hello{}, SnapshotEnd{}, Stats{}, Bye{}, ProcessWanted{client()}, WalkWanted{}}).empty());
}

TEST_CASE("text: the header comes again on each screen", "[sink][text]") {
  const auto headers = [](std::size_t rows) {
    TextSink::Style style;
    style.rows = rows;
    Screen screen{style};
    std::vector<std::size_t> at;
    const auto lines = screen(std::vector<Fact>(20, a_transition()));
    for (std::size_t line = 0; line < lines.size(); ++line)
      if (lines[line].starts_with("TIME")) at.push_back(line);
    return at;
  };
  using Lines = std::vector<std::size_t>;
  CHECK(headers(0) == Lines{0});  // no terminal
  CHECK(headers(10) == Lines{0, 9, 18});
  CHECK(headers(24) == Lines{0});
  CHECK(headers(2) == Lines{0});  // too small for both
}

TEST_CASE("text: a terminal that changes its size", "[sink][text]") {
  Screen screen;
  CHECK(screen(std::vector<Fact>(5, a_transition())).size() == 6);
  screen.sink().resize(4);
  const auto lines = screen(std::vector<Fact>(6, a_transition()));
  CHECK(lines.size() == 9);
}

TEST_CASE("text: lines that are dropped are counted by the event, and a header is none", "[sink][text]") {
  // The reader is slow and the screen small: the header may be due again just while there is no room.
  TextSink::Style style;
  style.rows = 4;
  for (std::size_t limit = 100; limit < 800; limit += 50) {
    CAPTURE(limit);
    Captured output{limit};
    TextSink sink{output.writer(), EventTypes::all(), style};
    constexpr std::uint64_t taken = 40;
    for (std::uint64_t event = 0; event < taken; ++event) sink.take(a_transition());
    std::uint64_t shown = 0;
    for (const std::string& line : output.lines())
      if (!line.starts_with("TIME")) ++shown;
    CHECK(shown + output.writer().dropped_before_room() == taken);
  }
}

TEST_CASE("text: colour only when asked for", "[sink][text]") {
  Transition wait = a_transition();
  wait.to = State::close_wait;
  Transition bad = a_transition();
  bad.to = State::close;
  bad.ending = Ending::rst_received;
  Transition good = bad;
  good.to = State::time_wait;
  good.ending = Ending::fin;
  for (const bool of_all_columns : {false, true}) {
    TextSink::Style style;
    style.wide = of_all_columns;
    for (const Transition& transition : {a_transition(), wait, bad, good})
      CHECK_FALSE(has(line_of(transition, style), std::string(1, escape)));
    style.colour = true;
    CHECK_FALSE(has(line_of(a_transition(), style), std::string(1, escape)));
    for (const Transition& transition : {wait, bad, good}) {
      const std::string line = line_of(transition, style);
      CHECK(has(line, "\x1b[3"));
      CHECK(has(line, "\x1b[0m"));
    }
  }
}

TEST_CASE("text: colours change nothing else", "[sink][text]") {
  Transition bad = a_transition();
  bad.to = State::close;
  bad.ending = Ending::rst_received;
  TextSink::Style style;
  style.colour = true;
  std::string coloured = line_of(bad, style);
  for (const std::string_view sequence : {"\x1b[31m", "\x1b[0m"})
    coloured.erase(coloured.find(sequence), sequence.size());
  CHECK(coloured == line_of(bad));
}

TEST_CASE("text: hostile names have no control bytes, wide or not", "[sink][text]") {
  const Utf8 locale;
  for (const char* hostile : {"\x1b[2J\x1b]0;x\x07", "a\nb\rc",
                              "\xC2\x9B"
                              "31m",
                              "\xff\xfe\xfd",
                              "\xE2\x80\xAE"
                              "evil",
                              "e\xCC\x81\xCC\x81"}) {
    Transition transition = a_transition();
    transition.responsible = responsible(person(7, hostile));
    transition.actor = person(7, hostile);
    for (const auto& style : {TextSink::Style{}, wide()}) {
      const auto lines = lines_of({transition}, style);
      REQUIRE(lines.size() == 1);
      for (const char c : lines[0]) CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
      CHECK(columns(lines[0]) >= 80);
      CHECK_FALSE(has(lines[0], "\xC2\x9B"));
      CHECK_FALSE(has(lines[0], "\xE2\x80\xAE"));
      CHECK_FALSE(has(lines[0], "\xff"));
    }
  }
}

TEST_CASE("text: wide has all there is", "[sink][text]") {
  const Utf8 locale;
  const std::string line = line_of(a_transition(), wide());
  CHECK(line ==
        "12:34:56.000000     812 client          closer   10.0.0.7:51234        10.0.0.5:3306         "
        "ESTABLISHED→FIN_WAIT1      1us                close by client/812");
  Closed orphan = a_closed();
  orphan.bucket = Bucket::fin_wait2;
  orphan.bytes_received = 3 * 1024 * 1024;
  CHECK(has(line_of(orphan, wide()), "FIN_WAIT2→orphan"));
  CHECK(has(line_of(orphan, wide()), "first FIN local, sent 100B, received 3.0M, by close"));
  Transition subflow = a_transition();
  subflow.connection.mptcp = true;
  CHECK(has(line_of(subflow, wide()), "(MPTCP subflow)"));
  CHECK(has(line_of(a_snapshot(), wide()), "from before"));
}

TEST_CASE("text: local time", "[sink][text]") {
  TextSink::Style style;
  style.utc_offset_ns = [](std::int64_t) { return 5400LL * 1'000'000'000; };
  CHECK(line_of(a_transition(), style).starts_with("14:04:56 "));
  style.utc_offset_ns = [](std::int64_t) { return -13LL * 3600 * 1'000'000'000; };
  CHECK(line_of(a_transition(), style).starts_with("23:34:56 "));
  const std::int64_t of_summer = a_transition().time_ns;
  style.utc_offset_ns = [=](std::int64_t time_ns) { return time_ns == of_summer ? 3600LL * 1'000'000'000 : 0; };
  CHECK(line_of(a_transition(), style).starts_with("13:34:56 "));
}

TEST_CASE("text: durations", "[sink][text]") {
  CHECK(duration_text(0) == "0us");
  CHECK(duration_text(85 * us) == "85us");
  CHECK(duration_text(999 * us) == "999us");
  CHECK(duration_text(1 * ms) == "1.0ms");
  CHECK(duration_text(1'240 * us) == "1.2ms");
  CHECK(duration_text(99'949 * us) == "99.9ms");
  CHECK(duration_text(100 * ms) == "100ms");
  CHECK(duration_text(999 * ms) == "999ms");
  CHECK(duration_text(1 * seconds) == "1.0s");
  CHECK(duration_text(12'340 * ms) == "12.3s");
  CHECK(duration_text(99'949 * ms) == "99.9s");
  CHECK(duration_text(600 * seconds) == "10m");
  CHECK(duration_text(99 * 60 * seconds) == "99m");
  CHECK(duration_text(6000 * seconds) == "1.7h");
  CHECK(duration_text(12'240 * seconds) == "3.4h");
  CHECK(duration_text(172'799 * seconds) == "48.0h");
  CHECK(duration_text(172'800 * seconds) == "2d");
  CHECK(duration_text(12 * 86'400 * seconds) == "12d");
}

TEST_CASE("text: durations have at most six columns", "[sink][text]") {
  for (std::uint64_t ns = 1; ns < 1ULL << 62U; ns += ns / 20 + 1) CHECK(duration_text(ns).size() <= 6);
  CHECK(duration_text(~0ULL).size() <= 7);  // 213503d: six centuries
  for (const std::uint64_t edge : {1 * ms, 99'950 * us, 1 * seconds, 99'950 * ms, 6000 * seconds, 172'800 * seconds})
    for (const std::uint64_t ns : {edge - 1, edge, edge + 1}) CHECK(duration_text(ns).size() <= 6);
}

TEST_CASE("text: a longer time never reads as a shorter one", "[sink][text]") {
  const auto read = [](const std::string& text) {
    const std::size_t unit = text.find_first_not_of("0123456789.");
    const std::string name = text.substr(unit);
    const double factor = name == "us"   ? 1e3
                          : name == "ms" ? 1e6
                          : name == "s"  ? 1e9
                          : name == "m"  ? 60e9
                          : name == "h"  ? 3600e9
                                         : 86'400e9;
    return std::stod(text) * factor;
  };
  for (const std::uint64_t edge : {1 * ms, 99'950 * us, 1 * seconds, 99'950 * ms, 6000 * seconds, 172'800 * seconds}) {
    CAPTURE(edge, duration_text(edge - 1), duration_text(edge));
    // Of texts rounded to a tenth and to a whole number half a tenth may be missing.
    CHECK(read(duration_text(edge)) >= 0.999 * read(duration_text(edge - 1)));
  }
}
