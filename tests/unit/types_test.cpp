// SPDX-License-Identifier: BSD-2-Clause
// The words of the contract.
#include "builders.hpp"
#include "catch.hpp"

#include <string>
#include <vector>

using namespace closewatch;
using namespace closewatch::test;

namespace {

template <typename Enum>
std::vector<std::string> names(int first, int end) {
  std::vector<std::string> out;
  for (int value = first; value < end; ++value) out.emplace_back(name(static_cast<Enum>(value)));
  return out;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("states are numbered as the kernel numbers them, and named as the contract does", "[types]") {
  CHECK(names<State>(1, 12) == Names{"ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
                                     "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"});
}

TEST_CASE("endings, attributions, causes, FINs, buckets, places of losses", "[types]") {
  CHECK(names<Ending>(0, 15) == Names{"fin", "rst_linger0", "rst_unread", "rst_linger2", "rst_late_data",
                                      "rst_received", "timeout", "fin_timeout", "refused", "unreachable", "abandoned",
                                      "never_accepted", "killed", "disconnected", "unknown"});
  CHECK(names<Attribution>(0, 5) == Names{"unknown", "listener", "opener", "holder", "closer"});
  CHECK(names<Cause>(0, 14) == Names{"network", "timer", "connect", "listen", "close", "shutdown", "exit", "disconnect",
                                     "kill", "listener_closed", "expired", "reused", "overflow", "gone"});
  CHECK(names<FirstFin>(0, 4) == Names{"none", "local", "peer", "both"});
  CHECK(names<Bucket>(0, 4) == Names{"unknown", "none", "time_wait", "fin_wait2"});
  CHECK(names<Role>(1, 3) == Names{"connect", "accept"});
  CHECK(names<Gap::Where>(0, 4) == Names{"ring", "output", "table", "storage"});
}

TEST_CASE("IPv4-mapped addresses are IPv4", "[types]") {
  const Address mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7};
  const Address plain{10, 0, 0, 7};
  const Tuple both{1, Family::ipv6, Role::accept, {mapped, 80}, {mapped, 90}};
  CHECK(unmapped(both) == Tuple{1, Family::ipv4, Role::accept, {plain, 80}, {plain, 90}});
  const Tuple bound{1, Family::ipv6, Role::unknown, {mapped, 80}, {}};
  CHECK(unmapped(bound) == Tuple{1, Family::ipv4, Role::unknown, {plain, 80}, {}});
  const Tuple ipv6{1, Family::ipv6, Role::unknown, {{0x20, 1}, 80}, {}};
  CHECK(unmapped(ipv6) == ipv6);
  const Tuple ipv4{1, Family::ipv4, Role::unknown, {mapped, 80}, {}};
  CHECK(unmapped(ipv4) == ipv4);
}

TEST_CASE("the close path", "[types]") {
  for (const State state :
       {State::fin_wait1, State::fin_wait2, State::closing, State::time_wait, State::close_wait, State::last_ack})
    CHECK(is_closing(state));
  for (const State state : {State::close, State::listen, State::syn_sent, State::syn_recv, State::established})
    CHECK_FALSE(is_closing(state));
}

TEST_CASE("a command name ends at its zero, or with its room", "[types]") {
  CHECK(text(comm("nginx")) == "nginx");
  CHECK(text(comm("")).empty());
  Comm full{};
  full.fill('x');
  CHECK(text(full).size() == 16);
}
