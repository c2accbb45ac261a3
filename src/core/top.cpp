// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/top.hpp>

#include <closewatch/core/address.hpp>

#include <algorithm>
#include <utility>

namespace closewatch {
namespace {

constexpr double second_ns = 1e9;

/// Counters of a row can fall where its process was forgotten and came again.
double rate(std::uint64_t before, std::uint64_t now, double seconds) {
  return seconds > 0 && now > before ? static_cast<double>(now - before) / seconds : 0;
}

}  // namespace

std::string row_key(const WorkloadReport& row) {
  const Workload& workload = row.workload;
  std::string key = workload.executable + '\0' + workload.cgroup + '\0';
  key += std::to_string(static_cast<int>(workload.service.side)) + ':' +
         address_text(workload.service.endpoint.address, workload.service.family) + ':' +
         std::to_string(workload.service.endpoint.port);
  return key;
}

std::string row_key(const ProcessReport& row) {
  if (!row.process) return {};
  const ProcessKey& key = row.process->identity.key;
  return std::to_string(key.pid) + ':' + std::to_string(key.start_ns);
}

template <typename Reported>
std::vector<TopPace> TopHistory::paces(Rows& rows, std::vector<Reported>& reported, const Step& step) {
  std::vector<TopPace> out;
  out.reserve(reported.size());
  for (Reported& one : reported) {
    Findings& findings = one.findings;
    const auto [place, is_new] = rows.try_emplace(row_key(one));
    Row& row = place->second;
    TopPace pace;
    // Of a row that was not there before all is new: it was made since, and not in one refresh perhaps.
    const Sums sums{findings.time_wait.entered, aborts(findings)};
    if (is_new) {
      row.before = sums;
    } else {
      if (step.is_whole) row.before = row.last;
      pace.time_wait_per_second = rate(row.before.time_wait_entered, sums.time_wait_entered, step.seconds);
      pace.aborts_per_second = rate(row.before.aborts, sums.aborts, step.seconds);
      findings.time_wait.per_second = pace.time_wait_per_second;  // now, and not since the watching began
      if (!step.is_whole) row.close_wait.pop_back();
    }
    row.last = sums;
    const std::uint64_t open = findings.close_wait.now + findings.states[std::to_underlying(State::close)];
    row.close_wait.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(open, UINT32_MAX)));
    if (row.close_wait.size() > refreshes_kept) row.close_wait.pop_front();
    row.refresh = refresh_;
    pace.close_wait.assign(row.close_wait.begin(), row.close_wait.end());
    out.push_back(std::move(pace));
  }
  std::erase_if(rows, [&](const auto& entry) { return entry.second.refresh != refresh_; });
  return out;
}

TopView TopHistory::refresh(Report report, std::uint64_t events, std::uint64_t now_ns) {
  ++refresh_;
  Step step;
  step.is_whole = now_ns >= last_.time_ns + shortest_step_ns;
  if (step.is_whole) before_ = last_;
  if (before_.time_ns != 0 && now_ns > before_.time_ns)
    step.seconds = static_cast<double>(now_ns - before_.time_ns) / second_ns;
  TopView view;
  view.workloads = paces(workloads_, report.workloads, step);
  view.processes = paces(processes_, report.processes, step);
  view.events = events;
  view.events_per_second = rate(before_.events, events, step.seconds);
  view.report = std::move(report);
  last_ = {now_ns, events};
  return view;
}

}  // namespace closewatch
