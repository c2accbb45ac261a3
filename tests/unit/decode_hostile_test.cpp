// SPDX-License-Identifier: BSD-2-Clause
// The decoder trusts nothing.
#include "catch.hpp"
#include "records.hpp"

#include <memory>
#include <random>
#include <string>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// In a block of its very size, so that the address sanitizer sees a read behind the end.
std::expected<Event, DecodeError> decode_tight(const std::vector<std::byte>& bytes, std::size_t size) {
  const auto block = std::make_unique<std::byte[]>(size);
  std::copy_n(bytes.begin(), size, block.get());
  return decode({block.get(), size});
}

std::string result(const std::vector<std::byte>& bytes) {
  const auto event = decode_tight(bytes, bytes.size());
  return std::string{event ? "good" : name(event.error())};
}

std::vector<std::byte> with_header(std::vector<std::byte> bytes, const std::function<void(cw_header&)>& edit) {
  cw_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  edit(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

template <typename Record>
std::string edited(Record raw, const std::function<void(Record&)>& edit) {
  edit(raw);
  return result(bytes_of(raw));
}

const std::string impossible{name(DecodeError::field)};
const std::string truncated{name(DecodeError::truncated)};
const std::string wrong_size{name(DecodeError::size)};

}  // namespace

TEST_CASE("truncated at every length", "[decode][hostile]") {
  for (const auto& bytes : one_of_each())
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(bytes.size(), size);
      const auto event = decode_tight(bytes, size);
      REQUIRE_FALSE(event);
      CHECK(event.error() == DecodeError::truncated);
    }
}

TEST_CASE("truncated at every length, and the size says so", "[decode][hostile]") {
  for (const auto& bytes : one_of_each())
    for (std::size_t size = sizeof(cw_header); size < bytes.size(); ++size) {
      CAPTURE(bytes.size(), size);
      const auto lies = with_header(bytes, [&](cw_header& header) { header.size = static_cast<__u32>(size); });
      const auto event = decode_tight(lies, size);
      REQUIRE_FALSE(event);
      CHECK(event.error() == DecodeError::size);
    }
}

TEST_CASE("the ring rounds up: bytes behind the record's own size are none of it", "[decode][hostile]") {
  for (auto bytes : one_of_each()) {
    bytes.resize(bytes.size() + 7, std::byte{0xff});
    CHECK(result(bytes) == "good");
  }
}

TEST_CASE("oversized records", "[decode][hostile]") {
  for (auto bytes : one_of_each()) {
    bytes.resize(bytes.size() + 8);
    const auto size = static_cast<__u32>(bytes.size());
    CHECK(result(with_header(bytes, [&](cw_header& header) { header.size = size; })) == wrong_size);
  }
}

TEST_CASE("a size that lies", "[decode][hostile]") {
  for (const auto& bytes : one_of_each()) {
    const auto claims = [&](__u32 size) {
      return result(with_header(bytes, [&](cw_header& header) { header.size = size; }));
    };
    CHECK(claims(0) == wrong_size);
    CHECK(claims(sizeof(cw_header) - 1) == wrong_size);
    CHECK(claims(sizeof(cw_header)) == wrong_size);
    CHECK(claims(static_cast<__u32>(bytes.size() + 1)) == truncated);
    CHECK(claims(0xffffffffU) == truncated);
  }
}

TEST_CASE("another version", "[decode][hostile]") {
  for (const auto& bytes : one_of_each())
    for (const int version : {0, CW_ABI_VERSION + 1, 0xffff})
      CHECK(result(with_header(bytes, [&](cw_header& header) { header.version = static_cast<__u16>(version); })) ==
            name(DecodeError::version));
}

TEST_CASE("an unknown type", "[decode][hostile]") {
  for (const auto& bytes : one_of_each())
    for (const int type : {0, 12, 0xffff})
      CHECK(result(with_header(bytes, [&](cw_header& header) { header.type = static_cast<__u16>(type); })) ==
            name(DecodeError::unknown_type));
}

TEST_CASE("fields that cannot be: a transition's", "[decode][hostile]") {
  const auto edit = [](const std::function<void(cw_transition&)>& change) {
    return edited<cw_transition>(raw_transition(), change);
  };
  for (const int value : {0, 12, 13, 16, 255}) {
    CAPTURE(value);
    const auto state = static_cast<__u8>(value);
    CHECK(edit([&](cw_transition& raw) { raw.from = state; }) == impossible);
    CHECK(edit([&](cw_transition& raw) { raw.to = state; }) == impossible);
  }
  for (const int value : {5, 255})
    CHECK(edit([&](cw_transition& raw) { raw.attribution = static_cast<__u8>(value); }) == impossible);
  for (const int value : {8, 255}) {
    CHECK(edit([&](cw_transition& raw) { raw.call = static_cast<__u8>(value); }) == impossible);
    CHECK(edit([&](cw_transition& raw) { raw.closer_by = static_cast<__u8>(value); }) == impossible);
  }
  for (const int value : {0, 5, 10, 255})
    CHECK(edit([&](cw_transition& raw) { raw.tuple.family = static_cast<__u8>(value); }) == impossible);
  for (const int value : {3, 255})
    CHECK(edit([&](cw_transition& raw) { raw.tuple.role = static_cast<__u8>(value); }) == impossible);
}

TEST_CASE("fields that cannot be: a closing call is close, shutdown or exit", "[decode][hostile]") {
  for (const cw_call call : {CW_CALL_CONNECT, CW_CALL_LISTEN, CW_CALL_DISCONNECT, CW_CALL_KILL}) {
    CAPTURE(static_cast<int>(call));
    CHECK(edited<cw_transition>(raw_transition(),
                                [&](cw_transition& raw) { raw.closer_by = static_cast<__u8>(call); }) == impossible);
  }
}

TEST_CASE("fields that cannot be: a close's", "[decode][hostile]") {
  CHECK(edited<cw_close>(raw_close(), [](cw_close& raw) { raw.transition.from = 0; }) == impossible);
  CHECK(edited<cw_close>(raw_close(), [](cw_close& raw) { raw.transition.tuple.family = 0; }) == impossible);
  CHECK(edited<cw_close>(raw_close(), [](cw_close& raw) { raw.transition.call = 8; }) == impossible);
}

TEST_CASE("fields that cannot be: those of rows", "[decode][hostile]") {
  for (const int value : {0, 12, 255})
    CHECK(edited<cw_socket_row>(raw_socket(), [&](cw_socket_row& raw) { raw.state = static_cast<__u8>(value); }) ==
          impossible);
  CHECK(edited<cw_socket_row>(raw_socket(), [](cw_socket_row& raw) { raw.attribution = 5; }) == impossible);
  CHECK(edited<cw_socket_row>(raw_socket(), [](cw_socket_row& raw) { raw.tuple.family = 7; }) == impossible);
  for (const int value : {0, 1, 4, 7, 8, 12, 255})
    CHECK(edited<cw_bucket_row>(raw_bucket(), [&](cw_bucket_row& raw) { raw.substate = static_cast<__u8>(value); }) ==
          impossible);
  CHECK(edited<cw_bucket_row>(raw_bucket(), [](cw_bucket_row& raw) { raw.tuple.role = 9; }) == impossible);
  CHECK(edited<cw_port_row>(raw_port(), [](cw_port_row& raw) { raw.tuple.role = 3; }) == impossible);
  CHECK(edited<cw_port_row>(raw_port(), [](cw_port_row& raw) { raw.tuple.family = 0; }) == impossible);
}

TEST_CASE("fields that cannot be: those of the last close", "[decode][hostile]") {
  // A transition may be made by any of the calls; a descriptor goes by these two alone.
  for (int call = 0; call < 256; ++call) {
    CAPTURE(call);
    const bool possible = call == CW_CALL_CLOSE || call == CW_CALL_EXIT;
    CHECK(edited<cw_release>(raw_release(), [&](cw_release& raw) { raw.call = static_cast<__u8>(call); }) ==
          (possible ? "good" : impossible));
  }
}

TEST_CASE("fields that cannot be: more of a stack than there is room for", "[decode][hostile]") {
  const auto edit = [](const std::function<void(cw_stacks_row&)>& change) {
    return edited<cw_stacks_row>(raw_stacks(), change);
  };
  for (const __u32 more : {1U, 8U, 0x7fffffffU}) {
    CAPTURE(more);
    CHECK(edit([&](cw_stacks_row& raw) { raw.opened.frames = sizeof raw.opened.address + more; }) == impossible);
    CHECK(edit([&](cw_stacks_row& raw) { raw.opened.words = sizeof raw.opened.word + more; }) == impossible);
    CHECK(edit([&](cw_stacks_row& raw) { raw.end_read.frames = sizeof raw.end_read.address + more; }) == impossible);
    CHECK(edit([&](cw_stacks_row& raw) { raw.end_read.words = sizeof raw.end_read.word + more; }) == impossible);
  }
  // -EFAULT of bpf_get_task_stack(), kept as it came.
  CHECK(edit([&](cw_stacks_row& raw) { raw.opened.frames = static_cast<__u32>(-14); }) == impossible);
}

TEST_CASE("numbers at their ends are numbers: those of rows", "[decode][hostile]") {
  cw_socket_row socket = raw_socket();
  socket.entered_ns = socket.opened_ns = socket.acked_bytes = socket.received_ns = socket.used_ns = ~0ULL;
  socket.flags = socket.unread = socket.unsent = socket.backlog = socket.backlog_max = ~0U;
  socket.eof = socket.users = socket.retransmits = socket.probes = 255;
  CHECK(result(bytes_of(socket)) == "good");
  cw_holder_row holder = raw_holder();
  holder.fd = ~0U;
  holder.used = holder.used_last = 255;
  CHECK(result(bytes_of(holder)) == "good");
}

TEST_CASE("numbers at their ends are numbers", "[decode][hostile]") {
  cw_close raw = raw_close();
  raw.transition.header.time_ns = raw.opened_ns = raw.bytes_sent = raw.bytes_received = ~0ULL;
  raw.transition.flags = raw.transition.unread = ~0U;
  raw.transition.error = INT32_MIN;
  CHECK(result(bytes_of(raw)) == "good");
}

TEST_CASE("100,000 random buffers give an event or an error", "[decode][hostile]") {
  std::mt19937_64 random{20240229};
  const auto examples = one_of_each();
  std::size_t good = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::vector<std::byte> bytes;
    if (round % 2 == 0) {
      bytes.resize(random() % 800);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    } else {
      // A good record with some bytes changed gets further in.
      bytes = examples[random() % examples.size()];
      for (std::uint64_t left = random() % 4; left > 0; --left)
        bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (const auto event = decode_tight(bytes, bytes.size())) {
      ++good;
      if (const auto* seen = std::get_if<TransitionSeen>(&*event)) CHECK_FALSE(name(seen->from).empty());
      if (const auto* row = std::get_if<SocketRow>(&*event)) CHECK_FALSE(name(row->condition.eof).empty());
      if (const auto* stacks = std::get_if<StacksSeen>(&*event); stacks != nullptr && stacks->opened) {
        CHECK(stacks->opened->addresses.size() <= CW_STACK_FRAMES);
        CHECK(stacks->opened->words.size() <= CW_STACK_WORDS);
      }
    } else {
      CHECK_FALSE(name(event.error()).empty());
    }
  }
  CHECK(good > 1000);
}
