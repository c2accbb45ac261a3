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
    ways_ = network_namespaces(settings_.root, [&] { attend(); });
    if (settings_.netns != 0)
      std::erase_if(ways_, [&](const NetworkNamespace& where) { return where.inode != settings_.netns; });
    for (const NetworkNamespace& where : ways_) {
      if (auto walked = walk_tables_of(where, settings_.census); !walked) return walked;
      std::erase(wanted, where.inode);
    }
  }
  const NamespaceSearch search = find_namespaces(settings_.root, wanted, [&] { attend(); });
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

// They are not listed anew: whoever has a socket in one that has come since is met by the walk of the descriptors, and
// what nobody has was told of by its transitions.
std::expected<KernelSource::Namespaces, Error> Session::in_each_namespace(const KernelSource::Namespaces& held,
                                                                          const KernelSource::Walk& body) {
  const std::uint64_t began_ns = now_ns();
  const std::uint64_t drains_took_ns = drains_took_ns_;
  KernelSource::Namespaces entered;
  std::vector<NetworkNamespace> still_known;
  const auto enter_each = [&](const std::vector<NetworkNamespace>& these) -> std::expected<void, Error> {
    for (const NetworkNamespace& where : these) {
      const auto way = enter(where, body);
      if (!way) return std::unexpected(way.error());
      if (*way == Way::open) entered.push_back(where.inode);
      // What is closed to us need not be looked for again.
      if (*way != Way::gone) still_known.push_back(where);
    }
    return {};
  };
  if (auto done = enter_each(ways_); !done) return std::unexpected(done.error());
  std::vector<std::uint32_t> wanted = engine_.namespaces_of_connections();
  wanted.insert(wanted.end(), held.begin(), held.end());
  if (settings_.netns != 0) wanted = {settings_.netns};
  for (const NetworkNamespace& where : still_known) std::erase(wanted, where.inode);
  if (!wanted.empty()) {
    const NamespaceSearch search = find_namespaces(settings_.root, wanted, [&] { attend(); });
    if (auto done = enter_each(search.found); !done) return std::unexpected(done.error());
  }
  ways_ = std::move(still_known);
  std::sort(entered.begin(), entered.end());
  rows_took_ns_ = now_ns() - began_ns - (drains_took_ns_ - drains_took_ns);
  return entered;
}

// The error is that of `body`. What is closed to us is told of once.
std::expected<Session::Way, Error> Session::enter(const NetworkNamespace& where, const KernelSource::Walk& body) {
  std::expected<void, Error> done;
  const auto entered = inside(where, [&]() -> std::expected<void, Error> {
    done = body();
    return {};
  });
  if (!done) return std::unexpected(done.error());
  if (entered) return Way::open;
  if (entered.error().code != EPERM) return Way::gone;
  if (closed_namespaces_.size() < closed_namespaces_limit && closed_namespaces_.insert(where.inode).second)
    spdlog::debug("cannot enter network namespace {}: its sockets{} are seen only where a process holds them",
                  where.inode, source_.walks_by_tables() ? "" : " from before the start");
  return Way::closed;
}

std::expected<void, Error> Session::walk_tables_of(const NetworkNamespace& where, bool look) {
  const auto record = [&](std::span<const std::byte> bytes) { take_row(bytes); };
  const std::uint64_t walk_began_ns = now_ns();
  // What was opened before has been met by the last walk, or by the first.
  const auto last = tables_walked_ns_.find(where.inode);
  const std::uint64_t opened_since_ns = last != tables_walked_ns_.end() ? last->second
                                        : engine_.has_started()         ? began_ns_
                                                                        : 0;
  TablesWalked done{.time_ns = 0, .began_ns = walk_began_ns, .netns = where.inode, .overflows = std::nullopt};
  std::optional<TcpLook> seen;
  const auto way = enter(where, [&] {
    auto walked = source_.walk_tables(opened_since_ns, record, [&] { attend(); });
    done.overflows = time_wait_overflows(settings_.root);
    if (look) seen = look_at_tcp(settings_.root);
    return walked;
  });
  if (!way) return std::unexpected(way.error());
  // Gone since it was listed is no matter.
  if (*way != Way::open) return {};
  tables_walked_ns_[where.inode] = walk_began_ns;
  // What happened meanwhile is read before the walk is concluded (WalkDone).
  done.time_ns = now_ns();
  feed_.step(done);
  if (seen) feed_.step(NamespaceSeen{done.time_ns, where.inode, *std::move(seen)});
  return {};
}

}  // namespace closewatch
