// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_OPTIONS_HPP
#define CLOSEWATCH_APP_OPTIONS_HPP

#include "sink/sink.hpp"

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace closewatch {

/// Exit statuses (contract, section 1).
enum class Exit : std::uint8_t { done = 0, failed = 1, usage = 2 };

struct Options {
  std::vector<std::uint32_t> pids;
  bool children = false;
  std::vector<std::string> comms;
  std::string cgroup;
  std::string netns;
  std::vector<std::uint16_t> local_ports;
  std::vector<std::uint16_t> remote_ports;
  bool ipv4 = false;
  bool ipv6 = false;
  std::optional<std::chrono::milliseconds> duration;  ///< until interrupted, where there is none
  bool json = false;
  std::string output;  ///< standard output where empty
  bool wide = false;
  bool all_states = false;
  EventTypes events = EventTypes::all();
  std::uint32_t ring_bytes = 8U << 20U;
  bool quiet = false;
  bool verbose = false;
  std::vector<std::pair<std::string, std::string>> given;  ///< as given, by long name, in the order of --help
};

/// A command line that starts nothing: help and version were asked for, or it is wrong.
struct NoStart {
  Exit exit = Exit::usage;
  std::string text;
};

[[nodiscard]] std::expected<Options, NoStart> parse_options(const std::vector<std::string>& arguments);

/// 10, 10s, 500ms, 2m, 1h.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_time(std::string_view text);

/// Bytes, or with K, M, G (powers of 1024; KiB and KB are taken too).
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// The candidate nearest to what was typed, if any is near.
[[nodiscard]] std::optional<std::string> suggestion(std::string_view typed, const std::vector<std::string>& candidates);

}  // namespace closewatch

#endif
