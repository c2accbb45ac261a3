// SPDX-License-Identifier: BSD-2-Clause
#include "app/counted_descriptors.hpp"

#include "app/clock.hpp"
#include "host/processes.hpp"

#include <utility>

namespace closewatch {
namespace {

constexpr std::uint64_t every_ns = 10'000'000'000;
// Of tens of thousands, or of a million, a part at each sweep: the screen is to be drawn, keys are to be answered.
constexpr std::uint64_t count_takes_ns = 50'000'000;
constexpr std::uint64_t look_takes_ns = 20'000'000;
constexpr std::uint64_t between_ns = 5'000'000;

ProcessTicks process_of(const Identity& owner) { return {owner.key.pid, owner.key.start_ns / ns_per_tick}; }

}  // namespace

void CountedDescriptors::count_all() {
  if (!asks_by_pid_) return;
  for (const Identity& owner : feed_.engine().owners())
    if (const auto found = descriptors_of(root_, process_of(owner))) tell(owner, *found);
}

void CountedDescriptors::count_open_when_due() {
  if (!asks_by_pid_ || (opened_ns_ != 0 && now_ns() < opened_ns_ + every_ns)) return;
  opened_ns_ = now_ns();
  for (const Identity& owner : feed_.engine().owners()) tell_open(owner, false);
}

void CountedDescriptors::count_on() {
  if (!asks_by_pid_) return;
  if (uncounted_.empty()) uncounted_ = feed_.engine().owners();
  until_ns_ = now_ns() + count_takes_ns;
  for (; !uncounted_.empty() && has_time(); uncounted_.pop_back()) tell_open(uncounted_.back(), true);
  until_ns_ = now_ns() + look_takes_ns;
  look_on();
}

bool CountedDescriptors::has_time() {
  const std::uint64_t now = now_ns();
  if (now >= next_between_ns_) {
    between_();
    next_between_ns_ = now_ns() + between_ns;
  }
  return now < until_ns_;
}

void CountedDescriptors::look_on() {
  if (unlooked_.empty() && (looked_ns_ == 0 || now_ns() >= looked_ns_ + every_ns)) {
    looked_ns_ = now_ns();
    unlooked_ = feed_.engine().owners();
  }
  while (!unlooked_.empty() && has_time()) {
    const Identity& owner = unlooked_.back();
    if (!look_) look_ = DescriptorCount::begin(root_, process_of(owner));
    if (look_ && !look_->go_on([this] { return has_time(); })) return;
    if (auto found = look_ ? look_->result() : std::nullopt) {
      // To look at a million takes a minute, in which their number has changed.
      found->open = open_descriptors(root_, process_of(owner)).value_or(found->open);
      tell(owner, *found);
    }
    look_.reset();
    unlooked_.pop_back();
  }
}

void CountedDescriptors::tell_open(const Identity& owner, bool with_limit) {
  DescriptorsSeen seen{.time_ns = now_ns(), .key = owner.key};
  const auto limit = with_limit ? descriptor_limit(root_, owner.key.pid) : std::optional<std::uint64_t>{0};
  const auto open = open_descriptors(root_, process_of(owner));
  if (!limit || !open) return;
  seen.soft_limit = *limit;
  seen.open = *open;
  feed_.step(seen);
}

void CountedDescriptors::tell(const Identity& owner, const Descriptors& found) {
  feed_.step(DescriptorsSeen{now_ns(), owner.key, found.open, found.soft_limit, found.sockets});
}

}  // namespace closewatch
