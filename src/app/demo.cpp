// SPDX-License-Identifier: BSD-2-Clause
#include "app/demo.hpp"

#include "app/demo_cast.hpp"
#include "app/messages.hpp"
#include "app/start.hpp"
#include "host/machine.hpp"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

namespace closewatch {
namespace {

/// In a network namespace where loopback is down, or filtered, there is nothing to be shown.
std::optional<Error> loopback_refuses() {
  const auto failed = [](const char* what) {
    return Error{what, errno, "the demo's programs talk over loopback: bring it up (ip link set lo up)"};
  };
  const Descriptor listener = demo::listener_of(1);
  if (!listener.is_open()) return failed("listen on 127.0.0.1");
  Descriptor connection = demo::connected(demo::port_of(listener));
  if (!connection.is_open()) return failed("connect to 127.0.0.1");
  demo::reset(std::move(connection));  // so that nothing is left of it
  return std::nullopt;
}

}  // namespace

Exit run_demo(const Options& options, demo::CommandLine line, const WatchCommand& watch) {
  if (!in_initial_pid_namespace(root))
    return refuse(Exit::failed,
                  "cannot follow the demo's processes by their pids outside the initial pid namespace; run it on the "
                  "host, or in a container with the host's pids (hostPID: true)");
  if (const auto why = cannot_watch(options)) return refuse(Exit::failed, *why);
  if (const auto why = loopback_refuses()) return refuse(Exit::failed, message_of(*why));
  auto cast = demo::Cast::gather(line);
  if (!cast) return refuse(Exit::failed, message_of(cast.error()));

  Options ours = options;
  ours.pids = {cast->pid()};
  ours.children = true;
  const Exit watched = watch(ours, [&] { cast->begin(); });
  const std::vector<std::string> troubles = cast->end();
  for (const std::string& trouble : troubles) spdlog::error("{}", trouble);
  return watched == Exit::done && !troubles.empty() ? Exit::failed : watched;
}

}  // namespace closewatch
