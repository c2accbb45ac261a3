// SPDX-License-Identifier: BSD-2-Clause
#include "sink/doctor_json.hpp"

#include "sink/json_parts.hpp"

#include <closewatch/core/address.hpp>

namespace closewatch {
namespace {

using json::append_list;
using json::format;

void append_check(Buffer& out, const Check& check) {
  append(out, "{\"id\":");
  append_json(out, check.id);
  format(out, FMT_COMPILE(",\"status\":\"{}\",\"text\":"), name(check.status));
  append_json(out, check.text);
  append(out, ",\"remedy\":");
  append_json(out, check.remedy);
  append(out, "}");
}

/// The keys and values of an object, without its braces. Returns what stands before the next key.
std::string_view append_numbers(Buffer& out, const Numbers& numbers) {
  std::string_view comma = "";
  for (const auto& [name, value] : numbers) {
    append(out, comma);
    append_json(out, name);
    append(out, ":");
    append(out, value);
    comma = ",";
  }
  return comma;
}

void append_range(Buffer& out, const PortRange& range) { format(out, FMT_COMPILE("[{},{}]"), range.first, range.last); }

void append_settings(Buffer& out, const TcpSettings& settings) {
  append(out, "{");
  append(out, append_numbers(out, settings.values));
  append(out, "\"ip_local_port_range\":");
  if (settings.port_range)
    append_range(out, *settings.port_range);
  else
    append(out, "null");
  append(out, ",\"ip_local_reserved_ports\":");
  append_list(out, settings.reserved_ports, append_range);
  append(out, "}");
}

void append_object(Buffer& out, const Numbers& numbers) {
  append(out, "{");
  append_numbers(out, numbers);
  append(out, "}");
}

void append_route(Buffer& out, const RouteUse& use) {
  const Route& route = use.route;
  const std::string local = address_text(route.local, route.family);
  format(out, FMT_COMPILE("{{\"local\":\"{}\",\"peer\":\"{}\",\"range\":{},\"in_use\":{},\"seconds_left\":"),
         route.family == Family::ipv4 ? local + ":*" : "[" + local + "]:*", endpoint_text(route.peer, route.family),
         use.usable, use.in_use);
  json::append_number(out, use.seconds_left);
  append(out, "}");
}

void append_namespace(Buffer& out, const NamespaceReport& report) {
  const TcpLook& look = report.health.now;
  format(out, FMT_COMPILE("{{\"netns\":{},\"settings\":"), report.health.netns);
  append_settings(out, look.settings);
  append(out, ",\"counters\":");
  append_object(out, look.counters);
  append(out, ",\"conntrack\":");
  if (look.conntrack.empty())
    append(out, "null");
  else
    append_object(out, look.conntrack);
  append(out, ",\"states\":");
  json::append_states(out, report.states);
  append(out, ",\"ports\":");
  append_list(out, report.health.routes, append_route);
  append(out, "}");
}

void append_finding(Buffer& out, const HostFinding& finding) {
  append(out, "{\"id\":");
  append_json(out, finding.id);
  format(out, FMT_COMPILE(",\"severity\":\"{}\",\"text\":"), name(finding.severity));
  append_json(out, finding.text);
  append(out, ",\"remedy\":");
  append_json(out, finding.remedy);
  append(out, ",\"avoid\":");
  append_json(out, finding.avoid);
  append(out, "}");
}

}  // namespace

std::string doctor_json(const DoctorReport& report) {
  Buffer out;
  append(out, "{\"schema\":\"closewatch/doctor/1\",\"host\":");
  append_json(out, report.host);
  append(out, ",\"kernel\":");
  append_json(out, report.kernel);
  append(out, ",\"time\":");
  json::append_time(out, report.time_ns);
  format(out, FMT_COMPILE(",\"can_trace\":{},\"checks\":"), can_trace(report));
  append_list(out, report.checks, append_check);
  append(out, ",\"namespaces\":");
  append_list(out, report.namespaces, append_namespace);
  append(out, ",\"findings\":");
  append_list(out, report.findings, append_finding);
  append(out, ",\"unseen\":");
  append_list(out, report.unseen, append_json);
  append(out, "}\n");
  return {out.data(), out.size()};
}

}  // namespace closewatch
