// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_START_HPP
#define CLOSEWATCH_APP_START_HPP

// What every command that watches begins with, and how it says why it can't.

#include "app/messages.hpp"
#include "app/options.hpp"
#include "app/output.hpp"
#include "app/record.hpp"
#include "app/session.hpp"
#include "source/kernel.hpp"

#include <closewatch/core/engine.hpp>

#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace closewatch {

/// Where /proc and /sys are.
inline const std::filesystem::path root = "/";

/// libbpf tells EPERM of many things; under lockdown, or with the bpf() call closed off, no privilege helps.
[[nodiscard]] Error explained(Error error);

/// The inode of what --netns names; 0 where it names none.
[[nodiscard]] std::expected<std::uint32_t, Error> wanted_netns(const std::string& text, bool sees_all_processes);

/// What the options name on this machine: it must be there.
[[nodiscard]] std::expected<KernelSettings, Error> kernel_settings(const Options& options, bool host_pids);

/// Why this machine cannot be traced; empty where nothing is known to be in the way. Starts nothing.
[[nodiscard]] std::optional<std::string> cannot_watch(const Options& options);

/// The kernel side at work, and what privileges that we have not keep from us, in sentences.
struct Attached {
  KernelSource source;
  std::vector<std::string> limits;
};
/// Looks whether this machine can be traced, loads and attaches, tells what will be missing, and gives up all
/// privileges but those that watching takes. An error's text is whole: nothing is left running.
[[nodiscard]] std::expected<Attached, std::string> attached_source(const Options& options,
                                                                   const KernelSettings& settings, bool host_pids);

/// All that watching takes, with everything attached.
struct Watch {
  bool host_pids = false;  ///< pids are those of the initial pid namespace
  KernelSettings settings;
  Output output;
  Record record;
  KernelSource source;
  std::vector<std::string> limits;  ///< of Attached
};
/// Results go to `standard` (a descriptor) where the options name no file. Why it can't be done has been said.
[[nodiscard]] std::expected<Watch, Exit> begin_watch(const Options& options, int standard);

[[nodiscard]] Engine::Settings engine_settings(const Options& options, const KernelSettings& kernel, bool host_pids);

[[nodiscard]] Session::Settings session_settings(const Options& options, const KernelSettings& kernel, bool host_pids,
                                                 std::vector<std::string> limits);

/// The head of the stream: an id of the run, and whose machine this is.
[[nodiscard]] Started started(const Options& options);

}  // namespace closewatch

#endif
