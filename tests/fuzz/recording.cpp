// SPDX-License-Identifier: BSD-2-Clause
// A recording that somebody else made: read, replayed through the stream and the report.
//
// The first byte of an input says what it is. 0: a file as it is. Otherwise items (kind, length, payload) that are put
// into sound blocks behind a sound head, since no mutation finds a checksum.
#include "input.hpp"
#include "output.hpp"

#include "app/replay.hpp"
#include "sink/json.hpp"
#include "sink/report_json.hpp"
#include "sink/report_text.hpp"
#include "source/recorded.hpp"
#include "source/recording.hpp"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <memory>
#include <string>

using namespace closewatch;
using closewatch::fuzz::demand;
using closewatch::fuzz::Input;

namespace {

constexpr std::uint16_t ends_block = 0x8000;
constexpr std::size_t most_items = 256;

Descriptor memory_file() {
  Descriptor file{memfd_create("recording", MFD_CLOEXEC)};
  demand(file.is_open(), "no memory file");
  return file;
}

void append(int fd, std::string_view bytes) {
  demand(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "not written");
}

void append_block(int fd, const std::string& block) {
  static const auto compressor = [] {
    std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> made{ZSTD_createCCtx(), ZSTD_freeCCtx};
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_checksumFlag, 1);
    return made;
  }();
  std::string compressed(ZSTD_compressBound(block.size()), '\0');
  const std::size_t size =
      ZSTD_compress2(compressor.get(), compressed.data(), compressed.size(), block.data(), block.size());
  demand(ZSTD_isError(size) == 0, "not compressed");
  append(fd, std::string_view{compressed}.substr(0, size));
}

/// What is read of an item is written as it was, in the order of the writer.
void check_both_ways(std::uint16_t kind, std::string_view payload) {
  const auto item = from_recorded(kind, payload);
  if (!item) return demand(!item.error().empty(), "an error without a word");
  const auto written = [](const auto& read) {
    if (const auto* event = std::get_if<Event>(&read)) return recorded(*event).value();
    if (const auto* head = std::get_if<RecordingHead>(&read)) return recorded(*head);
    return recorded(std::get<RecordingEnd>(read));
  };
  const RecordedItem once = written(*item);
  demand(static_cast<std::uint16_t>(once.kind) == kind, "an item of another kind", once.json);
  const auto again = from_recorded(kind, once.json);
  demand(again.has_value(), "an item that is not read as it is written", once.json);
  demand(written(*again).json == once.json, "an item that is another when it is read", once.json);
}

void write_items(int fd, Input& input) {
  RecordingHead head;
  head.version = "0";
  head.command = "trace";
  head.engine.detector = {.leak_after_ns = 1'000'000'000, .sweep_ns = 250'000'000};
  const std::uint8_t drawn = input.byte();
  head.stacks = (drawn & 1U) != 0;
  head.engine.detector.sanitizer = (drawn & 2U) != 0;
  head.engine.detector.sees_all_processes = (drawn & 4U) != 0;
  RecordingWriter{Descriptor{dup(fd)}, "recording", 0}.begin(head);
  std::string block;
  for (std::size_t items = 0; items < most_items && !input.empty(); ++items) {
    const auto drawn_kind = input.number<std::uint16_t>();
    const auto kind = static_cast<std::uint16_t>(drawn_kind & ~ends_block);
    const std::string_view payload = input.take(input.number<std::uint16_t>());
    check_both_ways(kind, payload);
    const auto size = static_cast<std::uint32_t>(payload.size());
    block.append(reinterpret_cast<const char*>(&size), sizeof size);
    block.append(reinterpret_cast<const char*>(&kind), sizeof kind).append(2, '\0').append(payload);
    if ((drawn_kind & ends_block) != 0) append_block(fd, std::exchange(block, {}));
  }
  if (!block.empty()) append_block(fd, block);
}

void replay(Descriptor file) {
  auto recording = RecordingReader::open(std::move(file), "input");
  if (!recording) return demand(!recording.error().operation.empty(), "an error without a word");
  const Descriptor out = memory_file();
  Writer writer{out.get(), "output"};
  writer.lift_limit();
  JsonSink sink{writer, EventTypes::all()};
  Engine::Settings rules = recording->head().engine;
  rules.keeps_accounts = true;
  Engine engine{rules};
  Feed feed{engine, sink, writer};
  Replay replay{*recording, feed, [] { return std::expected<void, Error>{}; }};
  const Replay::Outcome outcome = replay.run();
  demand(!outcome.failure, "a failure that nobody made");
  if (outcome.fault) demand(!outcome.blind_spots.empty(), "a fault that makes nothing incomplete");

  demand(writer.pump().has_value(), "not written");
  std::string stream(static_cast<std::size_t>(lseek(out.get(), 0, SEEK_END)), '\0');
  demand(pread(out.get(), stream.data(), stream.size(), 0) == static_cast<ssize_t>(stream.size()), "not read");
  for (std::size_t at = 0, end = 0; at < stream.size(); at = end + 1) {
    end = stream.find('\n', at);
    demand(end != std::string::npos, "an unfinished line");
    const std::string_view line = std::string_view{stream}.substr(at, end - at);
    demand(fuzz::is_json(line), "a line that is no JSON", line);
  }
  const Report report = engine.report({.host = feed.started().host,
                                       .kernel = feed.started().kernel,
                                       .from_ns = recording->head().began_ns,
                                       .incomplete_reasons = outcome.blind_spots,
                                       .with_stacks = recording->head().stacks,
                                       .verbose = true});
  std::string json = report_json(report);
  demand(json.ends_with('\n'), "a report without an end");
  json.pop_back();
  demand(fuzz::is_json(json), "a report that is no JSON", json);
  const std::string text = report_text(report, {});
  demand(fuzz::is_plain_text(text), "a report that steers the terminal", text);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{data, size};
  Descriptor file = memory_file();
  if (input.byte() == 0)
    append(file.get(), input.all());
  else
    write_items(file.get(), input);
  demand(lseek(file.get(), 0, SEEK_SET) == 0, "not rewound");
  replay(std::move(file));
  return 0;
}
