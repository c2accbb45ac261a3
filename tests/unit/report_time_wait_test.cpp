// SPDX-License-Identifier: BSD-2-Clause
// Whose TIME_WAIT is, and how near connect() is to its end, as the report has it.
#include "catch.hpp"
#include "scene.hpp"

#include <closewatch/core/report.hpp>

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr PortRange hundred{40'000, 40'099};

/// A copy: most reports here are gone by the end of the line.
TimeWaitReport of(const Report& report, const Identity& process) {
  for (const ProcessReport& one : report.processes)
    if ((one.process ? one.process->identity.key : ProcessKey{}) == process.key) return one.findings.time_wait;
  FAIL("not in the report: " << process.key.pid);
  throw 0;
}

TimeWaitEndpoint only(const TimeWaitReport& wait) {
  REQUIRE(wait.by_endpoint.size() == 1);
  return wait.by_endpoint.front();
}

/// Closes one connection a second over `count` seconds; their ports follow each other from the range's first.
void close_each_second(Scene& scene, std::uint16_t count, const Identity& process = client()) {
  for (std::uint16_t at = 0; at < count; ++at)
    scene.closed_into_bucket(process, outgoing_from(static_cast<std::uint16_t>(hundred.first + at)),
                             (std::uint64_t{count} - at) * seconds);
}

std::uint16_t port_of(int at) { return static_cast<std::uint16_t>(hundred.first + at); }

const HostFinding* finding(const Report& report, std::string_view id) {
  const auto& all = report.host_findings;
  const auto found = std::find_if(all.begin(), all.end(), [&](const HostFinding& one) { return one.id == id; });
  return found == all.end() ? nullptr : &*found;
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("report: TIME_WAIT is the ledger's owner's, on either side, or nobody's", "[report]") {
  Scene scene;
  for (const std::uint16_t port : {std::uint16_t{1}, std::uint16_t{2}})
    scene.closed_into_bucket(client(), outgoing_from(port));
  scene.bucket(server(), incoming());
  scene.bucket({}, tuple(Role::unknown, "10.0.0.7", 9, "10.0.0.6", 443));
  const Report report = scene.report();
  CHECK(report.states[static_cast<std::size_t>(State::time_wait)] == 4);
  const TimeWaitReport wait = of(report, client());
  CHECK(wait.now == 2);
  CHECK(wait.entered == 2);
  CHECK(wait.per_second == 2.0 / 60);
  CHECK(only(wait).side == Role::connect);
  CHECK(only(wait).now == 2);
  CHECK(only(wait).local == EndPattern{Family::ipv4, endpoint("10.0.0.7", 0).address, std::nullopt});
  CHECK(only(wait).peer == EndPattern{Family::ipv4, endpoint("10.0.0.5", 0).address, 3306});
  const TimeWaitEndpoint accepted = only(of(report, server()));
  CHECK(accepted.side == Role::accept);
  CHECK(accepted.local == EndPattern{Family::ipv4, std::nullopt, 8080});
  CHECK(accepted.peer == EndPattern{});
  CHECK(of(report, server()).entered == 0);
  REQUIRE(!report.processes.back().process);
  CHECK(report.processes.back().findings.time_wait.now == 1);
}

TEST_CASE("report: buckets that are not there count for nothing", "[report]") {
  Scene scene;
  scene.settings({1, 100});
  const auto put = [&](const Tuple& tuple, auto change) {
    Ledger::Bucket bucket = scene.a_bucket(tuple.role == Role::accept ? server() : client(), tuple, 1 * seconds);
    change(bucket);
    scene.put(tuple, bucket);
  };
  put(outgoing_from(1), [](Ledger::Bucket& bucket) { bucket.unsure = true; });
  put(outgoing_from(2), [](Ledger::Bucket& bucket) { bucket.missed = true; });
  put(outgoing_from(3), [](Ledger::Bucket& bucket) { bucket.owner = nullptr; });
  put(tuple(Role::accept, "10.0.0.7", 4, "10.0.0.9", 1), [](Ledger::Bucket& bucket) { bucket.missed = true; });
  CHECK(scene.report().processes.empty());
  CHECK(scene.report().host_findings.empty());
  scene.bucket(client(), outgoing_from(5));
  CHECK(only(of(scene.report(), client())).ports->usable == 100);
  CHECK(only(of(scene.report(), client())).ports->in_use == 1);
}

TEST_CASE("report: who has left TIME_WAIT and exited keeps its name", "[report]") {
  Scene scene;
  scene.bucket(client(), outgoing());
  scene.processes.exited(client().key);
  const Report known = scene.report();
  CHECK(known.processes.at(0).process->entry->exited);
  // The table of processes has forgotten this one.
  auto entry = std::make_shared<ProcessEntry>();
  entry->details.exe = "/usr/bin/gone";
  entry->exited = true;
  Ledger::Bucket bucket = scene.a_bucket(person(77, "gone"), outgoing_from(2), 1 * seconds);
  bucket.owner = std::make_shared<Responsible>(Responsible{Process{person(77, "gone"), entry}, Attribution::closer});
  scene.put(outgoing_from(2), bucket);
  const Report report = scene.report();
  const auto gone = std::find_if(report.processes.begin(), report.processes.end(),
                                 [](const auto& one) { return one.process->identity.key.pid == 77; });
  REQUIRE(gone != report.processes.end());
  CHECK(gone->process->entry->exited);
  CHECK(gone->process->entry->details.exe == "/usr/bin/gone");
}

TEST_CASE("report: families and network namespaces are told apart", "[report]") {
  Scene scene;
  scene.settings(hundred);
  scene.bucket(client(), outgoing_from(40'000));
  Tuple elsewhere = outgoing_from(40'000);
  elsewhere.netns = netns + 1;
  scene.bucket(client(), elsewhere);
  scene.bucket(client(), tuple(Role::connect, "fd00::7", 40'000, "fd00::5", 3306));
  Tuple accepted = incoming();
  scene.bucket(server(), accepted);
  accepted.netns = netns + 1;
  scene.bucket(server(), accepted);
  const Report report = scene.report();
  const TimeWaitReport wait = of(report, client());
  REQUIRE(wait.by_endpoint.size() == 3);
  CHECK(std::count_if(wait.by_endpoint.begin(), wait.by_endpoint.end(),
                      [](const auto& one) { return one.ports.has_value(); }) == 2);  // one has no settings
  CHECK(std::all_of(wait.by_endpoint.begin(), wait.by_endpoint.end(), [](const auto& one) { return one.now == 1; }));
  CHECK(of(report, server()).by_endpoint.size() == 2);
}

TEST_CASE("report: endpoints come by how many they have", "[report]") {
  Scene scene;
  scene.bucket(client(), tuple(Role::connect, "10.0.0.7", 1, "10.0.0.1", 80));
  for (const std::uint16_t port : {std::uint16_t{2}, std::uint16_t{3}})
    scene.bucket(client(), tuple(Role::connect, "10.0.0.7", port, "10.0.0.2", 80));
  scene.bucket(client(), tuple(Role::connect, "10.0.0.7", 4, "10.0.0.3", 80));
  const TimeWaitReport wait = of(scene.report(), client());
  REQUIRE(wait.by_endpoint.size() == 3);
  CHECK(wait.by_endpoint[0].now == 2);
  CHECK(wait.by_endpoint[1].peer.address == endpoint("10.0.0.1", 0).address);
}

TEST_CASE("report: ports of a route, by all who use it", "[report]") {
  Scene scene;
  scene.settings(hundred).reserved_ports = {{40'090, 40'099}};
  scene.bucket(client(), outgoing_from(port_of(0)));
  scene.bucket(client(), outgoing_from(8));         // not of the range
  scene.bucket(client(), outgoing_from(40'095));    // reserved
  scene.row(State::established, person(5, "other"), outgoing_from(port_of(1)));
  scene.row(State::syn_sent, person(5, "other"), outgoing_from(port_of(2)));
  scene.row(State::close, person(5, "other"), outgoing_from(port_of(3)));  // has given it back
  Ledger::Bucket orphan = scene.a_bucket(client(), outgoing_from(port_of(4)), 1 * seconds);
  orphan.substate = State::fin_wait2;
  scene.put(outgoing_from(port_of(4)), orphan);
  const TimeWaitReport wait = of(scene.report(), client());
  CHECK(wait.now == 3);
  REQUIRE(only(wait).ports);
  CHECK(only(wait).ports->usable == 90);
  CHECK(only(wait).ports->in_use == 4);
  CHECK(only(wait).ports->time_wait == 1);
  CHECK(!only(wait).ports->seconds_left);
}

TEST_CASE("report: what is bound is not connect()'s to choose", "[report]") {
  Scene scene;
  scene.settings(hundred);
  scene.row(State::established, client(), outgoing_from(port_of(0))).evidence.port_bound = true;
  scene.row(State::close, client(), outgoing_from(port_of(1))).evidence.port_bound = true;
  scene.row(State::listen, server(), tuple(Role::unknown, "0.0.0.0", port_of(2), "0.0.0.0", 0));
  scene.row(State::established, server(), tuple(Role::accept, "10.0.0.7", port_of(3), "10.0.0.9", 1));
  PortRow bound;
  bound.tuple = tuple(Role::unknown, "0.0.0.0", port_of(4), "0.0.0.0", 0);
  scene.input.bound = {bound};
  scene.bucket(server(), tuple(Role::accept, "10.0.0.7", port_of(5), "10.0.0.9", 1));
  scene.bucket(client(), outgoing_from(port_of(5)));
  scene.bucket(client(), outgoing_from(port_of(6)));
  const TimeWaitReport wait = of(scene.report(), client());
  CHECK(only(wait).ports->usable == 94);
  CHECK(only(wait).ports->in_use == 1);
  CHECK(!only(of(scene.report(), server())).ports);
}

TEST_CASE("report: TIME_WAIT that may be reused is not in use", "[report]") {
  for (const std::uint64_t reuse : {0U, 1U, 2U}) {
    Scene scene;
    scene.settings(hundred, reuse);
    scene.bucket(client(), outgoing_from(port_of(0)), 30 * seconds);
    scene.bucket(client(), outgoing_from(port_of(1)), 500 * ms);
    CHECK(only(of(scene.report(), client())).ports->in_use == (reuse == 1 ? 1 : 2));
  }
}

TEST_CASE("report: when connect() will fail, and at what pace it would not", "[report]") {
  Scene scene;
  scene.settings({40'000, 40'053});
  close_each_second(scene, 30);
  const auto ports = only(of(scene.report(), client())).ports;
  REQUIRE(ports->seconds_left);
  CHECK(*ports->seconds_left == Approx(24));
  CHECK(ports->sustainable_per_second == Approx(0.9));
}

TEST_CASE("report: other states count for the pace, be they few", "[report]") {
  Scene scene;
  scene.settings({40'000, 40'059});
  close_each_second(scene, 30);
  for (int at = 30; at < 35; ++at) scene.row(State::established, client(), outgoing_from(port_of(at)));
  CHECK(*only(of(scene.report(), client())).ports->seconds_left == Approx(25));
  scene.input.others_before_ns = Scene::now_ns - 20 * seconds;
  CHECK(*only(of(scene.report(), client())).ports->seconds_left == Approx(20));
  scene.input.others_before_ns = Scene::now_ns - 9 * seconds;
  CHECK(*only(of(scene.report(), client())).ports->seconds_left == Approx(25));
}

TEST_CASE("report: a pace that can go on has no end", "[report]") {
  Scene scene;
  scene.settings({40'000, 40'060});
  close_each_second(scene, 30);
  CHECK(!only(of(scene.report(), client())).ports->seconds_left);
}

TEST_CASE("report: over less than ten seconds there is no pace", "[report]") {
  Scene scene;
  scene.settings({40'000, 40'020});
  close_each_second(scene, 9);
  CHECK(!only(of(scene.report(), client())).ports->seconds_left);
}

TEST_CASE("report: connections that are never closed use up the ports too", "[report]") {
  Scene scene;
  scene.settings(hundred);
  for (int at = 0; at < 40; ++at) scene.row(State::close_wait, client(), outgoing_from(port_of(at)));
  // Of the same ends, and yet no port of the route.
  scene.row(State::established, server(), tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.5", 3306));
  CHECK(of(scene.report(), client()).by_endpoint.empty());
  scene.input.others_before = others_by_route({scene.input.rows.begin(), scene.input.rows.begin() + 20});
  scene.input.others_before_ns = Scene::now_ns - 20 * seconds;
  // Twenty more in twenty seconds: the other sixty take a minute. There is no TIME_WAIT, and it is told all the same.
  const TimeWaitEndpoint one = only(of(scene.report(), client()));
  CHECK(one.now == 0);
  REQUIRE(one.ports->seconds_left);
  CHECK(*one.ports->seconds_left == Approx(60));
  CHECK(of(scene.report(), server()).by_endpoint.empty());
  Judged leak = leaked_socket(scene.input.rows[39].cookie, person(5, "leaker"), outgoing_from(port_of(39)), seconds);
  scene.judged(leak);
  CHECK(only(of(scene.report(), person(5, "leaker"))).ports->seconds_left);
  // A few more are no growth.
  scene.input.others_before = others_by_route({scene.input.rows.begin(), scene.input.rows.begin() + 30});
  CHECK(of(scene.report(), client()).by_endpoint.empty());
}

TEST_CASE("report: what is counted of other states for the pace", "[report]") {
  Scene scene;
  scene.row(State::established, client());
  scene.row(State::close_wait, client());
  scene.row(State::close, client());
  scene.row(State::established, client()).evidence.port_bound = true;
  scene.row(State::established, server(), incoming());
  scene.row(State::listen, server(), listening());
  const auto counts = others_by_route(scene.input.rows);
  REQUIRE(counts.size() == 1);
  CHECK(counts.at(route_of(outgoing())) == 2);
}

TEST_CASE("report: more than half in use is told of all that use the route", "[report]") {
  Scene scene;
  scene.settings(hundred);
  close_each_second(scene, 50);
  scene.row(State::established, person(5, "other"), outgoing_from(port_of(60)));
  scene.row(State::established, person(6, "another"), tuple(Role::connect, "10.0.0.8", 40'000, "10.0.0.5", 3306));
  Ledger::Bucket orphan = scene.a_bucket(person(7, "orphan"), outgoing_from(port_of(61)), 1 * seconds);
  orphan.substate = State::fin_wait2;
  scene.put(outgoing_from(port_of(61)), orphan);
  const Report report = scene.report();
  CHECK(only(of(report, person(7, "orphan"))).now == 0);
  CHECK(only(of(report, client())).now == 50);
  const TimeWaitEndpoint other = only(of(report, person(5, "other")));
  CHECK(other.now == 0);
  CHECK(other.ports->in_use == 52);
  CHECK(of(report, person(6, "another")).by_endpoint.empty());
}

TEST_CASE("report: the machine's findings come from what was watched", "[report]") {
  Scene scene;
  CHECK(scene.report().host_findings.empty());
  scene.settings({40'000, 40'029});
  close_each_second(scene, 30);
  const Report full_report = scene.report();
  const HostFinding* full = finding(full_report, "ports_exhausted");
  REQUIRE(full != nullptr);
  CHECK(full->severity == HostFinding::Severity::critical);
  scene.row(State::listen, server(), tuple(Role::unknown, "0.0.0.0", port_of(2), "0.0.0.0", 0));
  CHECK(finding(scene.report(), "listener_in_port_range") != nullptr);
  NamespaceHealth& told = scene.input.namespaces[netns];
  told.now.settings.values["tcp_max_tw_buckets"] = 31;
  told.now.conntrack["nf_conntrack_tcp_timeout_close_wait"] = 60;
  scene.row(State::close_wait, client());
  const Report report = scene.report();
  REQUIRE(finding(report, "tw_buckets_low") != nullptr);
  CHECK(has(finding(report, "tw_buckets_low")->text, "30 are in use"));
  REQUIRE(finding(report, "conntrack_close_wait") != nullptr);
  CHECK(has(finding(report, "conntrack_close_wait")->text, "there is 1 socket"));
}

TEST_CASE("report: a port that TIME_WAIT keeps from a server", "[report]") {
  Scene scene;
  scene.settings(hundred);
  scene.bucket(person(76, "first"), incoming(), 50 * seconds);
  Tuple later = incoming();
  later.peer.port = 1;
  Ledger::Bucket last = scene.a_bucket(person(77, "se\nrv\x7fr"), later, 20 * seconds);
  auto entry = std::make_shared<ProcessEntry>();
  entry->exited = true;
  last.owner = std::make_shared<Responsible>(Responsible{Process{person(77, "se\nrv\x7fr"), entry}, {}});
  scene.put(later, last);
  const Report report = scene.report();
  const HostFinding* held = finding(report, "port_held");
  REQUIRE(held != nullptr);
  CHECK(has(held->text, "Port 8080, "));
  CHECK(has(held->text, "2 connections"));
  CHECK(has(held->text, "se?rv?r (pid 77, exited)"));
  CHECK(has(held->text, "for another 40 s"));
  // One that listens there has nothing to wait for, seen or hidden.
  scene.listeners.opened({80, listening(), server(), {}, false, 1});
  CHECK(finding(scene.report(), "port_held") == nullptr);
  scene.listeners.closed(80, listening(), {});
  CHECK(finding(scene.report(), "port_held") != nullptr);
  scene.row(State::listen, server(), listening());
  CHECK(finding(scene.report(), "port_held") == nullptr);
}
