// SPDX-License-Identifier: BSD-2-Clause
// Any order of events that the kernel can make, from a fixed seed: what must hold whatever comes.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"
#include "traffic.hpp"

#include <map>
#include <set>

using namespace closewatch;
using namespace closewatch::test;

namespace {

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
