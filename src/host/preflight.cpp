// SPDX-License-Identifier: BSD-2-Clause
#include "host/preflight.hpp"

#include "host/machine.hpp"
#include "host/processes.hpp"

#include <charconv>
#include <system_error>

namespace closewatch {
namespace {

constexpr KernelVersion walks_freely{5, 19};

void check_kernel(const std::filesystem::path& root, Preflight& found) {
  const std::string release = machine_names(root).kernel;
  const auto version = parse_kernel_version(release);
  if (version && *version < kernel_floor)
    found.refusals.push_back("this kernel is " + release + "; closewatch needs Linux " +
                             std::to_string(kernel_floor.major) + "." + std::to_string(kernel_floor.minor) +
                             " or later: boot a newer kernel (bookworm's is 6.1)");
  std::error_code error;
  if (!std::filesystem::exists(root / "sys/kernel/btf/vmlinux", error))
    found.refusals.emplace_back(
        "this kernel has no BTF (no /sys/kernel/btf/vmlinux): run one built with CONFIG_DEBUG_INFO_BTF=y, as every "
        "Debian kernel since bullseye is");
}

void check_capabilities(const std::filesystem::path& root, const Undertaking& what, Preflight& found) {
  const auto held = effective_capabilities(root);
  if (!held) {
    found.refusals.emplace_back("/proc/self/status cannot be read: mount /proc");
    return;
  }
  if (const std::string missing = missing_to_start(*held); !missing.empty())
    found.refusals.push_back("not permitted: it lacks " + missing +
                             ". Run it as root (sudo), or give the program's file the capabilities: " + setcap_line());
  found.limits = limits_of(*held, what);
  found.kept = kept_while_watching(*held, what);
}

}  // namespace

std::optional<KernelVersion> parse_kernel_version(std::string_view release) {
  KernelVersion version;
  const char* begin = release.data();
  const char* end = begin + release.size();
  auto [dot, error] = std::from_chars(begin, end, version.major);
  if (error != std::errc{} || dot == end || *dot != '.') return std::nullopt;
  if (std::from_chars(dot + 1, end, version.minor).ec != std::errc{}) return std::nullopt;
  return version;
}

std::optional<Capabilities> effective_capabilities(const std::filesystem::path& root) {
  const auto status = read_file(root / "proc/self/status");
  if (!status) return std::nullopt;
  const std::string_view text = status_field(*status, "CapEff");
  std::uint64_t bits = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), bits, 16).ec != std::errc{}) return std::nullopt;
  return bits;
}

bool has_capability(const std::filesystem::path& root, unsigned bit) {
  const auto bits = effective_capabilities(root);
  return bits && (*bits >> bit & 1U) != 0;
}

std::optional<Lockdown> read_lockdown(const std::filesystem::path& root) {
  const auto text = read_file(root / "sys/kernel/security/lockdown");
  if (!text) return std::nullopt;
  if (text->find("[confidentiality]") != std::string::npos) return Lockdown::confidentiality;
  if (text->find("[integrity]") != std::string::npos) return Lockdown::integrity;
  return Lockdown::none;
}

bool walks_take_bpf(const std::filesystem::path& root) {
  const auto version = parse_kernel_version(machine_names(root).kernel);
  return version && *version < walks_freely;
}

Preflight preflight(const std::filesystem::path& root, Undertaking what) {
  Preflight found;
  check_kernel(root, found);
  what.old_kernel = walks_take_bpf(root);
  check_capabilities(root, what, found);
  return found;
}

}  // namespace closewatch
