// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/growth.hpp>

#include <algorithm>

namespace closewatch {

void Growth::begin_sweep(std::uint64_t now_ns) {
  first_ = recent_ns_.empty();
  if (first_) began_ns_ = now_ns;
  now_ns_ = now_ns;
  recent_ns_.push_back(now_ns);
  if (recent_ns_.size() > settings_.least_sweeps) recent_ns_.pop_front();

  // Sweeps come a little early or late: half of their interval does not decide.
  const std::uint64_t tolerance = settings_.sweep_ns / 2;
  const std::uint64_t span = 2 * settings_.leak_after_ns > tolerance ? 2 * settings_.leak_after_ns - tolerance : 0;
  whole_ = recent_ns_.size() == settings_.least_sweeps && now_ns >= began_ns_ + span;
  window_ns_ = whole_ ? std::min(now_ns - span, recent_ns_.front()) : began_ns_;
  for (auto& [place, series] : series_) series.now = series.allowed = series.first_birth_ns = series.last_birth_ns = 0;
}

void Growth::born(WorkloadId workload, Kind kind, std::uint64_t birth_ns) {
  Series& series = series_[place(workload, kind)];
  series.youngest_ns = std::max(series.youngest_ns, birth_ns);
}

void Growth::count(WorkloadId workload, Kind kind, std::uint64_t birth_ns) {
  Series& series = series_[place(workload, kind)];
  ++series.now;
  if (birth_ns + settings_.leak_after_ns <= window_ns_) return;
  series.first_birth_ns = series.first_birth_ns == 0 ? birth_ns : std::min(series.first_birth_ns, birth_ns);
  series.last_birth_ns = std::max(series.last_birth_ns, birth_ns);
}

void Growth::count_from_before(WorkloadId workload, Kind kind, bool first_time) {
  Series& series = series_[place(workload, kind)];
  ++series.now;
  if (first_time) ++series.allowed;
}

void Growth::end_sweep() {
  for (auto& [place, series] : series_) take(series);
  std::erase_if(series_, [&](const auto& entry) {
    return entry.second.counted == 0 && entry.second.fell_ns <= window_ns_ && entry.second.youngest_ns <= window_ns_;
  });
}

void Growth::take(Series& series) const {
  const std::uint64_t before = series.counted + series.allowed;
  if (!first_ && series.now < before) series.fell_ns = now_ns_;
  if (!first_ && series.now > before) series.rose_ns = {now_ns_, series.rose_ns[0]};
  series.counted = series.now;
  if (series.sweeps > 0 || series.now > 0) ++series.sweeps;
}

void Growth::closed_late(WorkloadId workload, std::uint64_t time_ns) {
  std::uint64_t& last_ns = closed_late_ns_[workload];
  last_ns = std::max(last_ns, time_ns);
}

std::uint64_t Growth::last_closed_late(WorkloadId workload) const {
  const auto found = closed_late_ns_.find(workload);
  return found == closed_late_ns_.end() ? 0 : found->second;
}

const Growth::Series* Growth::find(WorkloadId workload, Kind kind) const {
  const auto found = series_.find(place(workload, kind));
  return found == series_.end() ? nullptr : &found->second;
}

bool Growth::grows(WorkloadId workload, Kind kind) const {
  const Series* series = find(workload, kind);
  if (workload == 0 || !whole_ || series == nullptr) return false;
  const bool never_fell = series->fell_ns <= window_ns_;
  const bool rose_twice = series->rose_ns[1] > window_ns_;
  // A pool that went stale one by one has grown too, but does so no more: it is quiet for longer than at its own pace.
  const std::uint64_t pace_ns = series->rose_ns[0] - series->rose_ns[1];
  const bool still_rises = now_ns_ - series->rose_ns[0] <= std::min(settings_.leak_after_ns, pace_ns + pace_ns / 2);
  // What passes the limit now was born a limit ago: that the count rises says nothing of today. All of a pool may have
  // gone stale since.
  const bool is_born_yet = now_ns_ <= series->youngest_ns + settings_.leak_after_ns + settings_.sweep_ns;
  // Born in one burst (a server that restarted has closed its idle connections), they are no series of mistakes.
  const std::uint64_t burst_ns = std::max(settings_.sweep_ns, settings_.leak_after_ns / 2);
  const bool in_one_burst = series->last_birth_ns - series->first_birth_ns <= burst_ns;
  return never_fell && rose_twice && still_rises && is_born_yet && !in_one_burst &&
         last_closed_late(workload) <= window_ns_;
}

std::optional<Trend> Growth::trend(WorkloadId workload, Kind kind) const {
  const Series* series = find(workload, kind);
  if (series == nullptr || series->sweeps < 3) return std::nullopt;
  const bool fell = series->fell_ns > window_ns_;
  const bool rose = series->rose_ns[0] > window_ns_;
  // What came at once and is all there has not grown.
  const bool rose_twice = series->rose_ns[1] > window_ns_;
  if (fell == rose) return Trend::steady;
  return fell ? Trend::draining : rose_twice ? Trend::growing : Trend::steady;
}

void Growth::forget(const std::vector<bool>& in_use) {
  constexpr unsigned kind_bits = 8;  // as in place()
  std::erase_if(series_, [&](const auto& entry) { return !in_use[entry.first >> kind_bits]; });
  std::erase_if(closed_late_ns_, [&](const auto& entry) { return !in_use[entry.first]; });
}

void Growth::restart() {
  series_.clear();
  recent_ns_.clear();
  whole_ = false;
}

}  // namespace closewatch
