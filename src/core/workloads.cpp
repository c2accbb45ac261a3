// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/workloads.hpp>

#include <utility>

namespace closewatch {

Workloads::Workloads(const Processes& processes, const Listeners& listeners, std::size_t limit)
    : processes_(processes), listeners_(listeners), limit_(limit) {
  workloads_.emplace_back();
}

WorkloadId Workloads::of(const Identity& process, const Tuple& tuple) {
  static const ProcessDetails nothing;
  const ProcessEntry* known = process.key.pid == 0 ? nullptr : processes_.known(process);
  const ProcessDetails& details = known == nullptr ? nothing : known->details;
  Name name;
  name.executable_known = details.exe.has_value();
  if (details.exe)
    name.executable = *details.exe;
  else if (process.key.pid != 0)
    name.executable = text(process.comm);
  if (details.cgroup) name.cgroup = *details.cgroup;
  name.service = service_of(tuple);

  const auto found = ids_.find(name);
  if (found != ids_.end()) return found->second;
  if (workloads_.size() > limit_) {
    ++refused_;
    return 0;
  }
  const Workload& kept = workloads_.emplace_back(Workload{std::string{name.executable}, name.executable_known,
                                                          std::string{name.cgroup}, details.container, name.service});
  const auto id = static_cast<WorkloadId>(workloads_.size() - 1);
  ids_.emplace(Name{kept.executable, kept.executable_known, kept.cgroup, kept.service}, id);
  return id;
}

// What came in is told apart by the port alone: a server that listens on both families, or on several addresses, is
// one.
Service Workloads::service_of(const Tuple& tuple) const {
  Service service;
  const bool came_in =
      tuple.role == Role::accept || (tuple.role == Role::unknown && listeners_.by_local_end(tuple) != nullptr);
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
