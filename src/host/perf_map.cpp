// SPDX-License-Identifier: BSD-2-Clause
#include "host/perf_map.hpp"

#include "host/machine.hpp"
#include "host/process_files.hpp"
#include "host/processes.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace closewatch {
namespace {

constexpr std::uint64_t file_limit = std::uint64_t{64} << 20;
/// No more of a line is looked at; a name is cut there.
constexpr std::size_t line_limit = 1024;

/// Of /proc/PID/status.
struct StatusWords {
  std::string own_pid;  ///< as the process itself sees it: `NSpid:` has the pid in each namespace, the innermost last
  std::optional<std::uint32_t> effective_uid;
};

StatusWords status_words(const std::filesystem::path& root, std::uint32_t pid) {
  StatusWords words{.own_pid = std::to_string(pid), .effective_uid = std::nullopt};
  const auto text = read_file(process_folder(root, pid) / "status");
  if (!text) return words;
  const std::string_view pids = status_field(*text, "NSpid");
  if (!pids.empty()) words.own_pid = pids.substr(pids.rfind('\t') + 1);
  // real, effective, saved, of the file system
  const std::string_view uids = status_field(*text, "Uid");
  if (const std::size_t tab = uids.find('\t'); tab != std::string_view::npos) {
    std::uint32_t uid = 0;
    if (std::from_chars(uids.data() + tab + 1, uids.data() + uids.size(), uid).ec == std::errc{})
      words.effective_uid = uid;
  }
  return words;
}

bool take_hexadecimal(std::string_view& line, std::uint64_t& value) {
  if (line.starts_with("0x")) line.remove_prefix(2);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, 16);
  if (error != std::errc{} || end == line.data() + line.size() || *end != ' ') return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()) + 1);
  return true;
}

FileStamp stamp_of(const struct stat& status) {
  return {.inode = status.st_ino,
          .size = static_cast<std::uint64_t>(status.st_size),
          .changed_ns = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                        static_cast<std::uint64_t>(status.st_mtim.tv_nsec)};
}

void read_all(int fd, PerfMapReader& reader) {
  std::string piece(std::size_t{256} << 10, '\0');
  for (std::uint64_t done = 0; done < file_limit;) {
    const ssize_t length = ::read(fd, piece.data(), piece.size());
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return;
    reader.read(std::string_view{piece}.substr(0, static_cast<std::size_t>(length)));
    done += static_cast<std::uint64_t>(length);
  }
}

}  // namespace

PerfMapReader::PerfMapReader(const std::vector<std::uint64_t>& addresses) : names_(addresses.size()) {
  for (const std::uint64_t address : addresses) wanted_.push_back({address, wanted_.size()});
  std::sort(wanted_.begin(), wanted_.end(),
            [](const Wanted& left, const Wanted& right) { return left.address < right.address; });
}

void PerfMapReader::read(std::string_view piece) {
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    if (end != std::string_view::npos && unfinished_.empty()) {
      take(part);
    } else {
      unfinished_.append(part.substr(0, line_limit - unfinished_.size()));
      if (end == std::string_view::npos) return;
      take(unfinished_);
      unfinished_.clear();
    }
    piece.remove_prefix(end + 1);
  }
}

std::vector<std::string> PerfMapReader::names() && {
  if (!unfinished_.empty()) take(unfinished_);
  return std::move(names_);
}

void PerfMapReader::take(std::string_view line) {
  line = line.substr(0, line_limit);
  std::uint64_t start = 0;
  std::uint64_t size = 0;
  if (!take_hexadecimal(line, start) || !take_hexadecimal(line, size) || line.empty()) return;
  auto at = std::lower_bound(wanted_.begin(), wanted_.end(), start,
                             [](const Wanted& wanted, std::uint64_t value) { return wanted.address < value; });
  for (; at != wanted_.end() && at->address - start < size; ++at) names_[at->place] = line;
}

std::optional<PerfMapNames> look_up_perf_map(const std::filesystem::path& root, std::uint32_t pid,
                                             const std::vector<std::uint64_t>& addresses,
                                             const std::optional<FileStamp>& known) {
  const StatusWords words = status_words(root, pid);
  const auto map = open_within(root, pid, "/tmp/perf-" + words.own_pid + ".map");
  if (!map || (map->status.st_uid != 0 && map->status.st_uid != words.effective_uid)) return std::nullopt;
  const FileStamp stamp = stamp_of(map->status);
  if (stamp == known) return std::nullopt;
  PerfMapReader reader{addresses};
  read_all(map->file.get(), reader);
  return PerfMapNames{.stamp = stamp, .names = std::move(reader).names()};
}

}  // namespace closewatch
