// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_OPTIONS_HPP
#define CLOSEWATCH_APP_OPTIONS_HPP

#include "app/values.hpp"
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

/// Exit statuses (contract, section 1). `run` passes COMMAND's own on.
enum class Exit : std::uint8_t { done = 0, failed = 1, usage = 2, leak = 3, incomplete = 4 };

enum class Subcommand : std::uint8_t { top, trace, report, run, doctor, demo };

struct Options {
  Subcommand command = Subcommand::trace;
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
  std::string output;  ///< standard output (`run`: standard error) where empty
  bool wide = false;
  bool all_states = false;
  EventTypes events = EventTypes::all();
  std::chrono::milliseconds leak_after{30'000};  ///< in CLOSE_WAIT, before a socket is judged
  std::chrono::milliseconds sweep{5'000};        ///< at most a quarter of `leak_after`
  std::chrono::milliseconds interval{1'000};     ///< from one refresh of the screen to the next
  bool stacks = false;
  bool by_process = false;
  bool fail_on_leak = false;
  bool report = false;  ///< `demo`: a report in place of the live screen
  bool strict = false;
  std::uint8_t leak_exit_code = 3;
  std::string user;                       ///< whom COMMAND runs as: NAME, UID, NAME:GROUP; as we do where empty
  std::vector<std::string> command_line;  ///< COMMAND and its arguments
  std::string record;             ///< the file that every input goes to; none where empty
  std::uint64_t record_max = 0;   ///< to how many bytes it may grow; 0: without limit
  std::string replay;             ///< the recording to be fed through `command`; the kernel where empty
  std::uint32_t ring_bytes = 8U << 20U;
  bool quiet = false;
  bool verbose = false;
  std::vector<std::pair<std::string, std::string>> given;  ///< as given, by long name, in the order of --help
};

/// As it is typed.
[[nodiscard]] std::string command_name(Subcommand command);

/// Was it typed? By its long name, without dashes.
[[nodiscard]] bool is_given(const Options& options, std::string_view option);

/// A command line that starts nothing: help and version were asked for, or it is wrong.
struct NoStart {
  Exit exit = Exit::usage;
  std::string text;
};

/// `by_default`: the command where none is named; `top` on a terminal, `trace` elsewhere.
[[nodiscard]] std::expected<Options, NoStart> parse_options(const std::vector<std::string>& arguments,
                                                            Subcommand by_default = Subcommand::trace);

}  // namespace closewatch

#endif
