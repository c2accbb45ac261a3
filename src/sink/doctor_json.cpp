// SPDX-License-Identifier: BSD-2-Clause
#include "sink/doctor_json.hpp"

#include "sink/json_parts.hpp"

#include <closewatch/core/address.hpp>

namespace closewatch {
namespace {

using json::append_list;
using json::format;

void append_check(Buffer& out, const Check& check) {
  json::append_remark(out, check.id, "status", name(check.status), check.text, check.remedy);
  append(out, "}");
}

void append_privilege(Buffer& out, const Privilege& one) {
  format(out, FMT_COMPILE("{{\"name\":\"{}\",\"kept\":\"{}\",\"needed\":{},\"held\":{},\"only\":"), one.name,
         name(one.kept), one.needed, one.held);
  json::append_or_null(out, one.only.empty() ? std::nullopt : std::optional{one.only});
  append(out, ",\"what_for\":");
  append_json(out, one.what_for);
  append(out, ",\"without\":");
  append_json(out, one.without);
  append(out, "}");
}

void append_privileges(Buffer& out, const Privileges& all) {
  append(out, "{\"start\":");
  append_list(out, usual(all, false), append_json);
  append(out, ",\"watching\":");
  append_list(out, usual(all, true), append_json);
  append(out, ",\"capabilities\":");
  append_list(out, all.capabilities, append_privilege);
  append(out, ",\"setcap\":");
  append_json(out, all.setcap);
  append(out, ",\"setpriv\":");
  append_json(out, all.setpriv);
  append(out, "}");
}

void append_number_of(Buffer& out, const Numbers::value_type& number) {
  append_json(out, number.first);
  append(out, ":");
  append(out, number.second);
}

void append_range(Buffer& out, const PortRange& range) { format(out, FMT_COMPILE("[{},{}]"), range.first, range.last); }

void append_settings(Buffer& out, const TcpSettings& settings) {
  append(out, "{");
  json::append_series(out, settings.values, append_number_of);
  append(out, settings.values.empty() ? "\"ip_local_port_range\":" : ",\"ip_local_port_range\":");
  if (settings.port_range)
    append_range(out, *settings.port_range);
  else
    append(out, "null");
  append(out, ",\"ip_local_reserved_ports\":");
  append_list(out, settings.reserved_ports, append_range);
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
  json::append_object(out, look.counters, append_number_of);
  append(out, ",\"conntrack\":");
  if (look.conntrack.empty())
    append(out, "null");
  else
    json::append_object(out, look.conntrack, append_number_of);
  append(out, ",\"states\":");
  json::append_states(out, report.states);
  append(out, ",\"ports\":");
  append_list(out, report.health.routes, append_route);
  append(out, "}");
}

void append_finding(Buffer& out, const HostFinding& finding) {
  json::append_remark(out, finding.id, "severity", name(finding.severity), finding.text, finding.remedy);
  append(out, ",\"avoid\":");
  append_json(out, finding.avoid);
  append(out, "}");
}

}  // namespace

std::string doctor_json(const DoctorReport& report) {
  Buffer out;
  json::append_head(out, "closewatch/doctor/1", report.host, report.kernel);
  append(out, ",\"time\":");
  json::append_time(out, report.time_ns);
  format(out, FMT_COMPILE(",\"can_trace\":{},\"checks\":"), can_trace(report));
  append_list(out, report.checks, append_check);
  append(out, ",\"privileges\":");
  append_privileges(out, report.privileges);
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
