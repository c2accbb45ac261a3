// SPDX-License-Identifier: BSD-2-Clause
#include "host/sysctl_files.hpp"

#include "host/machine.hpp"
#include "host/words.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <system_error>

namespace closewatch {
namespace {

constexpr std::array folders{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d",
                             "lib/sysctl.d"};
constexpr std::array prefixes{"net.ipv4.", "net.core.", "net.netfilter."};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(blanks)));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

/// Which of dot and slash comes first parts the names; the other is then part of one (net.ipv4.conf.eth0/100.x).
std::string with_dots(std::string_view name) {
  if (name.starts_with('/')) name.remove_prefix(1);
  std::string out{name};
  if (const std::size_t first = out.find_first_of("./"); first == std::string::npos || out[first] == '.') return out;
  for (char& character : out) {
    if (character == '/')
      character = '.';
    else if (character == '.')
      character = '/';
  }
  return out;
}

bool is_of_tcp(std::string_view name) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const char* prefix) { return name.starts_with(prefix); });
}

/// By the name of the file: a file of a name that was there before is not looked at, nor is one that is masked by a
/// link to /dev/null.
std::map<std::string, std::string> files_in_force(const std::filesystem::path& root) {
  std::map<std::string, std::string> files;
  for (const char* folder : folders) {
    std::error_code error;
    for (std::filesystem::directory_iterator at{root / folder, error}, end; !error && at != end; at.increment(error)) {
      const std::filesystem::path name = at->path().filename();
      if (name.extension() == ".conf") files.emplace(name.string(), (std::filesystem::path{folder} / name).string());
    }
  }
  return files;
}

using Lines = std::map<std::string, SysctlLine, std::less<>>;

void add_file(const std::filesystem::path& root, const std::string& file, Lines& lines) {
  std::error_code error;
  // Reading a pipe that somebody put there would wait.
  if (!std::filesystem::is_regular_file(root / file, error)) return;
  const auto text = read_file(root / file);
  if (!text) return;
  for (SysctlLine& line : parse_sysctl_file(*text, '/' + file))
    if (is_of_tcp(line.name)) lines.insert_or_assign(line.name, std::move(line));
}

}  // namespace

std::vector<SysctlLine> parse_sysctl_file(std::string_view text, std::string_view file) {
  std::vector<SysctlLine> lines;
  while (!text.empty()) {
    std::string_view line = trimmed(take_line(text));
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '-') line.remove_prefix(1);  // a failure is to be ignored
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    std::string name = with_dots(trimmed(line.substr(0, equals)));
    if (name.empty() || name.find_first_of("*?[") != std::string::npos) continue;
    lines.push_back({std::string{file}, std::move(name), std::string{trimmed(line.substr(equals + 1))}});
  }
  return lines;
}

std::vector<SysctlLine> configured_sysctls(const std::filesystem::path& root) {
  Lines lines;
  for (const auto& [name, file] : files_in_force(root)) add_file(root, file, lines);
  add_file(root, "etc/sysctl.conf", lines);
  std::vector<SysctlLine> found;
  found.reserve(lines.size());
  for (auto& [name, line] : lines) found.push_back(std::move(line));
  return found;
}

}  // namespace closewatch
