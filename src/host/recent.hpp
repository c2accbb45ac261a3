// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_RECENT_HPP
#define CLOSEWATCH_HOST_RECENT_HPP

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <utility>

namespace closewatch {

/// A bounded table: for a new entry, those that were longest not asked for give way. Bounded in number and in weight
/// (bytes); the newest entry stays, however heavy.
template <typename Key, typename Value>
class Recent {
 public:
  Recent(std::size_t most, std::uint64_t most_weight) : most_(most), most_weight_(most_weight) {}

  /// Null where there is none. Good until the next add().
  [[nodiscard]] Value* find(const Key& key) {
    const auto at = places_.find(key);
    if (at == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, at->second);
    return &at->second->value;
  }

  /// Takes the place of one by the same key.
  Value& add(const Key& key, Value value, std::uint64_t weight) {
    if (const auto at = places_.find(key); at != places_.end()) drop(at->second);
    entries_.push_front({key, std::move(value), weight});
    places_[key] = entries_.begin();
    weight_ += weight;
    while (entries_.size() > 1 && (entries_.size() > most_ || weight_ > most_weight_)) {
      drop(std::prev(entries_.end()));
      ++evicted_;
    }
    return entries_.front().value;
  }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t evicted() const { return evicted_; }

 private:
  struct Entry {
    Key key;
    Value value;
    std::uint64_t weight = 0;
  };

  void drop(typename std::list<Entry>::iterator entry) {
    weight_ -= entry->weight;
    places_.erase(entry->key);
    entries_.erase(entry);
  }

  std::size_t most_;
  std::uint64_t most_weight_;
  std::uint64_t weight_ = 0;
  std::uint64_t evicted_ = 0;
  std::list<Entry> entries_;
  std::map<Key, typename std::list<Entry>::iterator> places_;
};

}  // namespace closewatch

#endif
