// SPDX-License-Identifier: BSD-2-Clause
#include "app/options_replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

/// What a recording holds, and by which rules it was judged, is settled: these say how it is shown.
constexpr std::array<std::string_view, 10> options_of_replay{
    "json", "output", "wide", "events", "by", "fail-on-leak", "leak-after", "interval", "quiet", "verbose"};

std::string replay_help() {
  return "feed a recording through a command in place of the kernel; needs no privileges\n\n"
         "Usage: closewatch replay FILE [--] trace|report|top [OPTIONS]\n\n"
         "FILE is what --record has made, - standard input. The options are the command's, of those that say how it is "
         "shown:\n"
         "--json, --output, --wide, --events, --by, --fail-on-leak, --interval, --quiet, --verbose; --leak-after "
         "judges "
         "anew.\n"
         "top plays it at its own pace; space pauses it.\n";
}

}  // namespace

std::expected<std::string, NoStart> cut_replay(std::vector<std::string>& arguments) {
  const auto refused = [](const std::string& why) {
    return std::unexpected(NoStart{Exit::usage, why + "; see closewatch replay --help"});
  };
  auto at = arguments.begin() + 1;
  if (at != arguments.end() && (*at == "-h" || *at == "--help"))
    return std::unexpected(NoStart{Exit::done, replay_help()});
  if (at != arguments.end() && *at == "--version")
    return std::unexpected(NoStart{Exit::done, "closewatch " CLOSEWATCH_VERSION "\n"});
  if (at == arguments.end() || *at == "--" || at->empty()) return refused("replay: the recording's FILE is missing");
  if (at->starts_with('-') && *at != "-")
    return refused(fmt::format("replay: '{}' stands before the recording's FILE; options follow the command", *at));
  std::string file = *at++;
  if (at != arguments.end() && *at == "--") ++at;
  if (at == arguments.end() || (*at != "trace" && *at != "report" && *at != "top"))
    return refused(at == arguments.end()
                       ? "replay: name the command that is fed with it: trace, report or top"
                       : fmt::format("replay: '{}' cannot be fed with it; trace, report and top can", *at));
  arguments.erase(arguments.begin(), at);
  return file;
}

std::optional<std::string> misplaced_in_replay(const Options& options) {
  for (const auto& [name, value] : options.given)
    if (std::find(options_of_replay.begin(), options_of_replay.end(), name) == options_of_replay.end())
      return fmt::format("--{}: what a recording holds was settled when it was made; see closewatch replay --help",
                         name);
  return std::nullopt;
}

}  // namespace closewatch
