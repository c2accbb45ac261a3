// SPDX-License-Identifier: BSD-2-Clause
// A run that is recorded, and the recording that is fed again: the same lines and the same report, or an error.
#include "output.hpp"
#include "recordings.hpp"
#include "records.hpp"

#include "app/report.hpp"
#include "app/replay.hpp"
#include "sink/json.hpp"
#include "sink/report_json.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t start = 100 * seconds;

struct Shown {
  std::vector<std::string> lines;
  std::string report;
  std::vector<std::string> reasons;
  std::string fault;
};

Engine::Settings rules() {
  Engine::Settings settings;
  settings.keeps_accounts = true;
  settings.detector.leak_after_ns = 4 * seconds;
  settings.detector.sweep_ns = 1 * seconds;
  return settings;
}

/// An engine with its sinks, as `trace --json` and `report --json` have it.
struct Machine {
  Captured output;
  JsonSink sink{output.writer(), EventTypes::all()};
  Engine engine{rules()};
  Feed feed{engine, sink, output.writer()};

  Shown shown(std::vector<std::string> blind_spots) {
    const Report report = make_report(
        feed, {.began_ns = start, .with_stacks = false, .verbose = true, .blind_spots = std::move(blind_spots)});
    return {output.lines(), report_json(report), report.incomplete_reasons, ""};
  }
};

/// Who is looked up, and how often: each answer says which it is.
class Lookups {
 public:
  ProcessResolved operator()(const Identity& who) {
    ++asked_;
    return {.key = who.key,
            .exec_id = who.exec_id,
            .skipped = asked_ % 5 == 0,
            .exited = false,
            .details = {.exe = "/bin/" + std::to_string(asked_), .cmdline = {}, .cgroup = {}, .container = {}}};
  }
  [[nodiscard]] int asked() const { return asked_; }

 private:
  int asked_ = 0;
};

template <typename Record>
void take(Feed& feed, Record raw, std::uint64_t time_ns) {
  if constexpr (requires { raw.transition; })
    raw.transition.header.time_ns = time_ns;
  else
    raw.header.time_ns = time_ns;
  feed.take_record(bytes_of(raw));
}

cw_socket_row waiting_row(std::uint64_t cookie) {
  cw_socket_row raw = raw_socket();
  raw.cookie = cookie;
  raw.entered_ns = start - 1 * seconds;
  raw.flags = CW_FLAG_MATCHED;
  raw.process = raw_person(static_cast<__u32>(cookie), 5000, "holder");
  return raw;
}

/// A walk at `time_ns` that meets a socket in CLOSE_WAIT with its holder.
void sweep(Feed& feed, std::uint64_t time_ns, bool census) {
  take(feed, waiting_row(700), time_ns);
  cw_holder_row holder = raw_holder();
  holder.cookie = 700;
  holder.process = raw_person(700, 5000, "holder");
  take(feed, holder, time_ns);
  feed.step(WalkDone{time_ns + 1, time_ns, census});
}

/// Twelve seconds with sweeps, closes, a process that is unknown each time, bytes that are no record, and a loss.
void run(Feed& feed, RecordingWriter* recording) {
  feed.step(Tick{start, 1'700'000'000'000'000'000});
  sweep(feed, start, true);
  feed.step(test::started(start + ms));
  for (std::uint64_t second = 1; second <= 12; ++second) {
    const std::uint64_t now = start + second * seconds;
    cw_transition closing = raw_transition();
    closing.cookie = 1000 + second;
    closing.from = 1;
    closing.to = 8;
    closing.call = CW_CALL_NONE;
    closing.attribution = CW_BY_OPENER;
    closing.process = raw_person(static_cast<__u32>(1000 + second / 3), 5000, "opener");
    closing.entered_ns = now - ms;
    take(feed, closing, now);
    cw_close close = raw_close();
    close.transition.cookie = 1000 + second;
    close.transition.entered_ns = now;
    close.transition.process = closing.process;
    take(feed, close, now + ms);
    feed.take_record(Bytes(17));
    if (second == 5) feed.step(LossSeen{now + 2 * ms, 3, 0});
    sweep(feed, now + 3 * ms, false);
    feed.step(Tick{now + 4 * ms, 1'700'000'000'000'000'000});
    if (recording != nullptr) recording->pulse(now);
  }
  sweep(feed, start + 13 * seconds, true);
  feed.step(DescriptorsSeen{start + 13 * seconds, {700, 5000}, 9, 1024, 3});
  feed.step(Stopped{start + 14 * seconds, 5, 6});
}

struct Recorded {
  Bytes bytes;
  Shown live;
};

Recorded recorded_run() {
  Recorded out;
  Machine machine;
  Lookups lookups;
  machine.feed.answers_by([&](const Identity& who) { return lookups(who); });
  out.bytes = recording([&](RecordingWriter& writer) {
    writer.begin({.version = "0", .command = "report", .began_ns = start, .stacks = false, .engine = rules()});
    machine.feed.record_to(&writer);
    run(machine.feed, &writer);
    machine.feed.record_to(nullptr);
    writer.end({.blind_spots = {"one walk failed"}, .at_limit = false});
  });
  CHECK(lookups.asked() > 5);
  out.live = machine.shown({"one walk failed"});
  return out;
}

Shown replayed(const Bytes& bytes) {
  auto reader = RecordingReader::open(file_of(bytes), "test");
  if (!reader) return {.lines = {}, .report = "", .reasons = {}, .fault = reader.error().operation};
  Machine machine;
  Replay replay{*reader, machine.feed, [] { return std::expected<void, Error>{}; }};
  Replay::Outcome outcome = replay.run();
  CHECK_FALSE(outcome.failure);
  Shown out = machine.shown(std::move(outcome.blind_spots));
  if (outcome.fault) out.fault = outcome.fault->operation;
  return out;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("feed: a snapshot longer than the queue is taken whole, and what comes behind it waits its turn",
          "[app][writer]") {
  Writer writer{-1, "a reader who never reads", 1000};
  JsonSink sink{writer, EventTypes::all()};
  Engine engine{rules()};
  Feed feed{engine, sink, writer};
  feed.answers_by(Lookups{});
  feed.step(Tick{start, 0});
  for (std::uint64_t cookie = 1; cookie <= 50; ++cookie) take(feed, waiting_row(cookie), start);
  feed.step(WalkDone{start + 1, start, false});
  feed.step(test::started(start + ms));
  CHECK(writer.resume() == 0);
  feed.step(Usage{start + 2 * ms, 1, 1});
  CHECK(writer.resume() == 1);
}

TEST_CASE("replay: the lines and the report of the run, byte for byte", "[replay]") {
  const Recorded run = recorded_run();
  const Shown again = replayed(run.bytes);
  CHECK(again.fault.empty());
  CHECK(again.lines == run.live.lines);
  CHECK(again.report == run.live.report);
  // What is compared says something.
  CHECK(std::any_of(run.live.lines.begin(), run.live.lines.end(),
                    [](const std::string& line) { return contains(line, R"("type":"finding")"); }));
  CHECK(std::any_of(run.live.lines.begin(), run.live.lines.end(),
                    [](const std::string& line) { return contains(line, R"("exe":"/bin/2")"); }));
  CHECK(contains(run.live.report, R"("incomplete_reasons":["one walk failed",)"));
  CHECK(contains(run.live.report, R"("lost":3)"));
}

TEST_CASE("replay: a recording that was cut shows what came before, and says that it is not all", "[replay]") {
  const Recorded run = recorded_run();
  std::size_t most = 0;
  for (std::size_t length = 0; length < run.bytes.size(); ++length) {
    const Shown part = replayed({run.bytes.begin(), run.bytes.begin() + static_cast<std::ptrdiff_t>(length)});
    INFO(length << ": " << part.fault);
    REQUIRE_FALSE(part.fault.empty());
    if (part.report.empty()) continue;  // its head is cut already
    REQUIRE(contains(part.report, R"("complete":false)"));
    REQUIRE(contains(part.reasons.at(0), "the recording does not reach to the end of the run"));
    // What it shows is the beginning of what the run showed.
    REQUIRE(part.lines.size() <= run.live.lines.size());
    REQUIRE(std::equal(part.lines.begin(), part.lines.end(), run.live.lines.begin()));
    for (const std::string& line : part.lines) REQUIRE_FALSE(contains(line, R"("type":"bye")"));
    REQUIRE(part.lines.size() >= most);
    most = part.lines.size();
  }
  CHECK(most > run.live.lines.size() / 2);
}

TEST_CASE("replay: who was never asked about is not known", "[replay]") {
  const Bytes bytes = recording([&](RecordingWriter& writer) {
    writer.begin({.version = "0", .command = "trace", .began_ns = start, .stacks = false, .engine = rules()});
    writer.put(Event{Tick{start, 0}});
    writer.put(Event{WalkDone{start + 1, start, true}});
    writer.put(Event{test::started(start + 2)});
    cw_transition raw = raw_transition();
    raw.header.time_ns = start + ms;
    writer.put(bytes_of(raw));
    writer.put(Event{Tick{start + seconds, 0}});
    writer.put(Event{Stopped{start + 2 * seconds, 0, 0}});
    writer.end({});
  });
  const Shown shown = replayed(bytes);
  CHECK(shown.fault.empty());
  CHECK(std::any_of(shown.lines.begin(), shown.lines.end(), [](const std::string& line) {
    return contains(line, R"("type":"transition")") && contains(line, R"("exe":null)");
  }));
}

TEST_CASE("replay: who reads no more ends it", "[replay]") {
  const Recorded run = recorded_run();
  auto reader = RecordingReader::open(file_of(run.bytes), "test");
  REQUIRE(reader);
  Machine machine;
  int calls = 0;
  Replay replay{*reader, machine.feed, [&]() -> std::expected<void, Error> {
                  if (++calls == 3) return std::unexpected(Error{"write to it", EPIPE, ""});
                  return {};
                }};
  const Replay::Outcome outcome = replay.run();
  CHECK(calls == 3);
  REQUIRE(outcome.failure);
  CHECK(outcome.failure->code == EPIPE);
}
