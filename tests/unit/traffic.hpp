// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_TRAFFIC_HPP
#define CLOSEWATCH_TESTS_UNIT_TRAFFIC_HPP

#include "builders.hpp"

#include <cerrno>
#include <map>
#include <optional>
#include <random>
#include <vector>

namespace closewatch::test {

/// Connections that move as the tracepoint's do (kernel-facts, "Transitions seen").
class Traffic {
 public:
  /// only_ring: no ticks, walks or losses among them: what the ring of events brings.
  explicit Traffic(std::uint32_t seed, bool only_ring = false) : random_(seed), only_ring_(only_ring) {}

  std::vector<Event> events(std::size_t count) {
    std::vector<Event> out;
    for (std::size_t made = 0; made < count; ++made) {
      now_ns_ += one_of({3 * us, 700 * us, 15 * ms, 60 * ms});
      add(out);
    }
    if (!only_ring_) out.emplace_back(Stopped{now_ns_ + 1, 0, 0});
    return out;
  }

  [[nodiscard]] std::size_t transitions() const { return transitions_; }
  [[nodiscard]] std::size_t ends() const { return ends_; }

 private:
  struct Live {
    State state = State::established;
    std::uint64_t entered_ns = 0;
    Identity owner;
    std::optional<Cause> closer_by;
  };

  template <typename Value>
  Value one_of(std::initializer_list<Value> values) {
    return *(values.begin() + static_cast<std::ptrdiff_t>(below(values.size())));
  }
  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>{0, end - 1}(random_); }
  bool one_in(std::size_t times) { return below(times) == 0; }

  State next(State from) {
    switch (from) {
      case State::established: return one_of({State::fin_wait1, State::close_wait, State::close});
      case State::fin_wait1: return one_of({State::fin_wait2, State::fin_wait2, State::closing, State::close});
      case State::fin_wait2: return one_of({State::fin_wait2, State::close, State::close});
      case State::close_wait: return one_of({State::last_ack, State::last_ack, State::close});
      default: return State::close;
    }
  }

  void add(std::vector<Event>& out) {
    const std::size_t what = below(20);
    const bool comes_from_elsewhere = what == 0 || what == 3 || what == 4 || what == 6;
    if (only_ring_ && comes_from_elsewhere) return move(out);
    switch (what) {
      case 0: out.emplace_back(Tick{now_ns_, 0}); return;
      case 1: out.emplace_back(ProcessExited{now_ns_, owner().key}); return;
      case 2: out.emplace_back(ProcessSeen{now_ns_, owner()}); return;
      case 3: walk(out); return;
      case 4: out.emplace_back(LossSeen{now_ns_, lost_ += below(2), 0}); return;
      case 5: out.emplace_back(ResetSeen{now_ns_, 1 + below(cookies_)}); return;
      case 6: out.emplace_back(Usage{now_ns_, 0, 0}); return;
      case 7: out.emplace_back(DescriptorClosed{now_ns_, 1 + below(cookies_), owner(), Cause::close}); return;
      default: move(out);
    }
  }

  Identity owner() {
    return person(static_cast<std::uint32_t>(100 + below(6)), "someone", static_cast<std::uint32_t>(below(2)));
  }

  void walk(std::vector<Event>& out) {
    for (const auto& [cookie, live] : live_) {
      if (live.state == State::established || one_in(4)) continue;
      SocketRow found = row(now_ns_, live.state, Attribution::holder, owner());
      found.cookie = cookie;
      found.entered_ns = live.entered_ns;
      found.evidence.no_socket = one_in(8);
      found.condition.eof = one_of({EndOfFile::unread, EndOfFile::read});
      out.emplace_back(found);
      if (!one_in(3)) out.emplace_back(HolderRow{now_ns_, cookie, {owner(), 7, one_in(2), one_in(2)}});
    }
    out.emplace_back(WalkDone{now_ns_});
  }

  void move(std::vector<Event>& out) {
    if (live_.size() < 8) {
      Live& fresh = live_[cookies_++];
      fresh.entered_ns = now_ns_ - 1;
      fresh.owner = owner();
    }
    auto at = live_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(live_.size())));
    Live& live = at->second;
    const State to = next(live.state);
    TransitionSeen seen = change(now_ns_, live.state, to);
    seen.cookie = at->first;
    seen.tuple.local.port = static_cast<std::uint16_t>(1024 + at->first);
    seen.entered_ns = live.entered_ns;
    seen.process = live.owner;
    const bool call =
        to == State::fin_wait1 || to == State::last_ack || (live.state == State::fin_wait2 && to == State::fin_wait2);
    if (call) {
      seen.call = live.closer_by = one_of({Cause::close, Cause::shutdown, Cause::exit});
      seen.actor = live.owner;
    }
    if (live.closer_by) {
      seen.attribution = Attribution::closer;
      seen.closer_by = live.closer_by;
    }
    seen.evidence.dead = one_in(2);
    seen.evidence.done = one_in(2);
    seen.evidence.unread = static_cast<std::uint32_t>(below(3));
    seen.evidence.table_full = one_in(10);
    if (to == State::close) {
      seen = last(seen);
      seen.evidence.error = one_of({0, 0, 0, ECONNRESET, ETIMEDOUT, EPIPE, ECONNABORTED});
      ++ends_;
    }
    ++transitions_;
    out.emplace_back(seen);
    live.state = to;
    live.entered_ns = now_ns_;
    if (to == State::close) live_.erase(at);
  }

  std::mt19937 random_;
  bool only_ring_ = false;
  std::uint64_t now_ns_ = 1 * seconds;
  std::uint64_t cookies_ = 1;
  std::uint64_t lost_ = 0;
  std::size_t transitions_ = 0;
  std::size_t ends_ = 0;
  std::map<std::uint64_t, Live> live_;
};

}  // namespace closewatch::test

#endif
