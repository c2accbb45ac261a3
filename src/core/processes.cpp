// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/processes.hpp>

#include <algorithm>
#include <utility>

namespace closewatch {

Processes::Found Processes::find(const Identity& identity) {
  const auto found = entries_.find(identity.key);
  if (found != entries_.end() && found->second->exec_id == identity.exec_id)
    return {found->second, std::exchange(found->second->unanswered, false)};
  if (found != entries_.end() && found->second->exec_id > identity.exec_id) {
    // The program that it was before: /proc knows the present one alone.
    auto before = std::make_shared<ProcessEntry>();
    before->exec_id = identity.exec_id;
    before->exited = found->second->exited;
    return {before, false};
  }
  auto entry = std::make_shared<ProcessEntry>();
  entry->exec_id = identity.exec_id;
  if (found != entries_.end()) {
    // After exec() it is another program; facts about the one before keep theirs.
    entry->exited = found->second->exited;
    found->second = entry;
  } else {
    make_room();
    entries_.emplace(identity.key, entry);
  }
  return {entry, true};
}

const ProcessEntry* Processes::known(const Identity& identity) const {
  const auto found = entries_.find(identity.key);
  if (found == entries_.end() || found->second->exec_id != identity.exec_id) return nullptr;
  return found->second.get();
}

void Processes::resolve(const ProcessResolved& answer) {
  const auto found = entries_.find(answer.key);
  if (found == entries_.end() || found->second->exec_id != answer.exec_id) return;
  if (answer.skipped) {
    found->second->unanswered = true;
    return;
  }
  found->second->details = answer.details;
  if (answer.exited) exited(answer.key);
}

void Processes::exited(const ProcessKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second->exited) return;
  found->second->exited = true;
  gone_.push_back(key);
}

bool Processes::has_exited(const ProcessKey& key) const {
  const auto found = entries_.find(key);
  return found != entries_.end() && found->second->exited;
}

bool Processes::lives(const ProcessKey& key) const {
  const auto found = entries_.find(key);
  return found != entries_.end() && !found->second->exited;
}

std::uint64_t Processes::unanswered() const {
  return static_cast<std::uint64_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second->unanswered; }));
}

void Processes::make_room() {
  while (entries_.size() >= limit_) {
    ++evicted_;
    if (gone_.empty()) {
      entries_.erase(entries_.begin());
    } else {
      entries_.erase(gone_.front());
      gone_.pop_front();
    }
  }
}

}  // namespace closewatch
