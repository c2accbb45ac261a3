// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_DENSE_MAP_HPP
#define CLOSEWATCH_CORE_DENSE_MAP_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace closewatch {

/// A hash map for a quarter of a million entries that is asked many times for what is not in it: such a question
/// fetches one line of the cache, where std::unordered_map follows pointers and computes the hashes of what it meets.
/// Entries lie in the order in which they came; into the place of one that goes moves the last. A reference is good
/// until something is erased.
template <typename Key, typename Value, typename Hash, typename Equal>
class DenseMap {
 public:
  using Entry = std::pair<Key, Value>;

  template <typename Map, typename Item>
  class Place {
   public:
    Place(Map* map, std::size_t number) : map_(map), number_(number) {}
    Item& operator*() const { return map_->at(number_); }
    Item* operator->() const { return &map_->at(number_); }
    Place& operator++() {
      ++number_;
      return *this;
    }
    bool operator==(const Place& other) const { return number_ == other.number_; }

   private:
    friend class DenseMap;
    Map* map_;
    std::size_t number_;
  };
  using iterator = Place<DenseMap, Entry>;
  using const_iterator = Place<const DenseMap, const Entry>;

  [[nodiscard]] iterator begin() { return {this, 0}; }
  [[nodiscard]] iterator end() { return {this, size_}; }
  [[nodiscard]] const_iterator begin() const { return {this, 0}; }
  [[nodiscard]] const_iterator end() const { return {this, size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  [[nodiscard]] iterator find(const Key& key) { return {this, place_of(key)}; }
  [[nodiscard]] const_iterator find(const Key& key) const { return {this, place_of(key)}; }
  [[nodiscard]] bool contains(const Key& key) const { return place_of(key) != size_; }

  /// The entry of `key`, and whether it was made now.
  std::pair<iterator, bool> emplace(const Key& key, const Value& value) {
    if (const iterator found = find(key); found != end()) return {found, false};
    if (size_ == chunks_.size() * chunk_size) chunks_.push_back(std::make_unique<Chunk>());
    if ((size_ + 1) * 2 > slots_.size()) widen();
    at(size_) = {key, value};
    put(hash_of(key), static_cast<std::uint32_t>(size_));
    return {iterator{this, size_++}, true};
  }

  /// What stands in the place of the erased one is the next to be looked at.
  iterator erase(iterator which) {
    take_out(slot_of(which.number_));
    const std::size_t last = size_ - 1;
    if (which.number_ != last) {
      slots_[slot_of(last)].place = static_cast<std::uint32_t>(which.number_);
      at(which.number_) = std::move(at(last));
    }
    at(last) = Entry{};
    --size_;
    // One to spare: the next entry may be about to come.
    if (chunks_.size() > size_ / chunk_size + 2) chunks_.pop_back();
    return which;
  }

 private:
  static constexpr std::size_t chunk_size = 256;
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  static constexpr std::size_t least_slots = 64;
  using Chunk = std::array<Entry, chunk_size>;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t place = none;
  };

  [[nodiscard]] Entry& at(std::size_t number) { return (*chunks_[number / chunk_size])[number % chunk_size]; }
  [[nodiscard]] const Entry& at(std::size_t number) const {
    return (*chunks_[number / chunk_size])[number % chunk_size];
  }
  [[nodiscard]] static std::uint32_t hash_of(const Key& key) {
    const std::uint64_t hash = Hash{}(key);
    return static_cast<std::uint32_t>(hash ^ (hash >> 32U));
  }
  [[nodiscard]] std::size_t first_slot(std::uint32_t hash) const { return hash & (slots_.size() - 1); }
  [[nodiscard]] std::size_t after(std::size_t slot) const { return (slot + 1) & (slots_.size() - 1); }

  /// The size of the map where it is not there.
  [[nodiscard]] std::size_t place_of(const Key& key) const {
    if (size_ == 0) return size_;
    const std::uint32_t hash = hash_of(key);
    for (std::size_t slot = first_slot(hash); slots_[slot].place != none; slot = after(slot))
      if (slots_[slot].hash == hash && Equal{}(at(slots_[slot].place).first, key)) return slots_[slot].place;
    return size_;
  }

  /// That of an entry which is there.
  [[nodiscard]] std::size_t slot_of(std::size_t number) const {
    std::size_t slot = first_slot(hash_of(at(number).first));
    while (slots_[slot].place != number) slot = after(slot);
    return slot;
  }

  void put(std::uint32_t hash, std::uint32_t place) {
    std::size_t slot = first_slot(hash);
    while (slots_[slot].place != none) slot = after(slot);
    slots_[slot] = {hash, place};
  }

  /// Those behind it move up, so that a search that comes by does not stop short of them.
  void take_out(std::size_t hole) {
    for (std::size_t slot = after(hole); slots_[slot].place != none; slot = after(slot)) {
      const std::size_t mask = slots_.size() - 1;
      const std::size_t from_home = (slot - first_slot(slots_[slot].hash)) & mask;
      if (from_home < ((slot - hole) & mask)) continue;  // its home lies behind the hole
      slots_[hole] = slots_[slot];
      hole = slot;
    }
    slots_[hole] = {};
  }

  void widen() {
    const std::vector<Slot> before =
        std::exchange(slots_, std::vector<Slot>(slots_.empty() ? least_slots : 2 * slots_.size()));
    for (const Slot& slot : before)
      if (slot.place != none) put(slot.hash, slot.place);
  }

  std::vector<Slot> slots_;  ///< a power of two of them, at most half of them taken
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace closewatch

#endif
