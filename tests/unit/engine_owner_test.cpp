// SPDX-License-Identifier: BSD-2-Clause
// Who is responsible: questions about processes, owners that have ended, listeners and their children.
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

// Walks keep a pause behind the one that heads the stream.
constexpr std::uint64_t t0 = 2 * seconds;

Watched running() {
  Watched watched;
  watched.begin();
  return watched;
}

/// The opener has ended, and the socket lives on.
Watched without_opener() {
  Watched watched = running();
  watched({ProcessSeen{150 * ms, client()}, ProcessExited{160 * ms, client().key}});
  return watched;
}

TransitionSeen peer_closes(std::uint64_t time_ns) { return change(time_ns, State::established, State::close_wait); }

/// A child of listener 80 in its accept queue.
TransitionSeen never_accepted(std::uint64_t time_ns) {
  TransitionSeen seen = last(on_incoming(change(time_ns, State::established, State::close)));
  seen.attribution = Attribution::listener;
  seen.evidence.no_socket = true;
  return seen;
}

}  // namespace

TEST_CASE("a process is asked for once, at first sight", "[engine][owner]") {
  Watched watched = running();
  CHECK(watched({ProcessSeen{t0, client()}, ProcessSeen{t0, client()}}) == Lines{"ask 812/0"});
  CHECK(watched({peer_closes(t0 + 1 * ms)}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network"});
}

TEST_CASE("the question comes before the fact that needs its answer", "[engine][owner]") {
  Watched watched = running();
  CHECK(watched({peer_closes(t0)}) == Lines{"ask 812/0", "81 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network"});
}

TEST_CASE("the answer is in the facts behind it, and in those before too: they share it", "[engine][owner]") {
  Watched watched = running();
  watched.answer = [](const Identity& identity) {
    ProcessResolved answer;
    answer.key = identity.key;
    answer.exec_id = identity.exec_id;
    answer.details.exe = "/usr/bin/client";
    answer.details.container = "ab12cd34ef56";
    return answer;
  };
  watched({peer_closes(t0)});
  const Transition transition = only<Transition>(watched.facts()).at(0);
  CHECK(transition.responsible.process->entry->details.exe == "/usr/bin/client");
  CHECK(transition.responsible.process->entry->details.container == "ab12cd34ef56");
  CHECK_FALSE(transition.responsible.process->entry->exited);
}

TEST_CASE("after exec() it is asked for again, and what was told keeps the program it was told of", "[engine][owner]") {
  Watched watched = running();
  watched.answer = [](const Identity& identity) {
    ProcessResolved answer;
    answer.key = identity.key;
    answer.exec_id = identity.exec_id;
    answer.details.exe = identity.exec_id == 0 ? "/bin/sh" : "/usr/bin/nc";
    return answer;
  };
  watched({peer_closes(t0)});
  const Transition before = only<Transition>(watched.facts()).at(0);
  TransitionSeen seen = called(t0 + 1 * ms, State::close_wait, State::last_ack, Cause::close);
  seen.process = seen.actor = person(812, "nc", 1);
  CHECK(watched({seen}) == Lines{"ask 812/1", "81 CLOSE_WAIT>LAST_ACK in=1ms closer:812 close:812"});
  CHECK(only<Transition>(watched.facts()).at(0).responsible.process->entry->details.exe == "/usr/bin/nc");
  CHECK(before.responsible.process->entry->details.exe == "/bin/sh");
}

TEST_CASE("an answer about the program before exec() is not taken for the one after", "[engine][owner]") {
  Watched watched = running();
  watched({ProcessSeen{t0, client()}, ProcessSeen{t0, person(812, "nc", 1)}});
  ProcessResolved late;
  late.key = client().key;
  late.exec_id = 0;
  late.details.exe = "/bin/sh";
  TransitionSeen seen = peer_closes(t0 + 1 * ms);
  seen.process = person(812, "nc", 1);
  watched({late, seen});
  CHECK_FALSE(only<Transition>(watched.facts()).at(0).responsible.process->entry->details.exe);
}

TEST_CASE("a pid used again is another process", "[engine][owner]") {
  Watched watched = without_opener();
  Identity again = client();
  again.key.start_ns += 1;
  TransitionSeen seen = peer_closes(t0);
  seen.process = again;
  CHECK(watched({seen}) == Lines{"ask 812/0", "81 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network"});
}

TEST_CASE("exited is shown: of a closer that has ended since", "[engine][owner]") {
  Watched watched = running();
  TransitionSeen closing = called(t0, State::established, State::fin_wait1, Cause::close);
  TransitionSeen next = called(t0 + 5 * ms, State::fin_wait1, State::fin_wait2, Cause::close);
  next.call.reset();
  next.actor = {};
  watched({closing});
  CHECK_FALSE(only<Transition>(watched.facts()).at(0).responsible.process->entry->exited);
  CHECK(watched({ProcessExited{t0 + 1 * ms, client().key}, next}) ==
        Lines{"81 FIN_WAIT1>FIN_WAIT2 in=1ms closer:812 network"});
  CHECK(only<Transition>(watched.facts()).at(0).responsible.process->entry->exited);
}

TEST_CASE("a process that was gone when it was looked up has exited", "[engine][owner]") {
  Watched watched = running();
  watched.answer = [](const Identity& identity) {
    ProcessResolved answer;
    answer.key = identity.key;
    answer.exec_id = identity.exec_id;
    answer.exited = true;
    return answer;
  };
  watched({called(t0, State::established, State::fin_wait1, Cause::close)});
  CHECK(only<Transition>(watched.facts()).at(0).responsible.process->entry->exited);
}

TEST_CASE("without a process the attribution is unknown, whatever it says", "[engine][owner]") {
  Watched watched = running();
  TransitionSeen seen = peer_closes(t0);
  SECTION("pid 0") { seen.process = {}; }
  SECTION("attribution unknown") { seen.attribution = Attribution::unknown; }
  CHECK(watched({seen}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
}

TEST_CASE("the opener has ended: a walk is asked for, and its row answers", "[engine][owner]") {
  Watched watched = without_opener();
  CHECK(watched({peer_closes(t0)}) == Lines{"walk"});
  CHECK(watched.holds_back());
  CHECK(watched({row(t0 + 2 * ms, State::close_wait, Attribution::holder, person(813, "child")),
                 WalkDone{t0 + 3 * ms}}) == Lines{"ask 813/0", "81 ESTABLISHED>CLOSE_WAIT in=1ms holder:813 network"});
  CHECK_FALSE(watched.holds_back());
}

TEST_CASE("no walk in time: unknown, and never the one who has ended", "[engine][owner]") {
  Watched watched = without_opener();
  CHECK(watched({peer_closes(t0)}) == Lines{"walk"});
  CHECK(watched({Tick{t0 + 99 * ms, 0}}).empty());
  CHECK(watched({Tick{t0 + 100 * ms, 0}}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
}

TEST_CASE("a walk that does not meet the socket, or finds the dead owner still: unknown", "[engine][owner]") {
  Watched watched = without_opener();
  watched({peer_closes(t0)});
  SECTION("not met") {}
  SECTION("nobody else has it") { watched({row(t0 + 2 * ms, State::close_wait, Attribution::opener, client())}); }
  CHECK(watched({WalkDone{t0 + 3 * ms}}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
}

TEST_CASE("a socket that ends after its owner has no one to name and waits for none", "[engine][owner]") {
  Watched watched = without_opener();
  TransitionSeen seen = last(change(t0, State::established, State::close));
  seen.evidence.error = 104;
  CHECK(watched({seen}) ==
        Lines{"81 ESTABLISHED>CLOSE in=1ms unknown network",
              "81 closed unknown first=none rst_received errno=104 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("what waits for its owner keeps the order of what is behind it", "[engine][owner]") {
  Watched watched = without_opener();
  const TransitionSeen other = on_incoming(change(t0 + 1 * ms, State::established, State::close_wait));
  watched({ProcessSeen{t0, server()}});
  CHECK(watched({peer_closes(t0), other}) == Lines{"walk"});
  CHECK(watched({row(t0 + 2 * ms, State::close_wait, Attribution::holder, server()), WalkDone{t0 + 3 * ms}}) ==
        Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms holder:900 network",
              "82 ESTABLISHED>CLOSE_WAIT in=1ms opener:900 network"});
}

TEST_CASE("a walk may find that who is about to end has it still: that is an answer", "[engine][owner]") {
  Watched watched = without_opener();
  watched({peer_closes(t0)});
  SocketRow met = row(t0 + 2 * ms, State::close_wait, Attribution::opener, client());
  met.evidence.owner_met = true;
  watched({met});
  CHECK(watched({WalkDone{t0 + 3 * ms}}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms opener:812 network"});
}

TEST_CASE("one walk answers for many", "[engine][owner]") {
  Watched watched = without_opener();
  TransitionSeen second = peer_closes(t0 + 1 * ms);
  second.cookie = 83;
  SocketRow other = row(t0 + 2 * ms, State::close_wait, Attribution::holder, person(814, "friend"));
  other.cookie = 83;
  CHECK(watched({peer_closes(t0), second,
                 row(t0 + 2 * ms, State::close_wait, Attribution::holder, person(813, "child")), other}) ==
        Lines{"walk", "walk", "ask 813/0", "ask 814/0"});
  CHECK(watched({WalkDone{t0 + 3 * ms}}) == Lines{"81 ESTABLISHED>CLOSE_WAIT in=1ms holder:813 network",
                                                  "83 ESTABLISHED>CLOSE_WAIT in=1ms holder:814 network"});
}

TEST_CASE("walks keep a pause, in which nobody waits for one", "[engine][owner]") {
  Watched watched = without_opener();
  const std::uint64_t done = t0 + 3 * ms;
  watched({peer_closes(t0), WalkDone{done, done - 1 * ms}});
  TransitionSeen next = peer_closes(done + 50 * ms);
  next.cookie = 84;
  CHECK(watched({next}) == Lines{"84 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
  next.cookie = 85;
  next.time_ns = done + 600 * ms;
  CHECK(watched({next}) == Lines{"walk"});
}

TEST_CASE("a walk that takes long is not asked for again for ten times as long", "[engine][owner]") {
  Watched watched = without_opener();
  watched({peer_closes(t0), row(t0 + 1 * ms, State::close_wait, Attribution::holder, person(813, "child")),
           WalkDone{t0 + 201 * ms, t0 + 1 * ms}});
  TransitionSeen next = peer_closes(t0 + 2200 * ms);
  next.cookie = 84;
  CHECK(watched({next}) == Lines{"84 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
  next.cookie = 85;
  next.time_ns = t0 + 2201 * ms;
  CHECK(watched({next}) == Lines{"walk"});
}

TEST_CASE("a connection still its listener's, whose process has ended: the listener's holder of now",
          "[engine][owner]") {
  Watched watched = running();
  watched({listener_opens(t0), ProcessExited{t0, server().key}});
  SocketRow listener = row(t0 + 1 * ms, State::listen, Attribution::listener, person(901, "worker"));
  listener.cookie = 80;
  listener.tuple = listening();
  TransitionSeen seen = on_incoming(change(t0 + 3 * ms, State::established, State::close_wait));
  seen.attribution = Attribution::listener;
  CHECK(watched({seen}) == Lines{"walk"});
  watched({listener});
  CHECK(watched({WalkDone{t0 + 4 * ms}}) ==
        Lines{"ask 901/0", "82 ESTABLISHED>CLOSE_WAIT in=1ms listener:901 network"});
}

TEST_CASE("never accepted: the closer is who closed the listener", "[engine][owner]") {
  Watched watched = running();
  watched({ProcessSeen{t0, server()}, ProcessSeen{t0, person(901, "reload")}, listener_opens(t0)});
  watched({listener_closes(t0 + 1 * ms, person(901, "reload"))});
  CHECK(watched({never_accepted(t0 + 2 * ms)}) == Lines{"82 ESTABLISHED>CLOSE in=1ms closer:901 listener_closed:901",
                                                        "82 closed closer:901 by=close:901 first=none never_accepted "
                                                        "errno=0 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("never accepted, and its listener was closed unseen: no closer is invented", "[engine][owner]") {
  Watched watched = running();
  watched({ProcessSeen{t0, server()}});
  CHECK(watched({never_accepted(t0 + 2 * ms)}) ==
        Lines{"82 ESTABLISHED>CLOSE in=1ms listener:900 listener_closed",
              "82 closed listener:900 first=none never_accepted errno=0 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("never accepted, from before the start: its port's listener's", "[engine][owner]") {
  Watched watched = running();
  watched({listener_opens(t0)});
  TransitionSeen seen = on_incoming(change(t0 + 1 * ms, State::established, State::close_wait));
  seen.attribution = Attribution::unknown;
  seen.process = {};
  seen.listener_cookie = 0;
  SECTION("nobody has it yet") {
    seen.evidence.no_socket = true;
    CHECK(watched({seen}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:900 network"});
  }
  SECTION("somebody has, who is not known") {
    CHECK(watched({seen}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
  }
  SECTION("an orphan has no socket either, and is nobody's to accept") {
    seen.evidence.no_socket = seen.evidence.dead = true;
    CHECK(watched({seen}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms unknown network"});
  }
}

TEST_CASE("never accepted: the worker that accepts, before the one who called listen()", "[engine][owner]") {
  Watched watched = running();
  const Identity worker = person(901, "worker");
  watched({ProcessSeen{t0, server()}, ProcessSeen{t0, worker}, listener_opens(t0)});
  const auto opened_by = [&](const Identity& process, Attribution attribution) {
    TransitionSeen seen = on_incoming(change(t0 + 1 * ms, State::established, State::close_wait));
    seen.cookie = 83;
    seen.process = process;
    seen.attribution = attribution;
    return seen;
  };
  TransitionSeen queued = on_incoming(change(t0 + 9 * ms, State::established, State::close_wait));
  queued.attribution = Attribution::listener;
  queued.evidence.no_socket = true;
  SECTION("nobody was seen to accept") {
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:900 network"});
  }
  SECTION("a worker accepted another connection") {
    watched({opened_by(worker, Attribution::opener)});
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:901 network"});
    SECTION("and has ended") {
      watched({ProcessExited{t0 + 8 * ms, worker.key}});
      CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:900 network"});
    }
  }
  SECTION("a worker accepted, and a walk has met the listener since, with the one who called listen()") {
    watched({opened_by(worker, Attribution::opener)});
    SocketRow listener = row(t0 + 2 * ms, State::listen, Attribution::listener, server());
    listener.cookie = 80;
    listener.tuple = listening();
    watched({listener, WalkDone{t0 + 3 * ms, t0 + 2 * ms}});
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:901 network"});
  }
  SECTION("whoever holds or closes a connection need not have accepted it") {
    watched({opened_by(worker, GENERATE(Attribution::holder, Attribution::closer))});
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:900 network"});
  }
  SECTION("what was filtered out teaches who accepts too") {
    TransitionSeen hidden = opened_by(worker, Attribution::opener);
    hidden.evidence.hidden = true;
    CHECK(watched({hidden}).empty());
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:901 network"});
  }
  SECTION("from before the start: by its port") {
    watched({opened_by(worker, Attribution::opener)});
    queued.attribution = Attribution::unknown;
    queued.process = {};
    queued.listener_cookie = 0;
    CHECK(watched({queued}) == Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms listener:901 network"});
  }
}

TEST_CASE("never accepted with a listener that was shut down: by one of the three words", "[engine][owner]") {
  Watched watched = running();
  TransitionSeen closing = listener_closes(t0 + 1 * ms, server());
  closing.attribution = Attribution::listener;
  closing.closer_by.reset();
  const auto [call, by] =
      GENERATE(table<Cause, Cause>({{Cause::disconnect, Cause::shutdown}, {Cause::kill, Cause::close}}));
  closing.call = call;
  watched({listener_opens(t0), closing, never_accepted(t0 + 1 * ms)});
  const Closed closed = only<Closed>(watched.facts()).at(0);
  REQUIRE(closed.closer);
  CHECK(name(closed.closer->by) == name(by));
}

TEST_CASE("never accepted with a listener that ended with its process: by exit", "[engine][owner]") {
  Watched watched = running();
  TransitionSeen closing = listener_closes(t0 + 1 * ms, server());
  closing.call = closing.closer_by = Cause::exit;
  watched({listener_opens(t0), closing, never_accepted(t0 + 1 * ms)});
  const Closed closed = only<Closed>(watched.facts()).at(0);
  REQUIRE(closed.closer);
  CHECK(closed.closer->by == Cause::exit);
  CHECK(closed.closer->process.key == server().key);
  CHECK(closed.responsible.attribution == Attribution::closer);
}

TEST_CASE("records that are hidden teach about listeners and are not told", "[engine][owner]") {
  Watched watched = running();
  TransitionSeen opens = listener_opens(t0);
  opens.evidence.hidden = true;
  TransitionSeen closes = listener_closes(t0 + 1 * ms, server());
  closes.evidence.hidden = true;
  CHECK(watched({opens, closes}).empty());
  CHECK_FALSE(watched.holds_back());
  watched({never_accepted(t0 + 2 * ms)});
  CHECK(only<Closed>(watched.facts()).at(0).closer);
  CHECK(watched({Usage{t0 + 3 * ms, 0, 0}}) == Lines{"stats events=1 lost=0 connections=0"});
}
