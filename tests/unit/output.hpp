// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_OUTPUT_HPP
#define CLOSEWATCH_TESTS_UNIT_OUTPUT_HPP

// Where sinks write in a test, and the facts that they are given.

#include "builders.hpp"
#include "catch.hpp"

#include "sink/writer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace closewatch::test {

/// A writer into memory.
class Captured {
 public:
  explicit Captured(std::size_t limit = std::size_t{1} << 20U)
      : fd_(memfd_create("output", MFD_CLOEXEC)), writer_(fd_, "output", limit) {
    REQUIRE(fd_ >= 0);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { ::close(fd_); }

  Writer& writer() { return writer_; }
  /// All that was written so far.
  std::string text() {
    REQUIRE(writer_.pump());
    std::string out;
    std::array<char, 4096> piece{};
    for (ssize_t length = 0; (length = pread(fd_, piece.data(), piece.size(), static_cast<off_t>(out.size()))) > 0;)
      out.append(piece.data(), static_cast<std::size_t>(length));
    return out;
  }
  std::vector<std::string> lines() {
    std::vector<std::string> out;
    std::string rest = text();
    for (std::size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1))
      out.push_back(rest.substr(0, end));
    REQUIRE(rest.empty());
    return out;
  }

 private:
  int fd_;
  Writer writer_;
};

/// 2024-02-29T12:34:56.000000789Z
inline constexpr std::int64_t leap_day_ns = 1'709'210'096'000'000'789;

inline Responsible responsible(const Identity& identity, Attribution attribution = Attribution::opener) {
  ProcessEntry entry;
  entry.details.exe = "/usr/bin/client";
  entry.details.cmdline = "client -x";
  entry.details.cgroup = "/app.slice";
  entry.details.container = "ab12cd34ef56";
  return {Process{identity, std::make_shared<ProcessEntry>(entry)}, attribution};
}

inline Connection connection(const Tuple& tuple = outgoing()) { return {{tuple.netns, 81}, tuple, false}; }

inline Transition a_transition() {
  Transition out;
  out.time_ns = leap_day_ns;
  out.connection = connection();
  out.from = State::established;
  out.to = State::fin_wait1;
  out.in_state_ns = 1234;
  out.responsible = responsible(client(), Attribution::closer);
  out.actor = client();
  out.cause = Cause::close;
  return out;
}

inline Closed a_closed() {
  Closed out;
  out.time_ns = leap_day_ns;
  out.connection = connection();
  out.responsible = responsible(client(), Attribution::closer);
  out.closer = Closer{client(), Cause::close};
  out.first_fin = FirstFin::local;
  out.ending = Ending::fin;
  out.bucket = Bucket::time_wait;
  out.states_ns[static_cast<std::size_t>(State::established)] = 7;
  out.states_ns[static_cast<std::size_t>(State::fin_wait2)] = 9;
  out.states_ns[static_cast<std::size_t>(State::syn_sent)] = 5;
  out.in_state_ns = 9;
  out.duration_ns = 21;
  out.bytes_sent = 100;
  out.bytes_received = 200;
  return out;
}

inline Snapshot a_snapshot() {
  Snapshot out;
  out.time_ns = leap_day_ns;
  out.connection = connection();
  out.state = State::close_wait;
  out.age_ns = 5;
  out.responsible = responsible(client(), Attribution::holder);
  return out;
}

inline Finding a_finding() {
  Finding out;
  out.time_ns = leap_day_ns;
  out.connection = connection();
  out.responsible = responsible(client(), Attribution::holder);
  out.kind = Kind::eof_ignored;
  out.verdict = Verdict::leak;
  out.age_ns = 31'000'000'000;
  out.condition.eof = EndOfFile::read;
  out.holders = {{client(), 7, true, true}};
  return out;
}

}  // namespace closewatch::test

#endif
