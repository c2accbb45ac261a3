// SPDX-License-Identifier: BSD-2-Clause
#include "app/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>

namespace closewatch {
namespace {

constexpr std::uint64_t smallest_ring = 4096;
constexpr std::uint64_t largest_ring = 1U << 30U;
constexpr std::size_t most_values = 1024;  // twice as many fit into the kernel's filter maps (CW_FILTER_ENTRIES)

template <typename Number>
std::optional<Number> whole_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

/// One option that takes values, in a list or given again.
struct Lists {
  std::vector<std::string> pids;
  std::vector<std::string> comms;
  std::vector<std::string> local_ports;
  std::vector<std::string> remote_ports;
  std::vector<std::string> events;
  std::string duration;
  std::string ring;
};

[[noreturn]] void refuse(std::string_view option, std::string_view value, std::string_view wanted) {
  throw CLI::ValidationError(fmt::format("{}: '{}' is no {}", option, value, wanted));
}

void limit(std::string_view option, std::size_t values) {
  if (values > most_values) throw CLI::ValidationError(fmt::format("{}: more than {} values", option, most_values));
}

template <typename Number>
std::vector<Number> numbers(std::string_view option, const std::vector<std::string>& given, Number smallest,
                            Number largest, std::string_view wanted) {
  std::vector<Number> values;
  for (const std::string& list : given) {
    for (const std::string& text : split(list)) {
      const auto value = whole_number<Number>(text);
      if (!value || *value < smallest || *value > largest) refuse(option, text, wanted);
      values.push_back(*value);
    }
  }
  if (values.size() > most_values)
    throw CLI::ValidationError(fmt::format("{}: more than {} values", option, most_values));
  return values;
}

void read_lists(const CLI::App& app, const Lists& lists, Options& options) {
  constexpr std::uint32_t pid_max = 4'194'304;  // PID_MAX_LIMIT, include/linux/threads.h
  options.pids = numbers<std::uint32_t>("--pid", lists.pids, 1, pid_max, "pid");
  options.local_ports = numbers<std::uint16_t>("--local-port", lists.local_ports, 1, 65535, "port (1 to 65535)");
  options.remote_ports = numbers<std::uint16_t>("--remote-port", lists.remote_ports, 1, 65535, "port (1 to 65535)");
  for (const std::string& list : lists.comms)
    for (const std::string& comm : split(list)) {
      if (comm.empty()) refuse("--comm", list, "list of command names");
      options.comms.push_back(comm);
    }
  limit("--comm", options.comms.size());
  if (!lists.events.empty()) {
    options.events = EventTypes{};
    for (const std::string& list : lists.events)
      for (const std::string& text : split(list)) {
        const auto type = event_type(text);
        if (!type)
          refuse("--events", text,
                 "type of event (hello, snapshot, snapshot_end, transition, closed, gap, stats, bye)");
        options.events.add(*type);
      }
  }
  if (app.count("--duration") > 0) {
    options.duration = parse_time(lists.duration);
    if (!options.duration) refuse("--duration", lists.duration, "time (10, 10s, 500ms, 2m, 1h)");
  }
  if (app.count("--ring") > 0) {
    const auto size = parse_size(lists.ring);
    if (!size || *size < smallest_ring || *size > largest_ring)
      refuse("--ring", lists.ring, "size from 4K to 1G (65536, 64K, 8M)");
    options.ring_bytes = static_cast<std::uint32_t>(*size);
  }
  for (const auto& [option, value] : {std::pair{"--netns", &options.netns}, std::pair{"--cgroup", &options.cgroup},
                                      std::pair{"--output", &options.output}})
    if (app.count(option) > 0 && value->empty()) refuse(option, *value, "name");
  if (options.children && options.pids.empty())
    throw CLI::ValidationError("--children adds the descendants of --pid: name these");
  if (options.quiet && options.verbose) throw CLI::ValidationError("--quiet and --verbose exclude each other");
  if (!options.ipv4 && !options.ipv6) options.ipv4 = options.ipv6 = true;
}

void add_options(CLI::App& app, Options& options, Lists& lists) {
  app.add_option("-p,--pid", lists.pids, "sockets that these processes opened, hold or closed")->type_name("PID[,...]");
  app.add_flag("--children", options.children, "with --pid: their descendants too");
  app.add_option("-c,--comm", lists.comms, "likewise, by command name (its first 15 bytes)")->type_name("NAME[,...]");
  app.add_option("--cgroup", options.cgroup, "only processes below this cgroup (v2)")->type_name("PATH");
  app.add_option("--netns", options.netns, "only this network namespace")->type_name("INUM or PATH");
  app.add_option("-L,--local-port", lists.local_ports, "only these local ports")->type_name("N[,...]");
  app.add_option("-D,--remote-port", lists.remote_ports, "only these remote ports")->type_name("N[,...]");
  app.add_flag("-4", options.ipv4, "only IPv4 (IPv4-mapped IPv6 counts as IPv4)");
  app.add_flag("-6", options.ipv6, "only IPv6");
  app.add_option("-d,--duration", lists.duration, "stop after TIME: 10, 10s, 500ms, 2m, 1h; 0: one look")
      ->type_name("TIME");
  app.add_flag("-j,--json", options.json, "one JSON object a line");
  app.add_option("-o,--output", options.output, "write there instead of to standard output")->type_name("FILE");
  app.add_flag("-w,--wide", options.wide, "text: all columns, more than 80");
  app.add_flag("--all-states", options.all_states, "also the transitions before the close path");
  app.add_option("--events", lists.events, "only these types of event")->type_name("TYPE[,...]");
  app.add_option("--ring", lists.ring, "size of the ring buffer, 8M")->type_name("SIZE");
  app.add_flag("-q,--quiet", options.quiet, "no messages but errors");
  app.add_flag("-v,--verbose", options.verbose, "say more, on standard error");
  // Of one value given twice the last counts; lists add up.
  for (const char* one : {"--cgroup", "--netns", "--duration", "--output", "--ring"}) app.get_option(one)->take_last();
  for (const char* list : {"--pid", "--comm", "--local-port", "--remote-port", "--events"})
    app.get_option(list)->take_all();
}

std::vector<std::pair<std::string, std::string>> given_options(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> given;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0) continue;
    const auto& values = option->results();
    given.emplace_back(option->get_lnames().empty() ? option->get_snames().front() : option->get_lnames().front(),
                       std::accumulate(values.begin(), values.end(), std::string{},
                                       [](const std::string& all, const std::string& one) {
                                         return all.empty() ? one : all + "," + one;
                                       }));
  }
  return given;
}

std::string unknown_argument(const CLI::App& app, const CLI::App& trace) {
  std::vector<std::string> extras = trace.remaining();
  if (extras.empty()) extras = app.remaining();
  const std::string typed = extras.empty() ? std::string{} : extras.front();
  std::vector<std::string> candidates;
  const bool is_option = typed.starts_with('-');
  if (is_option) {
    for (const CLI::Option* option : trace.get_options())
      for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
  } else {
    candidates.emplace_back("trace");
  }
  if (typed == "trace") return "the command comes first: closewatch trace [options]";
  const std::string name = typed.substr(0, typed.find('='));
  std::string text = fmt::format("unknown {} '{}'", is_option ? "option" : "command", name);
  if (const auto near = suggestion(name, candidates)) text += fmt::format("; did you mean '{}'?", *near);
  return text;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_time(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = whole_number<std::uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  const std::string_view unit = text.substr(digits);
  std::uint64_t factor = 0;
  if (unit == "ms") factor = 1;
  if (unit.empty() || unit == "s") factor = 1000;
  if (unit == "m") factor = 60 * 1000;
  if (unit == "h") factor = 3600 * 1000;
  constexpr std::uint64_t most = std::uint64_t{100} * 365 * 24 * 3600 * 1000;  // a century, so that sums of it fit
  if (factor == 0 || *value > most / factor) return std::nullopt;
  return std::chrono::milliseconds{*value * factor};
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = whole_number<std::uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  std::string_view unit = text.substr(digits);
  unsigned shift = 0;
  if (!unit.empty()) {
    switch (unit.front()) {
      case 'k':
      case 'K': shift = 10; break;
      case 'm':
      case 'M': shift = 20; break;
      case 'g':
      case 'G': shift = 30; break;
      default: return std::nullopt;
    }
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B" && unit != "iB") return std::nullopt;
  }
  if (*value > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
  return *value << shift;
}

std::optional<std::string> suggestion(std::string_view typed, const std::vector<std::string>& candidates) {
  const auto distance = [&](std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= typed.size(); ++i) {
      std::size_t diagonal = row[0]++;
      for (std::size_t j = 1; j <= other.size(); ++j) {
        const std::size_t change = diagonal + (typed[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
      }
    }
    return row.back();
  };
  std::optional<std::string> best;
  std::size_t nearest = std::max<std::size_t>(2, typed.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (const std::size_t far = distance(candidate); far < nearest) {
      nearest = far;
      best = candidate;
    }
  }
  return best;
}

std::expected<Options, NoStart> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  Lists lists;
  CLI::App app{"closewatch: who closes TCP connections, who does not, and how they end", "closewatch"};
  app.set_version_flag("--version", "closewatch " CLOSEWATCH_VERSION);
  app.set_help_flag("-h,--help", "this help");
  app.require_subcommand(0, 1);
  app.footer(
      "With no command it traces: closewatch [options of trace]. The options: closewatch trace --help\n"
      "The manual: man closewatch, or docs/closewatch.8 in the source");
  CLI::App* trace = app.add_subcommand("trace", "the event stream of the TCP close path, one line an event");
  trace->set_help_flag("-h,--help", "this help");
  trace->set_version_flag("--version", "closewatch " CLOSEWATCH_VERSION);
  add_options(*trace, options, lists);

  // Without a command it traces: what does not begin with one is the command's own.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  const bool asks = !arguments.empty() &&
                    (arguments.front() == "-h" || arguments.front() == "--help" || arguments.front() == "--version");
  if (arguments.empty() || (arguments.front().starts_with('-') && !asks)) reversed.emplace_back("trace");

  const std::string hint = "; see closewatch trace --help";
  try {
    app.parse(reversed);
    read_lists(*trace, lists, options);
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(NoStart{Exit::done, trace->parsed() ? trace->help("closewatch") : app.help()});
  } catch (const CLI::CallForVersion&) {
    return std::unexpected(NoStart{Exit::done, "closewatch " CLOSEWATCH_VERSION "\n"});
  } catch (const CLI::ExtrasError&) {
    return std::unexpected(NoStart{Exit::usage, unknown_argument(app, *trace) + hint});
  } catch (const CLI::Error& error) {
    return std::unexpected(NoStart{Exit::usage, error.what() + hint});
  }
  options.given = given_options(*trace);
  return options;
}

}  // namespace closewatch
