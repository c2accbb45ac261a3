// SPDX-License-Identifier: BSD-2-Clause
#include "host/memory_map.hpp"

#include "host/processes.hpp"
#include "host/words.hpp"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>

namespace closewatch {
namespace {

/// A process may have 65530 mappings by default (vm.max_map_count) and name each of them in 4096 bytes.
constexpr std::size_t text_limit = std::size_t{8} << 20;

/// Takes a number and the one character after it off the front.
template <typename Number>
bool take(std::string_view& text, Number& value, int base, char after) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end == text.data() + text.size() || *end != after) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

/// The kernel writes a line break as \012 and leaves everything else as it is, backslashes too (show_map_vma).
std::string with_line_breaks(std::string_view text) {
  constexpr std::string_view escaped = "\\012";
  std::string out;
  for (std::size_t at = text.find(escaped); at != std::string_view::npos; at = text.find(escaped)) {
    out.append(text.substr(0, at)) += '\n';
    text.remove_prefix(at + escaped.size());
  }
  return out.append(text);
}

// START-END rwxp OFFSET MAJOR:MINOR INODE      NAME
std::optional<Mapping> mapping_in(std::string_view line) {
  constexpr std::size_t permissions_length = 4;
  Mapping mapping;
  unsigned device_major = 0;
  unsigned device_minor = 0;
  if (!take(line, mapping.start, 16, '-') || !take(line, mapping.end, 16, ' ')) return std::nullopt;
  if (mapping.start >= mapping.end || line.size() <= permissions_length) return std::nullopt;
  if (line[2] != 'x' || line[permissions_length] != ' ') return std::nullopt;
  line.remove_prefix(permissions_length + 1);
  if (!take(line, mapping.offset, 16, ' ') || !take(line, device_major, 16, ':') || !take(line, device_minor, 16, ' '))
    return std::nullopt;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), mapping.inode);
  if (error != std::errc{}) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  if (!line.empty() && line.front() != ' ') return std::nullopt;
  mapping.device = makedev(device_major, device_minor);
  mapping.name = with_line_breaks(line.substr(std::min(line.size(), line.find_first_not_of(' '))));
  return mapping;
}

std::optional<std::string> text_of(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"), std::fclose};
  if (!file) return std::nullopt;
  std::string text;
  // The kernel gives a page of it at a time: a small buffer is no slower, and most texts are small.
  std::string piece(std::size_t{16} << 10, '\0');
  while (const std::size_t length = std::fread(piece.data(), 1, piece.size(), file.get())) {
    text.append(piece, 0, length);
    if (text.size() >= text_limit) break;
  }
  return std::ferror(file.get()) != 0 ? std::nullopt : std::optional{std::move(text)};
}

}  // namespace

std::vector<Mapping> parse_maps(std::string_view text) {
  std::vector<Mapping> mappings;
  while (!text.empty()) {
    if (auto mapping = mapping_in(take_line(text))) mappings.push_back(std::move(*mapping));
  }
  std::sort(mappings.begin(), mappings.end(),
            [](const Mapping& left, const Mapping& right) { return left.start < right.start; });
  return mappings;
}

const Mapping* mapping_of(const std::vector<Mapping>& mappings, std::uint64_t address) {
  auto after = std::upper_bound(mappings.begin(), mappings.end(), address,
                                [](std::uint64_t wanted, const Mapping& mapping) { return wanted < mapping.start; });
  if (after == mappings.begin()) return nullptr;
  --after;
  return address < after->end ? &*after : nullptr;
}

std::optional<std::vector<Mapping>> executable_mappings(const std::filesystem::path& root,
                                                        const ProcessTicks& process) {
  const auto text = text_of(process_folder(root, process.pid) / "maps");
  if (!text) return std::nullopt;
  // Asked last: if it is the same process now, the text was its own.
  if (!runs_still(root, process)) return std::nullopt;
  return parse_maps(*text);
}

}  // namespace closewatch
