// SPDX-License-Identifier: BSD-2-Clause
#include "health_remarks.hpp"

#include <algorithm>
#include <array>

namespace closewatch {
namespace {

using Severity = HostFinding::Severity;

// -- connections that their processes have closed

constexpr const char* orphans_meaning =
    "beyond tcp_max_orphans or tcp_mem the kernel ends a connection that its process has closed with a reset, and what "
    "was still to be sent is lost";
constexpr const char* orphans_remedy =
    "Look for peers that do not read or answer (FIN_WAIT1, LAST_ACK and CLOSING in the report), and raise "
    "net.ipv4.tcp_max_orphans where there is memory for it: up to 64 KiB an orphan.";
constexpr const char* orphans_avoid =
    "A low tcp_orphan_retries or tcp_fin_timeout ends orphans sooner by losing what they had to send.";

/// Their number and its limit are of the whole machine, and only the initial namespace shows the limit
/// (tcp_orphan_count, sysctl_tcp_max_orphans).
void remark_orphan_count(const MachineHealth& machine, Remarks& remarks) {
  for (const NamespaceHealth& where : machine.namespaces) {
    const auto most = number(where.now.settings.values, "tcp_max_orphans");
    const auto orphans = number(where.now.counters, "orphan");
    if (!most || !orphans || *most == 0) continue;
    if (*orphans * 2 >= *most)
      remarks.push_back(
          {"orphans", *orphans >= *most ? Severity::critical : Severity::warning, 0,
           count_text(*orphans, "orphaned connection") + " of at most " + std::to_string(*most) + " (tcp_max_orphans)",
           orphans_meaning, orphans_remedy, orphans_avoid});
    return;
  }
}

void remark_aborts_on_memory(const NamespaceHealth& where, Remarks& remarks) {
  const Counted times = counted(where, {"TCPAbortOnMemory"});
  if (times.since_made == 0) return;
  remarks.push_back(
      {"orphans", times.risen != 0 ? Severity::critical : Severity::warning, where.netns,
       times_text(times, "connection", where.watched_ns) + " reset for want of room or memory (TCPAbortOnMemory)",
       orphans_meaning, orphans_remedy, orphans_avoid});
}

/// SO_LINGER 0 (tcp_close()) and data for an orphan (tcp_rcv_state_process()) share a counter.
void remark_linger(const NamespaceHealth& where, Remarks& remarks) {
  constexpr std::uint64_t worth_telling = 10;
  constexpr std::uint64_t of_all = 100;  // one in so many that ended in TIME_WAIT
  const Counted times = counted(where, {"TCPAbortOnData"});
  const std::uint64_t orderly = counted(where, {"TW"}).since_made;
  const bool many = times.since_made >= worth_telling && times.since_made * of_all >= orderly;
  if (times.risen == 0 && !many) return;
  remarks.push_back(
      {"linger0", times.risen >= worth_telling ? Severity::warning : Severity::info, where.netns,
       times_text(times, "connection", where.watched_ns) +
           " reset by this side, by SO_LINGER 0 or since data came for a closed socket (TCPAbortOnData)",
       "what was not yet sent and acknowledged is lost, and the peer's read fails with ECONNRESET",
       "Close in order: shutdown(SHUT_WR), read to the end, close(); the report names who resets (rst_linger0, "
       "rst_late_data).",
       "SO_LINGER 0 to be rid of TIME_WAIT: it loses data, and TIME_WAIT protects the next connection."});
}

/// That the settings were changed is what shows that somebody hopes for it.
void remark_keepalive(const NamespaceHealth& where, Remarks& remarks) {
  struct Default {
    const char* name;
    std::uint64_t value;
  };
  constexpr std::array defaults{Default{"tcp_keepalive_time", 7200}, Default{"tcp_keepalive_intvl", 75},
                                Default{"tcp_keepalive_probes", 9}};
  if (where.close_wait == 0) return;
  std::vector<std::string> changed;
  for (const Default& one : defaults)
    if (const std::uint64_t value = setting(where, one.name, one.value); value != one.value)
      changed.push_back(std::string{one.name} + " " + std::to_string(value));
  if (changed.empty()) return;
  remarks.push_back(
      {"keepalive", Severity::info, where.netns,
       list_text(changed, changed.size()) + " with " + count_text(where.close_wait, "socket") + " in CLOSE_WAIT",
       "keepalive does not cure CLOSE_WAIT, since a living peer answers the probes, and where the peer resets, the "
       "descriptor stays open all the same",
       "Find the program that does not call close() (closewatch report) and mend it there.",
       "No sysctl ends CLOSE_WAIT."});
}

// -- connections that are not accepted

void remark_listen_overflow(const NamespaceHealth& where, Remarks& remarks) {
  const Counted overflows = counted(where, {"ListenOverflows"});
  const Counted drops = counted(where, {"ListenDrops"});  // these among them
  if (drops.since_made == 0 && overflows.since_made == 0) return;
  const bool is_full = overflows.since_made != 0 && (overflows.risen != 0 || drops.risen == 0);
  const Counted& times = is_full ? overflows : drops;
  remarks.push_back(
      {"listen_overflow", times.risen != 0 ? Severity::critical : Severity::info, where.netns,
       times_text(times, is_full ? "connection" : "request", where.watched_ns) +
           (is_full ? " found the accept queue of the listener full (ListenOverflows)"
                    : " dropped by listeners (ListenDrops)"),
       "the client tries again after a second or more, or believes itself connected, since the program is slow in "
       "accept() or its backlog is short",
       "Let nothing hold up the loop that calls accept(); raise the backlog of listen() together with "
       "net.core.somaxconn (" +
           std::to_string(setting(where, "somaxconn", 4096)) +
           " now), which caps it. ss -ltn shows a queue (Recv-Q) and its limit (Send-Q).",
       "tcp_abort_on_overflow turns a delay into an error, and a longer queue does not help a program that never "
       "accepts."});
}

void remark_syncookies(const NamespaceHealth& where, Remarks& remarks) {
  if (setting(where, "tcp_syncookies", 1) != 0) return;
  remarks.push_back({"syncookies_off", Severity::warning, where.netns,
                     "tcp_syncookies is 0" + (setting(where, "tcp_max_syn_backlog", 0) == 0
                                                  ? ""
                                                  : " with tcp_max_syn_backlog " +
                                                        std::to_string(setting(where, "tcp_max_syn_backlog", 0))),
                     "once a listener's half-open connections are at their limit, new clients are not answered",
                     "Set net.ipv4.tcp_syncookies back to 1, the default: cookies are sent only when it is needed.",
                     "2 sends them always, which is meant for tests."});
}

void remark_abort_on_overflow(const NamespaceHealth& where, Remarks& remarks) {
  if (setting(where, "tcp_abort_on_overflow", 0) == 0) return;
  remarks.push_back({"abort_on_overflow", Severity::warning, where.netns, "tcp_abort_on_overflow is 1",
                     "a client that finds the accept queue full is reset at once, where it would have got through on "
                     "its next try",
                     "Set net.ipv4.tcp_abort_on_overflow back to 0, and mend what holds up accept().", ""});
}

// -- connection tracking

void remark_fill(const NamespaceHealth& where, Remarks& remarks) {
  constexpr std::uint64_t warning_percent = 75;
  constexpr std::uint64_t critical_percent = 90;
  const auto count = number(where.now.conntrack, "nf_conntrack_count");
  const auto most = number(where.now.conntrack, "nf_conntrack_max");
  if (!count || !most || *most == 0 || *count * 100 < *most * warning_percent) return;
  const auto kept = number(where.now.conntrack, "nf_conntrack_tcp_timeout_time_wait");
  remarks.push_back(
      {"conntrack_full", *count * 100 >= *most * critical_percent ? Severity::critical : Severity::warning, where.netns,
       "connection tracking has " + std::to_string(*count) + " of at most " + std::to_string(*most) +
           " entries (nf_conntrack_max)",
       "when it is full, packets of new connections are dropped",
       "Raise net.netfilter.nf_conntrack_max (an entry takes about 300 bytes), leave out what need not be tracked "
       "(notrack), or shorten its own timeouts of closed connections" +
           (kept ? " (nf_conntrack_tcp_timeout_time_wait " + std::to_string(*kept) + " s)." : "."),
       "Settings of TCP (tcp_fin_timeout, tcp_tw_reuse) do not change how long connection tracking keeps an entry."});
}

/// RFC 9293 lets CLOSE_WAIT last as long as the program likes; its entry goes after a minute by default. The settings
/// are there in every namespace once the module is loaded: without an entry nothing is tracked in this one.
void remark_close_wait_timeout(const NamespaceHealth& where, Remarks& remarks) {
  constexpr std::uint64_t long_enough = 3600;
  const auto timeout = number(where.now.conntrack, "nf_conntrack_tcp_timeout_close_wait");
  const bool tracks = number(where.now.conntrack, "nf_conntrack_count") != 0;
  if (!timeout || *timeout >= long_enough || where.close_wait == 0 || !tracks) return;
  remarks.push_back(
      {"conntrack_close_wait", Severity::info, where.netns,
       "connection tracking forgets a connection in CLOSE_WAIT after " + span_text(static_cast<double>(*timeout)) +
           ", and there " + (where.close_wait == 1 ? "is " : "are ") + count_text(where.close_wait, "socket") +
           " in it",
       "what such a socket sends later may be dropped as invalid or lose its translated address (NAT), and its FIN "
       "with it",
       "Close these sockets (closewatch report says who holds them); where long half-closed connections are meant, "
       "raise net.netfilter.nf_conntrack_tcp_timeout_close_wait.",
       "A shorter timeout there frees no socket: CLOSE_WAIT ends by close() alone."});
}

}  // namespace

void remark_orphans(const MachineHealth& machine, Remarks& remarks) {
  remark_orphan_count(machine, remarks);
  for (const NamespaceHealth& where : machine.namespaces) remark_aborts_on_memory(where, remarks);
}

void remark_listeners(const NamespaceHealth& where, Remarks& remarks) {
  remark_listen_overflow(where, remarks);
  remark_syncookies(where, remarks);
  remark_abort_on_overflow(where, remarks);
}

void remark_closing(const NamespaceHealth& where, Remarks& remarks) {
  remark_linger(where, remarks);
  remark_keepalive(where, remarks);
}

void remark_conntrack(const NamespaceHealth& where, Remarks& remarks) {
  remark_fill(where, remarks);
  remark_close_wait_timeout(where, remarks);
}

}  // namespace closewatch
