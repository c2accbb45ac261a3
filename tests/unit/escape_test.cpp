// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"
#include "catch.hpp"
#include "locale.hpp"

#include "sink/escape.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

namespace {

std::string json(std::string_view text) {
  Buffer out;
  append_json(out, text);
  return {out.data(), out.size()};
}

constexpr const char* fffd = "\xEF\xBF\xBD";

std::string quoted(const std::string& text) { return '"' + text + '"'; }

}  // namespace

TEST_CASE("JSON strings: plain, quotes, control characters", "[sink][escape]") {
  CHECK(json("") == "\"\"");
  CHECK(json("nginx: worker/1") == "\"nginx: worker/1\"");
  CHECK(json("a\"b\\c") == R"("a\"b\\c")");
  CHECK(json("a\nb\tc\rd") == R"("a\u000ab\u0009c\u000dd")");
  CHECK(json("\x1b[2J") == R"("\u001b[2J")");
  CHECK(json(std::string_view{"a\0b", 3}) == R"("a\u0000b")");
  CHECK(json("\x7f") == R"("\u007f")");
}

TEST_CASE("JSON strings: every byte below 0x20 is escaped", "[sink][escape]") {
  for (int byte = 0; byte < 0x20; ++byte) {
    CAPTURE(byte);
    const std::string out = json(std::string(1, static_cast<char>(byte)));
    for (const char c : out) CHECK(static_cast<unsigned char>(c) >= 0x20);
    CHECK(out.size() >= 4);
  }
}

TEST_CASE("JSON strings: control characters of two bytes are escaped too: a terminal obeys U+009B", "[sink][escape]") {
  CHECK(json("\xC2\x80") == R"("\u0080")");
  CHECK(json("a\xC2\x9B"
             "2J") == R"("a\u009b2J")");
  CHECK(json("\xC2\x9F") == R"("\u009f")");
}

TEST_CASE("JSON strings: UTF-8 stays, of every length", "[sink][escape]") {
  for (const std::string text :
       {"é", "→", "漢字", "😀", "\xF4\x8F\xBF\xBF", "\xC2\xA0", "\xED\x9F\xBF", "\xEE\x80\x80"})
    CHECK(json(text) == quoted(text));
}

TEST_CASE("JSON strings: what is no UTF-8 becomes U+FFFD, and what follows is kept", "[sink][escape]") {
  const std::string bad{fffd};
  CHECK(json("\xff"
             "a") == quoted(bad + "a"));
  CHECK(json("a\x80"
             "b") == quoted("a" + bad + "b"));
  CHECK(json("\xC3") == quoted(bad));                      // cut short
  CHECK(json("\xC3(") == quoted(bad + "("));               // no continuation
  CHECK(json("\xE2\x86") == quoted(bad + bad));            // cut short, byte by byte
  CHECK(json("\xC0\xAF") == quoted(bad + bad));            // overlong
  CHECK(json("\xE0\x80\x80") == quoted(bad + bad + bad));  // overlong
  CHECK(json("\xED\xA0\x80") == quoted(bad + bad + bad));  // a surrogate
  CHECK(json("\xF4\x90\x80\x80") == quoted(bad + bad + bad + bad));  // above U+10FFFF
  CHECK(json("\xF8\x88\x80\x80\x80") == quoted(bad + bad + bad + bad + bad));
  CHECK(json("\xff\"\n") == quoted(bad + "\\\"\\u000a"));
}

TEST_CASE("printable: padded and cut to columns", "[sink][escape]") {
  const Utf8 locale;
  CHECK(printable("abc", true, 0) == "abc");
  CHECK(printable("abc", true, 5) == "abc  ");
  CHECK(printable("abcdef", true, 4) == "abcd");
  CHECK(printable("", true, 2) == "  ");
  CHECK(printable("é→é", true, 5) == "é→é  ");
  CHECK(printable("漢字", true, 4) == "漢字");
  CHECK(printable("漢字", true, 3) == "漢 ");  // half a character is none
  CHECK(printable("漢字", true, 1) == " ");
}

TEST_CASE("printable: without UTF-8 all beyond ASCII is a question mark", "[sink][escape]") {
  CHECK(printable("aéb", false, 0) == "a?b");
  CHECK(printable("漢字", false, 4) == "??  ");
}

TEST_CASE("printable: nothing that a terminal would obey", "[sink][escape]") {
  const Utf8 locale;
  CHECK(printable("\x1b[2Jx", true, 0) == "?[2Jx");
  CHECK(printable("a\nb\rc\td\x7f", true, 0) == "a?b?c?d?");
  CHECK(printable("\xC2\x9B"
                  "2J",
                  true, 0) == "?2J");         // U+009B, a CSI of one character
  CHECK(printable("\xff\xfe", true, 0) == "??");
  CHECK(printable("a\xE2\x80\xAE"
                  "b",
                  true, 0) == "a?b");      // U+202E turns the direction
  CHECK(printable("a\xE2\x80\x8B"
                  "b",
                  true, 0) == "a?b");      // U+200B has no width
  CHECK(printable("a\xEF\xBB\xBF"
                  "b",
                  true, 0) == "a?b");      // U+FEFF
  CHECK(printable("a\xE2\x81\xA6"
                  "b",
                  true, 0) == "a?b");      // U+2066
  CHECK(printable("e\xCC\x81", true, 0) == "e?");              // a mark that would sit on the e
  CHECK(printable(std::string_view{"a\0b", 3}, true, 0) == "a?b");
}

TEST_CASE("printable: every byte alone is harmless", "[sink][escape]") {
  const Utf8 locale;
  for (int byte = 0; byte < 256; ++byte) {
    CAPTURE(byte);
    for (const bool utf8 : {true, false}) {
      const std::string out = printable(std::string(1, static_cast<char>(byte)), utf8, 3);
      CHECK(out.size() == 3);
      for (const char c : out) CHECK((c >= 0x20 && c < 0x7f));
    }
  }
}

TEST_CASE("endpoints as ss prints them", "[sink][escape]") {
  CHECK(endpoint_text(endpoint("127.0.0.1", 8080), Family::ipv4) == "127.0.0.1:8080");
  CHECK(endpoint_text(endpoint("::1", 8080), Family::ipv6) == "[::1]:8080");
  CHECK(endpoint_text(endpoint("2001:db8::7", 0), Family::ipv6) == "[2001:db8::7]:0");
  CHECK(address_text(endpoint("255.255.255.255", 0).address, Family::ipv4) == "255.255.255.255");
  CHECK(address_text(endpoint("::", 0).address, Family::ipv6) == "::");
}
