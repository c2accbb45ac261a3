// SPDX-License-Identifier: BSD-2-Clause
#include "app/run.hpp"

#include "app/output.hpp"
#include "app/progress.hpp"
#include "app/report.hpp"
#include "app/session.hpp"
#include "app/stacks.hpp"
#include "app/start.hpp"
#include "host/command.hpp"
#include "host/machine.hpp"
#include "host/processes.hpp"
#include "host/user.hpp"
#include "sink/escape.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

namespace closewatch {
namespace {

std::expected<std::optional<User>, Error> wanted_user(const Options& options) {
  if (options.user.empty()) return std::nullopt;
  auto user = find_user(options.user);
  if (!user) return std::unexpected(user.error());
  return *std::move(user);
}

/// What COMMAND has left behind: it goes on unwatched.
void name_survivors(const KernelSource& source) {
  std::string names;
  for (const ProcessTicks& process : source.watched())
    if (const auto name = name_of_living(root, process))
      names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", printable(*name, true, 0), process.pid);
  if (!names.empty()) spdlog::warn("still running, and no longer watched: {}", names);
}

int status_of(const Options& options, const CommandEnd& end, const Report& report) {
  if (end.exit_status() != 0) return end.exit_status();
  const bool fails = leaked(report) > 0 || (options.strict && stuck(report) > 0);
  return fails ? options.leak_exit_code : 0;
}

}  // namespace

int run_command(const Options& options, const SignalsBefore& before) {
  if (!in_initial_pid_namespace(root))
    return std::to_underlying(
        refuse(Exit::failed,
               "cannot follow COMMAND by its pid outside the initial pid namespace; run it on the host, or "
               "in a container with the host's pids (hostPID: true)"));
  const auto user = wanted_user(options);
  if (!user) return std::to_underlying(refuse(Exit::usage, message_of(user.error())));
  auto settings = kernel_settings(options, true);
  if (!settings) return std::to_underlying(refuse(Exit::usage, message_of(settings.error())));
  const auto output = Output::open(options.output, STDERR_FILENO);
  if (!output) return std::to_underlying(refuse(Exit::failed, message_of(output.error())));
  auto record = Record::open(options);
  if (!record) return std::to_underlying(refuse(Exit::failed, message_of(record.error())));
  if (record->is_in(*output)) return std::to_underlying(refuse(Exit::usage, recorded_over_results));

  auto command = Command::start(options.command_line, *user, before);
  if (!command) return std::to_underlying(refuse(Exit::failed, message_of(command.error())));
  const auto process = process_now(root, command->pid());
  // Without it nothing would be filtered, and the whole machine judged.
  if (!process) return std::to_underlying(refuse(Exit::failed, "cannot find COMMAND's process in /proc"));
  settings->pids = {*process};
  settings->children = true;
  auto attached = attached_source(options, *settings, true);
  if (!attached) return std::to_underlying(refuse(Exit::failed, attached.error()));
  KernelSource& source = attached->source;

  Writer nothing{-1, "nothing"};  // COMMAND is watched to its end, whether anybody reads its standard error or not
  Progress silent{options};
  StackNames stacks{options.stacks};
  const Engine::Settings rules = engine_settings(options, *settings, true);
  Engine engine{rules};
  Feed feed{engine, silent, nothing};
  Session session{source, feed, session_settings(options, *settings, true, attached->limits)};
  record->serve(session, options, rules);
  stacks.serve(session);
  session.on_started([&] { command->release(); });
  session.lasts_as_long_as(command->pidfd(), [&](const signalfd_siginfo& info) {
    if (is_to_pass_on(root, command->pid(), info.ssi_code, info.ssi_pid))
      command->send(static_cast<int>(info.ssi_signo));
  });
  const auto ran = session.run(started(options));
  if (!ran) {
    spdlog::error("{}{}", message_of(ran.error()), command->released() ? "; COMMAND goes on unwatched" : "");
    // What was never let go has done nothing; what was is not to suffer for it, and its status is what counts.
    if (!command->released()) return std::to_underlying(Exit::failed);
  }
  const auto end = command->wait();
  if (!end) return std::to_underlying(failed(end.error()));
  if (end->not_run) {
    spdlog::error("{}", message_of(*end->not_run));
    return end->exit_status();
  }
  if (!ran) return end->exit_status() != 0 ? end->exit_status() : std::to_underlying(Exit::failed);
  name_survivors(source);

  const Report report = make_report(options, session, feed);
  const bool worth_telling =
      !options.quiet || options.json || !options.output.empty() || leaked(report) + stuck(report) > 0;
  const int status = status_of(options, *end, report);
  if (worth_telling)
    if (auto written = write_report(options, report, *output); !written) {
      spdlog::error("{}", message_of(written.error()));
      // A report that was to be read by somebody, and is not there, is not to pass for a good one.
      if (status == 0 && !options.output.empty()) return std::to_underlying(Exit::failed);
    }
  return status == 0 && !record->is_good() ? std::to_underlying(Exit::failed) : status;
}

}  // namespace closewatch
