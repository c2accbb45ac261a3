// SPDX-License-Identifier: BSD-2-Clause
// The TCP tables of network namespaces: an iterator sees those of its maker's namespace, so that each is entered.
#include "app/clock.hpp"
#include "app/session.hpp"
#include "host/namespaces.hpp"
#include "host/tcp_look.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace closewatch {
namespace {

/// However many buckets there are, looking for them takes no more than a tenth of the time.
constexpr std::uint64_t tables_share = 10;
/// So many are told of, and counted: whoever makes namespaces without end adds nothing.
constexpr std::size_t closed_namespaces_limit = 65'536;

}  // namespace

std::expected<void, Error> Session::walk_tables(bool all) {
  const std::uint64_t began_ns = now_ns();
  if (!all && began_ns < next_tables_ns_) return {};
  std::vector<std::uint32_t> wanted = engine_.namespaces_with_buckets();
  if (all) {
    for (const NetworkNamespace& where : network_namespaces(settings_.root)) {
      if (settings_.netns != 0 && where.inode != settings_.netns) continue;
      if (auto walked = walk_tables_of(where, settings_.census); !walked) return walked;
      std::erase(wanted, where.inode);
    }
  }
  const NamespaceSearch search = find_namespaces(settings_.root, wanted);
  for (const NetworkNamespace& where : search.found) {
    if (auto walked = walk_tables_of(where, all && settings_.census); !walked) return walked;
    std::erase(wanted, where.inode);
  }
  // Where not everything could be looked at they may live on: their buckets end by their own clocks.
  if (search.whole)
    for (const std::uint32_t netns : wanted) feed_.step(NamespaceGone{now_ns(), netns});
  // The inode of a namespace that has gone is given out again.
  const std::vector<std::uint32_t> left = engine_.namespaces_with_buckets();
  std::erase_if(tables_walked_ns_,
                [&](const auto& entry) { return std::find(left.begin(), left.end(), entry.first) == left.end(); });
  next_tables_ns_ = now_ns() + tables_share * (now_ns() - began_ns);
  return {};
}

std::expected<void, Error> Session::in_each_namespace(const std::function<std::expected<void, Error>()>& body,
                                                      std::vector<std::uint32_t>& entered_ones) {
  const std::uint64_t began_ns = now_ns();
  entered_ones.clear();
  // Those too that no process is in any more.
  std::vector<std::uint32_t> wanted = engine_.namespaces_of_connections();
  if (settings_.netns != 0) wanted = {settings_.netns};
  const auto enter = [&](const NetworkNamespace& where) -> std::expected<void, Error> {
    std::expected<void, Error> done;
    const auto entered = inside(where, [&]() -> std::expected<void, Error> {
      done = body();
      return {};
    });
    // Where any other error came this way leads to it no more; another may.
    if (!entered && entered.error().code == EPERM) closed_to_us(where.inode);
    if (entered) entered_ones.push_back(where.inode);
    if (entered || entered.error().code == EPERM) std::erase(wanted, where.inode);
    return done;
  };
  for (const NetworkNamespace& where : network_namespaces(settings_.root)) {
    if (settings_.netns != 0 && where.inode != settings_.netns) continue;
    if (auto done = enter(where); !done) return done;
  }
  if (!wanted.empty())
    for (const NetworkNamespace& where : find_namespaces(settings_.root, wanted).found)
      if (auto done = enter(where); !done) return done;
  std::sort(entered_ones.begin(), entered_ones.end());
  rows_took_ns_ = now_ns() - began_ns;
  return {};
}

// Told once for each.
void Session::closed_to_us(std::uint32_t netns) {
  if (closed_namespaces_.size() < closed_namespaces_limit && closed_namespaces_.insert(netns).second)
    spdlog::debug("cannot enter network namespace {}: its sockets{} are seen only where a process holds them", netns,
                  source_.walks_by_tables() ? "" : " from before the start");
}

std::expected<void, Error> Session::walk_tables_of(const NetworkNamespace& where, bool look) {
  const auto record = [&](std::span<const std::byte> bytes) { feed_.take_record(bytes); };
  const std::uint64_t walk_began_ns = now_ns();
  // What was opened before has been met by the last walk, or by the first.
  const auto last = tables_walked_ns_.find(where.inode);
  const std::uint64_t opened_since_ns = last != tables_walked_ns_.end() ? last->second
                                        : engine_.has_started()         ? began_ns_
                                                                        : 0;
  std::expected<void, Error> walked;
  TablesWalked done{.time_ns = 0, .began_ns = walk_began_ns, .netns = where.inode, .overflows = std::nullopt};
  std::optional<TcpLook> seen;
  const auto entered = inside(where, [&]() -> std::expected<void, Error> {
    walked = source_.walk_tables(opened_since_ns, record, [&] { drain(); });
    done.overflows = time_wait_overflows(settings_.root);
    if (look) seen = look_at_tcp(settings_.root);
    return {};
  });
  if (!walked) return walked;
  if (!entered) {
    // Gone since it was listed is no matter.
    if (entered.error().code == EPERM) closed_to_us(where.inode);
    return {};
  }
  tables_walked_ns_[where.inode] = walk_began_ns;
  // What happened meanwhile is read before the walk is concluded (WalkDone).
  done.time_ns = now_ns();
  feed_.step(done);
  if (seen) feed_.step(NamespaceSeen{done.time_ns, where.inode, *std::move(seen)});
  return {};
}

}  // namespace closewatch
