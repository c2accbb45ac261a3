// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_RECORDINGS_HPP
#define CLOSEWATCH_TESTS_UNIT_RECORDINGS_HPP

// Recordings in memory, written and read by what tests/unit is about.

#include "catch.hpp"

#include "source/recording.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace closewatch::test {

using Bytes = std::vector<std::byte>;

inline Descriptor memory_file() {
  Descriptor file{memfd_create("recording", MFD_CLOEXEC)};
  REQUIRE(file.is_open());
  return file;
}

inline Descriptor file_of(std::span<const std::byte> bytes) {
  Descriptor file = memory_file();
  REQUIRE(::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  REQUIRE(lseek(file.get(), 0, SEEK_SET) == 0);
  return file;
}

inline Bytes content_of(const Descriptor& file) {
  Bytes bytes(static_cast<std::size_t>(lseek(file.get(), 0, SEEK_END)));
  REQUIRE(pread(file.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

/// What `write` puts into a recording.
template <typename Write>
Bytes recording(Write write, std::uint64_t most_bytes = 0) {
  const Descriptor file = memory_file();
  {
    RecordingWriter writer{Descriptor{dup(file.get())}, "test", most_bytes};
    write(writer);
  }
  return content_of(file);
}

/// A recording read to where it ends.
struct ReadOut {
  RecordingHead head;
  std::vector<Bytes> records;
  std::vector<Event> events;
  std::optional<RecordingEnd> end;
  std::size_t items = 0;
  std::string error;  ///< empty: read to its end
};

inline ReadOut read_out(std::span<const std::byte> bytes) {
  ReadOut out;
  auto reader = RecordingReader::open(file_of(bytes), "test");
  if (!reader) {
    out.error = reader.error().operation;
    return out;
  }
  out.head = reader->head();
  for (;;) {
    auto item = reader->next();
    if (!item) {
      out.error = item.error().operation;
      return out;
    }
    if (!*item) return out;
    ++out.items;
    if (const auto* record = std::get_if<RecordingReader::Record>(&**item))
      out.records.emplace_back(record->begin(), record->end());
    if (auto* event = std::get_if<Event>(&**item)) out.events.push_back(std::move(*event));
    if (auto* end = std::get_if<RecordingEnd>(&**item)) out.end = std::move(*end);
  }
}

}  // namespace closewatch::test

#endif
