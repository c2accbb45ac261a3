// SPDX-License-Identifier: BSD-2-Clause
// A slow reader, one that has gone, and a full disk.
#include "catch.hpp"

#include "sink/writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

using namespace closewatch;

namespace {

using std::chrono::milliseconds;

/// A pipe of one page, whose reader reads when the test says so.
class Pipe {
 public:
  Pipe() {
    REQUIRE(pipe2(ends_.data(), O_CLOEXEC) == 0);
    REQUIRE(fcntl(ends_[1], F_SETPIPE_SZ, 4096) == 4096);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    leave();
    ::close(ends_[1]);
  }
  [[nodiscard]] int in() const { return ends_[1]; }
  std::string read() {
    std::array<char, 65536> room{};
    const ssize_t length = ::read(ends_[0], room.data(), room.size());
    REQUIRE(length >= 0);
    return {room.data(), static_cast<std::size_t>(length)};
  }
  void leave() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

/// As the program does: a broken pipe is an error to look at, and no signal.
class NoSigpipe {
 public:
  NoSigpipe() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;
  ~NoSigpipe() { std::signal(SIGPIPE, before_); }

 private:
  void (*before_)(int);
};

std::string line(int number) {
  std::string text = std::to_string(number);
  text.resize(99, '.');
  return text + "\n";
}

/// Offers lines until one is refused, and returns how many were taken.
int fill(Writer& writer, int first = 0) {
  int taken = 0;
  while (writer.accepts()) writer.put(line(first + taken++));
  return taken;
}

}  // namespace

TEST_CASE("writer: lines go out in order", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe"};
  CHECK_FALSE(writer.waiting());
  REQUIRE(writer.accepts());
  writer.put("one\n");
  writer.put("two\n");
  CHECK(writer.waiting());
  REQUIRE(writer.pump());
  CHECK_FALSE(writer.waiting());
  CHECK(pipe.read() == "one\ntwo\n");
}

TEST_CASE("writer: a reader that does not read never blocks it", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 10'000};
  for (int number = 0; number < 60; ++number) writer.put(line(number));
  REQUIRE(writer.pump());  // returns: 4096 bytes have room, 6000 do not
  CHECK(writer.waiting());
  REQUIRE(writer.pump());
  std::string all;
  while (writer.waiting()) {
    all += pipe.read();
    REQUIRE(writer.pump());
  }
  all += pipe.read();
  std::string expected;
  for (int number = 0; number < 60; ++number) expected += line(number);
  CHECK(all == expected);
}

TEST_CASE("writer: a full queue drops whole lines and counts them", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 1000};
  CHECK(fill(writer) == 10);  // refused once by now
  CHECK_FALSE(writer.accepts());
  CHECK_FALSE(writer.accepts());
  CHECK(writer.dropped_before_room() == 0);  // not told while there is no room to tell it
  REQUIRE(writer.pump());
  CHECK(writer.dropped_before_room() == 3);
}

TEST_CASE("writer: takes lines again only once the loss was told", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 1000};
  const int taken = fill(writer);
  REQUIRE(writer.pump());
  CHECK_FALSE(writer.accepts());  // there is room, but a hole before it that nobody knows of
  CHECK(writer.resume() == 2);
  CHECK(writer.resume() == 0);
  CHECK(writer.dropped_before_room() == 0);
  REQUIRE(writer.accepts());
  writer.put("after\n");
  CHECK(pipe.read().ends_with(line(taken - 1)));
  REQUIRE(writer.pump());
  CHECK(pipe.read() == "after\n");
}

TEST_CASE("writer: half of the queue must be free before it goes on", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 10'000};
  writer.put(std::string(4096, 'x'));
  REQUIRE(writer.pump());  // the pipe is full now, the queue empty
  REQUIRE(fill(writer) == 100);
  CHECK(writer.dropped_before_room() == 0);
  (void)pipe.read();
  REQUIRE(writer.pump());  // 5904 left
  CHECK(writer.dropped_before_room() == 0);
  (void)pipe.read();
  REQUIRE(writer.pump());  // 1808 left
  CHECK(writer.dropped_before_room() == 1);
}

TEST_CASE("writer: what belongs together is taken to its last line, or not at all", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 1000};
  writer.begin_together();
  for (int number = 0; number < 100; ++number) {
    REQUIRE(writer.accepts());
    writer.put(line(number));
  }
  writer.end_together();
  CHECK_FALSE(writer.accepts());  // beyond the limit by now
  writer.begin_together();
  CHECK_FALSE(writer.accepts());  // begun behind a loss
  writer.end_together();
  REQUIRE(writer.pump());
  std::string all;
  while (writer.waiting()) {
    all += pipe.read();
    REQUIRE(writer.pump());
  }
  all += pipe.read();
  std::string expected;
  for (int number = 0; number < 100; ++number) expected += line(number);
  CHECK(all == expected);
  CHECK(writer.dropped_before_room() == 2);
}

TEST_CASE("writer: megabytes go out in order", "[sink][writer]") {
  Pipe pipe;
  REQUIRE(fcntl(pipe.in(), F_SETPIPE_SZ, 65536) == 65536);
  Writer writer{pipe.in(), "pipe"};
  std::string expected;
  for (int number = 0; number < 40'000; ++number) {
    writer.put(line(number));
    expected += line(number);
  }
  std::string all;
  REQUIRE(writer.pump());
  while (writer.waiting()) {
    all += pipe.read();
    REQUIRE(writer.pump());
  }
  all += pipe.read();
  CHECK(all == expected);
}

TEST_CASE("writer: what must be said is queued beyond the limit", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe", 100};
  fill(writer);
  writer.put("bye\n");
  REQUIRE(writer.pump());
  CHECK(pipe.read() == line(0) + "bye\n");
}

TEST_CASE("writer: a reader that has gone is EPIPE", "[sink][writer]") {
  const NoSigpipe guard;
  Pipe pipe;
  Writer writer{pipe.in(), "the pipe"};
  pipe.leave();
  writer.put("line\n");
  const auto pumped = writer.pump();
  REQUIRE_FALSE(pumped);
  CHECK(pumped.error().code == EPIPE);
  const auto finished = writer.finish(milliseconds{0});
  REQUIRE_FALSE(finished);
  CHECK(finished.error().code == EPIPE);
}

TEST_CASE("writer: a full disk is ENOSPC, with a remedy", "[sink][writer]") {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(full >= 0);
  Writer writer{full, "/dev/full"};
  writer.put("line\n");
  const auto pumped = writer.pump();
  ::close(full);
  REQUIRE_FALSE(pumped);
  CHECK(pumped.error().code == ENOSPC);
  CHECK(pumped.error().operation == "write to /dev/full");
  CHECK_FALSE(pumped.error().remedy.empty());
}

TEST_CASE("writer: the last lines wait no longer than they are given", "[sink][writer]") {
  Pipe pipe;
  Writer writer{pipe.in(), "pipe"};
  writer.put(std::string(4096, 'x'));
  REQUIRE(writer.pump());
  writer.put("last\n");
  const auto finished = writer.finish(milliseconds{0});
  REQUIRE_FALSE(finished);
  CHECK(finished.error().code == ETIMEDOUT);
  (void)pipe.read();
  CHECK(writer.finish(milliseconds{0}));
  CHECK(pipe.read() == "last\n");
}

TEST_CASE("writer: the descriptor's own flags are left alone", "[sink][writer]") {
  Pipe pipe;
  const int before = fcntl(pipe.in(), F_GETFL);
  Writer writer{pipe.in(), "pipe"};
  writer.put("line\n");
  REQUIRE(writer.pump());
  CHECK(fcntl(pipe.in(), F_GETFL) == before);
}
