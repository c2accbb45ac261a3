// SPDX-License-Identifier: BSD-2-Clause
// Any order of events that the kernel can make, from a fixed seed: what must hold whatever comes.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <cerrno>
#include <map>
#include <random>
#include <set>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// Connections that move as the tracepoint's do (kernel-facts, "Transitions seen").
class Traffic {
 public:
  explicit Traffic(std::uint32_t seed) : random_(seed) {}

  std::vector<Event> events(std::size_t count) {
    std::vector<Event> out;
    for (std::size_t made = 0; made < count; ++made) {
      now_ns_ += one_of({3 * us, 700 * us, 15 * ms, 60 * ms});
      add(out);
    }
    out.emplace_back(Stopped{now_ns_ + 1, 0, 0});
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
    switch (below(20)) {
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
  std::uint64_t now_ns_ = 1 * seconds;
  std::uint64_t cookies_ = 1;
  std::uint64_t lost_ = 0;
  std::size_t transitions_ = 0;
  std::size_t ends_ = 0;
  std::map<std::uint64_t, Live> live_;
};

std::vector<Fact> run(const std::vector<Event>& events) {
  Watched watched;
  watched.begin();
  watched(events);
  CHECK_FALSE(watched.holds_back());
  return watched.facts();
}

/// What one connection has told so far.
struct Told {
  std::optional<State> state;
  std::int64_t time_ns = 0;
  std::optional<Transition> last;
  bool closed = false;
};

void hold(const Transition& transition, Told& told) {
  CHECK_FALSE(told.closed);
  if (told.state) CHECK(name(transition.from) == name(*told.state));
  CHECK(transition.time_ns >= told.time_ns);
  told = {transition.to, transition.time_ns, transition, false};
}

bool says_nothing_more(Bucket bucket) { return bucket == Bucket::fin_wait2 || bucket == Bucket::unknown; }

void hold(const Closed& closed, Told& told) {
  CHECK_FALSE(told.closed);
  CHECK(closed.time_ns >= told.time_ns);
  told.closed = true;
  if (says_nothing_more(closed.bucket)) {
    // It stays in FIN_WAIT2, or is to be found by a walk: no transition tells of it.
    if (told.state) CHECK((*told.state == State::fin_wait2 || *told.state == State::closing));
    return;
  }
  REQUIRE(told.last);
  CHECK(told.last->time_ns == closed.time_ns);
  CHECK(told.last->ending == closed.ending);
  CHECK(name(told.last->to) == name(closed.bucket == Bucket::time_wait ? State::time_wait : State::close));
}

}  // namespace

TEST_CASE("random traffic: every closed comes once, behind its events, in order", "[engine][random]") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Traffic traffic{seed};
    const auto facts = run(traffic.events(500));
    std::map<std::uint64_t, Told> connections;
    std::size_t events = 0;
    std::size_t ends = 0;
    for (const Fact& fact : facts) {
      if (const auto* transition = std::get_if<Transition>(&fact)) {
        hold(*transition, connections[transition->connection.id.cookie]);
        ++events;
      } else if (const auto* closed = std::get_if<Closed>(&fact)) {
        hold(*closed, connections[closed->connection.id.cookie]);
        ++ends;
        if (says_nothing_more(closed->bucket)) ++events;
      }
    }
    CHECK(events == traffic.transitions());
    CHECK(ends == traffic.ends());
    CHECK(std::holds_alternative<Bye>(facts.back()));
    CHECK(std::get<Bye>(facts.back()).totals.events == traffic.transitions());
  }
}

TEST_CASE("random traffic: who has ended is not named, but as the closer that it was", "[engine][random]") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Watched watched;
    watched.begin();
    std::set<std::uint32_t> known;
    std::set<std::uint32_t> ended;
    std::size_t named = 0;
    for (const Event& event : Traffic{seed}.events(500)) {
      if (const auto* exited = std::get_if<ProcessExited>(&event); exited != nullptr && known.contains(exited->key.pid))
        ended.insert(exited->key.pid);
      watched({event});
      for (const ProcessWanted& wanted : only<ProcessWanted>(watched.facts())) known.insert(wanted.process.key.pid);
      std::vector<Responsible> told;
      for (const Transition& transition : only<Transition>(watched.facts())) told.push_back(transition.responsible);
      for (const Closed& closed : only<Closed>(watched.facts())) told.push_back(closed.responsible);
      for (const Responsible& who : told) {
        CHECK(who.process.has_value() == (who.attribution != Attribution::unknown));
        if (!who.process) continue;
        ++named;
        CHECK(who.process->entry != nullptr);
        if (who.attribution != Attribution::closer) CHECK_FALSE(ended.contains(who.process->identity.key.pid));
      }
    }
    CHECK(named > 20);
  }
}

TEST_CASE("random traffic: the same events give the same facts", "[engine][random]") {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    const auto events = Traffic{seed}.events(500);
    CHECK(told(run(events)) == told(run(events)));
  }
}

TEST_CASE("random traffic: gaps and snapshots come in pairs that the stream can be read by", "[engine][random]") {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    bool inside = false;
    for (const Fact& fact : run(Traffic{seed}.events(500))) {
      if (std::holds_alternative<ProcessWanted>(fact)) continue;
      if (std::holds_alternative<Snapshot>(fact)) inside = true;
      // Nothing else comes between the rows of a snapshot.
      if (inside) CHECK((std::holds_alternative<Snapshot>(fact) || std::holds_alternative<SnapshotEnd>(fact)));
      if (std::holds_alternative<SnapshotEnd>(fact)) inside = false;
    }
    CHECK_FALSE(inside);
  }
}

TEST_CASE("random traffic: a finding is raised, perhaps changed, and resolved; bye counts them", "[engine][random]") {
  std::size_t resolved = 0;
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Engine::Settings settings;
    settings.detector.leak_after_ns = 50 * ms;
    settings.detector.sweep_ns = 10 * ms;
    settings.detector.sanitizer = seed % 2 == 0;
    Watched watched{settings};
    watched.begin();
    watched(Traffic{seed}.events(2000));
    std::set<std::uint64_t> open;
    std::set<std::uint64_t> over;
    std::uint64_t raised = 0;
    for (const Finding& finding : only<Finding>(watched.facts())) {
      const std::uint64_t cookie = finding.connection.id.cookie;
      CAPTURE(cookie, told(Fact{finding}));
      switch (finding.status) {
        case Finding::Status::raised:
          CHECK(open.insert(cookie).second);
          CHECK(finding.verdict != Verdict::ok);
          ++raised;
          break;
        case Finding::Status::changed:
          // By the sanitizer's last word also what has ended.
          CHECK((open.contains(cookie) || (settings.detector.sanitizer && over.contains(cookie))));
          break;
        case Finding::Status::resolved:
          CHECK(open.erase(cookie) == 1);
          over.insert(cookie);
          ++resolved;
          break;
      }
      CHECK((finding.status == Finding::Status::resolved || !finding.resolution || over.contains(cookie)));
    }
    CHECK(only<Bye>(watched.facts()).at(0).findings == raised);
    CHECK(raised > 0);
  }
  CHECK(resolved > 40);
}
