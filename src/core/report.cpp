// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/report.hpp>

#include "report_draft.hpp"
#include "report_health.hpp"
#include "report_ports.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace closewatch {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

std::size_t slot(State state) { return std::to_underlying(state); }

/// From the last walks and the accounts to drafts, one a process and one a workload.
class Builder {
 public:
  explicit Builder(const ReportInput& input) : input_(input), now_ns_(moment_of(input)), ports_(input) {}
  Report build();

 private:
  struct Drafts {
    Draft& process;
    Draft& workload;
  };
  Drafts drafts_of(const Identity& process, WorkloadId workload);
  void add_state(const Drafts& drafts, State state);
  void add_judged(const Judged& socket, bool ended);
  void add_row(const SocketRow& row);
  void add_bucket(const Tuple& tuple, const Ledger::Bucket& bucket);
  void add_route(const Drafts& drafts, const Tuple& tuple);
  void add_accounts();
  void breathe() const;
  [[nodiscard]] Findings findings_of(const Draft& draft) const;
  [[nodiscard]] Process process_of(const Draft& draft) const;
  [[nodiscard]] std::vector<ProcessReport> processes() const;
  [[nodiscard]] std::vector<WorkloadReport> workloads() const;

  const ReportInput& input_;
  std::uint64_t now_ns_;  ///< after boot
  PortUse ports_;
  std::unordered_map<ProcessKey, Draft, ProcessKeyHash> processes_;
  std::map<WorkloadId, Draft> workloads_;
  std::unordered_set<std::uint64_t> judged_;  ///< cookies
  StateCounts states_{};
  mutable std::uint32_t steps_ = 0;
};

void Builder::breathe() const {
  constexpr std::uint32_t steps = 1024;  // some milliseconds
  if (++steps_ % steps == 0 && input_.between) input_.between();
}

Builder::Drafts Builder::drafts_of(const Identity& process, WorkloadId workload) {
  Draft& of_process = processes_[process.key];
  Draft& of_workload = workloads_[workload];
  of_process.meet(process);
  of_workload.meet(process);
  of_workload.add_member(process.key);
  return {of_process, of_workload};
}

void Builder::add_state(const Drafts& drafts, State state) {
  ++states_[slot(state)];
  for (Draft* draft : {&drafts.process, &drafts.workload}) ++draft->states[slot(state)];
}

void Builder::add_judged(const Judged& socket, bool ended) {
  const Drafts drafts = drafts_of(socket.process, socket.workload);
  const Member member{&socket, ended, age_at(socket, ended ? socket.resolved_ns : now_ns_)};
  for (Draft* draft : {&drafts.process, &drafts.workload}) {
    draft->sockets.push_back(member);
    if (!ended && socket.state == State::close_wait) ++draft->close_waits;
  }
  if (ended) return;
  add_state(drafts, socket.state);
  add_route(drafts, socket.tuple);
  judged_.insert(socket.cookie);
}

void Builder::add_row(const SocketRow& row) {
  if (judged_.contains(row.cookie)) return;
  Tuple tuple = row.tuple;
  // A listener belongs to the workload of what comes in on it.
  if (row.state == State::listen) tuple.role = Role::accept;
  const Drafts drafts = drafts_of(row.process, input_.workloads.of(row.process, tuple));
  add_state(drafts, row.state);
  add_route(drafts, tuple);
  for (Draft* draft : {&drafts.process, &drafts.workload}) {
    if (row.state == State::close_wait) ++draft->close_waits;
    if (row.state == State::fin_wait2) ++(row.evidence.dead ? draft->fin_wait2.orphaned : draft->fin_wait2.living);
  }
}

// What is short of ports is told of all that use them, not of those alone whose TIME_WAIT is there.
void Builder::add_route(const Drafts& drafts, const Tuple& tuple) {
  if (tuple.role == Role::accept || !ports_.is_short(route_of(tuple))) return;
  for (Draft* draft : {&drafts.process, &drafts.workload}) draft->time_wait.try_emplace(place_of(tuple), 0);
}

void Builder::add_bucket(const Tuple& tuple, const Ledger::Bucket& bucket) {
  const std::optional<Process>& owner = bucket.owner->process;
  const Drafts drafts = drafts_of(owner ? owner->identity : Identity{}, bucket.workload);
  if (owner) drafts.process.entry = owner->entry;
  add_state(drafts, bucket.substate);
  Tuple place = tuple;
  place.role = side_of(bucket, input_.workloads);
  if (bucket.substate == State::fin_wait2) add_route(drafts, place);
  for (Draft* draft : {&drafts.process, &drafts.workload})
    if (bucket.substate == State::fin_wait2)
      ++draft->fin_wait2.orphaned;
    else
      ++draft->time_wait[place_of(place)];
}

void Builder::add_accounts() {
  for (const auto& [key, account] : input_.accounts.processes()) {
    Draft& draft = processes_[key];
    draft.meet(account.process);
    draft.account = &account;
  }
  for (const auto& [id, account] : input_.accounts.by_workload()) {
    Draft& draft = workloads_[id];
    draft.meet(account.process);
    draft.account = &account;
  }
  for (const auto& [workload, process] : input_.accounts.members()) workloads_[workload].add_member(process);
}

Findings Builder::findings_of(const Draft& draft) const {
  Findings out;
  out.states = draft.states;
  out.close_wait = close_wait_of(draft, input_);
  out.time_wait = time_wait_of(draft, static_cast<double>(input_.to_ns - input_.from_ns) / second_ns, ports_);
  out.fin_wait2 = draft.fin_wait2;
  if (draft.account == nullptr) return out;
  out.endings = draft.account->endings;
  if (const Habit* latency = draft.account->latency.get())
    out.close_latency_ns = {latency->quantile(0.5), latency->quantile(0.99), latency->most(), latency->count()};
  return out;
}

/// Leaked, stuck, TIME_WAIT, then age: the order of the contract. What is unknown comes last.
auto rank(bool unknown, const Findings& findings, const Identity& first) {
  return std::tuple{unknown,
                    ~findings.close_wait.leaked,
                    ~findings.close_wait.stuck,
                    ~findings.time_wait.now,
                    first.key.start_ns,
                    first.key.pid};
}

using Rank = decltype(rank(false, {}, {}));

/// `ranks`: of the items, one each. A report is large: only where it stands is sorted.
template <typename Item>
std::vector<Item> sorted(const std::vector<Rank>& ranks, std::vector<Item> items) {
  std::vector<std::size_t> places(items.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::stable_sort(places.begin(), places.end(),
                   [&](std::size_t left, std::size_t right) { return ranks[left] < ranks[right]; });
  std::vector<Item> out;
  out.reserve(items.size());
  for (const std::size_t place : places) out.push_back(std::move(items[place]));
  return out;
}

/// In the contract's order of processes that have nothing else to tell them apart, each once.
std::vector<ProcessKey> in_order(std::vector<ProcessKey> members) {
  const auto order = [](const ProcessKey& one) { return std::pair{one.start_ns, one.pid}; };
  std::sort(members.begin(), members.end(),
            [&](const ProcessKey& left, const ProcessKey& right) { return order(left) < order(right); });
  members.erase(std::unique(members.begin(), members.end()), members.end());
  return members;
}

/// Whose bucket is still there may be forgotten as a process by now: the ledger's entry knows that it has exited.
Process Builder::process_of(const Draft& draft) const {
  if (input_.processes.known(draft.first) == nullptr && draft.entry && draft.entry->exec_id == draft.first.exec_id)
    return {draft.first, draft.entry};
  return {draft.first, input_.processes.find(draft.first).entry};
}

std::vector<ProcessReport> Builder::processes() const {
  std::vector<Rank> ranks;
  std::vector<ProcessReport> reports;
  ranks.reserve(processes_.size());
  reports.reserve(processes_.size());
  for (const auto& [key, draft] : processes_) {
    breathe();
    ProcessReport& report = reports.emplace_back();
    report.findings = findings_of(draft);
    const bool unknown = draft.first.key.pid == 0;
    if (!unknown) {
      report.process = process_of(draft);
      const auto use = input_.descriptors.find(draft.first.key);
      if (use != input_.descriptors.end()) report.findings.descriptors = use->second;
    }
    ranks.push_back(rank(unknown, report.findings, draft.first));
  }
  return sorted(ranks, std::move(reports));
}

/// How near to its limit: first by time, then by what is in use.
bool is_nearer(const DescriptorUse& left, const DescriptorUse& right) {
  if (left.seconds_left.has_value() != right.seconds_left.has_value()) return left.seconds_left.has_value();
  if (left.seconds_left && *left.seconds_left != *right.seconds_left) return *left.seconds_left < *right.seconds_left;
  return static_cast<double>(left.open) * static_cast<double>(right.soft_limit) >
         static_cast<double>(right.open) * static_cast<double>(left.soft_limit);
}

std::vector<WorkloadReport> Builder::workloads() const {
  std::vector<Rank> ranks;
  std::vector<WorkloadReport> reports;
  for (const auto& [id, draft] : workloads_) {
    breathe();
    WorkloadReport& report = reports.emplace_back();
    report.workload = input_.workloads[id];
    report.findings = findings_of(draft);
    std::optional<DescriptorUse>& nearest = report.findings.descriptors;
    report.members = in_order(draft.members);
    if (!report.members.empty() && report.members.front().pid == 0) report.members.erase(report.members.begin());
    report.processes = report.members.size();
    for (const ProcessKey& member : report.members) {
      const auto use = input_.descriptors.find(member);
      if (use == input_.descriptors.end() || (nearest && !is_nearer(use->second, *nearest))) continue;
      nearest = use->second;
      const auto known = processes_.find(member);
      report.nearest_to_limit = known != processes_.end() ? known->second.first : Identity{.key = use->first};
    }
    ranks.push_back(rank(draft.first.key.pid == 0, report.findings, draft.first));
  }
  return sorted(ranks, std::move(reports));
}

Report Builder::build() {
  for (const Judged& socket : input_.judged) add_judged(socket, false);
  for (const Judged& socket : input_.ended) add_judged(socket, true);
  for (const SocketRow& row : input_.rows) {
    breathe();
    add_row(row);
  }
  for (const auto& [tuple, bucket] : input_.ledger.buckets()) {
    breathe();
    if (bucket.exists()) add_bucket(tuple, bucket);
  }
  add_accounts();
  Report out;
  out.host = input_.host;
  out.kernel = input_.kernel;
  out.from_ns = input_.from_ns;
  out.to_ns = input_.to_ns;
  out.incomplete_reasons = input_.incomplete_reasons;
  out.lost = input_.lost;
  out.states = states_;
  out.workloads = workloads();
  out.processes = processes();
  out.host_findings = closewatch::findings_of(health_of(input_, ports_));
  out.mended = input_.mended;
  out.knows_ports = !input_.namespaces.empty();
  return out;
}

}  // namespace

Report build(const ReportInput& input) { return Builder{input}.build(); }

std::uint64_t aborts(const Findings& findings) {
  std::uint64_t sum = 0;
  for (std::size_t ending = 0; ending < findings.endings.size(); ++ending)
    if (is_abort(static_cast<Ending>(ending))) sum += findings.endings[ending];
  return sum;
}

bool runs_out(const DescriptorUse& use) {
  constexpr double day = 86'400;
  constexpr double at_once = 600;
  constexpr std::uint64_t notable = 16;  // one in so many
  if (use.soft_limit == 0) return false;
  // A server that has begun to work gets more of them for a while, and then has enough: what that may come to in hours
  // is no news.
  const double near = use.open >= use.soft_limit / notable ? day : at_once;
  return (use.seconds_left && *use.seconds_left < near) || use.open >= use.soft_limit - use.soft_limit / 10;
}

std::uint64_t leaked(const Report& report) {
  std::uint64_t sum = 0;
  for (const WorkloadReport& workload : report.workloads) sum += workload.findings.close_wait.leaked;
  return sum;
}

std::uint64_t stuck(const Report& report) {
  std::uint64_t sum = 0;
  for (const WorkloadReport& workload : report.workloads) sum += workload.findings.close_wait.stuck;
  return sum;
}

}  // namespace closewatch
