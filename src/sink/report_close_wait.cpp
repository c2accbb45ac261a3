// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_close_wait.hpp"

#include "sink/pattern.hpp"
#include "sink/report_words.hpp"

#include <fmt/compile.h>

#include <algorithm>
#include <utility>

namespace closewatch {
namespace {

constexpr std::size_t groups_shown = 5;
constexpr std::size_t examples_shown = 2;

Colour colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::leak: return Colour::red;
    case Verdict::stuck: return Colour::yellow;
    case Verdict::ok: return Colour::none;
  }
  std::unreachable();
}

std::string_view end_text(EndOfFile eof) {
  switch (eof) {
    case EndOfFile::read: return "end read";
    case EndOfFile::peeked: return "end peeked at";
    case EndOfFile::consumed: return "end consumed";
    case EndOfFile::unread: return "end not read";
    case EndOfFile::unknown: break;
  }
  return "end: not known";
}

}  // namespace

void CloseWaitText::write(const CloseWaitReport& close_wait) {
  if (detail_ == Detail::whole) {
    for (const GroupReport& one : close_wait.groups) group(one);
    return;
  }
  std::size_t groups = 0;
  for (const GroupReport& one : close_wait.groups)
    if (one.verdict != Verdict::ok && ++groups <= groups_shown) group(one);
  if (groups > groups_shown)
    page_.paragraph(
        2, fmt::format(FMT_COMPILE("and {} (--json has all)"), words::count(groups - groups_shown, "more group")));
  within_limit(close_wait);
}

std::string CloseWaitText::headline(const GroupReport& group) const {
  const std::string_view one = group.verdict == Verdict::leak    ? "leaked socket"
                               : group.verdict == Verdict::stuck ? "stuck socket"
                                                                 : "socket";
  const std::string_view all = group.count == 1 ? "" : "all ";
  std::string text = words::count(group.count, one);
  if (group.verdict == Verdict::ok) text += " not at fault so far";
  const bool end_read = group.stacks && group.stacks->end_read && !group.stacks->end_read->frames.empty();
  if (group.kind == Kind::eof_ignored && end_read)
    text += fmt::format(FMT_COMPILE(", {}read to the end at {} and not closed"), all,
                        words::place(*group.stacks->end_read, utf8_));
  else
    text += fmt::format(FMT_COMPILE(", {}"), words::of(group.kind));
  text += fmt::format(FMT_COMPILE(" ({})"), name(group.kind));
  if (group.trend && *group.trend != Trend::steady) text += fmt::format(FMT_COMPILE("; {}"), name(*group.trend));
  if (group.ended != 0)
    text += fmt::format(FMT_COMPILE("; {} over by now, and not by a close()"),
                        group.ended == group.count ? std::string{all.empty() ? "it is" : "all are"}
                                                   : fmt::format(FMT_COMPILE("{} of them"), group.ended));
  return text;
}

void CloseWaitText::group(const GroupReport& group) {
  page_.item(2, headline(group), colour_of(group.verdict));
  if (advised_.insert(group.kind).second) {
    const auto [meaning, remedy] = advice(group.kind);
    page_.paragraph(4, fmt::format(FMT_COMPILE("{} {}"), meaning, remedy));
  }
  if (group.count > 1) {
    const std::string held = words::holders(group.holders, group.holders_in_all, utf8_);
    page_.item(4, words::ends(pattern_text(group.local), pattern_text(group.peer), group.side, utf8_) +
                      (held.empty() ? "" : ", held by " + held));
  }
  if (group.accept_queue) page_.item(4, queue_text(group));
  if (group.stacks && group.stacks->end_read)
    page_.item(4, "end read: " + words::frames(*group.stacks->end_read, utf8_));
  if (group.stacks && group.stacks->opened)
    page_.item(
        4, (group.side == Role::accept ? "first used: " : "opened: ") + words::frames(*group.stacks->opened, utf8_));
  const std::size_t shown = detail_ == Detail::whole ? group.sockets.size() : examples_shown;
  for (std::size_t at = 0; at < std::min(group.sockets.size(), shown); ++at) example(group.sockets[at], group);
}

/// Nobody holds what waits in an accept queue, so the one that should accept it is named here. A queue is full where it
/// is longer than its limit.
std::string CloseWaitText::queue_text(const GroupReport& group) const {
  const AcceptQueue& queue = *group.accept_queue;
  std::string text = fmt::format(FMT_COMPILE("accept queue: {} of {}"), queue.length, queue.most);
  if (queue.length > queue.most) text += ", full";
  const auto by_all = [&](const SocketReport& socket) {
    return socket.process.key.pid != 0 && socket.process.key == group.sockets.front().process.key;
  };
  if (std::all_of(group.sockets.begin(), group.sockets.end(), by_all) && !group.sockets.empty())
    text += ", to be accepted by " + words::mention(group.sockets.front().process, utf8_);
  return text;
}

void CloseWaitText::example(const SocketReport& socket, const GroupReport& group) {
  const Tuple& tuple = socket.connection.tuple;
  const Condition& condition = socket.condition;
  std::string text = words::age(socket.age_ns, socket.age_is_lower_bound, utf8_) + " ";
  if (detail_ == Detail::whole)
    text += fmt::format(FMT_COMPILE("{} "), name(group.kind == Kind::dead_unclosed ? State::close : State::close_wait));
  text +=
      words::ends(endpoint_text(tuple.local, tuple.family), endpoint_text(tuple.peer, tuple.family), group.side, utf8_);
  if (const std::string held = words::holders(socket.holders, socket.holders.size(), utf8_); !held.empty())
    text += ", " + held;
  if (condition.unread_bytes != 0) text += ", " + bytes_text(condition.unread_bytes) + " unread";
  if (condition.unsent_bytes != 0) text += ", " + bytes_text(condition.unsent_bytes) + " unsent";
  if (condition.probes != 0) text += ", " + words::count(condition.probes, "probe");
  if (condition.retransmits != 0) text += ", " + words::count(condition.retransmits, "retransmission");
  if (detail_ == Detail::whole) text += fmt::format(FMT_COMPILE(", {}"), end_text(condition.eof));
  page_.item(4, text);
}

void CloseWaitText::within_limit(const CloseWaitReport& close_wait) {
  std::uint64_t sum = 0;
  std::string kinds;
  for (const GroupReport& group : close_wait.groups) {
    if (group.verdict != Verdict::ok) continue;
    sum += group.count;
    kinds += fmt::format(FMT_COMPILE("{}{} {}"), kinds.empty() ? "" : "; ", group.count, words::of(group.kind));
  }
  if (sum != 0) page_.item(2, words::count(sum, "other") + " not at fault so far: " + kinds);
}

}  // namespace closewatch
