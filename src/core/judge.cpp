// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/judge.hpp>

#include <algorithm>
#include <utility>

namespace closewatch {
namespace {

bool within(std::uint64_t now_ns, std::uint64_t then_ns, std::uint64_t span_ns) {
  return then_ns != 0 && then_ns + span_ns > now_ns;
}

/// As far as has been watched: what was never seen to move has not moved since the state began.
bool does_not_move(const Look& look) {
  return look.condition.unsent_bytes > 0 &&
         !within(look.now_ns, std::max(look.since_ns, look.advanced_ns), look.leak_after_ns);
}

bool is_inherited(const Look& look) {
  const Condition& condition = look.condition;
  return look.unused_by_holders && condition.use_observed && condition.was_used && !condition.too_many_users;
}

bool is_in_flight(const Look& look) {
  return look.nobody_holds && !within(look.now_ns, look.condition.used_ns, look.leak_after_ns);
}

/// Only where it is known: an end that nobody can vouch for counts as unread, of which less is concluded. A peek leaves
/// the end in the queue: it was not read.
bool is_read_to_the_end(EndOfFile eof) { return eof == EndOfFile::consumed || eof == EndOfFile::read; }

bool same(const Holder& one, const Holder& other) { return one.process.key == other.process.key; }

const Holder* only_one(std::span<const Holder> holders) {
  const bool one = !holders.empty() && std::all_of(holders.begin(), holders.end(),
                                                   [&](const Holder& holder) { return same(holder, holders.front()); });
  return one ? &holders.front() : nullptr;
}

const Holder* last_user(std::span<const Holder> holders) {
  const auto found =
      std::find_if(holders.begin(), holders.end(), [](const Holder& holder) { return holder.used_last; });
  return found == holders.end() ? nullptr : &*found;
}

bool holds(std::span<const Holder> holders, const Identity& process) {
  return std::any_of(holders.begin(), holders.end(),
                     [&](const Holder& holder) { return holder.process.key == process.key; });
}

}  // namespace

Kind kind_of(const Look& look) {
  if (look.mptcp) return Kind::mptcp;
  if (look.no_socket) return Kind::never_accepted;
  if (look.condition.no_file) return Kind::kernel;
  if (look.state == State::close) return Kind::dead_unclosed;
  if (does_not_move(look)) return Kind::write_blocked;
  if (within(look.now_ns, look.advanced_ns, look.leak_after_ns)) return Kind::replying;
  if (is_inherited(look)) return Kind::inherited;
  if (is_in_flight(look)) return Kind::in_flight;
  return is_read_to_the_end(look.condition.eof) ? Kind::eof_ignored : Kind::eof_unread;
}

Verdict verdict_of(const Standing& standing) {
  if (!standing.past_limit) return Verdict::ok;
  switch (standing.kind) {
    case Kind::mptcp:
    case Kind::kernel:
    case Kind::replying: return Verdict::ok;
    case Kind::never_accepted:
    case Kind::write_blocked: return Verdict::stuck;
    case Kind::inherited:
    case Kind::dead_unclosed: return Verdict::leak;
    case Kind::in_flight: return standing.grows ? Verdict::leak : Verdict::stuck;
    case Kind::eof_unread:
      // Unknown is no evidence at all: a proxy that splices in the kernel reads without being seen.
      return standing.grows && standing.eof != EndOfFile::unknown ? Verdict::leak : Verdict::stuck;
    case Kind::eof_ignored: return standing.grows || standing.beyond_habit ? Verdict::leak : Verdict::stuck;
  }
  std::unreachable();
}

bool needs_company(Kind kind) {
  return kind == Kind::in_flight || kind == Kind::eof_unread || kind == Kind::eof_ignored;
}

bool leaks_if_left_open(Kind kind) {
  return kind == Kind::eof_ignored || kind == Kind::inherited || kind == Kind::dead_unclosed;
}

ResponsibleOne responsible_of(std::span<const Holder> holders, const ResponsibleOne& told) {
  if (told.attribution == Attribution::closer || holders.empty()) return told;
  if (const Holder* only = only_one(holders)) return {only->process, Attribution::holder};
  if (const Holder* user = last_user(holders)) return {user->process, Attribution::holder};
  if (told.attribution == Attribution::opener && holds(holders, told.process)) return told;
  const auto oldest = std::min_element(holders.begin(), holders.end(), [](const Holder& one, const Holder& other) {
    return std::pair{one.process.key.start_ns, one.process.key.pid} <
           std::pair{other.process.key.start_ns, other.process.key.pid};
  });
  return {oldest->process, Attribution::holder};
}

ResponsibleOne responsible_of_listener(std::span<const Holder> holders, const Identity& listens,
                                       const ResponsibleOne& told) {
  if (const Holder* only = only_one(holders)) return {only->process, Attribution::listener};
  if (const Holder* user = last_user(holders)) return {user->process, Attribution::listener};
  if (listens.key.pid != 0) return {listens, Attribution::listener};
  return told;
}

}  // namespace closewatch
