// SPDX-License-Identifier: BSD-2-Clause
// What ended, added up by process and by workload.
#include "catch.hpp"
#include "scene.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

struct Ledger {
  Processes processes{100};
  Listeners listeners{100};
  Workloads workloads{processes, listeners, 100};
  Accounts accounts;
  explicit Ledger(const Accounts::Limits& limits = {}) : accounts(workloads, limits) {}

  void ended(const Identity& process, const Tuple& tuple, Ending ending = Ending::fin, Bucket bucket = Bucket::none,
             std::uint64_t cookie = 81, std::int64_t time_ns = leap_day_ns) {
    Closed closed = a_closed();
    closed.time_ns = time_ns;
    closed.connection = {{tuple.netns, cookie}, tuple, false};
    closed.responsible = process.key.pid == 0 ? Responsible{} : responsible(process, Attribution::closer);
    closed.ending = ending;
    closed.bucket = bucket;
    accounts.take(closed);
  }
  const Account& of(const Identity& process) { return accounts.processes().at(process.key); }
  const Account& of_workload(const Identity& process, const Tuple& tuple) {
    return accounts.by_workload().at(workloads.of(process, tuple));
  }
};

std::uint64_t count(const Account& account, Ending ending) { return account.endings[static_cast<std::size_t>(ending)]; }

Transition left_close_wait(Cause cause, std::uint64_t after_ns) {
  Transition out = a_transition();
  out.from = State::close_wait;
  out.to = State::last_ack;
  out.in_state_ns = after_ns;
  out.cause = cause;
  return out;
}

}  // namespace

TEST_CASE("accounts: endings and TIME_WAIT, of the process and of its workload", "[accounts]") {
  Ledger ledger;
  const Identity twin = person(813, "client");
  ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, 81);
  ledger.ended(client(), outgoing(), Ending::rst_linger0, Bucket::none, 82);
  ledger.ended(twin, outgoing(), Ending::fin, Bucket::time_wait, 83);
  ledger.ended(twin, outgoing(), Ending::fin, Bucket::fin_wait2, 84);
  CHECK(count(ledger.of(client()), Ending::fin) == 1);
  CHECK(count(ledger.of(client()), Ending::rst_linger0) == 1);
  CHECK(ledger.of(client()).time_wait_entered == 1);
  CHECK(count(ledger.of(twin), Ending::fin) == 2);
  CHECK(ledger.of(twin).time_wait_entered == 1);
  const Account& workload = ledger.of_workload(client(), outgoing());
  CHECK(count(workload, Ending::fin) == 3);
  CHECK(workload.time_wait_entered == 2);
  CHECK(workload.process.key == client().key);
  CHECK(ledger.accounts.members().size() == 2);
}

TEST_CASE("accounts: what belongs to nobody is added up as well", "[accounts]") {
  Ledger ledger;
  ledger.ended({}, outgoing(), Ending::rst_received);
  CHECK(count(ledger.of({}), Ending::rst_received) == 1);
  CHECK(ledger.accounts.members().empty());
}

TEST_CASE("accounts: a close latency is one that the program's own call ended", "[accounts]") {
  Ledger ledger;
  ledger.accounts.take(left_close_wait(Cause::close, 5 * ms));
  ledger.accounts.take(left_close_wait(Cause::shutdown, 7 * ms));
  ledger.accounts.take(left_close_wait(Cause::exit, 9 * seconds));
  ledger.accounts.take(left_close_wait(Cause::network, 9 * seconds));
  ledger.accounts.take(left_close_wait(Cause::kill, 9 * seconds));
  Transition other = left_close_wait(Cause::close, 9 * seconds);
  other.from = State::established;
  ledger.accounts.take(other);
  other = left_close_wait(Cause::close, 0);
  other.in_state_ns.reset();
  ledger.accounts.take(other);
  REQUIRE(ledger.of(client()).latency);
  CHECK(ledger.of(client()).latency->count() == 2);
  CHECK(ledger.of(client()).latency->most() == 7 * ms);
  REQUIRE(ledger.of_workload(client(), outgoing()).latency);
  CHECK(ledger.of_workload(client(), outgoing()).latency->count() == 2);
}

TEST_CASE("accounts: what finds no room is counted", "[accounts]") {
  Accounts::Limits limits;
  limits.processes = 2;
  limits.workloads = 2;
  Ledger ledger{limits};
  for (std::uint32_t pid = 1; pid <= 5; ++pid) ledger.ended(person(pid, "fork"), outgoing());
  CHECK(ledger.accounts.processes().size() == 2);
  CHECK(ledger.accounts.refused() == 3);
  CHECK(count(ledger.of_workload(person(1, "fork"), outgoing()), Ending::fin) == 5);
  for (std::uint16_t port = 1; port <= 5; ++port)
    ledger.ended(person(1, "fork"), tuple(Role::connect, "10.0.0.7", 9, "10.0.0.5", port));
  CHECK(ledger.accounts.by_workload().size() == 2);
}

TEST_CASE("accounts: who a bucket belongs to", "[accounts]") {
  Ledger ledger;
  ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, 1);
  ledger.ended(client(), outgoing(), Ending::fin, Bucket::fin_wait2, 2);
  ledger.ended(client(), outgoing(), Ending::rst_received, Bucket::none, 3);
  const BucketOwner* owner = ledger.accounts.owner_of_bucket(1);
  REQUIRE(owner != nullptr);
  CHECK(owner->process.key == client().key);
  CHECK(owner->role == Role::connect);
  CHECK(owner->workload == ledger.workloads.of(client(), outgoing()));
  CHECK(owner->entered_as == Bucket::time_wait);
  REQUIRE(ledger.accounts.owner_of_bucket(2) != nullptr);
  CHECK(ledger.accounts.owner_of_bucket(2)->entered_as == Bucket::fin_wait2);
  CHECK(ledger.accounts.owner_of_bucket(3) == nullptr);
}

TEST_CASE("accounts: owners of buckets are forgotten, the oldest first", "[accounts]") {
  SECTION("once no bucket can be left") {
    Ledger ledger;
    ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, 1, leap_day_ns);
    ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, 2, leap_day_ns + 100'000'000'000);
    ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, 3, leap_day_ns + 200'000'000'000);
    CHECK(ledger.accounts.owner_of_bucket(1) == nullptr);
    CHECK(ledger.accounts.owner_of_bucket(2) != nullptr);
  }
  SECTION("where there is no room") {
    Accounts::Limits limits;
    limits.buckets = 2;
    Ledger ledger{limits};
    for (std::uint64_t cookie = 1; cookie <= 3; ++cookie)
      ledger.ended(client(), outgoing(), Ending::fin, Bucket::time_wait, cookie);
    CHECK(ledger.accounts.owner_of_bucket(1) == nullptr);
    CHECK(ledger.accounts.owner_of_bucket(2) != nullptr);
    CHECK(ledger.accounts.owner_of_bucket(3) != nullptr);
  }
}
