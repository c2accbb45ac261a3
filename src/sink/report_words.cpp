// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_words.hpp"

#include "sink/json_parts.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_map>
#include <utility>

namespace closewatch::words {
namespace {

constexpr std::size_t frames_shown = 5;
constexpr std::size_t holders_shown = 3;

/// What stands between the program and the kernel: its caller is the line that is looked for.
bool is_wrapper(const Frame& frame) {
  for (const std::string_view start : {"libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "[vdso]"})
    if (base_name(frame.module).starts_with(start)) return true;
  return false;
}

std::string function_text(const Frame& frame, bool utf8) {
  if (frame.function.empty()) return {};
  std::string text = printable(frame.function, utf8, 0);
  if (text.find('(') == std::string::npos) text += "()";
  return text;
}

std::string position_text(const Frame& frame, bool utf8) {
  if (!frame.file.empty()) {
    std::string text = printable(base_name(frame.file), utf8, 0);
    if (frame.line != 0) text += fmt::format(FMT_COMPILE(":{}"), frame.line);
    return text;
  }
  if (!frame.module.empty())
    return fmt::format(FMT_COMPILE("{}+{:#x}"), printable(base_name(frame.module), utf8, 0), frame.offset);
  return frame.function.empty() ? fmt::format(FMT_COMPILE("{:#x}"), frame.address) : "";
}

/// "7, 8 and 35 more"
std::string list(const std::vector<std::uint32_t>& numbers, std::uint64_t in_all) {
  std::string out;
  const std::size_t shown = std::min(numbers.size(), holders_shown);
  for (std::size_t at = 0; at < shown; ++at) out += fmt::format(FMT_COMPILE("{}{}"), at == 0 ? "" : ", ", numbers[at]);
  if (in_all > shown) out += fmt::format(FMT_COMPILE(" and {} more"), in_all - shown);
  return out;
}

}  // namespace

std::string_view of(Kind kind) {
  switch (kind) {
    case Kind::mptcp: return "subflows of MPTCP";
    case Kind::never_accepted: return "never accepted";
    case Kind::kernel: return "the kernel's own";
    case Kind::dead_unclosed: return "ended by TCP, descriptor still open";
    case Kind::write_blocked: return "blocked in writing";
    case Kind::replying: return "still replying";
    case Kind::inherited: return "inherited and never used";
    case Kind::in_flight: return "handed over and never received";
    case Kind::eof_unread: return "the peer's end not read";
    case Kind::eof_ignored: return "read to the end, not closed";
  }
  std::unreachable();
}

std::string count(std::uint64_t number, std::string_view one) {
  return fmt::format(FMT_COMPILE("{} {}{}"), number, one, number == 1 ? "" : one.ends_with('s') ? "es" : "s");
}

std::string rate(double per_second) {
  return per_second < 10 ? fmt::format(FMT_COMPILE("{:.1f}"), per_second)
                         : fmt::format(FMT_COMPILE("{:.0f}"), per_second);
}

std::string age(std::uint64_t ns, bool is_lower_bound, bool utf8) {
  return (!is_lower_bound ? "" : utf8 ? "≥" : ">=") + duration_text(ns);
}

std::string ends(const std::string& local, const std::string& peer, Role side, bool utf8) {
  const std::string_view arrow = side == Role::accept    ? (utf8 ? "←" : "<-")
                                 : side == Role::connect ? (utf8 ? "→" : "->")
                                                         : (utf8 ? "↔" : "<->");
  return fmt::format(FMT_COMPILE("{} {} {}"), local, arrow, peer);
}

std::string place(const Stack& stack, bool utf8) {
  if (stack.frames.empty()) return {};
  auto frame = std::find_if_not(stack.frames.begin(), stack.frames.end(), is_wrapper);
  if (frame == stack.frames.end()) frame = stack.frames.begin();
  const std::string function = function_text(*frame, utf8);
  const std::string position = position_text(*frame, utf8);
  if (function.empty() || position.empty()) return function + position;
  return fmt::format(FMT_COMPILE("{} in {}"), position, function);
}

std::string frames(const Stack& stack, bool utf8) {
  std::string out;
  for (std::size_t at = 0; at < std::min(stack.frames.size(), frames_shown); ++at) {
    const std::string function = function_text(stack.frames[at], utf8);
    const std::string position = position_text(stack.frames[at], utf8);
    out += fmt::format(FMT_COMPILE("{}{}{}{}"), at == 0 ? "" : ", ", function,
                       function.empty() || position.empty() ? "" : " ", position);
  }
  if (stack.frames.size() > frames_shown)
    out += fmt::format(FMT_COMPILE(" and {} more"), stack.frames.size() - frames_shown);
  if (stack.cut_short) out += " (cut short: built without frame pointers)";
  return out;
}

std::string holders(const std::vector<Holder>& holders, std::uint64_t in_all, bool utf8) {
  std::vector<std::pair<const Identity*, std::vector<std::uint32_t>>> by_process;
  std::unordered_map<ProcessKey, std::size_t, ProcessKeyHash> places;
  for (const Holder& holder : holders) {
    const auto [place, first] = places.try_emplace(holder.process.key, by_process.size());
    if (first) by_process.emplace_back(&holder.process, std::vector<std::uint32_t>{});
    by_process[place->second].second.push_back(holder.fd);
  }
  if (by_process.empty()) return {};
  if (by_process.size() == 1)
    return fmt::format(FMT_COMPILE("descriptor{} {} of {}"), in_all == 1 ? "" : "s", list(by_process[0].second, in_all),
                       mention(*by_process[0].first, utf8));
  std::string out;
  for (std::size_t at = 0; at < std::min(by_process.size(), holders_shown); ++at)
    out += fmt::format(FMT_COMPILE("{}descriptor {} of {}"), at == 0 ? "" : ", ", by_process[at].second.front(),
                       mention(*by_process[at].first, utf8));
  const std::uint64_t told = std::min(by_process.size(), holders_shown);
  if (in_all > told) out += fmt::format(FMT_COMPILE(" and {} more"), in_all - told);
  return out;
}

std::string none_left(double in_seconds) {
  constexpr double second_ns = 1e9;
  if (in_seconds <= 0) return "none left";
  return "used up in " + duration_text(static_cast<std::uint64_t>(in_seconds * second_ns));
}

std::string descriptors(const DescriptorUse& use) {
  std::string text = fmt::format(FMT_COMPILE("{} of {} in use"), use.open, use.soft_limit);
  if (!use.seconds_left) return text;
  return text + ", " + none_left(*use.seconds_left) + (*use.seconds_left > 0 ? " at this rate" : "");
}

std::string mention(const Identity& process, bool utf8) {
  return fmt::format(FMT_COMPILE("pid {} {}"), process.key.pid, printable(text(process.comm), utf8, 0));
}

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string_view::npos || slash + 1 == path.size() ? path : path.substr(slash + 1);
}

std::string states(const StateCounts& states) {
  std::array order = json::listed_states;
  const auto count_of = [&](State state) { return states[std::to_underlying(state)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](State left, State right) { return count_of(left) > count_of(right); });
  std::string out;
  for (const State state : order)
    if (state != State::close && count_of(state) != 0)
      out += fmt::format(FMT_COMPILE("{}{} {}"), out.empty() ? "" : ", ", name(state), count_of(state));
  return out;
}

}  // namespace closewatch::words
