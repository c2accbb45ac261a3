// SPDX-License-Identifier: BSD-2-Clause
#include "app/doctor.hpp"

#include "app/doctor_look.hpp"
#include "app/output.hpp"
#include "app/start.hpp"
#include "app/values.hpp"
#include "host/machine.hpp"
#include "host/namespaces.hpp"
#include "host/preflight.hpp"
#include "host/sysctl_files.hpp"
#include "sink/doctor_json.hpp"
#include "sink/doctor_text.hpp"
#include "sink/writer.hpp"

#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <expected>
#include <span>
#include <utility>

namespace closewatch {
namespace {

bool any_missing(const std::vector<Check>& checks) {
  return std::any_of(checks.begin(), checks.end(),
                     [](const Check& check) { return check.status == Check::Status::missing; });
}

/// What can be read first, then what has to be tried.
std::vector<Check> all_checks() {
  std::vector<Check> found = checks(root);
  const HookRemedies remedies = any_missing(found)
                                    ? HookRemedies{"give it what is missing above", "give it what is missing above"}
                                    : HookRemedies{explained({"load the programs into the kernel", EPERM, {}}).remedy,
                                                   "closewatch trace -v shows what the kernel says of it"};
  for (const HookTry& hook : try_hooks()) found.push_back(check_of(hook, remedies));
  weigh_walks(found);
  return found;
}

/// Those to look at: all that are in use, or the one that --netns names.
std::expected<std::vector<NetworkNamespace>, Error> wanted_namespaces(const Options& options) {
  std::vector<NetworkNamespace> known = every_namespace(root);
  if (options.netns.empty()) return known;
  const auto inode = wanted_netns(options.netns, in_initial_pid_namespace(root));
  if (!inode) return std::unexpected(inode.error());
  std::erase_if(known, [&](const NetworkNamespace& one) { return one.inode != *inode; });
  if (!known.empty()) return known;
  known = find_namespaces(root, std::span{&*inode, 1}).found;
  // A path leads to it even where nothing else does; of a bare number nothing leads on.
  if (known.empty() && !whole_number<std::uint32_t>(options.netns))
    known.push_back({*inode, options.netns, std::nullopt});
  if (known.empty())
    return std::unexpected(Error{"find a way into network namespace " + options.netns, 0, "name it by a path"});
  return known;
}

/// Of what cannot be seen there is no list, only the reason why.
std::vector<std::string> blind_spots() {
  if (!effective_capabilities(root)) return {"all network namespaces: /proc cannot be read; mount it"};
  std::vector<std::string> unseen;
  if (!has_capability(root, CAP_SYS_PTRACE))
    unseen.emplace_back(
        "network namespaces of other users' processes, but for those that are mounted: it takes "
        "CAP_SYS_PTRACE; run it as root");
  if (!in_initial_pid_namespace(root))
    unseen.emplace_back(
        "network namespaces of processes outside this pid namespace: run it on the host, or with "
        "hostPID");
  return unseen;
}

DoctorReport examine(const std::vector<NetworkNamespace>& namespaces, bool whole_machine) {
  const MachineNames names = machine_names(root);
  DoctorReport report;
  report.host = names.host;
  report.kernel = names.kernel;
  report.time_ns = std::chrono::nanoseconds{std::chrono::system_clock::now().time_since_epoch()}.count();
  report.checks = all_checks();
  report.privileges = privileges(root);
  if (whole_machine) report.unseen = blind_spots();
  report.namespaces = look_at_namespaces(root, namespaces, report.unseen);
  MachineHealth machine;
  machine.configured = configured_sysctls(root);
  for (const NamespaceReport& one : report.namespaces) machine.namespaces.push_back(one.health);
  report.findings = findings_of(machine);
  return report;
}

}  // namespace

Exit run_doctor(const Options& options) {
  const auto namespaces = wanted_namespaces(options);
  if (!namespaces) return refuse(Exit::usage, message_of(namespaces.error()));
  const auto output = Output::open(options.output, STDOUT_FILENO);
  if (!output) return refuse(Exit::failed, message_of(output.error()));
  const DoctorReport report = examine(*namespaces, options.netns.empty());
  const auto written =
      write_document(*output, options.json ? doctor_json(report)
                                           : doctor_text(report, text_style(options, output->fd()), options.verbose));
  return written ? Exit::done : failed(written.error());
}

}  // namespace closewatch
