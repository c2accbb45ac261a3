// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/workloads.hpp>

#include <utility>

namespace closewatch {

Workloads::Workloads(const Processes& processes, const Listeners& listeners, std::size_t limit)
    : processes_(processes), listeners_(listeners), limit_(limit) {
  workloads_.emplace_back();
}

WorkloadId Workloads::of(const Identity& process, const Tuple& tuple) {
  const Service service = service_of(tuple, process.key.pid != 0);
  const std::size_t hash = ProcessKeyHash{}(process.key) >> 32U ^ service.endpoint.port;
  Recent& recent = recent_[hash % recent_.size()];
  if (recent.id != 0 && recent.key == process.key && recent.exec_id == process.exec_id && recent.service == service)
    return recent.id;
  return find(process, tuple, service, recent);
}

WorkloadId Workloads::find(const Identity& process, const Tuple& tuple, const Service& service, Recent& recent) {
  static const ProcessDetails nothing;
  const ProcessDetails* known = process.key.pid == 0 ? nullptr : details_of(process, tuple);
  const ProcessDetails& details = known == nullptr ? nothing : *known;
  Name name;
  name.executable_known = details.exe.has_value();
  if (details.exe)
    name.executable = *details.exe;
  else if (process.key.pid != 0)
    name.executable = text(process.comm);
  if (details.cgroup) name.cgroup = *details.cgroup;
  name.service = service;

  if (!details.exe && process.key.pid != 0)
    if (const auto like = by_comm_.find({process.comm, name.service}); like != by_comm_.end()) return like->second;
  const ProcessEntry* own = details.exe ? processes_.known(process) : nullptr;
  const bool lasts = own != nullptr && &own->details == known;  // and is not what it is a likeness of
  const auto keep = [&](WorkloadId id) {
    if (lasts) recent = {process.key, process.exec_id, id, service};
    return id;
  };
  const auto found = ids_.find(name);
  if (found != ids_.end()) return keep(found->second);
  if (free_.empty() && workloads_.size() > limit_) {
    ++refused_;
    return 0;
  }
  auto id = static_cast<WorkloadId>(workloads_.size());
  if (free_.empty()) {
    workloads_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Workload& kept = workloads_[id];
  kept = {std::string{name.executable}, name.executable_known, std::string{name.cgroup}, details.container,
          name.service};
  // A program that runs under many names is to be found by as many as there are workloads.
  if (kept.executable_known && by_comm_.size() < 2 * limit_)
    by_comm_.insert_or_assign({process.comm, kept.service}, id);
  ids_.emplace(name_of(kept), id);
  return keep(id);
}

void Workloads::forget(const std::vector<bool>& in_use) {
  const auto is_used = [&](WorkloadId id) { return id < in_use.size() && in_use[id]; };
  recent_ = {};
  std::erase_if(by_comm_, [&](const auto& entry) { return !is_used(entry.second); });
  for (auto at = ids_.begin(); at != ids_.end();) {
    const WorkloadId id = at->second;
    if (is_used(id)) {
      ++at;
      continue;
    }
    at = ids_.erase(at);  // before its strings go, which the key looks into
    workloads_[id] = {};
    free_.push_back(id);
    ++forgotten_;
  }
}

const ProcessDetails* Workloads::details_of(const Identity& process, const Tuple& tuple) const {
  const ProcessEntry* own = processes_.known(process);
  if (own != nullptr && own->details.exe) return &own->details;
  const Listener* listener = tuple.role == Role::connect ? nullptr : listeners_.by_local_end(tuple);
  if (listener != nullptr && listener->process.comm == process.comm) {
    const ProcessEntry* listens = processes_.known(listener->process);
    if (listens != nullptr && listens->details.exe) return &listens->details;
  }
  return own == nullptr ? nullptr : &own->details;
}

// What came in is told apart by the port alone: a server that listens on both families, or on several addresses, is
// one.
Service Workloads::service_of(const Tuple& tuple, bool has_owner) const {
  Service service;
  bool came_in = tuple.role == Role::accept;
  if (tuple.role == Role::unknown) {
    // A bucket from before the start whose server is gone: services have the lower port, and the other was given out by
    // the kernel. Each would be a workload of its own otherwise, by its client's port.
    const bool looks_so = !has_owner && tuple.local.port < tuple.peer.port;
    came_in = looks_so || listeners_.by_local_end(tuple) != nullptr;
  }
  service.side = came_in ? Role::accept : Role::connect;
  if (came_in) {
    service.endpoint.port = tuple.local.port;
  } else {
    service.family = tuple.family;
    service.endpoint = tuple.peer;
  }
  return service;
}

}  // namespace closewatch
