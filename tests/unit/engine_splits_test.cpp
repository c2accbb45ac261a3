// SPDX-License-Identifier: BSD-2-Clause
// However the ring's stream is cut into polls, the same lines come out of it.
//
// What may differ from one run to another is when the clock is asked, and what it says: a tick between two records may
// have any time up to that of the next one (what happened before it has been read), or 0 where that is not known, and
// there may be none. What must not differ is the order of the records, and where among them a walk, a loss or an answer
// stands: those are inputs of their own. The clock alone decides when a loss is told again that was told less than a
// second ago, and when `stats` come; so there is none of these here.
#include "builders.hpp"
#include "catch.hpp"
#include "output.hpp"
#include "sink/json.hpp"
#include "told.hpp"
#include "traffic.hpp"

#include <algorithm>
#include <numeric>

using namespace closewatch;
using namespace closewatch::test;

namespace {

std::uint64_t time_of(const Event& event) {
  return std::visit(
      [](const auto& what) -> std::uint64_t {
        if constexpr (requires { what.time_ns; })
          return what.time_ns;
        else
          return 0;
      },
      event);
}

/// An engine, its questions answered, its facts written as JSON.
class Run {
 public:
  Run() {
    std::vector<Event> head{WalkDone{100 * ms, 90 * ms}, started(100 * ms)};
    for (const Event& event : head) step(event);
  }

  void step(const Event& event) {
    std::vector<Fact> facts;
    engine_.step(event, facts);
    for (const Fact& fact : facts) {
      if (const auto* wanted = std::get_if<ProcessWanted>(&fact)) {
        ProcessResolved answer;
        answer.key = wanted->process.key;
        answer.exec_id = wanted->process.exec_id;
        answer.details.exe = "/bin/p" + std::to_string(answer.key.pid);
        std::vector<Fact> none;
        engine_.step(answer, none);
      } else {
        sink_.take(fact);
      }
    }
  }

  std::string end(std::uint64_t time_ns) {
    step(Stopped{time_ns, 0, 0});
    return output_.text();
  }

 private:
  Engine engine_{Engine::Settings{}};
  Captured output_{std::size_t{64} << 20U};
  JsonSink sink_{output_.writer(), EventTypes::all()};
};

/// As many polls as it likes, each with its tick behind it.
std::string in_pieces(const std::vector<Event>& stream, std::mt19937& random, std::size_t longest) {
  const auto below = [&](std::uint64_t end) {
    return std::uniform_int_distribution<std::uint64_t>{0, end - 1}(random);
  };
  Run run;
  // What comes later may be older by microseconds: other CPUs write too.
  std::vector<std::uint64_t> unread_ns(stream.size() + 1, time_of(stream.back()) + 1);
  for (std::size_t at = stream.size(); at-- > 0;) unread_ns[at] = std::min(unread_ns[at + 1], time_of(stream[at]));
  for (std::size_t at = 0; at < stream.size();) {
    for (std::uint64_t taken = below(longest + 1); taken > 0 && at < stream.size(); --taken) run.step(stream[at++]);
    if (below(8) == 0) {
      run.step(Tick{0, 0});
    } else {
      const std::uint64_t before = at == 0 ? 0 : std::min(unread_ns[at - 1], unread_ns[at]);
      run.step(Tick{before + below(unread_ns[at] - before + 1), 0});
    }
  }
  return run.end(time_of(stream.back()) + 2);
}

/// Empty where there is none.
std::string first_difference(const std::string& wanted, const std::string& found) {
  const auto [at, other] = std::mismatch(wanted.begin(), wanted.end(), found.begin(), found.end());
  if (at == wanted.end() && other == found.end()) return {};
  const auto line = [](const std::string& text, std::ptrdiff_t place) {
    const std::size_t from = text.rfind('\n', static_cast<std::size_t>(place)) + 1;
    return text.substr(from, text.find('\n', from) - from);
  };
  return line(wanted, at - wanted.begin()) + "\n and not \n" + line(found, at - wanted.begin());
}

std::vector<Event> realistic(std::uint32_t seed) {
  std::vector<Event> stream = Traffic{seed, true}.events(600);
  std::mt19937 random{seed};
  for (std::size_t at = 1; at < stream.size(); ++at)
    if (random() % 16 == 0 && time_of(stream[at]) - time_of(stream[at - 1]) < 10 * us)
      std::swap(stream[at - 1], stream[at]);
  return stream;
}

}  // namespace

TEST_CASE("any split of the ring's stream into polls gives the same bytes", "[engine][splits]") {
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    const std::vector<Event> stream = realistic(seed);
    Run whole;
    for (const Event& event : stream) whole.step(event);
    const std::string wanted = whole.end(time_of(stream.back()) + 2);
    REQUIRE(std::count(wanted.begin(), wanted.end(), '\n') > 300);
    std::mt19937 random{seed};
    for (const std::size_t longest : {1UL, 2UL, 7UL, 64UL, 500UL}) {
      CAPTURE(longest);
      CHECK(first_difference(wanted, in_pieces(stream, random, longest)) == std::string{});
    }
  }
}

// It stands in the ring behind the reading that was told of: the clock of whoever tells is ahead of it.
TEST_CASE("what other inputs say of the time is not how far the ring has been read", "[engine][splits]") {
  TransitionSeen closes = last(called(500 * ms, State::fin_wait2, State::close, Cause::close));
  closes.evidence.dead = true;
  closes.evidence.receive_shutdown = true;
  closes.local_fin = true;
  const ResetSeen reset{500 * ms + 3 * us, closes.cookie};
  const auto ending = [&](const std::vector<Event>& before) {
    Watched watched;
    watched.begin();
    watched(before);
    watched({closes, reset, Tick{600 * ms, 0}});
    return only<Closed>(watched.facts()).at(0).ending;
  };
  CHECK(ending({}) == Ending::rst_late_data);
  CHECK(ending({LossSeen{900 * ms, 5, 0}}) == Ending::rst_late_data);
  CHECK(ending({OutputLost{900 * ms, 5}}) == Ending::rst_late_data);
  CHECK(ending({Usage{900 * ms, 5, 0}}) == Ending::rst_late_data);
}

TEST_CASE("who closes it in time is found in time, whatever the clock was asked", "[engine][splits]") {
  const auto lines = [](const std::vector<Event>& between) {
    Watched watched;
    watched.begin();
    watched({ProcessSeen{150 * ms, client()}, ProcessExited{160 * ms, client().key}});
    std::vector<Event> events{change(500 * ms, State::established, State::close_wait)};
    events.insert(events.end(), between.begin(), between.end());
    TransitionSeen closes = called(700 * ms, State::close_wait, State::last_ack, Cause::close);
    closes.process = closes.actor = person(950, "child");
    events.emplace_back(closes);
    events.emplace_back(Tick{2 * seconds, 0});
    return watched(events);
  };
  CHECK(lines({}) == lines({Tick{650 * ms, 0}}));
  CHECK(lines({}) == lines({Tick{0, 0}, Tick{550 * ms, 0}, Tick{700 * ms, 0}}));
}
