// SPDX-License-Identifier: BSD-2-Clause
// Each path of the state machine: events in, lines out (told.hpp says how they read).
#include "builders.hpp"
#include "catch.hpp"
#include "told.hpp"

#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint64_t t0 = 200 * ms;

/// The network's change of a connection whose process has made the closing call, the first FIN being ours.
TransitionSeen after_close(std::uint64_t time_ns, State from, State to, Cause by = Cause::close) {
  TransitionSeen seen = change(time_ns, from, to);
  seen.attribution = Attribution::closer;
  seen.closer_by = by;
  seen.local_fin = true;
  return seen;
}

TransitionSeen orphaned(TransitionSeen seen) {
  seen.evidence.dead = true;
  seen.evidence.no_socket = true;
  seen.evidence.receive_shutdown = true;
  return seen;
}

TransitionSeen peer_done(TransitionSeen seen) {
  seen.evidence.done = true;
  return seen;
}

Watched running() {
  Watched watched;
  watched.begin();
  watched({ProcessSeen{150 * ms, client()}, ProcessSeen{150 * ms, server()}});
  return watched;
}

}  // namespace

TEST_CASE("hello comes first, then the snapshot", "[engine]") {
  Watched watched;
  CHECK(watched({Tick{100 * ms, 5}, WalkDone{100 * ms}, started(100 * ms)}) == Lines{"hello", "snapshot_end"});
  const Hello hello = only<Hello>(watched.facts()).at(0);
  CHECK(hello.time_ns == static_cast<std::int64_t>(100 * ms) + 5);
  CHECK(hello.run == "0123456789abcdef");
  CHECK(hello.boot_id == "b00t");
}

TEST_CASE("active close: the change to CLOSE becomes TIME_WAIT, then closed", "[engine]") {
  Watched watched = running();
  CHECK(
      watched({called(t0, State::established, State::fin_wait1, Cause::close),
               after_close(t0 + 1 * ms, State::fin_wait1, State::fin_wait2),
               last(peer_done(orphaned(after_close(t0 + 2 * ms, State::fin_wait2, State::close))))}) ==
      Lines{
          "81 ESTABLISHED>FIN_WAIT1 in=1ms closer:812 close:812", "81 FIN_WAIT1>FIN_WAIT2 in=1ms closer:812 network",
          "81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network",
          "81 closed closer:812 by=close:812 first=local fin errno=0 bucket=time_wait took=9ms sent=100 received=199"});
}

TEST_CASE("FIN_WAIT2 orphan: only closed, the connection stays in FIN_WAIT2", "[engine]") {
  Watched watched = running();
  CHECK(
      watched({last(orphaned(after_close(t0, State::fin_wait2, State::close))), Tick{t0 + 20 * ms, 0}}) ==
      Lines{
          "81 closed closer:812 by=close:812 first=local fin errno=0 bucket=fin_wait2 took=9ms sent=100 received=200"});
}

TEST_CASE("passive close", "[engine]") {
  Watched watched = running();
  TransitionSeen fin = on_incoming(change(t0, State::established, State::close_wait));
  fin.peer_fin = true;
  TransitionSeen close = on_incoming(called(t0 + 3 * ms, State::close_wait, State::last_ack, Cause::close));
  close.peer_fin = true;
  TransitionSeen done = last(peer_done(orphaned(on_incoming(after_close(t0 + 4 * ms, State::last_ack, State::close)))));
  done.local_fin = false;
  done.peer_fin = true;
  CHECK(watched({fin, close, done}) ==
        Lines{"82 ESTABLISHED>CLOSE_WAIT in=1ms opener:900 network",
              "82 CLOSE_WAIT>LAST_ACK in=1ms closer:900 close:900", "82 LAST_ACK>CLOSE in=1ms closer:900 network",
              "82 closed closer:900 by=close:900 first=peer fin errno=0 bucket=none took=9ms sent=100 received=199"});
}

TEST_CASE("simultaneous close goes through CLOSING", "[engine]") {
  Watched watched = running();
  TransitionSeen crossed = after_close(t0 + 1 * ms, State::fin_wait1, State::closing);
  crossed.peer_fin = true;
  TransitionSeen done = last(peer_done(orphaned(after_close(t0 + 2 * ms, State::closing, State::close))));
  done.peer_fin = true;
  CHECK(
      watched({called(t0, State::established, State::fin_wait1, Cause::close), crossed, done}) ==
      Lines{
          "81 ESTABLISHED>FIN_WAIT1 in=1ms closer:812 close:812", "81 FIN_WAIT1>CLOSING in=1ms closer:812 network",
          "81 CLOSING>TIME_WAIT in=1ms closer:812 network",
          "81 closed closer:812 by=close:812 first=both fin errno=0 bucket=time_wait took=9ms sent=100 received=199"});
}

TEST_CASE("half close: shutdown(WR), and close() while in FIN_WAIT2 is the later closer", "[engine]") {
  Watched watched = running();
  TransitionSeen closing = called(t0 + 2 * ms, State::fin_wait2, State::fin_wait2, Cause::close);
  TransitionSeen done = last(orphaned(called(t0 + 2 * ms, State::fin_wait2, State::close, Cause::close)));
  done.entered_ns = done.time_ns;
  CHECK(
      watched({called(t0, State::established, State::fin_wait1, Cause::shutdown),
               after_close(t0 + 1 * ms, State::fin_wait1, State::fin_wait2, Cause::shutdown), closing, done,
               Tick{t0 + 30 * ms, 0}}) ==
      Lines{
          "81 ESTABLISHED>FIN_WAIT1 in=1ms closer:812 shutdown:812", "81 FIN_WAIT1>FIN_WAIT2 in=1ms closer:812 network",
          "81 FIN_WAIT2>FIN_WAIT2 in=1ms closer:812 close:812",
          "81 closed closer:812 by=close:812 first=none fin errno=0 bucket=fin_wait2 took=9ms sent=100 received=200"});
}

TEST_CASE("half close that was over before close(): by shutdown", "[engine]") {
  Watched watched = running();
  const auto lines = watched({last(peer_done(after_close(t0, State::fin_wait2, State::close, Cause::shutdown)))});
  CHECK(lines ==
        Lines{"81 FIN_WAIT2>TIME_WAIT in=1ms closer:812 network",
              "81 closed closer:812 by=shutdown:812 first=local fin errno=0 bucket=time_wait took=9ms sent=100 "
              "received=199"});
}

TEST_CASE("the end of a process closes its sockets", "[engine]") {
  Watched watched = running();
  CHECK(
      watched({called(t0, State::established, State::fin_wait1, Cause::exit), ProcessExited{t0, client().key},
               after_close(t0 + 1 * ms, State::fin_wait1, State::fin_wait2, Cause::exit)}) ==
      Lines{"81 ESTABLISHED>FIN_WAIT1 in=1ms closer:812 exit:812", "81 FIN_WAIT1>FIN_WAIT2 in=1ms closer:812 network"});
  const auto transitions = only<Transition>(watched.facts());
  CHECK(transitions.at(1).responsible.process->entry->exited);
}

TEST_CASE("reset by the peer with the descriptor open: nobody closed it", "[engine]") {
  Watched watched = running();
  TransitionSeen reset = last(change(t0, State::established, State::close));
  reset.evidence.error = ECONNRESET;
  CHECK(watched({reset}) ==
        Lines{"81 ESTABLISHED>CLOSE in=1ms opener:812 network",
              "81 closed opener:812 first=none rst_received errno=104 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("ss -K: the actor is ss, the owner stays, there is no closer", "[engine]") {
  Watched watched = running();
  TransitionSeen killed = last(change(t0, State::established, State::close));
  killed.call = Cause::kill;
  killed.actor = person(77, "ss");
  killed.evidence.error = ECONNABORTED;
  CHECK(watched({killed}) ==
        Lines{"81 ESTABLISHED>CLOSE in=1ms opener:812 kill:77",
              "81 closed opener:812 first=none killed errno=103 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("a refused and an abandoned connect()", "[engine]") {
  Watched watched = running();
  TransitionSeen refused = last(change(t0, State::syn_sent, State::close));
  refused.evidence.error = ECONNREFUSED;
  TransitionSeen abandoned = last(called(t0 + 1 * ms, State::syn_sent, State::close, Cause::close));
  abandoned.cookie = 83;
  CHECK(
      watched({refused, abandoned}) ==
      Lines{
          "81 SYN_SENT>CLOSE in=1ms opener:812 network",
          "81 closed opener:812 first=none refused errno=111 bucket=none took=9ms sent=100 received=200",
          "83 SYN_SENT>CLOSE in=1ms closer:812 close:812",
          "83 closed closer:812 by=close:812 first=none abandoned errno=0 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("connect(AF_UNSPEC) is a call, and no closing one", "[engine]") {
  Watched watched = running();
  CHECK(watched({last(called(t0, State::established, State::close, Cause::disconnect))}) ==
        Lines{"81 ESTABLISHED>CLOSE in=1ms opener:812 disconnect:812",
              "81 closed opener:812 first=none disconnected errno=0 bucket=none took=9ms sent=100 received=200"});
}

TEST_CASE("with --all-states the rest of the machine passes through; listeners have no closed", "[engine]") {
  Watched watched = running();
  TransitionSeen connecting = called(t0, State::close, State::syn_sent, Cause::connect);
  connecting.entered_ns = 0;
  const auto lines = watched(
      {connecting, change(t0 + 1 * ms, State::syn_sent, State::established), listener_opens(t0 + 2 * ms),
       on_incoming(change(t0 + 3 * ms, State::listen, State::syn_recv)),
       on_incoming(change(t0 + 4 * ms, State::syn_recv, State::established)), listener_closes(t0 + 5 * ms, server())});
  CHECK(lines ==
        Lines{"81 CLOSE>SYN_SENT in=? opener:812 connect:812", "81 SYN_SENT>ESTABLISHED in=1ms opener:812 network",
              "80 CLOSE>LISTEN in=1ms listener:900 listen:900", "82 LISTEN>SYN_RECV in=1ms opener:900 network",
              "82 SYN_RECV>ESTABLISHED in=1ms opener:900 network", "80 LISTEN>CLOSE in=1ms closer:900 close:900"});
}

TEST_CASE("a full TIME_WAIT table: the bucket is not known, and so nothing is told of the state", "[engine]") {
  Watched watched = running();
  TransitionSeen seen = last(peer_done(orphaned(after_close(t0, State::fin_wait2, State::close))));
  seen.evidence.table_full = true;
  CHECK(
      watched({seen}) ==
      Lines{"81 closed closer:812 by=close:812 first=local fin errno=0 bucket=unknown took=9ms sent=100 received=199"});
}

TEST_CASE("a RST right behind FIN_WAIT2 → CLOSE: late data, no bucket", "[engine]") {
  Watched watched = running();
  const TransitionSeen seen = last(orphaned(after_close(t0, State::fin_wait2, State::close)));
  CHECK(watched({seen}).empty());
  CHECK(watched.holds_back());
  CHECK(watched({ResetSeen{t0 + 3 * us, 81}}) == Lines{"81 FIN_WAIT2>CLOSE in=1ms closer:812 network",
                                                       "81 closed closer:812 by=close:812 first=local rst_late_data "
                                                       "errno=0 bucket=none took=9ms sent=100 received=200"});
  CHECK_FALSE(watched.holds_back());
}

TEST_CASE("our own RST in FIN_WAIT1: ECONNRESET that is not the peer's", "[engine]") {
  Watched watched = running();
  TransitionSeen seen = last(orphaned(after_close(t0, State::fin_wait1, State::close)));
  seen.evidence.error = ECONNRESET;
  CHECK(watched({seen}).empty());
  SECTION("a RST went out") {
    CHECK(only<Closed>((watched({ResetSeen{t0 + 1 * us, 81}}), watched.facts())).at(0).ending == Ending::rst_late_data);
  }
  SECTION("none did") {
    CHECK(only<Closed>((watched({Tick{t0 + 20 * ms, 0}}), watched.facts())).at(0).ending == Ending::rst_received);
  }
}

TEST_CASE("what is behind a held event waits, in order; time lets all of it go", "[engine]") {
  Watched watched = running();
  const TransitionSeen held = last(orphaned(after_close(t0, State::fin_wait2, State::close)));
  const TransitionSeen other = on_incoming(change(t0 + 1 * ms, State::established, State::close_wait));
  const TransitionSeen another = on_incoming(called(t0 + 2 * ms, State::close_wait, State::last_ack, Cause::close));
  CHECK(watched({held, other, another}).empty());
  CHECK(watched({Tick{t0 + 19 * ms, 0}}).empty());
  CHECK(
      watched({Tick{t0 + 20 * ms, 0}}) ==
      Lines{"81 closed closer:812 by=close:812 first=local fin errno=0 bucket=fin_wait2 took=9ms sent=100 received=200",
            "82 ESTABLISHED>CLOSE_WAIT in=1ms opener:900 network",
            "82 CLOSE_WAIT>LAST_ACK in=1ms closer:900 close:900"});
  CHECK_FALSE(watched.holds_back());
}

TEST_CASE("a later event shows that the time is up as well as a tick does", "[engine]") {
  Watched watched = running();
  CHECK(watched({last(orphaned(after_close(t0, State::fin_wait2, State::close)))}).empty());
  CHECK(watched({on_incoming(change(t0 + 25 * ms, State::established, State::close_wait))}).size() == 2);
}

TEST_CASE("a RST of another socket, or with nothing held, changes nothing", "[engine]") {
  Watched watched = running();
  CHECK(watched({ResetSeen{t0, 81}}).empty());
  CHECK(watched({last(orphaned(after_close(t0 + 1 * ms, State::fin_wait2, State::close))), ResetSeen{t0 + 2 * ms, 99}})
            .empty());
  const auto lines = watched({Tick{t0 + 21 * ms, 0}});
  REQUIRE(lines.size() == 1);
  CHECK(only<Closed>(watched.facts()).at(0).bucket == Bucket::fin_wait2);
}

TEST_CASE("two orphans held at once: the RST finds its own", "[engine]") {
  Watched watched = running();
  TransitionSeen first = last(orphaned(after_close(t0, State::fin_wait2, State::close)));
  TransitionSeen second = first;
  second.cookie = 91;
  second.time_ns += 1 * ms;
  CHECK(watched({first, second, ResetSeen{t0 + 2 * ms, 91}}).empty());
  watched({Tick{t0 + 21 * ms, 0}});
  const auto closed = only<Closed>(watched.facts());
  REQUIRE(closed.size() == 2);
  CHECK(closed[0].ending == Ending::fin);
  CHECK(closed[1].ending == Ending::rst_late_data);
}

TEST_CASE("stats are not told before what they count", "[engine]") {
  Watched watched = running();
  CHECK(watched({last(orphaned(after_close(t0, State::fin_wait2, State::close))), Usage{t0 + 1 * ms, 5, 6}}).empty());
  const auto lines = watched({Tick{t0 + 20 * ms, 0}});
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] == "stats events=1 lost=0 connections=0");
  CHECK(only<Stats>(watched.facts()).at(0).totals.cpu_ms == 5);
  CHECK(only<Stats>(watched.facts()).at(0).totals.rss_bytes == 6);
}

TEST_CASE("the end lets go of everything held, then says bye", "[engine]") {
  Watched watched = running();
  watched({on_incoming(change(t0, State::established, State::close_wait)),
           last(orphaned(after_close(t0 + 1 * ms, State::fin_wait2, State::close)))});
  CHECK(
      watched({Stopped{t0 + 2 * ms, 1, 2}}) ==
      Lines{"81 closed closer:812 by=close:812 first=local fin errno=0 bucket=fin_wait2 took=9ms sent=100 received=200",
            "bye events=2 lost=0 connections=1"});
  CHECK_FALSE(watched.holds_back());
}

TEST_CASE("what is not known is null: time in state, duration", "[engine]") {
  Watched watched = running();
  TransitionSeen seen = last(change(t0, State::last_ack, State::close));
  seen.entered_ns = 0;
  seen.totals->opened_ns = 0;
  watched({seen});
  CHECK_FALSE(only<Transition>(watched.facts()).at(0).in_state_ns);
  CHECK_FALSE(only<Closed>(watched.facts()).at(0).in_state_ns);
  CHECK_FALSE(only<Closed>(watched.facts()).at(0).duration_ns);
  SECTION("also where the clocks of two CPUs disagree") {
    seen.entered_ns = t0 + 1;
    seen.totals->opened_ns = t0 + 1;
    watched({seen});
    CHECK_FALSE(only<Transition>(watched.facts()).at(0).in_state_ns);
    CHECK_FALSE(only<Closed>(watched.facts()).at(0).duration_ns);
  }
}

TEST_CASE("bytes received are the kernel's, less the FIN that it counts as one", "[engine]") {
  Watched watched = running();
  const auto received = [&](bool done, bool peer_fin, std::uint64_t counted) {
    TransitionSeen seen = last(change(t0, State::last_ack, State::close));
    seen.evidence.done = done;
    seen.peer_fin = peer_fin;
    seen.totals->bytes_received = counted;
    watched({seen});
    return only<Closed>(watched.facts()).at(0).bytes_received;
  };
  CHECK(received(true, true, 6) == 5);
  CHECK(received(false, true, 6) == 5);
  CHECK(received(true, false, 6) == 5);
  CHECK(received(false, false, 6) == 6);
  CHECK(received(true, true, 0) == 0);
}

TEST_CASE("a closed carries times by state, its own time and the tuple as they came", "[engine]") {
  Watched watched = running();
  watched({Tick{t0, 1'000'000'000'000}, last(change(t0 + 1 * ms, State::last_ack, State::close))});
  const Closed closed = only<Closed>(watched.facts()).at(0);
  CHECK(closed.time_ns == static_cast<std::int64_t>(t0 + 1 * ms) + 1'000'000'000'000);
  CHECK(closed.states_ns[static_cast<std::size_t>(State::established)] == 8 * ms);
  CHECK(closed.connection.id.netns == netns);
  CHECK(closed.connection.id.cookie == 81);
  CHECK(closed.connection.tuple.local == outgoing().local);
  CHECK(closed.connection.tuple.role == Role::connect);
  CHECK_FALSE(closed.connection.mptcp);
}

TEST_CASE("a subflow of an MPTCP connection is marked", "[engine]") {
  Watched watched = running();
  TransitionSeen seen = change(t0, State::established, State::close_wait);
  seen.evidence.mptcp = true;
  watched({seen});
  CHECK(only<Transition>(watched.facts()).at(0).connection.mptcp);
}
