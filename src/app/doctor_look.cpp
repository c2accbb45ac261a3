// SPDX-License-Identifier: BSD-2-Clause
#include "app/doctor_look.hpp"

#include "app/messages.hpp"
#include "host/tcp_look.hpp"
#include "host/tcp_table.hpp"

#include <closewatch/core/ports.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace closewatch {
namespace {

/// A machine that connects to everybody has as many routes as peers; those that matter come first.
constexpr std::size_t routes_at_most = 100;

/// Puts together what one namespace has.
class NamespaceLook {
 public:
  NamespaceLook(std::uint32_t netns, TcpLook look) {
    report_.health.netns = netns;
    ports_.set(netns, look.settings);
    report_.health.now = std::move(look);
  }
  void add(const TcpSocket& socket);
  [[nodiscard]] NamespaceReport finish();

 private:
  void settle(const TcpSocket& socket);
  void wait(const TcpSocket& socket);

  NamespaceReport report_;
  Ports ports_;
  std::vector<TcpSocket> sockets_;  ///< whose sides are known once all listeners are
  std::set<std::uint16_t> listening_;
  std::map<std::uint16_t, HeldPort> held_;
};

void NamespaceLook::add(const TcpSocket& socket) {
  NamespaceHealth& health = report_.health;
  ++report_.states[std::to_underlying(socket.state) % state_slots];
  if (socket.state == State::close_wait) ++health.close_wait;
  if (socket.state == State::time_wait) ++health.time_wait;
  if (socket.state != State::listen) {
    sockets_.push_back(socket);
    return;
  }
  listening_.insert(socket.tuple.local.port);
  ports_.bind(health.netns, socket.tuple.local.port);
}

// What came in on a port that nobody listens on any more is told from what went out by the range.
void NamespaceLook::wait(const TcpSocket& socket) {
  const std::uint16_t port = socket.tuple.local.port;
  std::optional<std::uint64_t> age_ns;
  if (socket.timer_ns) age_ns = time_wait_ns - std::min(time_wait_ns, *socket.timer_ns);
  ports_.wait(route_of(socket.tuple), port, age_ns);
  const auto& range = report_.health.now.settings.port_range;
  if (!range || range->contains(port) || listening_.contains(port)) return;
  HeldPort& held = held_[port];
  held.port = port;
  ++held.time_wait;
  if (socket.timer_ns) held.free_in_ns = std::max(held.free_in_ns.value_or(0), *socket.timer_ns);
}

void NamespaceLook::settle(const TcpSocket& socket) {
  if (socket.state == State::time_wait)
    wait(socket);
  else
    ports_.use(route_of(socket.tuple), socket.tuple.local.port);
}

NamespaceReport NamespaceLook::finish() {
  for (const TcpSocket& socket : sockets_) settle(socket);
  NamespaceHealth& health = report_.health;
  health.listening.assign(listening_.begin(), listening_.end());
  for (const auto& [port, held] : held_) health.held.push_back(held);
  for (const Route& route : ports_.routes()) {
    if (health.routes.size() == routes_at_most) break;
    if (auto use = ports_.of(route, std::nullopt)) health.routes.push_back(*use);
  }
  return std::move(report_);
}

std::string place(const NetworkNamespace& where) { return "network namespace " + std::to_string(where.inode); }

std::expected<void, Error> look(const std::filesystem::path& root, const NetworkNamespace& where,
                                std::vector<NamespaceReport>& out, std::vector<std::string>& unseen) {
  NamespaceLook one{where.inode, look_at_tcp(root)};
  if (auto read = each_tcp_socket(root, where.inode, [&](const TcpSocket& socket) { one.add(socket); }); !read)
    unseen.push_back("sockets of " + place(where) + ": " + reason_of(read.error()));
  NamespaceReport report = one.finish();
  if (report.health.now.settings.values.empty())
    unseen.push_back("settings of " + place(where) + ": /proc/sys/net/ipv4 cannot be read; mount /proc");
  if (report.health.now.counters.empty())
    unseen.push_back("counters of " + place(where) + ": /proc/net/netstat cannot be read; mount /proc");
  out.push_back(std::move(report));
  return {};
}

/// What closewatch has of a program of its own, and what it lacks without it.
struct HookMeaning {
  std::string_view program;
  Check::Status without;  ///< what is not `missing` is left out where the kernel has no such hook
  std::string_view text;
  bool is_option = false;  ///< loaded only where it was asked for
};

constexpr std::array meanings{
    HookMeaning{"transition", Check::Status::missing, "changes of state are not seen"},
    HookMeaning{"transition_nested", Check::Status::missing,
                "changes of state that interrupt another's handling are not seen"},
    HookMeaning{"send_reset", Check::Status::missing, "resets that this side sends are not seen"},
    HookMeaning{"use_recv", Check::Status::degraded,
                "reads are not seen: accepted connections are named after their listener until they close"},
    HookMeaning{"use_send", Check::Status::degraded,
                "writes are not seen: accepted connections are named after their listener until they close"},
    HookMeaning{"destroy", Check::Status::missing, "the last close of a connection that TCP has ended is not seen"},
    HookMeaning{"process_exit", Check::Status::missing, "ends of processes are not seen"},
    HookMeaning{"process_fork", Check::Status::degraded, "--children cannot add what is forked from now on", true},
    HookMeaning{"process_free", Check::Status::degraded, "--children cannot forget processes that have ended", true},
    HookMeaning{"walk_tcp", Check::Status::missing, "sockets from before the start and TIME_WAIT are not seen"},
    HookMeaning{"walk_files", Check::Status::missing, "who holds a socket is not seen"},
    HookMeaning{"walk_sockets", Check::Status::missing, "sockets cannot be looked at from time to time"},
    HookMeaning{"walk_rows_of_tables", Check::Status::missing, "sockets cannot be looked at from time to time"},
    HookMeaning{"walk_rows_of_files", Check::Status::missing, "sockets cannot be looked at from time to time"},
};

HookMeaning meaning_of(const std::string& program) {
  const auto* found =
      std::find_if(meanings.begin(), meanings.end(), [&](const HookMeaning& one) { return one.program == program; });
  return found != meanings.end() ? *found
                                 : HookMeaning{program, Check::Status::missing, "nothing can be traced", false};
}

}  // namespace

std::vector<NamespaceReport> look_at_namespaces(const std::filesystem::path& root,
                                                const std::vector<NetworkNamespace>& namespaces,
                                                std::vector<std::string>& unseen) {
  std::vector<NamespaceReport> out;
  std::vector<std::uint32_t> closed;
  for (const NetworkNamespace& where : namespaces) {
    const auto looked = inside(where, [&] { return look(root, where, out, unseen); });
    // Where any other error comes, it has gone meanwhile.
    if (!looked && looked.error().code == EPERM) closed.push_back(where.inode);
  }
  if (!closed.empty())
    unseen.push_back(fmt::format("{} other network namespace{} ({}): entering takes CAP_SYS_ADMIN; run it as root",
                                 closed.size(), closed.size() == 1 ? "" : "s", fmt::join(closed, ", ")));
  return out;
}

Check check_of(const HookTry& hook, const HookRemedies& remedies) {
  Check check;
  check.id = "hook_" + hook.program;
  if (hook.code == 0) {
    check.status = Check::Status::ok;
    check.text = hook.hook + " can be attached to";
    return check;
  }
  const HookMeaning meaning = meaning_of(hook.program);
  // A source loads what it does not need only where the hook is there: then it has to work.
  const bool is_absent = hook.code == ENOENT;
  check.status = is_absent || meaning.is_option ? meaning.without : Check::Status::missing;
  const std::string why = is_absent ? "this kernel has no such hook"
                                    : std::string{hook.failed == HookTry::Step::load ? "loading" : "attaching"} +
                                          " fails: " + std::generic_category().message(hook.code);
  check.text = hook.hook + ": " + why + "; without it " + std::string{meaning.text};
  if (is_absent)
    check.remedy = "boot a newer kernel (Linux 6.3 has all hooks)";
  else if (hook.code == EPERM || hook.code == EACCES)
    check.remedy = remedies.refused;
  else
    check.remedy = remedies.failed;
  return check;
}

void weigh_walks(std::vector<Check>& checks) {
  const auto one_of = [&](std::string_view id) {
    return std::find_if(checks.begin(), checks.end(), [&](const Check& check) { return check.id == id; });
  };
  const auto storage = one_of("hook_walk_sockets");
  const std::array instead{one_of("hook_walk_rows_of_tables"), one_of("hook_walk_rows_of_files")};
  if (storage == checks.end() || std::find(instead.begin(), instead.end(), checks.end()) != instead.end()) return;
  if (storage->status == Check::Status::ok) {
    for (const auto check : instead) {
      if (check->status != Check::Status::ok) check->text += "; not needed here";
      check->status = Check::Status::ok;
      check->remedy.clear();
    }
  } else if (std::all_of(instead.begin(), instead.end(),
                         [](const auto check) { return check->status == Check::Status::ok; })) {
    storage->status = Check::Status::degraded;
    storage->text +=
        "; the TCP tables of each network namespace are walked instead, which takes longer and does not meet what TCP "
        "has ended on its way from one process to another";
    storage->remedy.clear();
  }
}

}  // namespace closewatch
