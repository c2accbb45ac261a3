// SPDX-License-Identifier: BSD-2-Clause
// A kernel whose buckets come and go, walked now and then: the ledger has its list, and whose each is.
#include "buckets.hpp"
#include "catch.hpp"

#include <map>
#include <random>
#include <set>

using namespace closewatch;
using namespace closewatch::test;
using namespace closewatch::test::buckets;

namespace {

/// The TIME_WAIT table of one namespace, as net/ipv4/inet_timewait_sock.c keeps it, and the events that tell of it.
class Kernel {
 public:
  struct Entry {
    std::uint64_t cookie = 0;
    Tuple tuple;
    Identity owner;
    State substate = State::time_wait;
    std::uint64_t expires_ns = 0;
  };

  explicit Kernel(std::uint32_t seed) : random_(seed) {}

  /// One thing happens, a while after the last.
  void live(std::vector<Event>& out, std::uint64_t at_most_ns = 400 * ms) {
    now_ns_ += 1 + below(at_most_ns);
    expire();
    switch (below(10)) {
      case 0: promote(); return;
      case 1: kill(); return;
      case 2: out.emplace_back(Tick{now_ns_, 0}); return;
      case 3: connect(out); return;
      default: close(out);
    }
  }

  /// A walk of the table, which takes a while in which it goes on living. What was met is told behind that, or before.
  void walk(std::vector<Event>& out) {
    const std::uint64_t began_ns = ++now_ns_;
    const bool rows_first = one_in(2);
    // Of a bucket that was reused before its row is read nothing can be told any more: not looked at here.
    may_reuse_ = rows_first;
    std::vector<Event> rows;
    std::vector<Event> meanwhile;
    // The kernel walks its hash by and by: some is passed before this or that happens.
    const std::vector<Entry> order = shuffled();
    std::size_t at = 0;
    for (std::size_t step = below(4); step > 0; --step) {
      const std::size_t until = at + below(order.size() + 1 - at);
      for (; at < until; ++at) meet(order[at], rows);
      live(meanwhile, 4 * ms);
    }
    for (; at < order.size(); ++at) meet(order[at], rows);
    now_ns_ += 1;
    may_reuse_ = true;
    out.insert(out.end(), (rows_first ? rows : meanwhile).begin(), (rows_first ? rows : meanwhile).end());
    out.insert(out.end(), (rows_first ? meanwhile : rows).begin(), (rows_first ? meanwhile : rows).end());
    for (const auto& [tuple, cookie] : connected_)
      out.emplace_back(PortRow{now_ns_, cookie.first, tuple, cookie.second});
    out.emplace_back(TablesWalked{now_ns_, began_ns, netns, overflows_});
    out.emplace_back(WalkDone{now_ns_, began_ns});
  }

  /// A walk in which nothing happens.
  void look(std::vector<Event>& out) {
    now_ns_ += 50 * ms;  // nothing is held back any more
    expire();
    out.emplace_back(Tick{now_ns_, 0});
    const std::uint64_t began_ns = ++now_ns_;
    for (const Entry& entry : shuffled()) meet(entry, out);
    for (const auto& [tuple, cookie] : connected_)
      out.emplace_back(PortRow{now_ns_, cookie.first, tuple, cookie.second});
    out.emplace_back(TablesWalked{now_ns_, began_ns, netns, overflows_});
    out.emplace_back(WalkDone{now_ns_, began_ns, true});
  }

  void pass(std::uint64_t ns) {
    now_ns_ += ns;
    expire();
  }

  [[nodiscard]] std::uint64_t now_ns() const { return now_ns_; }
  [[nodiscard]] const std::map<std::uint64_t, Entry>& table() const { return table_; }
  [[nodiscard]] const std::set<std::uint64_t>& silent() const { return silent_; }
  [[nodiscard]] const std::map<std::uint64_t, Identity>& owners() const { return owners_; }

 private:
  static constexpr std::size_t limit = 12;  // tcp_max_tw_buckets
  static constexpr std::uint64_t fin_timeout_ns = 20 * seconds;

  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>{0, end - 1}(random_); }
  bool one_in(std::size_t times) { return below(times) == 0; }

  Entry* any() {
    if (table_.empty()) return nullptr;
    auto at = table_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(table_.size())));
    return &at->second;
  }
  std::vector<Entry> shuffled() {
    std::vector<Entry> all;
    all.reserve(table_.size());
    for (const auto& [cookie, entry] : table_) all.push_back(entry);
    std::shuffle(all.begin(), all.end(), random_);
    return all;
  }
  /// The timer fires at its jiffy or, the wheel being coarse, later.
  void expire() {
    std::erase_if(table_, [&](const auto& entry) { return entry.second.expires_ns <= now_ns_; });
  }
  void promote() {
    Entry* entry = any();
    if (entry == nullptr || entry->substate != State::fin_wait2) return;
    entry->substate = State::time_wait;
    entry->expires_ns = now_ns_ + time_wait_ns;
  }
  void kill() {
    if (const Entry* entry = any()) table_.erase(entry->cookie);
  }
  Tuple ends() {
    return tuple(Role::connect, "10.0.0.7", static_cast<std::uint16_t>(50'000 + below(20)), "10.0.0.5", 80);
  }
  Identity someone() { return person(static_cast<std::uint32_t>(100 + below(4)), "someone"); }
  /// False where it may not be just now.
  bool reuse(const Tuple& tuple) {
    const auto has_it = [&](const auto& entry) { return entry.second.tuple == tuple; };
    if (!may_reuse_ && std::any_of(table_.begin(), table_.end(), has_it)) return false;
    std::erase_if(table_, has_it);
    return true;
  }

  /// A connection is opened, from the port of a bucket perhaps, and stays.
  void connect(std::vector<Event>& out) {
    const Tuple where = ends();
    if (connected_.contains(where) || !reuse(where)) return;
    connected_[where] = {++cookies_, now_ns_};
    if (one_in(2)) return;  // without --all-states nothing tells of it but a walk
    TransitionSeen seen = change(now_ns_, State::syn_sent, State::established);
    seen.cookie = cookies_;
    seen.tuple = where;
    out.emplace_back(seen);
  }

  /// A connection ends, one that is there or one that came and went meanwhile.
  void close(std::vector<Event>& out) {
    const Tuple where = ends();
    TransitionSeen seen = one_in(2) ? into_time_wait(now_ns_) : orphaned(now_ns_);
    const auto there = connected_.find(where);
    if (there == connected_.end()) {
      if (!reuse(where)) return;
      seen.cookie = ++cookies_;
    } else {
      seen.cookie = there->second.first;
      connected_.erase(there);
    }
    seen.tuple = where;
    seen.process = someone();
    // The table is seen to be full behind the making of the bucket.
    const bool made = table_.size() < limit;
    Entry entry{seen.cookie, where, seen.process, seen.evidence.done ? State::time_wait : State::fin_wait2, 0};
    entry.expires_ns = now_ns_ + (seen.evidence.done ? time_wait_ns : fin_timeout_ns);
    owners_[seen.cookie] = seen.process;
    if (made)
      table_[seen.cookie] = entry;
    else
      ++overflows_;
    seen.evidence.table_full = table_.size() >= limit;
    if (!seen.evidence.done) seen.orphan_ns = fin_timeout_ns;
    if (seen.evidence.table_full || !seen.evidence.done) silent_.insert(seen.cookie);
    out.emplace_back(seen);
  }

  void meet(const Entry& before, std::vector<Event>& out) {
    const auto found = table_.find(before.cookie);
    if (found == table_.end()) return;
    const Entry& entry = found->second;
    BucketRow row;
    row.time_ns = now_ns_;
    row.cookie = entry.cookie;
    row.tuple = entry.tuple;
    row.tuple.role = Role::unknown;
    row.substate = entry.substate;
    row.expires_in_ns = static_cast<std::int64_t>(entry.expires_ns - now_ns_);
    out.emplace_back(row);
  }

  struct Order {
    bool operator()(const Tuple& left, const Tuple& right) const { return left.local.port < right.local.port; }
  };

  std::mt19937 random_;
  std::uint64_t now_ns_ = 1000 * seconds;
  std::uint64_t cookies_ = 100;
  std::uint64_t overflows_ = 0;
  bool may_reuse_ = true;
  std::map<std::uint64_t, Entry> table_;
  std::map<Tuple, std::pair<std::uint64_t, std::uint64_t>, Order> connected_;
  std::map<std::uint64_t, Identity> owners_;
  std::set<std::uint64_t> silent_;  ///< no event says that they are in TIME_WAIT
};

/// What was told of each bucket's entry into TIME_WAIT and of its end.
struct Told {
  std::size_t entered = 0;
  std::size_t ended = 0;
};

void note(const std::vector<Fact>& facts, const Kernel& kernel, std::map<std::uint64_t, Told>& told) {
  for (const Transition& transition : only<Transition>(facts)) {
    const std::uint64_t cookie = transition.connection.id.cookie;
    const bool of_bucket = transition.to == State::time_wait || transition.from == State::time_wait ||
                           (transition.from == State::fin_wait2 && transition.to == State::close);
    if (!of_bucket) continue;
    Told& here = told[cookie];
    CAPTURE(cookie, name(transition.from), name(transition.to), name(transition.cause));
    if (transition.to == State::time_wait) {
      ++here.entered;
      CHECK(here.ended == 0);
    } else {
      ++here.ended;
      if (transition.from == State::time_wait) CHECK(here.entered == 1);
      if (transition.from == State::fin_wait2) CHECK(here.entered == 0);
    }
    CHECK(transition.responsible.attribution == Attribution::closer);
    REQUIRE(transition.responsible.process);
    CHECK(transition.responsible.process->identity == kernel.owners().at(cookie));
  }
}

/// What the engine believes to exist: a snapshot's rows of buckets.
std::map<std::uint64_t, Snapshot> believed(Watched& watched, Kernel& kernel, std::map<std::uint64_t, Told>& told,
                                           std::uint64_t losses) {
  kernel.pass(2 * seconds);
  watched({LossSeen{kernel.now_ns(), losses, 0}});
  note(watched.facts(), kernel, told);
  std::vector<Event> events;
  kernel.look(events);
  watched(events);
  note(watched.facts(), kernel, told);
  std::map<std::uint64_t, Snapshot> rows;
  for (const Snapshot& row : only<Snapshot>(watched.facts())) rows.emplace(row.connection.id.cookie, row);
  return rows;
}

}  // namespace

TEST_CASE("random buckets: the ledger has the kernel's list and knows whose each is", "[engine][buckets][random]") {
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Watched watched = running();
    Kernel kernel{seed};
    std::map<std::uint64_t, Told> told;
    std::mt19937 random{seed};
    for (std::uint64_t round = 1; round <= 25; ++round) {
      std::vector<Event> events;
      for (std::size_t left = random() % 12; left > 0; --left) kernel.live(events);
      if (random() % 2 == 0) kernel.walk(events);
      watched(events);
      note(watched.facts(), kernel, told);
      const auto rows = believed(watched, kernel, told, round);
      std::set<std::uint64_t> there;
      for (const auto& [cookie, row] : rows) {
        there.insert(cookie);
        CAPTURE(cookie);
        REQUIRE(kernel.table().contains(cookie));
        const Kernel::Entry& entry = kernel.table().at(cookie);
        CHECK(name(row.state) == name(entry.substate));
        REQUIRE(row.responsible.process);
        CHECK(row.responsible.process->identity == entry.owner);
      }
      CHECK(there.size() == kernel.table().size());
    }
    // All are over in the end.
    for (int walk = 0; walk < 3; ++walk) {
      kernel.pass(70 * seconds);
      CHECK(believed(watched, kernel, told, 100 + static_cast<std::uint64_t>(walk)).empty());
    }
    watched({Stopped{kernel.now_ns(), 0, 0}});
    CHECK(watched.engine().namespaces_with_buckets().empty());
    CHECK(watched.engine().differences().unannounced == 0);
    std::size_t entered = 0;
    for (const auto& [cookie, owner] : kernel.owners()) {
      CAPTURE(cookie);
      const Told here = told[cookie];
      CHECK(here.ended == 1);
      CHECK(here.entered <= 1);
      if (!kernel.silent().contains(cookie)) CHECK(here.entered == 1);
      entered += here.entered;
    }
    CHECK(entered > 20);
    CHECK(buckets::entered(watched) == entered);
  }
}
