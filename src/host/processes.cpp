// SPDX-License-Identifier: BSD-2-Clause
#include "host/processes.hpp"

#include "host/machine.hpp"
#include "host/words.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <system_error>

namespace closewatch {
namespace {

constexpr std::size_t container_id_digits = 64;
/// Every engine writes them small; a name of capitals is somebody's own.
constexpr std::string_view container_digits = "0123456789abcdef";
constexpr std::size_t container_name_digits = 12;
/// A command line can be two megabytes; it stands on every line about its process.
constexpr std::size_t command_line_limit = 4096;

std::optional<std::string> link_target(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  if (error) return std::nullopt;
  return target.string();
}

std::optional<std::string> command_line(const std::filesystem::path& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) return std::nullopt;
  std::string line(command_line_limit, '\0');
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<std::size_t>(file.gcount()));
  auto text = std::optional{std::move(line)};
  while (!text->empty() && text->back() == '\0') text->pop_back();
  std::replace(text->begin(), text->end(), '\0', ' ');
  return text;
}

}  // namespace

std::filesystem::path process_folder(const std::filesystem::path& root, std::uint32_t pid) {
  return root / "proc" / std::to_string(pid);
}

std::optional<ProcessStat> parse_stat(std::string_view text) {
  const std::size_t opening = text.find('(');
  const std::size_t bracket = text.rfind(')');
  if (opening == std::string_view::npos || bracket == std::string_view::npos || bracket < opening) return std::nullopt;
  ProcessStat stat;
  stat.comm = text.substr(opening + 1, bracket - opening - 1);
  text.remove_prefix(bracket + 1);
  // From here on: field 3 (state), 4 (parent), 14 and 15 (CPU time in user and kernel mode) … 22 (start time).
  constexpr std::size_t state_field = 3;
  constexpr std::size_t parent_field = 4;
  constexpr std::size_t user_time_field = 14;
  constexpr std::size_t kernel_time_field = 15;
  constexpr std::size_t start_field = 22;
  std::size_t field = 2;
  while (!text.empty()) {
    const std::size_t begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());
    ++field;
    if (field == state_field) {
      stat.state = word.front();
    } else if (field == parent_field) {
      const auto parent = whole_number<std::uint32_t>(word);
      if (!parent) return std::nullopt;
      stat.parent = *parent;
    } else if (field == user_time_field || field == kernel_time_field) {
      const auto used = whole_number<std::uint64_t>(word);
      if (!used) return std::nullopt;
      stat.cpu_ticks += *used;
    } else if (field == start_field) {
      const auto start = whole_number<std::uint64_t>(word);
      if (!start) return std::nullopt;
      stat.start_ticks = *start;
      return stat;
    }
  }
  return std::nullopt;
}

std::optional<ProcessStat> stat_of(const std::filesystem::path& root, std::uint32_t pid) {
  const auto text = read_file(process_folder(root, pid) / "stat");
  return text ? parse_stat(*text) : std::nullopt;
}

std::string_view status_field(std::string_view status, std::string_view key) {
  const std::string wanted = '\n' + std::string{key} + ":\t";
  const std::size_t at = status.find(wanted);
  if (at == std::string_view::npos) return {};
  status.remove_prefix(at + wanted.size());
  return status.substr(0, status.find('\n'));
}

std::optional<std::string> parse_cgroup(std::string_view text) {
  std::optional<std::string> unified;
  std::optional<std::string> systemd;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty())
      unified = std::string{line.substr(second + 1)};
    else if (controllers == "name=systemd")
      systemd = std::string{line.substr(second + 1)};
  }
  // On a hybrid machine everything may sit in the root of the unified tree.
  return unified && (*unified != "/" || !systemd) ? unified : systemd;
}

std::optional<std::string> container_of(std::string_view cgroup) {
  std::optional<std::string> found;
  for (std::size_t at = 0; at < cgroup.size();) {
    const std::size_t end = std::min(cgroup.find_first_not_of(container_digits, at), cgroup.size());
    if (end - at == container_id_digits) found = std::string{cgroup.substr(at, container_name_digits)};
    at = end + 1;
  }
  return found;
}

std::optional<ProcessTicks> process_now(const std::filesystem::path& root, std::uint32_t pid) {
  const auto stat = stat_of(root, pid);
  if (!stat) return std::nullopt;
  return ProcessTicks{pid, stat->start_ticks};
}

bool runs_still(const std::filesystem::path& root, const ProcessTicks& process) {
  const auto now = process_now(root, process.pid);
  return now && now->start_ticks == process.start_ticks;
}

std::optional<std::uint32_t> thread_group(const std::filesystem::path& root, std::uint32_t id) {
  const auto status = read_file(process_folder(root, id) / "status");
  return status ? whole_number<std::uint32_t>(status_field(*status, "Tgid")) : std::nullopt;
}

std::optional<ProcessDetails> describe(const std::filesystem::path& root, const ProcessTicks& process) {
  const std::filesystem::path at = process_folder(root, process.pid);
  ProcessDetails details;
  details.exe = link_target(at / "exe");
  details.cmdline = command_line(at / "cmdline");
  if (const auto text = read_file(at / "cgroup")) details.cgroup = parse_cgroup(*text);
  if (details.cgroup) details.container = container_of(*details.cgroup);
  // Asked last: if it is the same process now, all of the above was its own.
  if (!runs_still(root, process)) return std::nullopt;
  return details;
}

bool has_ended(const std::filesystem::path& root, const ProcessTicks& process) {
  if (const auto now = process_now(root, process.pid)) return now->start_ticks != process.start_ticks;
  return kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH;
}

std::optional<std::string> name_of_living(const std::filesystem::path& root, const ProcessTicks& process) {
  auto stat = stat_of(root, process.pid);
  const bool over = !stat || stat->start_ticks != process.start_ticks || stat->state == 'Z' || stat->state == 'X';
  if (over) return std::nullopt;
  return std::move(stat->comm);
}

std::vector<ProcessTicks> with_descendants(const std::filesystem::path& root,
                                           const std::vector<ProcessTicks>& processes) {
  std::map<std::uint32_t, std::pair<std::uint32_t, ProcessTicks>> parents;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{root / "proc", error}) {
    const auto pid = whole_number<std::uint32_t>(entry.path().filename().string());
    if (!pid) continue;
    const auto stat = stat_of(root, *pid);
    if (stat) parents[*pid] = {stat->parent, {*pid, stat->start_ticks}};
  }
  std::vector<ProcessTicks> found = processes;
  std::set<std::uint32_t> seen;
  for (const ProcessTicks& process : processes) seen.insert(process.pid);
  for (std::size_t at = 0; at < found.size(); ++at)
    for (const auto& [pid, known] : parents)
      if (known.first == found[at].pid && seen.insert(pid).second) found.push_back(known.second);
  return found;
}

}  // namespace closewatch
