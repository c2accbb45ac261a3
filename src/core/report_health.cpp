// SPDX-License-Identifier: BSD-2-Clause
#include "report_health.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace closewatch {
namespace {

/// A name is any bytes: none is to break the sentence that it stands in. What else a terminal might obey the sinks see.
std::string harmless(std::string_view name) {
  std::string out{name};
  for (char& byte : out)
    if (static_cast<unsigned char>(byte) < ' ' || byte == '\x7f') byte = '?';
  return out;
}

std::string owner_text(const Ledger::Bucket& bucket) {
  if (!bucket.owner->process) return {};
  const Process& owner = *bucket.owner->process;
  return harmless(text(owner.identity.comm)) + " (pid " + std::to_string(owner.identity.key.pid) +
         (owner.entry && owner.entry->exited ? ", exited)" : ")");
}

class HealthBuilder {
 public:
  HealthBuilder(const ReportInput& input, const PortUse& ports) : input_(input), ports_(ports) {}
  MachineHealth build();

 private:
  struct Held {
    std::uint64_t count = 0;
    std::uint64_t last_ns = 0;
    bool end_is_known = true;
    const Ledger::Bucket* last = nullptr;
  };
  struct Seen {
    std::set<std::uint16_t> listening;
    std::map<std::uint16_t, Held> held;
    std::uint64_t time_wait = 0;
    std::uint64_t close_wait = 0;
  };
  void look();
  void add_bucket(const Tuple& tuple, const Ledger::Bucket& bucket);
  [[nodiscard]] std::vector<HeldPort> held_of(const Seen& seen) const;

  const ReportInput& input_;
  const PortUse& ports_;
  std::map<std::uint32_t, Seen> seen_;
};

void HealthBuilder::look() {
  for (const SocketRow& row : input_.rows) {
    Seen& seen = seen_[row.tuple.netns];
    if (row.state == State::listen) seen.listening.insert(row.tuple.local.port);
    if (row.state == State::close_wait) ++seen.close_wait;
  }
  for (const auto& [tuple, bucket] : input_.ledger.buckets())
    if (bucket.exists() && bucket.substate == State::time_wait) add_bucket(tuple, bucket);
}

// Rows may be those that the filters let through; the table of listeners has all.
void HealthBuilder::add_bucket(const Tuple& tuple, const Ledger::Bucket& bucket) {
  Seen& seen = seen_[tuple.netns];
  ++seen.time_wait;
  if (bucket.role != Role::accept || seen.listening.contains(tuple.local.port) ||
      input_.listeners.by_local_end(tuple) != nullptr)
    return;
  Held& held = seen.held[tuple.local.port];
  const std::uint64_t until_ns = bucket.due_ns();
  ++held.count;
  held.end_is_known = held.end_is_known && until_ns != 0;
  // Buckets have no order: of those that end at once the first by its cookie is taken.
  if (held.last == nullptr || std::pair{until_ns, bucket.cookie} > std::pair{held.last_ns, held.last->cookie}) {
    held.last = &bucket;
    held.last_ns = until_ns;
  }
}

std::vector<HeldPort> HealthBuilder::held_of(const Seen& seen) const {
  const std::uint64_t now_ns = moment_of(input_);
  std::vector<HeldPort> out;
  for (const auto& [port, held] : seen.held) {
    HeldPort one{port, held.count, std::nullopt, owner_text(*held.last)};
    if (held.end_is_known) one.free_in_ns = held.last_ns > now_ns ? held.last_ns - now_ns : 0;
    out.push_back(std::move(one));
  }
  return out;
}

MachineHealth HealthBuilder::build() {
  look();
  MachineHealth machine;
  for (const auto& [netns, told] : input_.namespaces) {
    NamespaceHealth health = told;
    const Seen& seen = seen_[netns];
    health.netns = netns;
    health.listening.assign(seen.listening.begin(), seen.listening.end());
    health.routes = ports_.short_of(netns);
    health.held = held_of(seen);
    health.time_wait = seen.time_wait;
    health.close_wait = seen.close_wait;
    machine.namespaces.push_back(std::move(health));
  }
  return machine;
}

}  // namespace

MachineHealth health_of(const ReportInput& input, const PortUse& ports) { return HealthBuilder{input, ports}.build(); }

}  // namespace closewatch
