// SPDX-License-Identifier: BSD-2-Clause
// The file of a recording: whole, cut, damaged, foreign, full.
#include "recordings.hpp"
#include "records.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <random>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::size_t preamble = 32;

RecordingHead some_head() {
  return {.version = "0.1.0", .command = "trace", .began_ns = 5, .stacks = false, .engine = {}};
}

/// Three blocks behind the head's: a pulse ends one.
Bytes some_recording() {
  return recording([](RecordingWriter& writer) {
    writer.begin(some_head());
    writer.put(bytes_of(raw_transition()));
    writer.put(Event{Tick{1, 2}});
    writer.pulse(1 * seconds);
    writer.put(bytes_of(raw_close()));
    writer.put(Event{NamespaceGone{3, 4}});
    writer.pulse(2 * seconds);
    writer.put(Event{Stopped{9, 0, 0}});
    writer.end({.blind_spots = {"something"}, .at_limit = false});
  });
}

std::size_t items_of(const Bytes& bytes) { return read_out(bytes).items; }

Bytes cut(const Bytes& whole, std::size_t length) {
  return {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)};
}

}  // namespace

TEST_CASE("recording: what goes in comes out, in order", "[recording]") {
  const ReadOut out = read_out(some_recording());
  CHECK(out.error.empty());
  CHECK(out.head.command == "trace");
  CHECK(out.head.began_ns == 5);
  CHECK(out.records == std::vector<Bytes>{bytes_of(raw_transition()), bytes_of(raw_close())});
  REQUIRE(out.events.size() == 3);
  CHECK(std::get<Tick>(out.events[0]).time_ns == 1);
  CHECK(std::get<NamespaceGone>(out.events[1]).netns == 4);
  CHECK(std::get<Stopped>(out.events[2]).time_ns == 9);
  REQUIRE(out.end);
  CHECK(out.end->blind_spots == std::vector<std::string>{"something"});
  CHECK_FALSE(out.end->at_limit);
  CHECK(out.items == 6);
}

TEST_CASE("recording: cut at every byte it is read up to its last whole block, and said to be cut", "[recording]") {
  const Bytes whole = some_recording();
  std::size_t most = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const ReadOut out = read_out(cut(whole, length));
    INFO(length << ": " << out.error);
    REQUIRE_FALSE(out.error.empty());
    REQUIRE_FALSE(out.end);
    REQUIRE(out.items >= most);
    most = out.items;
    // The offset that it names: where the file ends.
    if (length >= 16) REQUIRE(out.error.find("at byte " + std::to_string(length)) != std::string::npos);
  }
  CHECK(most == 4);  // all but the last block's
}

TEST_CASE("recording: any byte changed is found, or changes nothing that is read", "[recording]") {
  const Bytes whole = some_recording();
  const ReadOut good = read_out(whole);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned mask : {0x01U, 0x80U, 0xffU}) {
      Bytes bytes = whole;
      bytes[at] ^= static_cast<std::byte>(mask);
      const ReadOut out = read_out(bytes);
      INFO(at << " " << mask << ": " << out.error);
      if (out.error.empty()) {
        REQUIRE(out.records == good.records);
        REQUIRE(out.items == good.items);
      }
    }
  }
}

TEST_CASE("recording: any bytes give items or an error", "[recording]") {
  std::mt19937 random{5};
  const Bytes whole = some_recording();
  for (int round = 0; round < 300; ++round) {
    Bytes bytes = cut(whole, preamble);
    for (std::size_t length = random() % 400; length > 0; --length) bytes.push_back(static_cast<std::byte>(random()));
    CHECK_FALSE(read_out(bytes).error.empty());
  }
}

TEST_CASE("recording: what is none, or not of this format", "[recording]") {
  CHECK(read_out({}).error == "read the recording test: it ends within its first words at byte 0");
  Bytes text(100, static_cast<std::byte>('x'));
  CHECK(read_out(text).error == "replay test: it is not as a recording begins, at byte 0");
  Bytes other_name = some_recording();
  other_name[13] = static_cast<std::byte>('x');
  CHECK(read_out(other_name).error == "replay test: it is not as a recording begins, at byte 13");
  Bytes future = some_recording();
  future[24] = static_cast<std::byte>(2);
  CHECK(read_out(future).error == "replay test: its format is 2.1 (at byte 24), and this closewatch reads 1.1");
  Bytes other_records = some_recording();
  other_records[28] = static_cast<std::byte>(9);
  CHECK(read_out(other_records).error == "replay test: its format is 1.9 (at byte 24), and this closewatch reads 1.1");
}

TEST_CASE("recording: what is not where it belongs", "[recording]") {
  const Bytes headless = recording([](RecordingWriter& writer) { writer.end({}); });
  CHECK(read_out(headless).error == "read the recording test: damaged (it does not say what it is), at byte 32");
  const Bytes two_heads = recording([](RecordingWriter& writer) {
    writer.begin(some_head());
    writer.begin(some_head());
  });
  CHECK(read_out(two_heads).error.find("a second head") != std::string::npos);
  Bytes two = some_recording();
  const std::size_t size = two.size();
  two.push_back(std::byte{0});
  CHECK(read_out(two).error == "read the recording test: it goes on behind its end, at byte " + std::to_string(size));
}

TEST_CASE("recording: what has waited for a second goes out", "[recording]") {
  const Descriptor file = memory_file();
  RecordingWriter writer{Descriptor{dup(file.get())}, "test", 0};
  writer.begin(some_head());
  writer.put(Event{Tick{1, 2}});
  writer.pulse(10 * seconds);
  const std::size_t first = items_of(content_of(file));
  CHECK(first == 1);
  writer.put(Event{Tick{2, 2}});
  writer.pulse(10 * seconds + 999 * ms);
  CHECK(items_of(content_of(file)) == 1);
  writer.pulse(11 * seconds);
  CHECK(items_of(content_of(file)) == 2);
}

TEST_CASE("recording: much at once goes out in blocks that a reader takes", "[recording]") {
  constexpr std::size_t records = 20'000;
  std::mt19937 random{7};
  const Bytes bytes = recording([&](RecordingWriter& writer) {
    writer.begin(some_head());
    for (std::size_t at = 0; at < records; ++at) {
      cw_close raw = raw_close();
      for (auto& state : raw.states_ns) state = random();
      writer.put(bytes_of(raw));
    }
    Started head;
    head.options = {{"comm", std::string(900 << 10, 'a')}};
    writer.put(Event{head});
    writer.end({});
  });
  const ReadOut out = read_out(bytes);
  CHECK(out.error.empty());
  CHECK(out.records.size() == records);
  CHECK(std::get<Started>(out.events.at(0)).options.at(0).second.size() == 900U << 10U);
}

TEST_CASE("recording: it ends at its limit, says so, and is never larger", "[recording]") {
  constexpr std::uint64_t limit = 65'536;
  std::mt19937 random{9};
  bool reached = false;
  const Bytes bytes = recording(
      [&](RecordingWriter& writer) {
        writer.begin(some_head());
        for (std::uint64_t at = 1; at < 3000; ++at) {
          cw_close raw = raw_close();
          for (auto& state : raw.states_ns) state = random() * random();
          writer.put(bytes_of(raw));
          if (at % 50 == 0) writer.pulse(at * seconds);
        }
        reached = writer.reached_limit();
        CHECK_FALSE(writer.is_open());
        CHECK_FALSE(writer.error());
        writer.end({.blind_spots = {"of the run"}, .at_limit = false});
      },
      limit);
  CHECK(reached);
  CHECK(bytes.size() <= limit);
  CHECK(bytes.size() > limit / 2);
  const ReadOut out = read_out(bytes);
  CHECK(out.error.empty());
  REQUIRE(out.end);
  CHECK(out.end->at_limit);
  CHECK(out.end->blind_spots.empty());
}

TEST_CASE("recording: a write that fails ends it, and is kept", "[recording]") {
  Descriptor full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  REQUIRE(full.is_open());
  RecordingWriter writer{std::move(full), "/dev/full", 0};
  writer.begin(some_head());
  CHECK_FALSE(writer.is_open());
  REQUIRE(writer.error());
  CHECK(writer.error()->code == ENOSPC);
  CHECK(writer.error()->operation == "write the recording /dev/full");
  writer.put(Event{Tick{1, 2}});
  writer.end({});
  CHECK(writer.error()->code == ENOSPC);
}

TEST_CASE("recording: a pipe whose reader has stopped ends it, and does not hold up the run", "[recording]") {
  std::array<int, 2> ends{-1, -1};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  const Descriptor out{ends[0]};
  RecordingWriter writer{Descriptor{ends[1]}, "a pipe", 0, std::chrono::milliseconds{1}};
  writer.begin(some_head());
  CHECK(writer.is_open());
  std::mt19937 chance{7};
  Bytes noise(100'000);  // more than a pipe takes, and not to be compressed
  std::generate(noise.begin(), noise.end(), [&] { return static_cast<std::byte>(chance()); });
  writer.put(noise);
  writer.pulse(1 * seconds);
  CHECK_FALSE(writer.is_open());
  REQUIRE(writer.error());
  CHECK(writer.error()->code == ETIMEDOUT);
  CHECK(writer.error()->remedy.find("reader") != std::string::npos);
}

TEST_CASE("recording: a pipe that is read gets all of it", "[recording]") {
  std::array<int, 2> ends{-1, -1};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  Descriptor out{ends[0]};
  Bytes record = bytes_of(raw_transition());
  {
    RecordingWriter writer{Descriptor{ends[1]}, "a pipe", 0};
    writer.begin(some_head());
    for (int number = 0; number < 100; ++number) writer.put(record);
    writer.end({});
    CHECK_FALSE(writer.error());
  }
  auto reader = RecordingReader::open(std::move(out), "a pipe");
  REQUIRE(reader);
  int records = 0;
  for (auto item = reader->next(); item && *item; item = reader->next())
    records += std::holds_alternative<RecordingReader::Record>(**item) ? 1 : 0;
  CHECK(records == 100);
}

TEST_CASE("recording: an item that its reader would not take is not written", "[recording]") {
  std::optional<Error> error;
  const Bytes bytes = recording([&](RecordingWriter& writer) {
    writer.begin(some_head());
    writer.put(Bytes((std::size_t{1} << 20U) + 1));
    error = writer.error();
  });
  REQUIRE(error);
  CHECK(error->code == EMSGSIZE);
  CHECK(read_out(bytes).error.find("it ends before the run did") != std::string::npos);
}
