// SPDX-License-Identifier: BSD-2-Clause
#include "output.hpp"

#include <cstddef>
#include <cstdint>

namespace closewatch::fuzz {
namespace {

constexpr int deepest = 64;

/// Takes one character of UTF-8 (RFC 3629) off the front; its code, or -1 where it is none.
std::int32_t take_character(std::string_view& text) {
  const auto at = [&](std::size_t place) { return static_cast<unsigned char>(text[place]); };
  const unsigned first = at(0);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                             : first < 0xf5 ? 4
                                            : 0;
  if (length == 0 || length > text.size()) return -1;
  std::uint32_t code = length == 1 ? first : first & (0x7fU >> length);
  for (std::size_t place = 1; place < length; ++place) {
    if ((at(place) & 0xc0U) != 0x80) return -1;
    code = code << 6U | (at(place) & 0x3fU);
  }
  text.remove_prefix(length);
  const bool shorter_way = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (shorter_way || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return -1;
  return static_cast<std::int32_t>(code);
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  bool whole() { return value(0) && rest_.empty(); }

 private:
  bool eat(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool digits() {
    std::size_t count = 0;
    while (count < rest_.size() && rest_[count] >= '0' && rest_[count] <= '9') ++count;
    rest_.remove_prefix(count);
    return count > 0;
  }
  bool number() {
    eat("-");
    if (!eat("0") && !digits()) return false;
    if (eat(".") && !digits()) return false;
    if (eat("e") || eat("E")) {
      if (!eat("+")) eat("-");
      return digits();
    }
    return true;
  }
  bool escaped() {
    if (rest_.empty()) return false;
    const char sign = rest_[0];
    rest_.remove_prefix(1);
    if (sign != 'u') return std::string_view{"\"\\/bfnrt"}.find(sign) != std::string_view::npos;
    if (rest_.size() < 4) return false;
    const std::string_view code = rest_.substr(0, 4);
    rest_.remove_prefix(4);
    return code.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
  }
  bool string() {
    if (!eat("\"")) return false;
    while (!rest_.empty()) {
      if (eat("\"")) return true;
      if (eat("\\")) {
        if (!escaped()) return false;
      } else if (take_character(rest_) < 0x20) {
        return false;
      }
    }
    return false;
  }
  bool members(std::string_view end, bool named, int depth) {
    if (eat(end)) return true;
    do {
      if (named && (!string() || !eat(":"))) return false;
      if (!value(depth + 1)) return false;
    } while (eat(","));
    return eat(end);
  }
  // Compact by contract: no blanks outside of strings.
  bool value(int depth) {
    if (depth > deepest || rest_.empty()) return false;
    if (rest_[0] == '"') return string();
    if (eat("{")) return members("}", true, depth);
    if (eat("[")) return members("]", false, depth);
    return eat("true") || eat("false") || eat("null") || number();
  }

  std::string_view rest_;
};

}  // namespace

bool is_json(std::string_view text) { return Reader{text}.whole(); }

bool is_plain_text(std::string_view text) {
  while (!text.empty()) {
    const std::int32_t code = take_character(text);
    if (code != '\n' && (code < 0x20 || (code >= 0x7f && code < 0xa0))) return false;
  }
  return true;
}

}  // namespace closewatch::fuzz
