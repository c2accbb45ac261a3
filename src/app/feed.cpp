// SPDX-License-Identifier: BSD-2-Clause
#include "app/feed.hpp"

#include "decode/decode.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace closewatch {
namespace {

constexpr std::size_t facts_kept = 4096;

}  // namespace

void Feed::take_record(std::span<const std::byte> bytes) {
  if (recording_ != nullptr) recording_->put(bytes);
  const auto event = decode(bytes);
  if (event) {
    apply(*event);
    return;
  }
  ++bad_records_;
  spdlog::debug("a record {} was skipped", name(event.error()));
}

void Feed::step(const Event& event) {
  if (recording_ != nullptr) recording_->put(event);
  if (const auto* started = std::get_if<Started>(&event)) started_ = *started;
  apply(event);
}

void Feed::apply(const Event& event) {
  facts_.clear();
  engine_.step(event, facts_);
  writer_.begin_together();
  for (const Fact& fact : facts_) {
    if (const auto* wanted = std::get_if<ProcessWanted>(&fact)) {
      answer(wanted->process);
    } else if (const auto* stack = std::get_if<StackWanted>(&fact)) {
      stacks_wanted_.push_back(*stack);
    } else if (const auto* walk = std::get_if<WalkWanted>(&fact)) {
      walk_wanted_ = WalkWanted{walk->tables || (walk_wanted_ && walk_wanted_->tables)};
    } else {
      show(fact);
    }
  }
  writer_.end_together();
  // After a snapshot of a hundred thousand: not to be kept for good.
  if (facts_.capacity() > facts_kept) std::vector<Fact>{}.swap(facts_);
}

void Feed::answer(const Identity& process) {
  const ProcessResolved resolved = answer_(process);
  if (recording_ != nullptr) recording_->put(Event{resolved});
  std::vector<Fact> none;
  engine_.step(resolved, none);
}

void Feed::show(const Fact& fact) {
  if (withholds_bye_ && std::holds_alternative<Bye>(fact)) return;
  if (const auto* gap = std::get_if<Gap>(&fact))
    spdlog::warn("{} events were lost ({}){}", gap->lost, name(gap->where),
                 gap->where == Gap::Where::ring ? "; a larger --ring, or fewer events by filters, helps" : "");
  sink_.take(fact);
  if (writer_.is_full_enough() && !output_error_)
    if (auto pumped = writer_.pump(); !pumped) output_error_ = pumped.error();
}

std::vector<std::string> blind_spots(const Engine::Refusals& refused) {
  std::vector<std::string> spots;
  if (refused.connections + refused.judged + refused.accounts > 0)
    spots.push_back(fmt::format("the tables had no room for {} connections",
                                std::max({refused.connections, refused.judged, refused.accounts})));
  if (refused.buckets > 0)
    spots.push_back(fmt::format("{} sockets in TIME_WAIT found no room in the ledger", refused.buckets));
  if (refused.workloads > 0)
    spots.emplace_back("there were too many workloads: what grows in those that found no room is not seen");
  if (refused.rows > 0) spots.push_back(fmt::format("{} sockets found no room in the counts of states", refused.rows));
  if (refused.listeners > 0)
    spots.emplace_back("there were too many listeners: what waits in the accept queues of some has no owner");
  if (refused.namespaces > 0)
    spots.emplace_back("there were too many network namespaces: of some the settings and counters are not known");
  if (refused.hurried > 0)
    spots.push_back(
        fmt::format("{} events were told before it was known who holds their socket, or whether a reset followed",
                    refused.hurried));
  return spots;
}

}  // namespace closewatch
