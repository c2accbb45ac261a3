// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/accounts.hpp>

#include <tuple>

namespace closewatch {
namespace {

bool started_before(const Identity& left, const Identity& right) {
  return std::tie(left.key.start_ns, left.key.pid) < std::tie(right.key.start_ns, right.key.pid);
}

template <typename Map, typename Key>
Account* account_of(Map& accounts, const Key& key, std::size_t limit) {
  const auto found = accounts.find(key);
  if (found != accounts.end()) return &found->second;
  if (accounts.size() >= limit) return nullptr;
  return &accounts[key];
}

void add(Account* account, std::uint64_t latency_ns) {
  if (account == nullptr) return;
  if (!account->latency) account->latency = std::make_unique<Habit>();
  account->latency->add(latency_ns);
}

}  // namespace

Accounts::Pair Accounts::accounts_of(const Responsible& responsible, const Tuple& tuple, std::uint64_t now_ns) {
  const Identity process = responsible.process ? responsible.process->identity : Identity{};
  const WorkloadId id = workloads_.of(process, tuple);
  Pair out;
  out.process = account_of(processes_, process.key, limits_.processes);
  out.workload = account_of(by_workload_, id, limits_.workloads);
  if (out.process == nullptr || out.workload == nullptr) ++refused_;
  for (Account* account : {out.process, out.workload})
    if (account != nullptr) account->last_ns = now_ns;
  if (out.process != nullptr) out.process->process = process;
  if (process.key.pid == 0) return out;
  if (out.workload != nullptr) {
    Identity& first = out.workload->process;
    if (first.key.pid == 0 || started_before(process, first)) first = process;
  }
  if (members_.size() < limits_.members) members_.insert({id, process.key});
  return out;
}

void Accounts::take(const Closed& closed, std::uint64_t now_ns) {
  const Pair accounts = accounts_of(closed.responsible, closed.connection.tuple, now_ns);
  for (Account* account : {accounts.process, accounts.workload}) {
    if (account == nullptr) continue;
    ++account->endings[static_cast<std::size_t>(closed.ending)];
    if (closed.bucket == Bucket::time_wait) ++account->time_wait_entered;
  }
}

void Accounts::entered_time_wait(const Responsible& owner, const Tuple& tuple, std::uint64_t now_ns) {
  const Pair accounts = accounts_of(owner, tuple, now_ns);
  for (Account* account : {accounts.process, accounts.workload})
    if (account != nullptr) ++account->time_wait_entered;
}

void Accounts::take(const Transition& transition, std::uint64_t now_ns) {
  const bool by_program = transition.cause == Cause::close || transition.cause == Cause::shutdown;
  if (transition.from != State::close_wait || !by_program || !transition.in_state_ns) return;
  const Pair accounts = accounts_of(transition.responsible, transition.connection.tuple, now_ns);
  add(accounts.process, *transition.in_state_ns);
  add(accounts.workload, *transition.in_state_ns);
}

void Accounts::forget_gone(std::uint64_t before_ns, const std::function<bool(const ProcessKey&)>& lives) {
  std::erase_if(processes_, [&](const auto& entry) { return entry.second.last_ns < before_ns && !lives(entry.first); });
  std::erase_if(members_, [&](const Member& member) { return !lives(member.process); });
  std::unordered_set<WorkloadId> peopled;
  for (const Member& member : members_) peopled.insert(member.workload);
  std::erase_if(by_workload_,
                [&](const auto& entry) { return entry.second.last_ns < before_ns && !peopled.contains(entry.first); });
}

}  // namespace closewatch
