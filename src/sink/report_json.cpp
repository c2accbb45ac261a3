// SPDX-License-Identifier: BSD-2-Clause
#include "sink/report_json.hpp"

#include "sink/json_parts.hpp"
#include "sink/pattern.hpp"

namespace closewatch {
namespace {

using json::append_list;
using json::append_number;
using json::append_or_null;
using json::format;

void append_socket(Buffer& out, const SocketReport& socket) {
  append(out, "{\"conn\":");
  json::append_connection(out, socket.connection);
  append(out, ",");
  json::append_condition(out, socket.age_ns, socket.age_is_lower_bound, socket.condition);
  format(out, FMT_COMPILE(",\"attribution\":\"{}\",\"holders\":"), name(socket.attribution));
  json::append_holders(out, socket.holders);
  append(out, "}");
}

void append_group(Buffer& out, const GroupReport& group) {
  format(out, FMT_COMPILE("{{\"kind\":\"{}\",\"verdict\":\"{}\",\"count\":{},\"trend\":"), name(group.kind),
         name(group.verdict), group.count);
  if (group.trend)
    format(out, FMT_COMPILE("\"{}\""), name(*group.trend));
  else
    append(out, "null");
  format(out, FMT_COMPILE(",\"local\":\"{}\",\"peer\":\"{}\",\"holders\":"), pattern_text(group.local),
         pattern_text(group.peer));
  json::append_holders(out, group.holders);
  append(out, ",\"accept_queue\":");
  if (group.accept_queue)
    format(out, FMT_COMPILE("{{\"len\":{},\"max\":{}}}"), group.accept_queue->length, group.accept_queue->most);
  else
    append(out, "null");
  format(out, FMT_COMPILE(",\"unread_bytes\":{},\"sockets\":"), group.unread_bytes);
  append_list(out, group.sockets, append_socket);
  append(out, ",\"stacks\":");
  json::append_stacks(out, group.stacks);
  append(out, ",\"advice\":");
  json::append_advice(out, group.kind);
  append(out, "}");
}

void append_endpoint(Buffer& out, const TimeWaitEndpoint& endpoint) {
  format(out, FMT_COMPILE("{{\"side\":\"{}\",\"local\":\"{}\",\"peer\":\"{}\",\"now\":{},\"ports\":"),
         name(endpoint.side), pattern_text(endpoint.local), pattern_text(endpoint.peer), endpoint.now);
  if (endpoint.ports) {
    format(out, FMT_COMPILE("{{\"range\":{},\"in_use\":{},\"seconds_left\":"), endpoint.ports->usable,
           endpoint.ports->in_use);
    append_number(out, endpoint.ports->seconds_left);
    append(out, "}}");
  } else {
    append(out, "null}");
  }
}

// Always all four keys: a process that is gone has no descriptors to count, but a reader need not ask for that first.
void append_descriptors(Buffer& out, const std::optional<DescriptorUse>& use) {
  if (!use) return append(out, R"({"open":null,"soft_limit":null,"sockets":null,"seconds_left":null})");
  format(out, FMT_COMPILE("{{\"open\":{},\"soft_limit\":{},\"sockets\":{},\"seconds_left\":"), use->open,
         use->soft_limit, use->sockets);
  append_number(out, use->seconds_left);
  append(out, "}");
}

void append_endings(Buffer& out, const std::array<std::uint64_t, ending_count>& endings) {
  json::append_object(out, endings, [&endings](Buffer& to, const std::uint64_t& count) {
    if (count == 0) return;
    json::append_word(to, name(static_cast<Ending>(&count - endings.data())));
    append(to, ":");
    append(to, count);
  });
}

/// The keys that a process and a workload have in common.
void append_findings(Buffer& out, const Findings& findings) {
  append(out, ",\"states\":");
  json::append_states(out, findings.states);
  append(out, ",\"fds\":");
  append_descriptors(out, findings.descriptors);
  const CloseWaitReport& close_wait = findings.close_wait;
  format(out, FMT_COMPILE(",\"close_wait\":{{\"now\":{},\"leaked\":{},\"stuck\":{},\"oldest_ns\":{},\"groups\":"),
         close_wait.now, close_wait.leaked, close_wait.stuck, close_wait.oldest_ns);
  append_list(out, close_wait.groups, append_group);
  const TimeWaitReport& time_wait = findings.time_wait;
  format(out, FMT_COMPILE("}},\"time_wait\":{{\"now\":{},\"entered\":{},\"per_second\":"), time_wait.now,
         time_wait.entered);
  append_number(out, time_wait.per_second);
  append(out, ",\"by_endpoint\":");
  append_list(out, time_wait.by_endpoint, append_endpoint);
  format(out, FMT_COMPILE("}},\"fin_wait2\":{{\"orphaned\":{},\"living\":{}}},\"endings\":"),
         findings.fin_wait2.orphaned, findings.fin_wait2.living);
  append_endings(out, findings.endings);
  const LatencyReport& latency = findings.close_latency_ns;
  format(out, FMT_COMPILE(",\"close_latency_ns\":{{\"p50\":{},\"p99\":{},\"max\":{},\"count\":{}}}"), latency.p50,
         latency.p99, latency.most, latency.count);
}

void append_workload(Buffer& out, const WorkloadReport& report) {
  append(out, "{\"exe\":");
  json::append_unless_empty(out, report.workload.executable);
  append(out, ",\"cgroup\":");
  json::append_unless_empty(out, report.workload.cgroup);
  append(out, ",\"container\":");
  append_or_null(out, report.workload.container);
  format(out, FMT_COMPILE(",\"endpoint\":\"{}\",\"processes\":{}"), service_text(report.workload.service),
         report.processes);
  append_findings(out, report.findings);
  append(out, "}");
}

void append_process(Buffer& out, const ProcessReport& report) {
  append(out, "{\"process\":");
  if (report.process)
    json::append_process(out, *report.process);
  else
    append(out, "null");
  append_findings(out, report.findings);
  append(out, "}");
}

void append_host_finding(Buffer& out, const HostFinding& finding) {
  json::append_remark(out, finding.id, "severity", name(finding.severity), finding.text, finding.remedy);
  append(out, "}");
}

}  // namespace

std::string report_json(const Report& report) {
  Buffer out;
  json::append_head(out, "closewatch/report/1", report.host, report.kernel);
  append(out, ",\"from\":");
  json::append_time(out, report.from_ns);
  append(out, ",\"to\":");
  json::append_time(out, report.to_ns);
  format(out, FMT_COMPILE(",\"complete\":{},\"incomplete_reasons\":"), report.incomplete_reasons.empty());
  append_list(out, report.incomplete_reasons, append_json);
  format(out, FMT_COMPILE(",\"lost\":{},\"states\":"), report.lost);
  json::append_states(out, report.states);
  append(out, ",\"workloads\":");
  append_list(out, report.workloads, append_workload);
  append(out, ",\"processes\":");
  append_list(out, report.processes, append_process);
  append(out, ",\"host_findings\":");
  append_list(out, report.host_findings, append_host_finding);
  append(out, "}\n");
  return {out.data(), out.size()};
}

}  // namespace closewatch
