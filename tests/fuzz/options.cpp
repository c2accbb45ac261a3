// SPDX-License-Identifier: BSD-2-Clause
// A command line, its arguments between zeroes, and the values on it.
#include "input.hpp"

#include "app/options.hpp"
#include "app/values.hpp"

#include <string>
#include <vector>

using namespace closewatch;
using closewatch::fuzz::demand;

namespace {

constexpr std::size_t most_arguments = 64;

void check_values(std::string_view text) {
  if (const auto time = parse_time(text)) {
    demand(time->count() >= 0, "a time below zero", text);
    demand(parse_time(time_text(*time)) == time, "a time that is not read as it is written", text);
  }
  static_cast<void>(parse_size(text));
  std::string joined;
  for (const std::string& part : split(text)) joined += (joined.empty() ? "" : ",") + part;
  demand(joined.size() <= text.size(), "more parts than text", text);
  static_cast<void>(suggestion(text, {"--json", "--leak-after", "trace"}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = fuzz::Input{data, size}.all();
  std::vector<std::string> arguments;
  while (!rest.empty() && arguments.size() < most_arguments) {
    const std::string_view argument = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), argument.size() + 1));
    check_values(argument);
    arguments.emplace_back(argument);
  }
  const auto options = parse_options(arguments);
  if (!options) {
    demand(options.error().exit == Exit::done || options.error().exit == Exit::usage, "another exit status");
    demand(!options.error().text.empty(), "nothing is said");
    return 0;
  }
  demand(options->sweep.count() > 0 && options->leak_after.count() > 0, "no time between sweeps");
  demand(options->sweep * 4 <= options->leak_after, "a sweep of more than a quarter of the limit");
  demand(options->command == Subcommand::run || options->command_line.empty(), "a COMMAND that nobody runs");
  // What was given is what hello tells: given again, it must mean the same.
  for (const auto& [option, value] : options->given) demand(!option.empty(), "an option without a name");
  return 0;
}
