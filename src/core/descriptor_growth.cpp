// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/descriptor_growth.hpp>

#include <closewatch/core/ports.hpp>

#include <algorithm>
#include <limits>

namespace closewatch {
namespace {

/// So that the recent ones reach back as far as TIME_WAIT lasts, and a third more.
constexpr std::uint64_t recent_apart_ns = 5'000'000'000;
/// Descriptors come and go with each connection: a few more of them tell no growth.
constexpr std::uint64_t few = 10;
/// Of a series in which it has risen so often, and not long ago, it is believed that it goes on.
constexpr std::size_t rises = 3;
constexpr std::uint64_t part_without_rise = 4;
constexpr double second_ns = 1e9;

}  // namespace

void DescriptorGrowth::add(std::uint64_t time_ns, std::uint64_t open) {
  if (recent_.is_full()) recent_.drop_first();
  recent_.add(time_ns, open, recent_apart_ns);
  if (whole_.is_full()) {
    whole_.thin();
    whole_apart_ns_ *= 2;
  }
  whole_apart_ns_ = std::max(whole_apart_ns_, recent_apart_ns);
  whole_.add(time_ns, open, whole_apart_ns_);
  last_ns_ = time_ns;
  last_open_ = open;
}

std::optional<double> DescriptorGrowth::per_second() const {
  const bool were_there_before = last_open_ <= whole_.given_back() + few;
  const std::optional<double> now = were_there_before ? std::nullopt : recent_.per_second(last_ns_, last_open_);
  return now ? now : whole_.per_second(last_ns_, last_open_);
}

void DescriptorGrowth::Series::add(std::uint64_t time_ns, std::uint64_t open, std::uint64_t apart_ns) {
  if (size_ != 0 && time_ns < counts_[size_ - 1].time_ns + apart_ns) {
    Count& last = counts_[size_ - 1];
    last.least = std::min(last.least, open);
    last.most = std::max(last.most, open);
  } else {
    counts_[size_++] = {time_ns, open, open};
  }
}

void DescriptorGrowth::Series::thin() {
  for (std::size_t at = 0; at < size_ / 2; ++at)
    counts_[at] = {counts_[2 * at].time_ns, std::min(counts_[2 * at].least, counts_[2 * at + 1].least),
                   std::max(counts_[2 * at].most, counts_[2 * at + 1].most)};
  size_ /= 2;
}

void DescriptorGrowth::Series::drop_first() {
  std::copy(counts_.begin() + 1, counts_.begin() + static_cast<std::ptrdiff_t>(size_), counts_.begin());
  --size_;
}

std::uint64_t DescriptorGrowth::Series::given_back() const {
  std::uint64_t most = 0;
  std::uint64_t later = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t at = size_; at-- > 0;) {
    if (counts_[at].most > later && counts_[at].most - later > few) most = std::max(most, counts_[at].most);
    later = std::min(later, counts_[at].least);
  }
  return most;
}

// From the last back to the first: what the number did not fall below afterwards.
std::optional<double> DescriptorGrowth::Series::per_second(std::uint64_t now_ns, std::uint64_t open) const {
  if (size_ == 0 || now_ns < counts_[0].time_ns + pace_takes_ns) return std::nullopt;
  std::uint64_t floor = open;
  std::uint64_t rose_ns = now_ns;  // between the count at that time and the one before
  std::uint64_t last_rise_ns = 0;
  std::size_t found = 0;
  std::array<std::uint64_t, 2> halves{open, open};  ///< the least of each
  for (std::size_t at = size_; at-- > 0;) {
    if (counts_[at].least < floor) {
      floor = counts_[at].least;
      if (found++ == 0) last_rise_ns = rose_ns;
    }
    rose_ns = counts_[at].time_ns;
    std::uint64_t& half = halves[at < size_ / 2 ? 0 : 1];
    half = std::min(half, counts_[at].least);
  }
  const std::uint64_t span_ns = now_ns - counts_[0].time_ns;
  const std::size_t wanted = std::clamp<std::size_t>(size_ - 1, 1, rises);
  const std::uint64_t quiet_ns = std::max(pace_takes_ns, span_ns / part_without_rise);
  if (open <= floor + few || found < wanted || now_ns - last_rise_ns > quiet_ns) return std::nullopt;
  // What falls back to where it was is a wave, on whose rising edge we are.
  if (size_ > rises && halves[1] <= halves[0] + few / 2) return std::nullopt;
  return static_cast<double>(open - floor) / (static_cast<double>(span_ns) / second_ns);
}

}  // namespace closewatch
