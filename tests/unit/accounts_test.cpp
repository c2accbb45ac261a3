// SPDX-License-Identifier: BSD-2-Clause
// What ended, added up by process and by workload.
#include "catch.hpp"
#include "output.hpp"

#include <closewatch/core/accounts.hpp>

using namespace closewatch;
using namespace closewatch::test;

namespace {

struct Book {
  Processes processes{100};
  Listeners listeners{100};
  Workloads workloads{processes, listeners, 100};
  Accounts accounts;
  explicit Book(const Accounts::Limits& limits = {}) : accounts(workloads, limits) {}

  void ended(const Identity& process, const Tuple& tuple, Ending ending = Ending::fin, Bucket bucket = Bucket::none) {
    Closed closed = a_closed();
    closed.connection = {{tuple.netns, 81}, tuple, false};
    closed.responsible = process.key.pid == 0 ? Responsible{} : responsible(process, Attribution::closer);
    closed.ending = ending;
    closed.bucket = bucket;
    accounts.take(closed, 1);
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
  Book book;
  const Identity twin = person(813, "client");
  book.ended(client(), outgoing(), Ending::fin, Bucket::time_wait);
  book.ended(client(), outgoing(), Ending::rst_linger0, Bucket::none);
  book.ended(twin, outgoing(), Ending::fin, Bucket::time_wait);
  book.ended(twin, outgoing(), Ending::fin, Bucket::fin_wait2);
  CHECK(count(book.of(client()), Ending::fin) == 1);
  CHECK(count(book.of(client()), Ending::rst_linger0) == 1);
  CHECK(book.of(client()).time_wait_entered == 1);
  CHECK(count(book.of(twin), Ending::fin) == 2);
  CHECK(book.of(twin).time_wait_entered == 1);
  const Account& workload = book.of_workload(client(), outgoing());
  CHECK(count(workload, Ending::fin) == 3);
  CHECK(workload.time_wait_entered == 2);
  CHECK(workload.process.key == client().key);
  CHECK(book.accounts.members().size() == 2);
}

TEST_CASE("accounts: what belongs to nobody is added up as well", "[accounts]") {
  Book book;
  book.ended({}, outgoing(), Ending::rst_received);
  CHECK(count(book.of({}), Ending::rst_received) == 1);
  CHECK(book.accounts.members().empty());
}

TEST_CASE("accounts: a close latency is one that the program's own call ended", "[accounts]") {
  Book book;
  book.accounts.take(left_close_wait(Cause::close, 5 * ms), 1);
  book.accounts.take(left_close_wait(Cause::shutdown, 7 * ms), 1);
  book.accounts.take(left_close_wait(Cause::exit, 9 * seconds), 1);
  book.accounts.take(left_close_wait(Cause::network, 9 * seconds), 1);
  book.accounts.take(left_close_wait(Cause::kill, 9 * seconds), 1);
  Transition other = left_close_wait(Cause::close, 9 * seconds);
  other.from = State::established;
  book.accounts.take(other, 1);
  other = left_close_wait(Cause::close, 0);
  other.in_state_ns.reset();
  book.accounts.take(other, 1);
  REQUIRE(book.of(client()).latency);
  CHECK(book.of(client()).latency->count() == 2);
  CHECK(book.of(client()).latency->most() == 7 * ms);
  REQUIRE(book.of_workload(client(), outgoing()).latency);
  CHECK(book.of_workload(client(), outgoing()).latency->count() == 2);
}

TEST_CASE("accounts: what finds no room is counted", "[accounts]") {
  Accounts::Limits limits;
  limits.processes = 2;
  limits.workloads = 2;
  Book book{limits};
  for (std::uint32_t pid = 1; pid <= 5; ++pid) book.ended(person(pid, "fork"), outgoing());
  CHECK(book.accounts.processes().size() == 2);
  CHECK(book.accounts.refused() == 3);
  CHECK(count(book.of_workload(person(1, "fork"), outgoing()), Ending::fin) == 5);
  for (std::uint16_t port = 1; port <= 5; ++port)
    book.ended(person(1, "fork"), tuple(Role::connect, "10.0.0.7", 9, "10.0.0.5", port));
  CHECK(book.accounts.by_workload().size() == 2);
}

TEST_CASE("accounts: what goes into TIME_WAIT behind its end is counted with it, and ends no second time",
          "[accounts]") {
  Book book;
  book.ended(client(), outgoing(), Ending::fin, Bucket::fin_wait2);
  book.accounts.entered_time_wait(responsible(client(), Attribution::closer), outgoing(), 1);
  CHECK(book.of(client()).time_wait_entered == 1);
  CHECK(book.of_workload(client(), outgoing()).time_wait_entered == 1);
  CHECK(count(book.of(client()), Ending::fin) == 1);
  SECTION("nobody's too") {
    book.accounts.entered_time_wait({}, outgoing(), 1);
    CHECK(book.of({}).time_wait_entered == 1);
  }
}

TEST_CASE("accounts: of who is gone nothing is kept for good, of who lives everything", "[accounts]") {
  Book book;
  const Identity child = person(1, "client");
  const Identity alone = person(2, "curl");
  const Tuple other = tuple(Role::connect, "10.0.0.7", 9, "10.0.0.5", 443);
  book.ended(client(), outgoing());
  book.ended(child, outgoing());
  book.ended(alone, other);
  book.ended({}, outgoing());
  const WorkloadId shared = book.workloads.of(client(), outgoing());
  const WorkloadId own = book.workloads.of(alone, other);
  const auto client_lives = [](const ProcessKey& key) { return key == client().key; };
  book.accounts.forget_gone(1, client_lives);  // all was added then
  CHECK(book.accounts.processes().size() == 4);
  book.accounts.forget_gone(2, client_lives);
  CHECK(book.accounts.processes().size() == 1);
  CHECK(count(book.of(client()), Ending::fin) == 1);
  REQUIRE(book.accounts.members().size() == 1);
  CHECK(book.accounts.members().begin()->process == client().key);
  CHECK(book.accounts.by_workload().contains(shared));
  CHECK(count(book.of_workload(client(), outgoing()), Ending::fin) == 2);
  CHECK(!book.accounts.by_workload().contains(own));
  book.accounts.forget_gone(2, [](const ProcessKey&) { return false; });
  CHECK(book.accounts.by_workload().empty());
  CHECK(book.accounts.members().empty());
}
