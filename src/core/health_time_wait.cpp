// SPDX-License-Identifier: BSD-2-Clause
#include "health_remarks.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace closewatch {
namespace {

using Severity = HostFinding::Severity;

constexpr std::uint64_t usual_fin_timeout = 60;
/// Segments out of order raise these counters on any machine, now and then.
constexpr std::uint64_t paws_worth_telling = 100;

std::string set_by(const std::vector<SysctlLine>& configured, std::string_view name, std::uint64_t value) {
  const SysctlLine* line = line_of(configured, name);
  if (line == nullptr || value_of(*line) != value) return {};
  return ", set in " + line->file;
}

void remark_overflow(const NamespaceHealth& where, Remarks& remarks) {
  const Counted times = counted(where, {"TCPTimeWaitOverflow"});
  if (times.since_made == 0) return;
  const auto room = number(where.now.settings.values, "tcp_max_tw_buckets");
  Remark remark;
  remark.id = "tw_overflow";
  remark.severity = times.risen != 0 ? Severity::critical : Severity::warning;
  remark.netns = where.netns;
  remark.what = times_text(times, "connection", where.watched_ns) + " found the table of TIME_WAIT full" +
                (room ? " (tcp_max_tw_buckets " + std::to_string(*room) + ")" : "");
  remark.meaning =
      "they ended without TIME_WAIT, so that late segments may reach the next connection between the same ends, and a "
      "FIN that the peer repeats is answered with a reset";
  remark.remedy =
      "Raise net.ipv4.tcp_max_tw_buckets: a bucket takes a quarter of a KiB, and the kernel's own default goes up to "
      "262144.";
  remark.avoid = "Lowering tcp_max_tw_buckets against TIME_WAIT is what makes this happen.";
  remarks.push_back(std::move(remark));
}

/// By default it is half the size of the hash table of connections, a power of two of one bucket for 128 KiB of memory
/// (tcp_init(), tcp_sk_init()): another number was set, and a large one does no harm.
bool is_set_low(const NamespaceHealth& where, std::uint64_t buckets) {
  constexpr std::uint64_t ample = 32'768;
  if (const auto entries = number(where.now.settings.values, "tcp_ehash_entries"); entries && *entries >= 2)
    return buckets < *entries / 2 && buckets < ample;
  return buckets < ample && !std::has_single_bit(buckets);
}

/// Orphans in FIN_WAIT2 live in buckets too: what the kernel holds against the limit is `tw` of /proc/net/sockstat.
std::uint64_t buckets_in_use(const NamespaceHealth& where) {
  return std::max(number(where.now.counters, "tw").value_or(0), where.time_wait);
}

constexpr const char* buckets_meaning =
    "beyond it connections end without the 60 s of TIME_WAIT that keep their late segments from the next connection "
    "between the same ends";
constexpr const char* buckets_remedy =
    "Take the setting out: the kernel's default is derived from memory (half the size of its connection table, up to "
    "262144), and a bucket takes a quarter of a KiB.";
constexpr const char* buckets_avoid =
    "tcp_max_tw_buckets=5000, and any low value, saves next to nothing and breaks the protocol; many sockets in "
    "TIME_WAIT are no fault by themselves.";

void remark_buckets(const NamespaceHealth& where, const std::vector<SysctlLine>& configured, Remarks& remarks) {
  const auto buckets = number(where.now.settings.values, "tcp_max_tw_buckets");
  if (!buckets) return;
  const std::uint64_t used = buckets_in_use(where);
  const bool is_near = used * 5 >= *buckets * 4 && used != 0;
  if (!is_near && !is_set_low(where, *buckets)) return;
  Remark remark;
  remark.id = "tw_buckets_low";
  remark.severity = is_near ? Severity::warning : Severity::info;
  remark.netns = where.netns;
  remark.what = "tcp_max_tw_buckets is " + std::to_string(*buckets) +
                set_by(configured, "tcp_max_tw_buckets", *buckets) + ", and " + std::to_string(used) +
                (used == 1 ? " is" : " are") + " in use";
  remark.meaning = buckets_meaning;
  remark.remedy = is_set_low(where, *buckets) ? buckets_remedy
                                              : "Raise net.ipv4.tcp_max_tw_buckets; a bucket takes a quarter of a KiB.";
  remark.avoid = buckets_avoid;
  remarks.push_back(std::move(remark));
}

constexpr const char* fin_timeout_meaning =
    "it bounds how long a closed socket waits in FIN_WAIT2 for its peer's FIN, and has nothing to do with TIME_WAIT, "
    "which is 60 s and compiled in";
constexpr const char* fin_timeout_remedy =
    "Set it back to 60 unless orphans in FIN_WAIT2 are the trouble; against TIME_WAIT reuse connections, or let the "
    "other side close first.";
constexpr const char* fin_timeout_avoid =
    "Lowering it against TIME_WAIT: no bucket goes sooner, and a peer that closes late is answered with a reset.";

void remark_fin_timeout(const NamespaceHealth& where, const std::vector<SysctlLine>& configured, Remarks& remarks) {
  const std::uint64_t timeout = setting(where, "tcp_fin_timeout", usual_fin_timeout);
  if (timeout >= usual_fin_timeout) return;
  remarks.push_back({"fin_timeout_lowered", Severity::info, where.netns,
                     "tcp_fin_timeout is " + std::to_string(timeout) + " s (60 by default)" +
                         set_by(configured, "tcp_fin_timeout", timeout),
                     fin_timeout_meaning, fin_timeout_remedy, fin_timeout_avoid});
}

void remark_reuse(const NamespaceHealth& where, Remarks& remarks) {
  const bool everywhere = setting(where, "tcp_tw_reuse", 0) == 1;
  const bool timestamps = setting(where, "tcp_timestamps", 1) != 0;
  if (everywhere && timestamps)
    remarks.push_back(
        {"tw_reuse_everywhere", Severity::info, where.netns, "tcp_tw_reuse is 1",
         "connect() may take a port out of TIME_WAIT on every interface, where both ends use timestamps, which helps "
         "the connecting side only, while a server's TIME_WAIT stays as it is",
         "Keep it only where this machine runs out of ports as a client; since Linux 4.19 the default is 2, loopback "
         "alone.",
         "It is no cure for a server that closes first, nor is tcp_tw_recycle, which is gone since Linux 4.12."});
  if (!timestamps)
    remarks.push_back(
        {"timestamps_off", everywhere ? Severity::warning : Severity::info, where.netns,
         std::string{"tcp_timestamps is 0"} + (everywhere ? " while tcp_tw_reuse is 1" : ""),
         "connect() can't take a port out of TIME_WAIT (tcp_tw_reuse has no effect), and nothing tells old segments "
         "from new ones once sequence numbers wrap (PAWS)",
         "Set net.ipv4.tcp_timestamps back to 1, the default.",
         "Turning timestamps off to hide the uptime: since Linux 4.10 each connection has an offset of its own."});
}

void remark_rfc1337(const NamespaceHealth& where, Remarks& remarks) {
  if (setting(where, "tcp_rfc1337", 0) == 0) return;
  remarks.push_back({"rfc1337", Severity::info, where.netns, "tcp_rfc1337 is 1",
                     "a reset does not end a TIME_WAIT here, as RFC 1337 advises, so that every bucket stays its 60 s",
                     "Nothing has to be done; 0, the default, lets a peer's reset free a port sooner.", ""});
}

void remark_paws(const NamespaceHealth& where, Remarks& remarks) {
  constexpr std::array names{"PAWSActive", "PAWSEstab", "PAWSTimewait", "TCPACKSkippedPAWS", "TCPACKSkippedTimeWait"};
  Counted sum;
  std::string parts;
  for (const char* name : names) {
    const Counted one = counted(where, {name});
    sum.since_made += one.since_made;
    sum.risen += one.risen;
    if (one.since_made != 0) parts += (parts.empty() ? "" : ", ") + std::string{name};
  }
  if (sum.risen == 0 && sum.since_made < paws_worth_telling) return;
  remarks.push_back(
      {"paws_rejects", sum.risen != 0 ? Severity::warning : Severity::info, where.netns,
       times_text(sum, "segment", where.watched_ns) + " refused for an old timestamp or sequence number (" + parts +
           ")",
       "so it looks where several machines share an address behind NAT or a load balancer, and a port of theirs comes "
       "back within 60 s, while its last connection is in TIME_WAIT here",
       "Let what stands in front keep a port for 60 s or longer before it gives it away again, use more addresses, or "
       "reuse connections.",
       "Turning tcp_timestamps off hides it and gives PAWS up; tcp_tw_recycle, which is gone since Linux 4.12, made it "
       "worse."});
}

void remark_recycle(const MachineHealth& machine, Remarks& remarks) {
  const auto live = std::find_if(machine.namespaces.begin(), machine.namespaces.end(),
                                 [](const NamespaceHealth& where) { return setting(where, "tcp_tw_recycle", 0) != 0; });
  const SysctlLine* line = line_of(machine.configured, "tcp_tw_recycle");
  if (live == machine.namespaces.end() && (line == nullptr || value_of(*line).value_or(0) == 0)) return;
  Remark remark;
  remark.id = "tw_recycle_configured";
  remark.what = line != nullptr ? line->file + " sets " + line->name + "=" + line->value : "tcp_tw_recycle is on";
  remark.avoid = "There is nothing to put in its place: a server's TIME_WAIT costs memory only, and little of it.";
  if (live == machine.namespaces.end()) {
    remark.severity = Severity::warning;
    remark.meaning =
        "the setting is gone since Linux 4.12, so that the line does nothing here, and on an older kernel it refuses "
        "clients behind NAT";
    remark.remedy = "Delete the line.";
  } else {
    remark.severity = Severity::critical;
    remark.netns = live->netns;
    remark.meaning = "on this kernel connections of clients behind NAT and load balancers are refused at random";
    remark.remedy = "Set net.ipv4.tcp_tw_recycle=0 and delete the line that sets it.";
  }
  remarks.push_back(std::move(remark));
}

/// Does a namespace have the value of the line? Then the remark on it has named the file already.
bool is_in_force(const MachineHealth& machine, std::string_view name, std::uint64_t value) {
  return std::any_of(machine.namespaces.begin(), machine.namespaces.end(),
                     [&](const NamespaceHealth& where) { return number(where.now.settings.values, name) == value; });
}

void remark_line(const MachineHealth& machine, const Remark& remark, std::string_view name, std::uint64_t below,
                 Remarks& remarks) {
  const SysctlLine* line = line_of(machine.configured, name);
  const auto value = line == nullptr ? std::nullopt : value_of(*line);
  if (!value || *value >= below || is_in_force(machine, name, *value)) return;
  remarks.push_back(remark);
  remarks.back().what = line->file + " sets " + line->name + "=" + line->value + ", which is not in force now";
}

}  // namespace

void remark_time_wait(const NamespaceHealth& where, const std::vector<SysctlLine>& configured, Remarks& remarks) {
  remark_overflow(where, remarks);
  remark_buckets(where, configured, remarks);
  remark_fin_timeout(where, configured, remarks);
  remark_reuse(where, remarks);
  remark_paws(where, remarks);
  remark_rfc1337(where, remarks);
}

void remark_configured(const MachineHealth& machine, Remarks& remarks) {
  constexpr std::uint64_t low_buckets = 10'000;
  remark_recycle(machine, remarks);
  remark_line(machine, {"tw_buckets_low", Severity::info, 0, "", buckets_meaning, buckets_remedy, buckets_avoid},
              "tcp_max_tw_buckets", low_buckets, remarks);
  remark_line(
      machine,
      {"fin_timeout_lowered", Severity::info, 0, "", fin_timeout_meaning, fin_timeout_remedy, fin_timeout_avoid},
      "tcp_fin_timeout", usual_fin_timeout, remarks);
}

}  // namespace closewatch
