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

Accounts::Pair Accounts::accounts_of(const Responsible& responsible, const Tuple& tuple) {
  const Identity process = responsible.process ? responsible.process->identity : Identity{};
  const WorkloadId id = workloads_.of(process, tuple);
  Pair out;
  out.process = account_of(processes_, process.key, limits_.processes);
  out.workload = account_of(by_workload_, id, limits_.workloads);
  if (out.process == nullptr || out.workload == nullptr) ++refused_;
  if (out.process != nullptr) out.process->process = process;
  if (process.key.pid == 0) return out;
  if (out.workload != nullptr) {
    Identity& first = out.workload->process;
    if (first.key.pid == 0 || started_before(process, first)) first = process;
  }
  if (members_.size() < limits_.members) members_.insert({id, process.key});
  return out;
}

void Accounts::take(const Closed& closed) {
  const Pair accounts = accounts_of(closed.responsible, closed.connection.tuple);
  for (Account* account : {accounts.process, accounts.workload}) {
    if (account == nullptr) continue;
    ++account->endings[static_cast<std::size_t>(closed.ending)];
    if (closed.bucket == Bucket::time_wait) ++account->time_wait_entered;
  }
}

void Accounts::entered_time_wait(const Responsible& owner, const Tuple& tuple) {
  const Pair accounts = accounts_of(owner, tuple);
  for (Account* account : {accounts.process, accounts.workload})
    if (account != nullptr) ++account->time_wait_entered;
}

void Accounts::take(const Transition& transition) {
  const bool by_program = transition.cause == Cause::close || transition.cause == Cause::shutdown;
  if (transition.from != State::close_wait || !by_program || !transition.in_state_ns) return;
  const Pair accounts = accounts_of(transition.responsible, transition.connection.tuple);
  add(accounts.process, *transition.in_state_ns);
  add(accounts.workload, *transition.in_state_ns);
}

}  // namespace closewatch
