// SPDX-License-Identifier: BSD-2-Clause
// What the engine tells of sockets that are not closed: which findings, when, and in which order with the rest.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// The peer's FIN comes; what stays in CLOSE_WAIT is judged from 32 s on.
constexpr std::uint64_t t0 = 2 * seconds;
constexpr std::uint64_t limit = t0 + 30 * seconds;

/// The client's connection 81, whose end it has read.
SocketRow waits(std::uint64_t time_ns, std::uint64_t cookie = 81) {
  SocketRow out = row(time_ns, State::close_wait, Attribution::holder, client());
  out.cookie = cookie;
  out.entered_ns = t0;
  out.condition.eof = EndOfFile::read;
  return out;
}

/// TCP has ended it at t0, and its descriptor is open.
SocketRow dead(std::uint64_t time_ns) {
  SocketRow out = waits(time_ns);
  out.state = State::close;
  return out;
}

HolderRow held(std::uint64_t time_ns, const Identity& process, std::uint32_t fd, std::uint64_t cookie = 81) {
  return {time_ns, cookie, {process, fd, true, true}};
}

/// A whole walk at this time, which meets the client's descriptor of each of its sockets.
Lines sweep(Watched& watched, std::uint64_t time_ns, std::vector<Event> rows) {
  for (const Event& event : std::vector<Event>{rows})
    if (const auto* met = std::get_if<SocketRow>(&event); met != nullptr && met->process.key == client().key)
      rows.emplace_back(held(time_ns, client(), 7, met->cookie));
  rows.emplace_back(WalkDone{time_ns, time_ns - 1 * ms});
  return watched(rows);
}

Watched running(const Engine::Settings& settings = {}) {
  Watched watched{settings};
  watched.begin();
  watched({ProcessSeen{t0, client()}, ProcessSeen{t0, server()}});
  return watched;
}

/// 81 has been told of.
Watched raised(const Engine::Settings& settings = {}) {
  Watched watched = running(settings);
  sweep(watched, limit, {waits(limit)});
  REQUIRE(only<Finding>(watched.facts()).size() == 1);
  return watched;
}

TransitionSeen closes(std::uint64_t time_ns, Cause call = Cause::close) {
  TransitionSeen seen = called(time_ns, State::close_wait, State::last_ack, call);
  seen.entered_ns = t0;
  return seen;
}

Engine::Settings of_run() {
  Engine::Settings settings;
  settings.detector.leak_after_ns = 1 * seconds;
  settings.detector.sweep_ns = 250 * ms;
  settings.detector.sanitizer = true;
  return settings;
}

}  // namespace

TEST_CASE("past the limit a finding is raised, once", "[engine][finding]") {
  Watched watched = running();
  CHECK(sweep(watched, limit - 1 * ms, {waits(limit - 1 * ms)}).empty());
  CHECK(sweep(watched, limit, {waits(limit)}) == Lines{"81 raised eof_ignored stuck age=30000ms holder:812"});
  CHECK(sweep(watched, limit + 5 * seconds, {waits(limit + 5 * seconds)}).empty());
}

TEST_CASE("a finding says all that the walk has brought", "[engine][finding]") {
  Watched watched = running();
  watched.answer = [](const Identity& identity) {
    ProcessResolved answer;
    answer.key = identity.key;
    answer.details.exe = "/usr/bin/child";
    return answer;
  };
  SocketRow met = waits(limit);
  met.process = person(813, "child");
  met.condition.eof = EndOfFile::unread;
  met.condition.unread_bytes = 1000;
  met.condition.probes = 2;
  // Descriptors come before their sockets' rows, or behind them.
  const std::int64_t offset = 1'700'000'000'000'000'000;
  CHECK(sweep(watched, limit + 1 * ms,
              {Tick{limit, offset}, held(limit, person(813, "child"), 7), met, held(limit, person(813, "child"), 9)}) ==
        Lines{"ask 813/0", "81 raised eof_unread stuck age=30001ms holder:813"});
  const Finding finding = only<Finding>(watched.facts()).at(0);
  CHECK(finding.time_ns == offset + static_cast<std::int64_t>(limit + 1 * ms));
  CHECK(finding.connection.id.netns == netns);
  CHECK(finding.connection.tuple.peer == outgoing().peer);
  CHECK_FALSE(finding.age_is_lower_bound);
  CHECK(finding.condition.unread_bytes == 1000);
  CHECK(finding.condition.probes == 2);
  REQUIRE(finding.holders.size() == 2);
  CHECK(finding.holders[0].fd == 7);
  CHECK(finding.holders[1].fd == 9);
  CHECK(finding.responsible.process->entry->details.exe == "/usr/bin/child");
  CHECK_FALSE(finding.stacks);
  CHECK_FALSE(finding.resolution);
}

TEST_CASE("whoever holds it is asked for while the walk goes on: it may be gone by its end", "[engine][finding]") {
  Watched watched = running();
  CHECK(watched({waits(t0), held(t0, person(813, "child"), 7), held(t0, person(813, "child"), 9)}) ==
        Lines{"ask 813/0"});
}

TEST_CASE("an age whose start was not seen is a lower bound", "[engine][finding]") {
  Watched watched = running();
  SocketRow met = waits(t0);
  met.entered_ns = 0;
  sweep(watched, t0, {met});
  met.time_ns = limit;
  CHECK(sweep(watched, limit, {met}) == Lines{"81 raised eof_ignored stuck age=>30000ms holder:812"});
}

TEST_CASE("whoever closes it resolves it, behind the transition that does", "[engine][finding]") {
  Watched watched = raised();
  CHECK(watched({closes(limit + 1 * seconds)}) == Lines{"81 CLOSE_WAIT>LAST_ACK in=31000ms closer:812 close:812",
                                                        "81 resolved eof_ignored stuck closed age=31000ms closer:812"});
  // The walk tells of LAST_ACK's end, which is no finding.
  CHECK(sweep(watched, limit + 5 * seconds, {}) == Lines{"81 LAST_ACK>CLOSE in=4000ms closer:812 gone sweep"});
  CHECK(sweep(watched, limit + 10 * seconds, {}).empty());
}

TEST_CASE("only the end of its process resolves it: exit", "[engine][finding]") {
  Watched watched = raised();
  CHECK(watched({closes(limit + 1 * seconds, Cause::exit)}) ==
        Lines{"81 CLOSE_WAIT>LAST_ACK in=31000ms closer:812 exit:812",
              "81 resolved eof_ignored stuck exit age=31000ms closer:812"});
}

TEST_CASE("what was closed within the limit is no finding", "[engine][finding]") {
  Watched watched = running();
  sweep(watched, t0 + 5 * seconds, {waits(t0 + 5 * seconds)});
  watched({closes(t0 + 6 * seconds)});
  CHECK(only<Finding>(watched.facts()).empty());
  sweep(watched, limit + 5 * seconds, {});
  CHECK(only<Finding>(watched.facts()).empty());
}

TEST_CASE("a finding keeps its place behind what is held back", "[engine][finding]") {
  Watched watched = raised();
  const std::uint64_t now = limit + 1 * seconds;
  // A RST may come behind it, for 20 ms.
  TransitionSeen held_back = last(called(now, State::fin_wait2, State::close, Cause::close));
  held_back.cookie = 90;
  held_back.call.reset();
  held_back.actor = {};
  held_back.evidence.dead = true;
  SECTION("resolved") {
    CHECK(watched({held_back, closes(now + 1 * ms)}).empty());
    CHECK(watched({Tick{now + 20 * ms, 0}}) ==
          Lines{"90 closed closer:812 by=close:812 first=none fin errno=0 bucket=fin_wait2 took=9ms sent=100 "
                "received=200",
                "81 CLOSE_WAIT>LAST_ACK in=31001ms closer:812 close:812",
                "81 resolved eof_ignored stuck closed age=31001ms closer:812"});
  }
  SECTION("raised") {
    CHECK(watched({held_back}).empty());
    CHECK(sweep(watched, now + 1 * ms, {waits(now + 1 * ms), waits(now + 1 * ms, 83)}).empty());
    CHECK(watched({Tick{now + 20 * ms, 0}}) ==
          Lines{"90 closed closer:812 by=close:812 first=none fin errno=0 bucket=fin_wait2 took=9ms sent=100 "
                "received=200",
                "83 raised eof_ignored stuck age=31001ms holder:812"});
  }
}

TEST_CASE("before the start findings are kept until the snapshot has been told", "[engine][finding]") {
  Watched watched;
  CHECK(sweep(watched, limit, {waits(limit)}) == Lines{"ask 812/0"});
  SECTION("still there") {
    CHECK(watched({started(limit + 5 * ms)}) == Lines{"hello", "snapshot 81 CLOSE_WAIT age=30005ms holder:812",
                                                      "snapshot_end",
                                                      "81 raised eof_ignored stuck age=30000ms holder:812"});
    // When it was judged, and not when it was told.
    CHECK(only<Finding>(watched.facts()).at(0).time_ns == static_cast<std::int64_t>(limit));
    CHECK(watched({Tick{limit + 1 * seconds, 0}}).empty());
  }
  SECTION("closed meanwhile") {
    CHECK(watched({closes(limit + 1 * ms)}).empty());
    CHECK(watched({started(limit + 5 * ms)}) == Lines{"hello", "snapshot 81 LAST_ACK age=4ms closer:812",
                                                      "snapshot_end",
                                                      "81 raised eof_ignored stuck age=30000ms holder:812",
                                                      "81 resolved eof_ignored stuck closed age=30001ms closer:812"});
  }
}

TEST_CASE("bye counts the findings that were raised", "[engine][finding]") {
  Watched watched = raised();
  watched({closes(limit + 1 * seconds)});
  sweep(watched, limit + 2 * seconds, {waits(limit + 2 * seconds, 83), waits(limit + 2 * seconds, 84)});
  watched({Stopped{limit + 3 * seconds, 0, 0}});
  CHECK(only<Bye>(watched.facts()).at(0).findings == 3);
  Watched nothing = running();
  nothing({Stopped{limit, 0, 0}});
  CHECK(only<Bye>(nothing.facts()).at(0).findings == 0);
}

TEST_CASE("what was filtered out is not judged", "[engine][finding]") {
  Watched watched = running();
  TransitionSeen hidden = closes(limit);
  hidden.evidence.hidden = true;
  CHECK(watched({hidden}).empty());
}

TEST_CASE("stacks: each is asked for once, and is in what is told from then on", "[engine][finding]") {
  Watched watched = running();
  const RawStack opened{client().key, 0, {0x1000, 0x1001}, {0x7000}};
  const RawStack read{client().key, 0, {0x2000}, {}};
  int asked = 0;
  watched.resolve = [&](const StackWanted& wanted) {
    ++asked;
    StackResolved answer{wanted.cookie, wanted.end_read, {}};
    answer.stack.frames.emplace_back();
    answer.stack.frames[0].address = wanted.stack.addresses.at(0);
    return answer;
  };
  const auto met = [&](std::uint64_t time_ns, const StacksSeen& stacks) {
    return sweep(watched, time_ns, {stacks, waits(time_ns)});
  };
  CHECK(met(limit - 2 * ms, {limit - 2 * ms, 81, opened, std::nullopt}) == Lines{"name the opener of 81"});
  CHECK(met(limit - 1 * ms, {limit - 1 * ms, 81, opened, read}) == Lines{"name the reader of 81"});
  CHECK(asked == 2);
  CHECK(met(limit, {limit, 81, opened, read}) == Lines{"81 raised eof_ignored stuck age=30000ms holder:812"});
  CHECK(asked == 2);
  const auto stacks = only<Finding>(watched.facts()).at(0).stacks;
  REQUIRE(stacks);
  REQUIRE(stacks->opened);
  CHECK(stacks->opened->frames.at(0).address == 0x1000);
  REQUIRE(stacks->end_read);
  CHECK(stacks->end_read->frames.at(0).address == 0x2000);

  SECTION("another read is another stack") {
    RawStack other = read;
    other.addresses[0] = 0x3000;
    CHECK(met(limit + 5 * seconds, {limit + 5 * seconds, 81, opened, other}) == Lines{"name the reader of 81"});
    watched({closes(limit + 6 * seconds)});
    CHECK(only<Finding>(watched.facts()).at(0).stacks->end_read->frames.at(0).address == 0x3000);
  }
  SECTION("the same addresses in another program are another stack") {
    RawStack other = read;
    other.exec_id = 1;
    CHECK(met(limit + 5 * seconds, {limit + 5 * seconds, 81, opened, other}) == Lines{"name the reader of 81"});
  }
  SECTION("another socket's finding has none of it") {
    sweep(watched, limit + 5 * seconds, {waits(limit + 5 * seconds), waits(limit + 5 * seconds, 83)});
    CHECK_FALSE(only<Finding>(watched.facts()).at(0).stacks);
  }
}

TEST_CASE("stacks that find no room are counted and not asked for", "[engine][finding]") {
  Engine::Settings settings;
  settings.stacks_limit = 1;
  Watched watched{settings};
  watched.begin();
  const RawStack stack{client().key, 0, {0x1000}, {}};
  CHECK(watched({StacksSeen{t0, 81, stack, std::nullopt}, StacksSeen{t0, 83, stack, std::nullopt},
                 StackResolved{83, false, {}}}) == Lines{"name the opener of 81"});
  CHECK(watched.engine().refusals().stacks == 1);
}

TEST_CASE("the peer resets what was not closed: its descriptor is open, and that is another finding",
          "[engine][finding]") {
  Watched watched = raised();
  const std::uint64_t reset = limit + 1 * seconds;
  TransitionSeen seen = last(change(reset, State::close_wait, State::close));
  seen.entered_ns = t0;
  seen.evidence.error = EPIPE;
  watched({seen});
  CHECK(told(Fact{only<Finding>(watched.facts()).at(0)}) ==
        "81 resolved eof_ignored stuck reset_still_open age=31000ms holder:812");
  const std::uint64_t now = reset + 30 * seconds;
  SocketRow met = dead(now - 1 * ms);
  met.entered_ns = reset;
  CHECK(sweep(watched, now - 1 * ms, {met}).empty());
  met.time_ns = now;
  CHECK(sweep(watched, now, {met}) == Lines{"81 raised dead_unclosed leak age=30000ms holder:812"});
}

TEST_CASE("the last descriptor of a dead socket resolves it", "[engine][finding]") {
  Watched watched = running();
  CHECK(sweep(watched, limit, {dead(limit)}) == Lines{"81 raised dead_unclosed leak age=30000ms holder:812"});
  const std::uint64_t now = limit + 1 * seconds;
  SECTION("by close()") {
    CHECK(watched({DescriptorClosed{now, 81, client(), Cause::close}}) ==
          Lines{"81 resolved dead_unclosed leak closed age=31000ms closer:812"});
  }
  SECTION("by another process, not met before") {
    CHECK(watched({DescriptorClosed{now, 81, person(813, "child"), Cause::close}}) ==
          Lines{"ask 813/0", "81 resolved dead_unclosed leak closed age=31000ms closer:813"});
  }
  SECTION("by the end of its process") {
    CHECK(watched({DescriptorClosed{now, 81, client(), Cause::exit}}) ==
          Lines{"81 resolved dead_unclosed leak exit age=31000ms closer:812"});
  }
  CHECK(sweep(watched, now + 1 * ms, {dead(now - 1 * ms)}).empty());
}

TEST_CASE("the sanitizer: what is left open when it ends is a leak", "[engine][finding]") {
  Watched watched = running(of_run());
  const std::uint64_t past = t0 + 1 * seconds;
  SocketRow unread = waits(past, 83);
  unread.condition.eof = EndOfFile::unread;
  SocketRow young = waits(past, 84);
  young.entered_ns = past - 1 * ms;
  CHECK(sweep(watched, past, {waits(past), unread, young}) ==
        Lines{"81 raised eof_ignored stuck age=1000ms holder:812", "83 raised eof_unread stuck age=1000ms holder:812"});
  CHECK(watched({Stopped{past + 1 * ms, 0, 0}}) ==
        Lines{"81 changed eof_ignored leak age=1001ms holder:812", "bye events=0 lost=0 connections=3"});
  CHECK(only<Bye>(watched.facts()).at(0).findings == 2);
}

TEST_CASE("the sanitizer: what passes the limit behind the last sweep is counted in bye", "[engine][finding]") {
  Watched watched = running(of_run());
  sweep(watched, t0 + 900 * ms, {waits(t0 + 900 * ms)});
  CHECK(watched({Stopped{t0 + 1 * seconds, 0, 0}}) ==
        Lines{"81 raised eof_ignored leak age=1000ms holder:812", "bye events=0 lost=0 connections=1"});
  CHECK(only<Bye>(watched.facts()).at(0).findings == 1);
}

TEST_CASE("the sanitizer: what the program closes itself is never a leak", "[engine][finding]") {
  Watched watched = running(of_run());
  sweep(watched, t0 + 1 * seconds, {waits(t0 + 1 * seconds)});
  watched({closes(t0 + 2 * seconds)});
  CHECK(watched({Stopped{t0 + 3 * seconds, 0, 0}}) == Lines{"bye events=1 lost=0 connections=1"});
}

TEST_CASE("the sanitizer: what only the end of its process closed is a leak at the end", "[engine][finding]") {
  Watched watched = running(of_run());
  sweep(watched, t0 + 1 * seconds, {waits(t0 + 1 * seconds)});
  watched({closes(t0 + 2 * seconds, Cause::exit)});
  watched({Stopped{t0 + 3 * seconds, 0, 0}});
  const auto findings = only<Finding>(watched.facts());
  REQUIRE(findings.size() == 1);
  CHECK(name(findings[0].status) == "changed");
  CHECK(name(findings[0].verdict) == "leak");
  REQUIRE(findings[0].resolution);
  CHECK(name(*findings[0].resolution) == "exit");
  CHECK(findings[0].responsible.attribution == Attribution::closer);
}

TEST_CASE("without the sanitizer the end of the watching judges nothing", "[engine][finding]") {
  Watched watched = raised();
  CHECK(watched({Stopped{limit + 60 * seconds, 0, 0}}) == Lines{"bye events=0 lost=0 connections=1"});
}

TEST_CASE("a sweep without all its rows proves no absence, one behind lost events proves it at once",
          "[engine][finding]") {
  Watched watched = raised();
  const auto findings = [&](std::uint64_t time_ns) {
    sweep(watched, time_ns, {});
    return only<Finding>(watched.facts()).size();
  };
  SECTION("none was lost: two sweeps without it agree that it is gone") {
    CHECK(findings(limit + 5 * seconds) == 0);
    CHECK(findings(limit + 10 * seconds) == 1);
    CHECK_FALSE(only<Finding>(watched.facts()).at(0).resolution);
  }
  SECTION("lost in the ring: its end may be among it") {
    watched({GENERATE(LossSeen{limit + 1 * seconds, 1, 0}, LossSeen{limit + 1 * seconds, 0, 0, 1})});
    CHECK(findings(limit + 5 * seconds) == 1);
    CHECK_FALSE(only<Finding>(watched.facts()).at(0).resolution);
  }
  SECTION("for want of storage: so may its row") {
    CHECK(findings(limit + 5 * seconds) == 0);
    watched({LossSeen{limit + 6 * seconds, 0, 1}});
    CHECK(findings(limit + 10 * seconds) == 0);
    CHECK(findings(limit + 15 * seconds) == 1);
  }
  SECTION("totals that stay where they are are no loss") {
    CHECK(findings(limit + 5 * seconds) == 0);
    watched({LossSeen{limit + 6 * seconds, 0, 0}});
    CHECK(findings(limit + 10 * seconds) == 1);
  }
}

TEST_CASE("never accepted: its listener's, and cleared by accept()", "[engine][finding]") {
  Watched watched = running();
  SocketRow listener = row(limit, State::listen, Attribution::listener, server());
  listener.cookie = 80;
  listener.tuple = listening();
  listener.accept_queue = {1, 128};
  SocketRow queued = waits(limit, 82);
  queued.tuple = incoming();
  queued.listener_cookie = 80;
  queued.attribution = Attribution::listener;
  queued.process = server();
  queued.evidence.no_socket = true;
  queued.condition.eof = EndOfFile::unread;
  CHECK(sweep(watched, limit, {queued, listener}) == Lines{"82 raised never_accepted stuck age=30000ms listener:900"});
  SocketRow taken = queued;
  taken.evidence.no_socket = false;
  taken.time_ns = listener.time_ns = limit + 5 * seconds;
  taken.attribution = Attribution::opener;
  CHECK(sweep(watched, limit + 5 * seconds, {listener, taken}) ==
        Lines{"82 resolved never_accepted stuck accepted age=35000ms listener:900"});
}

TEST_CASE("an owner that has ended is shown as such in what is resolved", "[engine][finding]") {
  Watched watched = raised();
  watched({ProcessExited{limit + 1 * ms, client().key}, closes(limit + 2 * ms, Cause::exit)});
  CHECK(only<Finding>(watched.facts()).at(0).responsible.process->entry->exited);
}
