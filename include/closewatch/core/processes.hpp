// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_PROCESSES_HPP
#define CLOSEWATCH_CORE_PROCESSES_HPP

#include <closewatch/core/event.hpp>

#include <deque>
#include <memory>
#include <unordered_map>

namespace closewatch {

/// What is known of processes beyond their sockets. A bounded cache: whoever is forgotten is asked for again.
class Processes {
 public:
  explicit Processes(std::size_t limit) : limit_(limit) {}

  struct Found {
    std::shared_ptr<const ProcessEntry> entry;
    bool wanted = false;  ///< not known yet, or it has become another program: ask for its details
  };

  /// The entry of this process, made where there is none.
  Found find(const Identity& identity);

  /// What is known of this process and program now, without asking for more; null where it is nothing.
  [[nodiscard]] const ProcessEntry* known(const Identity& identity) const;

  void resolve(const ProcessResolved& answer);
  void exited(const ProcessKey& key);
  [[nodiscard]] bool has_exited(const ProcessKey& key) const;
  /// It is known, and nothing of its end.
  [[nodiscard]] bool lives(const ProcessKey& key) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t evicted() const { return evicted_; }
  /// Those that were not looked up when they were asked for, and have not been met since.
  [[nodiscard]] std::uint64_t unanswered() const;

 private:
  void make_room();

  std::size_t limit_;
  std::unordered_map<ProcessKey, std::shared_ptr<ProcessEntry>, ProcessKeyHash> entries_;
  std::deque<ProcessKey> gone_;  ///< exited, longest ago first: the first to be forgotten
  std::uint64_t evicted_ = 0;
};

}  // namespace closewatch

#endif
