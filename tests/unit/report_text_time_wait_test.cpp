// SPDX-License-Identifier: BSD-2-Clause
// The report for people, of TIME_WAIT, of ports, and of the machine.
#include "catch.hpp"
#include "locale.hpp"
#include "scene.hpp"

#include "sink/report_text.hpp"

#include <string>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint16_t first_port = 40'000;

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::uint16_t port_of(int at) { return static_cast<std::uint16_t>(first_port + at); }

/// A client that closes two connections a second, first, for 35 seconds, of a hundred ports.
struct Exhausting : Scene {
  Exhausting() {
    settings({first_port, first_port + 99});
    for (int at = 0; at < 70; ++at)
      closed_into_bucket(client(), outgoing_from(port_of(at)), static_cast<std::uint64_t>(35'000 - 500 * at) * ms);
  }
};

TextSink::Style coloured() {
  TextSink::Style style;
  style.colour = true;
  return style;
}

}  // namespace

TEST_CASE("report text: ports that run out", "[sink][report]") {
  const Utf8 locale;
  CHECK(report_text(Exhausting{}.report(), {}) == R"(box, Linux 6.18.0: watched for 60s until 12:34:56
TIME_WAIT 70

Nothing leaks: 70 sockets of 1 process looked at.
Ports run out on 10.0.0.7:* → 10.0.0.5:3306: 70 of 100 ports in use; connect()
fails in 15.0s at this rate; at most 1.7 connections a second can be sustained.

WORKLOAD               PROCS CLOSE_WAIT LEAKED STUCK  OLDEST TIME_WAIT       FDS
client 10.0.0.5:3306       1          0      0     0       -        70         -
  /app.slice
  70 in TIME_WAIT, 1.2 more a second: it closes first, so that they are its own
    10.0.0.7:* → 10.0.0.5:3306: 70 in TIME_WAIT, 70 of 100 ports in use;
      connect() fails in 15.0s at this rate; at most 1.7 connections a second
      can be sustained
    TIME_WAIT is with the side that closes first, for 60 s, and each holds a
    port of its route. What helps: reuse connections (keep-alive, a pool), let
    the other side close first, a wider ip_local_port_range, more source or
    destination addresses, IP_BIND_ADDRESS_NO_PORT before bind() to an address;
    tcp_tw_reuse=1, on the connecting side, where both have timestamps.
    What does not: tcp_tw_recycle is gone since Linux 4.12 and broke clients
    behind NAT; tcp_fin_timeout bounds orphaned FIN_WAIT2, not TIME_WAIT; a
    lower tcp_max_tw_buckets and SO_LINGER 0 take away what TIME_WAIT protects,
    and lose data.
)");
}

TEST_CASE("report text: ports that have run out, and those who only share the route", "[sink][report]") {
  const Utf8 locale;
  Exhausting scene;
  scene.settings({first_port, first_port + 70});
  scene.row(State::established, person(7, "other"), outgoing_from(port_of(70)));
  const std::string text = report_text(scene.report(), coloured());
  CHECK(has(text, "\x1b[31mPorts run out on 10.0.0.7:* → 10.0.0.5:3306: 71 of 71 ports in use; connect()"));
  CHECK(has(text, "now (EADDRNOTAVAIL)"));
  CHECK(has(text, "\x1b[31mclient 10.0.0.5:3306 "));
  CHECK(has(text, "\x1b[31mother 10.0.0.5:3306 "));
  CHECK(has(text, "  none in TIME_WAIT, on a route that runs out of ports\n"));
  CHECK(has(text, "    10.0.0.7:* → 10.0.0.5:3306: 71 of 71 ports in use; connect() fails now"));
  // The advice comes once, and the machine's own finding of the same not at all.
  CHECK(text.find("What helps") == text.rfind("What helps"));
  CHECK(!has(text, "This machine"));
}

TEST_CASE("report text: nearly all ports, without an end in sight, is yellow", "[sink][report]") {
  const Utf8 locale;
  Scene scene;
  scene.settings({first_port, first_port + 9});
  for (int at = 0; at < 9; ++at) scene.row(State::established, client(), outgoing_from(port_of(at)));
  CHECK(!has(report_text(scene.report(), {}), "Ports run out"));
  scene.settings({first_port, first_port + 19});
  for (int at = 9; at < 19; ++at) scene.row(State::established, client(), outgoing_from(port_of(at)));
  const std::string text = report_text(scene.report(), coloured());
  CHECK(has(text, "\x1b[33mPorts run out on 10.0.0.7:* → 10.0.0.5:3306: 19 of 20 ports in use.\x1b[0m\n"));
  CHECK(has(text, "\x1b[33mclient 10.0.0.5:3306 "));
}

TEST_CASE("report text: an end that is days away is none", "[sink][report]") {
  Report report = Exhausting{}.report();
  for (WorkloadReport& one : report.workloads)
    one.findings.time_wait.by_endpoint.at(0).ports->seconds_left = 2 * 86'400.0;
  CHECK(!has(report_text(report, {}), "Ports run out"));
}

TEST_CASE("report text: TIME_WAIT alone needs no cure", "[sink][report]") {
  Scene scene;
  scene.settings({first_port, 60'999});
  for (int at = 0; at < 999; ++at)
    scene.closed_into_bucket(client(), outgoing_from(port_of(at)), static_cast<std::uint64_t>(60'000 - 50 * at) * ms);
  CHECK(!has(report_text(scene.report(), {}), "need no cure"));
  scene.closed_into_bucket(client(), outgoing_from(port_of(999)));
  const std::string text = report_text(scene.report(), {});
  CHECK(has(text, "\n1000 sockets in TIME_WAIT need no cure: ports are left on every route.\n"));
  CHECK(!has(text, "What helps"));
  CHECK(!has(text, "  1000 in TIME_WAIT"));
  SECTION("but nobody knows after one look") {
    scene.input.from_ns = scene.input.to_ns - 9'000'000'000;
    CHECK(!has(report_text(scene.report(), {}), "need no cure"));
  }
  SECTION("nor where ports cannot be counted") {
    scene.input.namespaces.clear();
    CHECK(!has(report_text(scene.report(), {}), "need no cure"));
  }
}

TEST_CASE("report text: what piles up on the close path", "[sink][report]") {
  const Utf8 locale;
  Scene scene;
  const auto add = [&](State state, int count, bool orphan = false) {
    for (int at = 0; at < count; ++at) scene.row(state, server(), incoming()).evidence.dead = orphan;
  };
  for (const State state : {State::fin_wait1, State::fin_wait2, State::closing, State::last_ack}) add(state, 99);
  CHECK(has(report_text(scene.report(), {}), "\nNothing leaks: 396 sockets of 1 process looked at.\n"));
  CHECK(!has(report_text(scene.report(), {}), "FIN_WAIT1:"));
  for (const State state : {State::fin_wait1, State::fin_wait2, State::closing, State::last_ack}) add(state, 1);
  add(State::fin_wait2, 100, true);
  const std::string text = report_text(scene.report(), coloured());
  CHECK(has(text, R"(
  100 in FIN_WAIT2, shut down for writing and never closed: no timer ends them;
    call close()
  100 in FIN_WAIT2, closed here and not by the peer: tcp_fin_timeout ends them
  100 in FIN_WAIT1: the peer acknowledges neither the end nor, perhaps, the data
    before it
  100 in CLOSING: both sides have ended, and the peer does not acknowledge it
  100 in LAST_ACK: the peer has ended first and does not acknowledge the answer
    to it
)"));
  CHECK(has(text, "\nserver *:8080 "));  // no colour: nobody's fault as yet
}

TEST_CASE("report text: aborts by ending", "[sink][report]") {
  Scene scene;
  const auto add = [&](Ending ending, int count) {
    for (int at = 0; at < count; ++at) scene.closed(server(), incoming(), ending, Bucket::none, 1);
  };
  add(Ending::fin, 500);
  add(Ending::abandoned, 500);
  add(Ending::rst_unread, 90);
  add(Ending::refused, 9);
  CHECK(!has(report_text(scene.report(), {}), "aborts"));
  add(Ending::timeout, 1);
  CHECK(has(report_text(scene.report(), {}),
            "\n  100 aborts: 90 closed with data unread (rst_unread), 1 timed out (timeout), 9\n"
            "    refused (refused)\n"));
}

TEST_CASE("report text: the machine, below all else", "[sink][report]") {
  Report report = Scene{}.report();
  report.host_findings = {{"a", HostFinding::Severity::critical, "The table is full\x1b[2J.", "Raise it.", "Not this."},
                          {"b", HostFinding::Severity::warning, std::string(100, 'x'), "", ""},
                          {"c", HostFinding::Severity::info, "Good to know.", "", ""}};
  const std::string text = report_text(report, coloured());
  CHECK(has(text,
            "\n\nThis machine\n\x1b[31m  critical: The table is full?[2J.\x1b[0m\n    Raise it.\n    Not this.\n"
            "\x1b[33m  warning:\x1b[0m\n"));
  CHECK(!has(text, "Good to know"));
  report.host_findings.erase(report.host_findings.begin(), report.host_findings.begin() + 2);
  CHECK(!has(report_text(report, {}), "This machine"));
}
