// SPDX-License-Identifier: BSD-2-Clause
#include "app/options.hpp"

#include "app/options_replay.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

namespace closewatch {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t smallest_ring = 4096;
constexpr std::uint64_t largest_ring = 1U << 30U;
constexpr std::uint64_t smallest_recording = 64U << 10U;
constexpr std::size_t most_values = 1024;  // twice as many fit into the kernel's filter maps (CW_FILTER_ENTRIES)
/// Below these a walk of a large machine's sockets (16 ms for 20,000) would follow hard upon the one before.
constexpr milliseconds shortest_limit{100};
constexpr milliseconds shortest_sweep{10};
constexpr milliseconds shortest_interval{100};
/// A socket is to be seen a few times before it is judged.
constexpr int sweeps_per_limit = 4;

struct CommandName {
  Subcommand command;
  const char* name;
  const char* what_for;
};
constexpr std::array<CommandName, 6> commands{{
    {Subcommand::top, "top", "the live view: who leaks, who holds TIME_WAIT, refreshed each second"},
    {Subcommand::trace, "trace", "the event stream of the TCP close path, one line an event"},
    {Subcommand::report, "report",
     "watch for a while, then say who leaks sockets, who holds TIME_WAIT, and what to do"},
    {Subcommand::run, "run", "run a command, watch it and its descendants alone, report when it ends"},
    {Subcommand::doctor, "doctor", "can this machine be traced, and how near is it to trouble on the close path"},
    {Subcommand::demo, "demo",
     "harmless programs of its own on loopback that show each kind and verdict, and top (or a report) on them"},
}};

/// What was typed, before it is read: lists by comma or given again, and values of which the last counts.
struct Typed {
  std::vector<std::string> pids;
  std::vector<std::string> comms;
  std::vector<std::string> local_ports;
  std::vector<std::string> remote_ports;
  std::vector<std::string> events;
  std::string duration;
  std::string leak_after;
  std::string sweep;
  std::string interval;
  std::string by;
  std::string leak_exit_code;
  std::string ring;
  std::string record_max;
};

[[noreturn]] void refuse(std::string_view option, std::string_view value, std::string_view wanted) {
  throw CLI::ValidationError(fmt::format("{}: '{}' is no {}", option, value, wanted));
}

void limit(std::string_view option, std::size_t values) {
  if (values > most_values) throw CLI::ValidationError(fmt::format("{}: more than {} values", option, most_values));
}

bool given(const CLI::App& app, const char* option) {
  const CLI::Option* found = app.get_option_no_throw(option);
  return found != nullptr && found->count() > 0;
}

template <typename Number>
Number number(std::string_view option, const std::string& text, Number smallest, Number largest,
              std::string_view wanted) {
  const auto value = whole_number<Number>(text);
  if (!value || *value < smallest || *value > largest) refuse(option, text, wanted);
  return *value;
}

template <typename Number>
std::vector<Number> numbers(std::string_view option, const std::vector<std::string>& lists, Number smallest,
                            Number largest, std::string_view wanted) {
  std::vector<Number> values;
  for (const std::string& list : lists)
    for (const std::string& text : split(list)) values.push_back(number(option, text, smallest, largest, wanted));
  limit(option, values.size());
  return values;
}

milliseconds time(std::string_view option, const std::string& text) {
  const auto value = parse_time(text);
  if (!value) refuse(option, text, "time (10, 10s, 500ms, 2m, 1h)");
  return *value;
}

void read_filters(const Typed& typed, Options& options) {
  constexpr std::uint32_t pid_max = 4'194'304;  // PID_MAX_LIMIT, include/linux/threads.h
  options.pids = numbers<std::uint32_t>("--pid", typed.pids, 1, pid_max, "pid");
  options.local_ports = numbers<std::uint16_t>("--local-port", typed.local_ports, 1, 65535, "port (1 to 65535)");
  options.remote_ports = numbers<std::uint16_t>("--remote-port", typed.remote_ports, 1, 65535, "port (1 to 65535)");
  for (const std::string& list : typed.comms)
    for (const std::string& comm : split(list)) {
      if (comm.empty()) refuse("--comm", list, "list of command names");
      options.comms.push_back(comm);
    }
  limit("--comm", options.comms.size());
  if (options.children && options.pids.empty())
    throw CLI::ValidationError("--children adds the descendants of --pid: name these");
  if (!options.ipv4 && !options.ipv6) options.ipv4 = options.ipv6 = true;
}

void read_events(const Typed& typed, Options& options) {
  if (typed.events.empty()) return;
  options.events = EventTypes{};
  for (const std::string& list : typed.events)
    for (const std::string& text : split(list)) {
      const auto type = event_type(text);
      if (!type)
        refuse("--events", text,
               "type of event (hello, snapshot, snapshot_end, transition, closed, finding, gap, stats, bye)");
      options.events.add(*type);
    }
}

void read_demo(const CLI::App& app, Options& options) {
  if (options.duration == milliseconds{0})
    throw CLI::ValidationError("--duration: the demo's programs begin with the watching: one look shows nothing");
  // They are all one program: this one. Their names are the processes'.
  options.by_process = true;
  if (options.report) {
    if (given(app, "--interval")) throw CLI::ValidationError("--interval is of the screen: leave --report out");
    if (!options.duration) options.duration = std::chrono::seconds{12};
    return;
  }
  for (const char* option : {"--json", "--output", "--wide"})
    if (given(app, option)) throw CLI::ValidationError(fmt::format("{} is of the report: add --report", option));
}

void read_limits(const CLI::App& app, const Typed& typed, Options& options) {
  // What `top` shows is as old as the last sweep.
  const bool shows = options.command == Subcommand::top || (options.command == Subcommand::demo && !options.report);
  const milliseconds sweep_by_default{shows ? 1'000 : 5'000};
  if (options.command == Subcommand::run) options.leak_after = milliseconds{1'000};
  if (options.command == Subcommand::demo) options.leak_after = milliseconds{3'000};
  if (given(app, "--leak-after")) options.leak_after = time("--leak-after", typed.leak_after);
  if (options.leak_after < shortest_limit)
    throw CLI::ValidationError(
        fmt::format("--leak-after: '{}' is too short to tell a leak from a program at work; "
                    "at least {}",
                    typed.leak_after, time_text(shortest_limit)));
  const milliseconds longest_sweep = options.leak_after / sweeps_per_limit;
  options.sweep = std::min(sweep_by_default, longest_sweep);
  if (!given(app, "--sweep")) return;
  options.sweep = time("--sweep", typed.sweep);
  if (options.sweep < shortest_sweep)
    throw CLI::ValidationError(
        fmt::format("--sweep: '{}' is too often: at least {} apart", typed.sweep, time_text(shortest_sweep)));
  if (options.sweep > longest_sweep)
    throw CLI::ValidationError(fmt::format("--sweep: '{}' is more than a quarter of --leak-after ({}): at most {}",
                                           typed.sweep, time_text(options.leak_after), time_text(longest_sweep)));
}

void read_recording(const CLI::App& app, const Typed& typed, Options& options) {
  if (given(app, "--record") && options.record == "-")
    throw CLI::ValidationError("--record: standard output is for results: name a file");
  if (given(app, "--record") && options.record == options.output)
    throw CLI::ValidationError("--record and --output name the same file");
  if (!given(app, "--record-max")) return;
  const auto size = parse_size(typed.record_max);
  if (!size || *size < smallest_recording)
    refuse("--record-max", typed.record_max, "size of at least 64K (64K, 100M, 2G)");
  if (!given(app, "--record")) throw CLI::ValidationError("--record-max is the limit of --record: name its file");
  options.record_max = *size;
}

void read_values(const CLI::App& app, const Typed& typed, Options& options) {
  if (options.command == Subcommand::run && options.command_line.empty())
    throw CLI::ValidationError("a COMMAND is missing: closewatch run [options] -- COMMAND [ARG...]");
  read_filters(typed, options);
  read_events(typed, options);
  read_limits(app, typed, options);
  for (const auto& [option, value] : {std::pair{"--netns", &options.netns}, std::pair{"--cgroup", &options.cgroup},
                                      std::pair{"--output", &options.output}, std::pair{"--user", &options.user},
                                      std::pair{"--record", &options.record}})
    if (given(app, option) && value->empty()) refuse(option, *value, "name");
  if (options.command == Subcommand::report) options.duration = std::chrono::minutes{1};
  if (given(app, "--duration")) options.duration = time("--duration", typed.duration);
  if (options.command == Subcommand::demo) read_demo(app, options);
  if (given(app, "--by")) {
    if (typed.by != "workload" && typed.by != "process") refuse("--by", typed.by, "kind of row (workload, process)");
    options.by_process = typed.by == "process";
  }
  if (given(app, "--interval")) {
    options.interval = time("--interval", typed.interval);
    if (options.interval < shortest_interval)
      throw CLI::ValidationError(
          fmt::format("--interval: '{}' is too often: at least {}", typed.interval, time_text(shortest_interval)));
  }
  if (given(app, "--leak-exit-code"))
    options.leak_exit_code =
        number<std::uint8_t>("--leak-exit-code", typed.leak_exit_code, 1, 255, "exit status (1 to 255)");
  if (given(app, "--ring")) {
    const auto size = parse_size(typed.ring);
    if (!size || *size < smallest_ring || *size > largest_ring)
      refuse("--ring", typed.ring, "size from 4K to 1G (65536, 64K, 8M)");
    options.ring_bytes = static_cast<std::uint32_t>(*size);
  }
  read_recording(app, typed, options);
  if (options.quiet && options.verbose) throw CLI::ValidationError("--quiet and --verbose exclude each other");
}

/// Of one value given twice the last counts.
void add_value(CLI::App& app, const char* names, std::string& value, const char* type, const char* what_for) {
  app.add_option(names, value, what_for)->type_name(type)->take_last();
}

/// Lists add up.
void add_list(CLI::App& app, const char* names, std::vector<std::string>& list, const char* type,
              const char* what_for) {
  app.add_option(names, list, what_for)->type_name(type)->take_all();
}

void add_netns(CLI::App& app, Options& options) {
  add_value(app, "--netns", options.netns, "INUM or PATH", "only this network namespace");
}

void add_filters(CLI::App& app, Options& options, Typed& typed) {
  add_list(app, "-p,--pid", typed.pids, "PID[,...]", "sockets that these processes opened, hold or closed");
  app.add_flag("--children", options.children, "with --pid: their descendants too");
  add_list(app, "-c,--comm", typed.comms, "NAME[,...]", "likewise, by command name (its first 15 bytes)");
  add_value(app, "--cgroup", options.cgroup, "PATH", "only processes below this cgroup (v2)");
  add_netns(app, options);
  add_list(app, "-L,--local-port", typed.local_ports, "N[,...]", "only these local ports");
  add_list(app, "-D,--remote-port", typed.remote_ports, "N[,...]", "only these remote ports");
  app.add_flag("-4", options.ipv4, "only IPv4 (IPv4-mapped IPv6 counts as IPv4)");
  app.add_flag("-6", options.ipv6, "only IPv6");
}

void add_output(CLI::App& app, Options& options, const char* json, const char* instead_of) {
  app.add_flag("-j,--json", options.json, json);
  add_value(app, "-o,--output", options.output, "FILE", instead_of);
  app.add_flag("-w,--wide", options.wide, "text: all columns, more than 80");
}

void add_judging(CLI::App& app, Options& options, Typed& typed, const char* limit_text) {
  add_value(app, "--leak-after", typed.leak_after, "TIME", limit_text);
  add_value(app, "--sweep", typed.sweep, "TIME", "how often the sockets are walked: 5s, at most 1/4 of --leak-after");
  app.add_flag("--stacks", options.stacks, "user stacks too: where a socket was opened, where its end was read");
}

void add_recording(CLI::App& app, Options& options, Typed& typed) {
  add_value(app, "--record", options.record, "FILE", "keep every input of the run there, for replay");
  add_value(app, "--record-max", typed.record_max, "SIZE", "the recording ends when it has grown to this");
}

void add_ring(CLI::App& app, Typed& typed) {
  add_value(app, "--ring", typed.ring, "SIZE", "size of the ring buffer, 8M");
}

void add_messages(CLI::App& app, Options& options, const char* verbose) {
  app.add_flag("-q,--quiet", options.quiet, "no messages but errors");
  app.add_flag("-v,--verbose", options.verbose, verbose);
}

void add_top(CLI::App& app, Options& options, Typed& typed) {
  add_filters(app, options, typed);
  add_value(app, "-i,--interval", typed.interval, "TIME", "how often it is refreshed, 1s");
  add_value(app, "-d,--duration", typed.duration, "TIME", "stop after TIME: 10, 10s, 500ms, 2m, 1h; 0: one table");
  add_value(app, "--leak-after", typed.leak_after, "TIME", "how long in CLOSE_WAIT before a socket is judged, 30s");
  add_value(app, "--sweep", typed.sweep, "TIME", "how often the sockets are walked: 1s, at most 1/4 of --leak-after");
  app.add_flag("--stacks", options.stacks, "user stacks too: where a socket was opened, where its end was read");
  add_value(app, "--by", typed.by, "KIND", "what the rows are at first: workload (the default) or process");
}

void add_trace(CLI::App& app, Options& options, Typed& typed) {
  add_filters(app, options, typed);
  add_value(app, "-d,--duration", typed.duration, "TIME", "stop after TIME: 10, 10s, 500ms, 2m, 1h; 0: one look");
  add_output(app, options, "one JSON object a line", "write there instead of to standard output");
  app.add_flag("--all-states", options.all_states, "also the transitions before the close path");
  add_list(app, "--events", typed.events, "TYPE[,...]", "only these types of event");
  add_judging(app, options, typed, "how long in CLOSE_WAIT before a socket is judged, 30s");
}

void add_report(CLI::App& app, Options& options, Typed& typed) {
  add_filters(app, options, typed);
  add_value(app, "-d,--duration", typed.duration, "TIME", "watch for TIME, 60s; 0: one look, judged by age");
  add_judging(app, options, typed, "how long in CLOSE_WAIT before a socket is judged, 30s");
  add_value(app, "--by", typed.by, "KIND", "what the rows are: workload (the default) or process");
  add_output(app, options, "one JSON document", "write there instead of to standard output");
  app.add_flag("--fail-on-leak", options.fail_on_leak, "exit 3 on a leak, 4 where none was found but not all was seen");
}

void add_run(CLI::App& app, Options& options, Typed& typed) {
  add_value(app, "--user", options.user, "NAME[:GROUP]", "run COMMAND as this user (a name or a number)");
  add_judging(app, options, typed, "how long in CLOSE_WAIT before a socket is judged, 1s");
  add_value(app, "--by", typed.by, "KIND", "what the rows are: workload (the default) or process");
  add_output(app, options, "one JSON document", "write the report there instead of to standard error");
  app.add_flag("--strict", options.strict, "what is merely stuck fails too");
  add_value(app, "--leak-exit-code", typed.leak_exit_code, "N", "exit status on a leak where COMMAND ended in 0, 3");
}

void add_demo(CLI::App& app, Options& options, Typed& typed) {
  app.add_flag("--report", options.report, "watch for a while, then print a report");
  add_value(app, "-i,--interval", typed.interval, "TIME", "without --report: how often it is refreshed, 1s");
  add_value(app, "-d,--duration", typed.duration, "TIME", "watch for TIME; with --report 12s");
  add_judging(app, options, typed, "how long in CLOSE_WAIT before a socket is judged, 3s");
  add_value(app, "--by", typed.by, "KIND", "what the rows are: process (the default) or workload");
  add_output(app, options, "with --report: one JSON document", "with --report: write there, not to standard output");
}

void add_doctor(CLI::App& app, Options& options) {
  add_netns(app, options);
  add_output(app, options, "one JSON document", "write there instead of to standard output");
}

/// COMMAND is no argument of ours, so CLI11 is not told of it and cannot show it.
class RunHelp : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string name) const override {
    return "Usage: " + name + " [OPTIONS] [--] COMMAND [ARG...]\n";
  }
};

void add_command(CLI::App& app, const CommandName& command, Options& options, Typed& typed) {
  CLI::App* sub = app.add_subcommand(command.name, command.what_for);
  sub->set_help_flag("-h,--help", "this help");
  sub->set_version_flag("--version", "closewatch " CLOSEWATCH_VERSION);
  switch (command.command) {
    case Subcommand::top: add_top(*sub, options, typed); break;
    case Subcommand::trace: add_trace(*sub, options, typed); break;
    case Subcommand::report: add_report(*sub, options, typed); break;
    case Subcommand::run:
      add_run(*sub, options, typed);
      sub->formatter(std::make_shared<RunHelp>());
      break;
    case Subcommand::doctor: add_doctor(*sub, options); break;
    case Subcommand::demo: add_demo(*sub, options, typed); break;
  }
  const bool watches = command.command != Subcommand::doctor;
  if (watches) {
    add_recording(*sub, options, typed);
    add_ring(*sub, typed);
  }
  add_messages(*sub, options,
               watches ? "say more, on standard error" : "also what is in order, each setting and counter");
}

bool takes_value(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw(name);
  return option != nullptr && option->get_items_expected_max() > 0;
}

/// Is the next argument the value of this one? `-jo FILE` and `-oFILE` are understood as getopt(3) does.
bool value_follows(const CLI::App& app, const std::string& argument) {
  if (argument.starts_with("--")) return takes_value(app, argument);  // with =VALUE it is no option's name
  for (std::size_t at = 1; at < argument.size(); ++at)
    if (takes_value(app, std::string{'-', argument[at]})) return at + 1 == argument.size();
  return false;
}

/// Cuts COMMAND and all that follows off the arguments of `run`: it begins behind `--`, or with the first word that is
/// no option, and its own options are never ours.
std::vector<std::string> cut_command(const CLI::App& run, std::vector<std::string>& arguments) {
  auto at = arguments.begin() + 1;
  while (at != arguments.end() && at->size() > 1 && at->front() == '-' && *at != "--") {
    const bool skips = value_follows(run, *at);
    ++at;
    if (skips && at != arguments.end()) ++at;
  }
  const auto first = at != arguments.end() && *at == "--" ? at + 1 : at;
  std::vector<std::string> command(first, arguments.end());
  arguments.erase(at, arguments.end());
  return command;
}

std::vector<std::pair<std::string, std::string>> given_options(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0) continue;
    const auto& values = option->results();
    all.emplace_back(option->get_lnames().empty() ? option->get_snames().front() : option->get_lnames().front(),
                     std::accumulate(values.begin(), values.end(), std::string{},
                                     [](const std::string& before, const std::string& one) {
                                       return before.empty() ? one : before + "," + one;
                                     }));
  }
  return all;
}

/// `assumed`: nobody has named the command.
std::string unknown_argument(const CLI::App& app, const CLI::App* command, bool assumed) {
  std::vector<std::string> extras = command != nullptr ? command->remaining() : app.remaining();
  if (extras.empty()) extras = app.remaining();
  const std::string typed = extras.empty() ? std::string{} : extras.front();
  std::vector<std::string> candidates;
  const bool is_option = typed.starts_with('-');
  if (is_option && command != nullptr) {
    for (const CLI::Option* option : command->get_options())
      for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
  } else {
    for (const CommandName& known : commands) {
      if (typed == known.name) return fmt::format("the command comes first: closewatch {} [options]", typed);
      candidates.emplace_back(known.name);
    }
  }
  const std::string name = typed.substr(0, typed.find('='));
  if (is_option && assumed && app.get_subcommand("trace")->get_option_no_throw(name) != nullptr)
    return fmt::format("'{}' is no option of {}, which is meant on a terminal where no command is named; trace has it",
                       name, command->get_name());
  std::string text = fmt::format("unknown {} '{}'", is_option ? "option" : "command", name);
  if (const auto near = suggestion(name, candidates)) text += fmt::format("; did you mean '{}'?", *near);
  return text;
}

/// The command that the arguments begin with; empty where they begin with none.
CLI::App* command_of(CLI::App& app, const std::vector<std::string>& arguments, Options& options) {
  for (const CommandName& known : commands) {
    if (arguments.front() != known.name) continue;
    options.command = known.command;
    return app.get_subcommand(known.name);
  }
  return nullptr;
}

void set_up(CLI::App& app, Options& options, Typed& typed) {
  app.set_version_flag("--version", "closewatch " CLOSEWATCH_VERSION);
  app.set_help_flag("-h,--help", "this help");
  app.require_subcommand(0, 1);
  const std::string manual = "The manual: man closewatch, or docs/closewatch.8 in the source";
  app.footer(manual);  // the commands inherit it
  for (const CommandName& command : commands) add_command(app, command, options, typed);
  // Its arguments are cut off before they get here (cut_replay): only for the list.
  app.add_subcommand("replay", "feed a recording through trace, report or top in place of the kernel");
  app.footer(
      "With no command it is top on a terminal, and trace where the output is none: closewatch [its options].\n"
      "The options: closewatch COMMAND --help\n" +
      manual);
}

}  // namespace

std::expected<Options, NoStart> parse_options(const std::vector<std::string>& given_arguments, Subcommand by_default) {
  Options options;
  Typed typed;
  CLI::App app{"closewatch: who closes TCP connections, who does not, and how they end", "closewatch"};
  set_up(app, options, typed);

  // What does not begin with a command is the default one's own.
  std::vector<std::string> arguments = given_arguments;
  if (!arguments.empty() && arguments.front() == "replay") {
    auto file = cut_replay(arguments);
    if (!file) return std::unexpected(file.error());
    options.replay = *std::move(file);
  }
  const bool asks = !arguments.empty() &&
                    (arguments.front() == "-h" || arguments.front() == "--help" || arguments.front() == "--version");
  const bool assumed = arguments.empty() || (arguments.front().starts_with('-') && !asks);
  if (assumed) arguments.insert(arguments.begin(), command_name(by_default));
  const CLI::App* command = command_of(app, arguments, options);
  if (options.command == Subcommand::run) options.command_line = cut_command(*command, arguments);

  const std::string see = fmt::format("; see closewatch {}--help", command ? command->get_name() + " " : "");
  try {
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    if (command != nullptr) read_values(*command, typed, options);
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(NoStart{Exit::done, command != nullptr ? command->help("closewatch") : app.help()});
  } catch (const CLI::CallForVersion&) {
    return std::unexpected(NoStart{Exit::done, "closewatch " CLOSEWATCH_VERSION "\n"});
  } catch (const CLI::ExtrasError&) {
    return std::unexpected(NoStart{Exit::usage, unknown_argument(app, command, assumed) + see});
  } catch (const CLI::Error& error) {
    return std::unexpected(NoStart{Exit::usage, error.what() + see});
  }
  options.given = given_options(*command);
  if (!options.replay.empty())
    if (const auto why = misplaced_in_replay(options)) return std::unexpected(NoStart{Exit::usage, *why});
  return options;
}

std::string command_name(Subcommand command) {
  const auto* found =
      std::find_if(commands.begin(), commands.end(), [&](const CommandName& one) { return one.command == command; });
  return found != commands.end() ? found->name : "";
}

bool is_given(const Options& options, std::string_view option) {
  return std::any_of(options.given.begin(), options.given.end(),
                     [&](const auto& given) { return given.first == option; });
}

}  // namespace closewatch
