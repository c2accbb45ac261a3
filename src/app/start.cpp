// SPDX-License-Identifier: BSD-2-Clause
#include "app/start.hpp"

#include "app/clock.hpp"
#include "host/machine.hpp"
#include "host/namespaces.hpp"
#include "host/preflight.hpp"
#include "host/processes.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

/// The descendants that there are already; what is forked from now on the kernel side adds. A child of one that was not
/// watched yet is not watched either: look again until nobody new turns up, which whoever forks without end could put
/// off for ever. A branch whose root has ended in between hangs from init and is not found.
std::expected<void, Error> watch_descendants(KernelSource& source, std::vector<ProcessTicks> known) {
  constexpr int looks_at_most = 100;
  for (int look = 0; look < looks_at_most; ++look) {
    std::vector<ProcessTicks> found = with_descendants(root, known);
    const bool all_known = found.size() == known.size();
    if (auto watched = source.watch(found); !watched) return watched;
    if (all_known) break;
    known = std::move(found);
  }
  return {};
}

/// A recording is to have what a report needs, and the answers that it asks for.
bool takes_census(const Options& options) { return options.command != Subcommand::trace || !options.record.empty(); }

Undertaking undertaking(const Options& options, const KernelSettings& settings) {
  const auto own = namespace_inode("/proc/thread-self/ns/net");
  return {.other_namespaces = settings.netns == 0 || !own || *own != settings.netns,
          .counts_descriptors = takes_census(options),
          .stacks = options.stacks,
          .command = options.command == Subcommand::run,
          .as_root = geteuid() == 0,
          .old_kernel = false};
}

std::string random_id() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = static_cast<std::uint64_t>(getpid());
  return fmt::format("{:016x}", bits);
}

}  // namespace

Error explained(Error error) {
  if (error.code != EPERM || !error.remedy.empty()) return error;
  const auto lockdown = read_lockdown(root);
  error.remedy = lockdown && *lockdown != Lockdown::none
                     ? "the kernel is locked down (/sys/kernel/security/lockdown): boot with lockdown=none"
                     : "a security module or a container's seccomp profile refuses bpf(): run it on the host";
  return error;
}

std::expected<std::uint32_t, Error> wanted_netns(const std::string& text, bool sees_all_processes) {
  if (text.empty()) return 0U;
  const auto inode = whole_number<std::uint32_t>(text);
  if (!inode) return namespace_inode(text);
  if (sees_all_processes && find_namespaces(root, std::array{*inode}).found.empty())
    return std::unexpected(Error{"find network namespace " + text, 0,
                                 "no process is in it, and it is mounted nowhere (lsns -t net lists them)"});
  return *inode;
}

std::expected<KernelSettings, Error> kernel_settings(const Options& options, bool host_pids) {
  KernelSettings settings{
      .ring_bytes = options.ring_bytes,
      .tick_ns = tick_ns(),
      .all_states = options.all_states,
      .ipv4 = options.ipv4,
      .ipv6 = options.ipv6,
      .stacks = options.stacks,
      .children = options.children,
      .local_ports = options.local_ports,
      .remote_ports = options.remote_ports,
      .pids = {},
      .comms = options.comms,
  };
  const auto netns = wanted_netns(options.netns, host_pids);
  if (!netns) return std::unexpected(netns.error());
  settings.netns = *netns;
  if (!options.cgroup.empty()) {
    const auto id = cgroup_id(options.cgroup);
    if (!id) return std::unexpected(id.error());
    settings.cgroup_id = *id;
  }
  if (!options.pids.empty() && !host_pids)
    return std::unexpected(Error{"tell processes by pid outside the initial pid namespace", 0,
                                 "run it on the host, or in a container with the host's pids (hostPID: true)"});
  for (const std::uint32_t pid : options.pids) {
    const auto process = process_now(root, pid);
    if (!process) return std::unexpected(Error{"find process " + std::to_string(pid), 0, "there is none by this pid"});
    if (const auto leader = thread_group(root, pid); leader && *leader != pid)
      return std::unexpected(
          Error{"watch thread " + std::to_string(pid) + " alone", 0, "name its process, " + std::to_string(*leader)});
    settings.pids.push_back(*process);
  }
  return settings;
}

std::optional<std::string> cannot_watch(const Options& options) {
  const Preflight machine = preflight(root, undertaking(options, {}));
  if (machine.refusals.empty()) return std::nullopt;
  return machine.refusals.front();
}

std::expected<Attached, std::string> attached_source(const Options& options, const KernelSettings& settings,
                                                     bool host_pids) {
  const Preflight machine = preflight(root, undertaking(options, settings));
  if (!machine.refusals.empty()) return std::unexpected(machine.refusals.front());
  auto source = KernelSource::load(settings, [](const std::string& text) { spdlog::debug("{}", text); });
  if (!source) return std::unexpected(message_of(explained(source.error())));
  if (auto attached = source->attach(); !attached) return std::unexpected(message_of(explained(attached.error())));
  if (settings.children)
    if (auto watched = watch_descendants(*source, settings.pids); !watched)
      return std::unexpected(message_of(watched.error()));
  std::vector<std::string> limits;
  for (const Limit& limit : machine.limits) {
    spdlog::warn("{}", limit.text);
    if (!limit.is_told_when_met) limits.push_back(limit.text);
  }
  for (const std::string& limit : source->degraded()) spdlog::warn("{}", limit);
  if (source->walks_by_tables())
    spdlog::debug(
        "this kernel refuses to walk the socket storage (iter/bpf_sk_storage_map): the TCP tables of each network "
        "namespace are walked instead");
  if (!host_pids)
    spdlog::warn(
        "not in the initial pid namespace: pids are the host's, and what /proc tells of them (exe, cmdline, "
        "cgroup) is not looked up; run it on the host, or with hostPID");
  if (auto given_up = give_up_all_but(machine.kept); !given_up) return std::unexpected(message_of(given_up.error()));
  spdlog::debug("capabilities kept: {}", names_of(machine.kept));
  return Attached{*std::move(source), std::move(limits)};
}

std::expected<Watch, Exit> begin_watch(const Options& options, int standard) {
  const bool host_pids = in_initial_pid_namespace(root);
  auto settings = kernel_settings(options, host_pids);
  if (!settings) return std::unexpected(refuse(Exit::usage, message_of(settings.error())));
  auto output = Output::open(options.output, standard);
  if (!output) return std::unexpected(refuse(Exit::failed, message_of(output.error())));
  auto record = Record::open(options);
  if (!record) return std::unexpected(refuse(Exit::failed, message_of(record.error())));
  if (record->is_in(*output)) return std::unexpected(refuse(Exit::usage, recorded_over_results));
  auto attached = attached_source(options, *settings, host_pids);
  if (!attached) return std::unexpected(refuse(Exit::failed, attached.error()));
  return Watch{host_pids,          *std::move(settings),        *std::move(output),
               *std::move(record), std::move(attached->source), std::move(attached->limits)};
}

Engine::Settings engine_settings(const Options& options, const KernelSettings& kernel, bool host_pids) {
  return {
      .filters_processes = !kernel.pids.empty() || !kernel.comms.empty() || kernel.cgroup_id != 0,
      .sees_all_sockets = kernel.pids.empty() && kernel.comms.empty() && kernel.cgroup_id == 0 &&
                          kernel.local_ports.empty() && kernel.remote_ports.empty() && kernel.ipv4 && kernel.ipv6,
      .keeps_accounts = takes_census(options),
      .detector = {.leak_after_ns = nanoseconds(options.leak_after),
                   .sweep_ns = nanoseconds(options.sweep),
                   .sanitizer = options.command == Subcommand::run,
                   .sees_all_processes = host_pids},
  };
}

Session::Settings session_settings(const Options& options, const KernelSettings& kernel, bool host_pids,
                                   std::vector<std::string> limits) {
  return {.root = root,
          .netns = kernel.netns,
          .looks_up_pids = host_pids,
          .quiet = options.quiet,
          .census = takes_census(options),
          .ring_bytes = options.ring_bytes,
          .sweep = options.sweep,
          .duration = options.duration,
          .limits = std::move(limits)};
}

Started started(const Options& options) {
  const MachineNames names = machine_names(root);
  return {.time_ns = 0,
          .run = random_id(),
          .version = CLOSEWATCH_VERSION,
          .host = names.host,
          .kernel = names.kernel,
          .boot_id = names.boot_id,
          .options = options.given};
}

}  // namespace closewatch
