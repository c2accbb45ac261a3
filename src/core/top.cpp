// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/top.hpp>

#include <closewatch/core/address.hpp>

#include <algorithm>
#include <utility>

namespace closewatch {
namespace {

constexpr double second_ns = 1e9;

bool is_abort(Ending ending) {
  switch (ending) {
    case Ending::rst_linger0:
    case Ending::rst_unread:
    case Ending::rst_linger2:
    case Ending::rst_late_data:
    case Ending::rst_received:
    case Ending::timeout:
    case Ending::fin_timeout:
    case Ending::killed: return true;
    default: return false;
  }
}

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

std::uint64_t aborts(const Findings& findings) {
  std::uint64_t sum = 0;
  for (std::size_t ending = 0; ending < findings.endings.size(); ++ending)
    if (is_abort(static_cast<Ending>(ending))) sum += findings.endings[ending];
  return sum;
}

template <typename Reported>
std::vector<TopPace> TopHistory::paces(Rows& rows, const std::vector<Reported>& reported, double seconds) {
  std::vector<TopPace> out;
  out.reserve(reported.size());
  for (const Reported& one : reported) {
    const Findings& findings = one.findings;
    const auto [place, is_new] = rows.try_emplace(row_key(one));
    Row& row = place->second;
    TopPace pace;
    // Of a row that was not there before all is new: it was made since, and not in one refresh perhaps.
    if (!is_new) {
      pace.time_wait_per_second = rate(row.time_wait_entered, findings.time_wait.entered, seconds);
      pace.aborts_per_second = rate(row.aborts, aborts(findings), seconds);
    }
    row.time_wait_entered = findings.time_wait.entered;
    row.aborts = aborts(findings);
    row.close_wait.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(findings.close_wait.now, UINT32_MAX)));
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
  const double seconds = time_ns_ == 0 || now_ns <= time_ns_ ? 0 : static_cast<double>(now_ns - time_ns_) / second_ns;
  TopView view;
  view.workloads = paces(workloads_, report.workloads, seconds);
  view.processes = paces(processes_, report.processes, seconds);
  view.events = events;
  view.events_per_second = rate(events_, events, seconds);
  view.report = std::move(report);
  events_ = events;
  time_ns_ = now_ns;
  return view;
}

}  // namespace closewatch
