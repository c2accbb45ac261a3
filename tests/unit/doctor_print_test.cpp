// SPDX-License-Identifier: BSD-2-Clause
// What the doctor found, as people and as scripts read it.
#include "builders.hpp"
#include "catch.hpp"
#include "locale.hpp"
#include "output.hpp"

#include "sink/doctor_json.hpp"
#include "sink/doctor_text.hpp"

#include <algorithm>

using namespace closewatch;
using namespace closewatch::test;

namespace {

using Severity = HostFinding::Severity;
using Status = Check::Status;

DoctorReport healthy() {
  DoctorReport report;
  report.host = "box";
  report.kernel = "6.18.0";
  report.time_ns = leap_day_ns;
  report.checks = {{"kernel", Status::ok, "Linux 6.18.0 has all that is needed", ""}, {"btf", Status::ok, "fine", ""}};
  using Kept = Privilege::Kept;
  report.privileges = {
      .capabilities = {{"CAP_BPF", Kept::start, true, true, true, "", "to load", "nothing can be loaded"},
                       {"CAP_SYS_PTRACE", Kept::watching, true, false, false, "", "to look", "less is seen"},
                       {"CAP_KILL", Kept::watching, false, false, true, "only for run", "to send", "none is sent"}},
      .setcap = "setcap cap_bpf,cap_sys_ptrace=ep FILE",
      .setpriv = "setpriv closewatch"};
  NamespaceReport own;
  own.health.netns = netns;
  own.health.now.settings.values = {{"somaxconn", 4096}, {"tcp_fin_timeout", 60}};
  own.health.now.settings.port_range = PortRange{32'768, 60'999};
  own.health.now.counters = {{"TW", 7}, {"orphan", 0}};
  own.states[static_cast<std::size_t>(State::listen)] = 2;
  own.states[static_cast<std::size_t>(State::time_wait)] = 3;
  report.namespaces = {own};
  return report;
}

DoctorReport ill() {
  DoctorReport report = healthy();
  report.checks = {{"kernel", Status::ok, "Linux 6.18.0 has all that is needed", ""},
                   {"cap_net_admin", Status::degraded, "less is seen", "be root"},
                   {"cap_bpf", Status::missing, "nothing can be loaded", "be root"},
                   {"cap_perfmon", Status::missing, "nothing can be attached", "be root"},
                   {"lockdown", Status::unknown, "not known", "mount it"}};
  report.findings = {
      {"ports_exhausted", Severity::critical, "All are in use.", "Reuse connections.", "No sysctl helps."},
      {"rfc1337", Severity::info, "Set.", "Nothing.", ""}};
  RouteUse use;
  use.route = route_of(outgoing());
  use.usable = use.in_use = 100;
  use.sustainable_per_second = 100.0 / 60;
  use.seconds_left = 0;
  report.namespaces[0].health.routes = {use};
  report.namespaces[0].health.now.settings.reserved_ports = {{8080, 8090}, {9000, 9000}};
  report.namespaces[0].health.now.conntrack = {{"nf_conntrack_count", 5}};
  report.unseen = {"the neighbours"};
  return report;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::size_t widest(const std::string& text) {
  std::size_t most = 0;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    most = std::max(most, columns_of(std::string_view{text}.substr(at, text.find('\n', at) - at)));
  return most;
}

}  // namespace

TEST_CASE("doctor: what can be traced", "[doctor]") {
  DoctorReport report = healthy();
  CHECK(can_trace(report));
  report.checks[0].status = Status::degraded;
  report.checks[1].status = Status::unknown;
  CHECK(can_trace(report));
  report.checks[1].status = Status::missing;
  CHECK_FALSE(can_trace(report));
}

TEST_CASE("doctor JSON: a healthy machine, whole", "[doctor]") {
  CHECK(
      doctor_json(healthy()) ==
      R"({"schema":"closewatch/doctor/1","host":"box","kernel":"6.18.0","time":"2024-02-29T12:34:56.000000789Z",)"
      R"("can_trace":true,"checks":[{"id":"kernel","status":"ok","text":"Linux 6.18.0 has all that is needed",)"
      R"("remedy":""},{"id":"btf","status":"ok","text":"fine","remedy":""}],"privileges":{"start":["CAP_BPF","CAP_SYS_PTRACE"],)"
      R"("watching":["CAP_SYS_PTRACE"],"capabilities":[{"name":"CAP_BPF","kept":"start","needed":true,"held":true,)"
      R"("only":null,"what_for":"to load","without":"nothing can be loaded"},{"name":"CAP_SYS_PTRACE",)"
      R"("kept":"watching","needed":false,"held":false,"only":null,"what_for":"to look","without":"less is seen"},)"
      R"({"name":"CAP_KILL","kept":"watching","needed":false,"held":true,"only":"only for run",)"
      R"("what_for":"to send","without":"none is sent"}],"setcap":"setcap cap_bpf,cap_sys_ptrace=ep FILE",)"
      R"("setpriv":"setpriv closewatch"},"namespaces":[{"netns":4026531840,)"
      R"("settings":{"somaxconn":4096,"tcp_fin_timeout":60,"ip_local_port_range":[32768,60999],)"
      R"("ip_local_reserved_ports":[]},"counters":{"TW":7,"orphan":0},"conntrack":null,)"
      R"("states":{"LISTEN":2,"TIME_WAIT":3},"ports":[]}],"findings":[],"unseen":[]})"
      "\n");
}

TEST_CASE("doctor JSON: an ill one", "[doctor]") {
  const std::string json = doctor_json(ill());
  CHECK(has(json, R"("can_trace":false)"));
  CHECK(has(json, R"({"id":"cap_bpf","status":"missing","text":"nothing can be loaded","remedy":"be root"})"));
  CHECK(has(json, R"("ip_local_reserved_ports":[[8080,8090],[9000,9000]]})"));
  CHECK(has(json, R"("conntrack":{"nf_conntrack_count":5})"));
  CHECK(has(json,
            R"("ports":[{"local":"10.0.0.7:*","peer":"10.0.0.5:3306","range":100,"in_use":100,"seconds_left":0}])"));
  CHECK(has(json, R"("findings":[{"id":"ports_exhausted","severity":"critical","text":"All are in use.",)"
                  R"("remedy":"Reuse connections.","avoid":"No sysctl helps."},{"id":"rfc1337","severity":"info",)"
                  R"("text":"Set.","remedy":"Nothing.","avoid":""}],"unseen":["the neighbours"]})"));
}

TEST_CASE("doctor JSON: where nothing could be read", "[doctor]") {
  DoctorReport report;
  report.namespaces.resize(1);
  RouteUse use;
  use.route = route_of(tuple(Role::connect, "::1", 1, "::1", 80));
  report.namespaces[0].health.routes = {use};
  report.host = "a\"b\n";
  const std::string json = doctor_json(report);
  CHECK(has(json, R"("host":"a\"b\u000a")"));
  CHECK(has(json, R"("settings":{"ip_local_port_range":null,"ip_local_reserved_ports":[]},"counters":{})"));
  CHECK(has(json, R"({"local":"[::1]:*","peer":"[::1]:80","range":0,"in_use":0,"seconds_left":null})"));
}

TEST_CASE("doctor text: a healthy machine", "[doctor]") {
  CHECK(doctor_text(healthy(), {}, false) == R"(box, Linux 6.18.0: can be traced.
2 checks passed, nothing is missing.

Once everything is attached it gives up every capability but:
  CAP_SYS_PTRACE (not held): to look
To attach, and then given up:
  CAP_BPF: to load
without root: setcap cap_bpf,cap_sys_ptrace=ep FILE
or: setpriv closewatch

Nothing is wrong on the close path.

network namespace 4026531840: TIME_WAIT 3, LISTEN 2
)");
}

TEST_CASE("doctor text: nothing wrong is seen where not all is seen", "[doctor]") {
  DoctorReport report = healthy();
  report.unseen = {"the neighbours"};
  const std::string text = doctor_text(report, {}, false);
  CHECK_FALSE(has(text, "Nothing is wrong"));
  CHECK(has(text, "\nNothing wrong is seen on the close path; not all of it could be looked at.\n"));
}

TEST_CASE("doctor text: an ill one, the worst first, what is to be done once", "[doctor]") {
  const Utf8 locale;
  CHECK(doctor_text(ill(), {}, false) == R"(box, Linux 6.18.0: cannot be traced.

missing cap_bpf: nothing can be loaded
missing cap_perfmon: nothing can be attached
degraded cap_net_admin: less is seen
  do: be root
unknown lockdown: not known
  do: mount it
1 check passed.

Once everything is attached it gives up every capability but:
  CAP_SYS_PTRACE (not held): to look
To attach, and then given up:
  CAP_BPF: to load
without root: setcap cap_bpf,cap_sys_ptrace=ep FILE
or: setpriv closewatch

2 remarks on the close path, the worst first:
critical ports_exhausted: All are in use.
  do: Reuse connections.
  not: No sysctl helps.
info rfc1337: Set.
  do: Nothing.

network namespace 4026531840: TIME_WAIT 3, LISTEN 2
  ports 10.0.0.7 → 10.0.0.5:3306: 100 of 100 in use, 1.7 connections a second
    for good

not seen: the neighbours
)");
}

TEST_CASE("doctor text: gaps", "[doctor]") {
  DoctorReport report = healthy();
  report.checks[1].status = Status::degraded;
  CHECK(doctor_text(report, {}, false).starts_with("box, Linux 6.18.0: can be traced, with gaps.\n"));
}

TEST_CASE("doctor text: everything with -v", "[doctor]") {
  const std::string text = doctor_text(ill(), {}, true);
  CHECK(has(text, "ok kernel: Linux 6.18.0 has all that is needed\n"));
  CHECK(has(text, "settings: somaxconn 4096, tcp_fin_timeout 60\n"));
  CHECK(has(text, "ip_local_port_range 32768 60999\n"));
  CHECK(has(text, "ip_local_reserved_ports 8080-8090 9000-9000\n"));
  CHECK(has(text, "counters: TW 7, orphan 0\n"));
  CHECK(has(text, "connection tracking: nf_conntrack_count 5\n"));
  CHECK_FALSE(has(text, "passed"));
}

TEST_CASE("doctor text: width, letters, colours", "[doctor]") {
  DoctorReport report = ill();
  report.host = "b\x1b[2Jox";
  report.findings[0].text = "caf\xC3\xA9 " + std::string(70, 'x') + " " + std::string(300, 'y') + " /etc/\x1b[31m";
  TextSink::Style style;
  style.utf8 = false;
  const std::string plain = doctor_text(report, style, true);
  CHECK(widest(plain) <= 80);
  for (const char c : plain) CHECK((c == '\n' || (c >= 0x20 && c < 0x7f)));
  style.wide = true;
  CHECK(widest(doctor_text(report, style, true)) == 120);
  CHECK_FALSE(has(doctor_text(ill(), {}, true), "\x1b"));
  style.colour = true;
  CHECK(has(doctor_text(ill(), style, false), "\x1b[31mmissing cap_bpf"));
}

TEST_CASE("doctor text: of many namespaces some are shown", "[doctor]") {
  DoctorReport report = healthy();
  report.namespaces.resize(22);
  CHECK(has(doctor_text(report, {}, false), "\nand 2 more network namespaces (-v shows all)\n"));
  CHECK_FALSE(has(doctor_text(report, {}, true), "-v shows all"));
  CHECK(has(doctor_text(report, {}, false), "network namespace 0: no TCP sockets\n"));
}

TEST_CASE("doctor text: the capabilities it keeps, those it gives up, and how to get them", "[doctor]") {
  const std::string text = doctor_text(healthy(), {.wide = true, .utf8 = true}, false);
  CHECK(has(text,
            "Once everything is attached it gives up every capability but:\n"
            "  CAP_SYS_PTRACE (not held): to look\n"
            "To attach, and then given up:\n"
            "  CAP_BPF: to load\n"));
  CHECK(has(text, "without root: setcap cap_bpf,cap_sys_ptrace=ep FILE\n"));
  CHECK(has(text, "or: setpriv closewatch\n"));
  CHECK_FALSE(has(text, "CAP_KILL"));
  CHECK(has(doctor_text(healthy(), {.wide = true, .utf8 = true}, true),
            "CAP_KILL: to send; only for run; without it none is sent"));
}
