// SPDX-License-Identifier: BSD-2-Clause
#include "host/tcp_look.hpp"

#include "host/machine.hpp"
#include "host/words.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace closewatch {
namespace {

constexpr std::array settings_of_ipv4{
    "tcp_abort_on_overflow", "tcp_ehash_entries",  // since 6.1; negative where it is shared with the first namespace
    "tcp_fin_timeout",       "tcp_keepalive_intvl", "tcp_keepalive_probes", "tcp_keepalive_time", "tcp_max_orphans",
    "tcp_max_syn_backlog",   "tcp_max_tw_buckets",  "tcp_orphan_retries",   "tcp_retries2",       "tcp_rfc1337",
    "tcp_syncookies",        "tcp_timestamps",      "tcp_tw_recycle",  // up to 4.11
    "tcp_tw_reuse",
    "tcp_tw_reuse_delay",  // since 6.14
};
constexpr std::array settings_of_core{"somaxconn"};
constexpr std::array settings_of_conntrack{
    "nf_conntrack_buckets",
    "nf_conntrack_count",
    "nf_conntrack_max",
    "nf_conntrack_tcp_loose",
    "nf_conntrack_tcp_timeout_close",
    "nf_conntrack_tcp_timeout_close_wait",
    "nf_conntrack_tcp_timeout_established",
    "nf_conntrack_tcp_timeout_fin_wait",
    "nf_conntrack_tcp_timeout_last_ack",
    "nf_conntrack_tcp_timeout_max_retrans",
    "nf_conntrack_tcp_timeout_time_wait",
    "nf_conntrack_tcp_timeout_unacknowledged",
};

constexpr std::string_view overflow = "TCPTimeWaitOverflow";
constexpr std::array counters_wanted{
    std::string_view{"EmbryonicRsts"},
    std::string_view{"ListenDrops"},
    std::string_view{"ListenOverflows"},
    std::string_view{"SyncookiesSent"},
    std::string_view{"TCPBacklogDrop"},
    std::string_view{"TCPChallengeACK"},
    std::string_view{"TCPKeepAlive"},
    std::string_view{"TCPMemoryPressures"},
    std::string_view{"TCPReqQFullDoCookies"},
    std::string_view{"TCPReqQFullDrop"},
    std::string_view{"TCPSYNChallenge"},
    std::string_view{"TCPTimeouts"},
    std::string_view{"TW"},
    std::string_view{"TWKilled"},
    std::string_view{"TWRecycled"},
    overflow,
};
constexpr std::array counter_families{std::string_view{"PAWS"}, std::string_view{"TCPACKSkipped"},
                                      std::string_view{"TCPAbort"}};

bool is_wanted(std::string_view name) {
  return std::find(counters_wanted.begin(), counters_wanted.end(), name) != counters_wanted.end() ||
         std::any_of(counter_families.begin(), counter_families.end(),
                     [&](std::string_view family) { return name.starts_with(family); });
}

/// A list of ports gives itself to the first read() alone and cuts off what that has no room for
/// (proc_do_large_bitmap()): every second port of 65536 in one go.
std::optional<std::string> read_at_once(const std::filesystem::path& path) {
  constexpr std::size_t longest = std::size_t{256} << 10;
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.is_open()) return std::nullopt;
  std::string text(longest, '\0');
  const ssize_t length = ::read(file.get(), text.data(), text.size());
  if (length < 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(length));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

template <typename Names>
void read_numbers(const std::filesystem::path& folder, const Names& names, Numbers& numbers) {
  for (const char* name : names) {
    const auto text = read_file(folder / name);
    const auto value = text ? whole_number<std::uint64_t>(*text) : std::nullopt;
    if (value) numbers[name] = *value;
  }
}

/// "32768\t60999"
std::optional<PortRange> port_range_in(std::string_view text) {
  const auto first = whole_number<std::uint16_t>(take_word(text));
  const auto last = whole_number<std::uint16_t>(take_word(text));
  if (!first || !last || *first > *last || !take_word(text).empty()) return std::nullopt;
  return PortRange{*first, *last};
}

/// /proc/net/netstat has two lines for each group: the names, then the values.
template <typename Take>
void each_counter(std::string_view text, const Take& take) {
  constexpr std::string_view group = "TcpExt:";
  std::string_view names;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_word(line) != group) continue;
    if (names.empty()) {
      names = line;
      continue;
    }
    for (std::string_view name = take_word(names); !name.empty(); name = take_word(names))
      if (const auto value = whole_number<std::uint64_t>(take_word(line))) take(name, *value);
    return;
  }
}

/// "TCP: inuse 5 orphan 0 tw 12 alloc 7 mem 1"
void read_sockstat(std::string_view text, Numbers& counters) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_word(line) != "TCP:") continue;
    for (std::string_view name = take_word(line); !name.empty(); name = take_word(line))
      if (const auto value = whole_number<std::uint64_t>(take_word(line)); value && name != "mem")
        counters[std::string{name}] = *value;
    return;
  }
}

std::filesystem::path of_this_namespace(const std::filesystem::path& root) { return root / "proc/thread-self/net"; }

Numbers read_counters(const std::filesystem::path& root) {
  Numbers counters;
  if (const auto text = read_file(of_this_namespace(root) / "netstat"))
    each_counter(*text, [&](std::string_view name, std::uint64_t value) {
      if (is_wanted(name)) counters[std::string{name}] = value;
    });
  if (const auto text = read_file(of_this_namespace(root) / "sockstat")) read_sockstat(*text, counters);
  return counters;
}

}  // namespace

std::vector<PortRange> parse_port_ranges(std::string_view text) {
  std::vector<PortRange> ranges;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const std::size_t dash = part.find('-');
    const auto first = whole_number<std::uint16_t>(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : whole_number<std::uint16_t>(part.substr(dash + 1));
    if (first && last && *first <= *last) ranges.push_back({*first, *last});
  }
  return ranges;
}

TcpLook look_at_tcp(const std::filesystem::path& root) {
  const std::filesystem::path settings = root / "proc/sys/net";
  TcpLook look;
  read_numbers(settings / "ipv4", settings_of_ipv4, look.settings.values);
  read_numbers(settings / "core", settings_of_core, look.settings.values);
  if (const auto text = read_file(settings / "ipv4/ip_local_port_range"))
    look.settings.port_range = port_range_in(*text);
  if (const auto text = read_at_once(settings / "ipv4/ip_local_reserved_ports"))
    look.settings.reserved_ports = parse_port_ranges(*text);
  look.counters = read_counters(root);
  read_numbers(settings / "netfilter", settings_of_conntrack, look.conntrack);
  return look;
}

std::optional<std::uint64_t> time_wait_overflows(const std::filesystem::path& root) {
  const auto text = read_file(of_this_namespace(root) / "netstat");
  std::optional<std::uint64_t> found;
  if (text)
    each_counter(*text, [&](std::string_view name, std::uint64_t value) {
      if (name == overflow) found = value;
    });
  return found;
}

}  // namespace closewatch
