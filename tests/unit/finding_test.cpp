// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"

#include <closewatch/core/fact.hpp>
#include <closewatch/core/finding.hpp>

#include <array>
#include <string>

using namespace closewatch;

TEST_CASE("the words of the contract", "[finding]") {
  CHECK(name(EndOfFile::unknown) == "unknown");
  CHECK(name(EndOfFile::unread) == "unread");
  CHECK(name(EndOfFile::peeked) == "peeked");
  CHECK(name(EndOfFile::consumed) == "consumed");
  CHECK(name(EndOfFile::read) == "read");
  CHECK(name(Verdict::ok) == "ok");
  CHECK(name(Verdict::stuck) == "stuck");
  CHECK(name(Verdict::leak) == "leak");
  CHECK(name(Trend::growing) == "growing");
  CHECK(name(Trend::steady) == "steady");
  CHECK(name(Trend::draining) == "draining");
  CHECK(name(Resolution::closed) == "closed");
  CHECK(name(Resolution::accepted) == "accepted");
  CHECK(name(Resolution::exit) == "exit");
  CHECK(name(Resolution::reset_still_open) == "reset_still_open");
  CHECK(name(Resolution::killed) == "killed");
  CHECK(name(Finding::Status::raised) == "raised");
  CHECK(name(Finding::Status::changed) == "changed");
  CHECK(name(Finding::Status::resolved) == "resolved");
}

TEST_CASE("every kind has its word, a meaning and a remedy", "[finding]") {
  constexpr std::array<std::string_view, 10> words = {"mptcp",         "never_accepted", "kernel",    "dead_unclosed",
                                                      "write_blocked", "replying",       "inherited", "in_flight",
                                                      "eof_unread",    "eof_ignored"};
  for (std::size_t i = 0; i < words.size(); ++i) {
    const Kind kind = static_cast<Kind>(i);
    CHECK(name(kind) == words[i]);
    for (const std::string_view sentence : {advice(kind).meaning, advice(kind).remedy}) {
      CHECK(sentence.size() > 20);
      CHECK(sentence.size() < 240);
      CHECK(sentence.back() == '.');
      CHECK(sentence.find("  ") == std::string_view::npos);
    }
  }
}

TEST_CASE("what does not cure CLOSE_WAIT is never the remedy", "[finding]") {
  for (const Kind kind : {Kind::eof_unread, Kind::eof_ignored}) {
    CHECK(advice(kind).remedy.find("close()") != std::string_view::npos);
    CHECK(advice(kind).remedy.find("keepalive") != std::string_view::npos);
    CHECK(advice(kind).remedy.find("cure") != std::string_view::npos);
  }
  CHECK(advice(Kind::write_blocked).meaning.find("probes") != std::string_view::npos);
  CHECK(advice(Kind::write_blocked).meaning.find("retransmissions") != std::string_view::npos);
  CHECK(advice(Kind::inherited).remedy.find("SOCK_CLOEXEC") != std::string_view::npos);
}
