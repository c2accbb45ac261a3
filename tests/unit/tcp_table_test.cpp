// SPDX-License-Identifier: BSD-2-Clause
// Lines as Linux 6.18 wrote them on a little-endian machine; addresses are in this machine's order in them.
#include "catch.hpp"
#include "tree.hpp"

#include "host/tcp_table.hpp"

#include <bit>
#include <cerrno>

using namespace closewatch;
using namespace closewatch::test;

namespace {

constexpr std::uint32_t netns = 4026531840;
constexpr const char* heading =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode              \n";

/// A word of an address as the kernel writes it here, from one in network order.
std::string word(std::uint32_t network_order) {
  if constexpr (std::endian::native == std::endian::little) network_order = __builtin_bswap32(network_order);
  std::string digits(8, '0');
  for (std::size_t at = 8; at-- > 0; network_order >>= 4) digits[at] = "0123456789ABCDEF"[network_order & 0xf];
  return digits;
}

const std::string loopback = word(0x7f000001);
const std::string mapped = word(0) + word(0) + word(0xffff) + loopback;
const std::string unspecified6 = word(0) + word(0) + word(0) + word(0);
const std::string loopback6 = word(0) + word(0) + word(0) + word(1);

std::string line(const std::string& local, const std::string& peer, const std::string& rest) {
  return "   0: " + local + " " + peer + " " + rest;
}
std::string listener() {
  return line(loopback + ":1F90", word(0) + ":0000",
              "0A 00000000:00000000 00:00000000 00000000   1000        0 12345 1 ff11 100 0 0 10 0");
}
std::string in_state(const std::string& number) {
  return line(loopback + ":1F90", loopback + ":C822", number + " 0:0 00:00000000 00000000 0 0 7 1 ff11");
}

std::vector<TcpSocket> sockets(const Tree& tree) {
  std::vector<TcpSocket> found;
  const auto read = each_tcp_socket(tree.root(), netns, [&](const TcpSocket& socket) { found.push_back(socket); });
  REQUIRE(read);
  return found;
}

constexpr Address ipv4_loopback{127, 0, 0, 1};

}  // namespace

TEST_CASE("a listener", "[host][tcp_table]") {
  const auto socket = parse_tcp_socket(listener(), netns);
  REQUIRE(socket);
  CHECK(socket->tuple == Tuple{netns, Family::ipv4, Role::unknown, {ipv4_loopback, 8080}, {}});
  CHECK(socket->state == State::listen);
  CHECK_FALSE(socket->bucket);
  CHECK_FALSE(socket->timer_ns);
  CHECK(socket->uid == 1000);
  CHECK(socket->inode == 12345);
}

TEST_CASE("buckets: TIME_WAIT, and an orphan in FIN_WAIT2", "[host][tcp_table]") {
  const auto bucket = [](const std::string& state) {
    return parse_tcp_socket(line(loopback + ":C822", loopback + ":1F90",
                                 state + " 00000000:00000000 03:000017A2 00000000     0        0 0 3 0000000000000000"),
                            netns);
  };
  const auto time_wait = bucket("06");
  REQUIRE(time_wait);
  CHECK(time_wait->state == State::time_wait);
  CHECK(time_wait->bucket);
  CHECK(time_wait->timer_ns == 60'500'000'000U);
  CHECK(time_wait->inode == 0);
  const auto orphan = bucket("05");
  REQUIRE(orphan);
  CHECK(orphan->state == State::fin_wait2);
  CHECK(orphan->bucket);
}

TEST_CASE("another timer than a bucket's", "[host][tcp_table]") {
  const auto socket = parse_tcp_socket(
      line(loopback + ":C822", loopback + ":1F90", "04 00000001:00000000 01:00000014 00000003 0 0 0 2 0"), netns);
  REQUIRE(socket);
  CHECK_FALSE(socket->bucket);
  CHECK(socket->timer_ns == 200'000'000U);
}

TEST_CASE("each state by its number", "[host][tcp_table]") {
  for (unsigned number = 1; number <= 11; ++number) {
    CAPTURE(number);
    const auto socket = parse_tcp_socket(in_state(std::string{"0"} + "0123456789AB"[number]), netns);
    REQUIRE(socket);
    CHECK(static_cast<unsigned>(socket->state) == number);
  }
  REQUIRE(parse_tcp_socket(in_state("0C"), netns));
  CHECK(parse_tcp_socket(in_state("0C"), netns)->state == State::syn_recv);
  for (const char* none : {"00", "0D", "FF", "100000006", "xx", "-1"}) {
    CAPTURE(none);
    CHECK_FALSE(parse_tcp_socket(in_state(none), netns));
  }
}

TEST_CASE("IPv6, and IPv4-mapped, which is IPv4", "[host][tcp_table]") {
  constexpr const char* rest = "08 00000000:00000001 00:00000000 00000000 0 0 7 1 ff11";
  const auto own = parse_tcp_socket(line(loopback6 + ":1F90", loopback6 + ":0001", rest), netns);
  REQUIRE(own);
  CHECK(own->tuple.family == Family::ipv6);
  CHECK(own->tuple.local.address == Address{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  CHECK(own->tuple.peer.port == 1);
  const auto connection = parse_tcp_socket(line(mapped + ":1F90", mapped + ":C822", rest), netns);
  REQUIRE(connection);
  CHECK(connection->tuple == Tuple{netns, Family::ipv4, Role::unknown, {ipv4_loopback, 8080}, {ipv4_loopback, 51234}});
  const auto bound = parse_tcp_socket(line(mapped + ":1F90", unspecified6 + ":0000", rest), netns);
  REQUIRE(bound);
  CHECK(bound->tuple == Tuple{netns, Family::ipv4, Role::unknown, {ipv4_loopback, 8080}, {}});
  const auto any = parse_tcp_socket(line(unspecified6 + ":1F90", unspecified6 + ":0000", rest), netns);
  REQUIRE(any);
  CHECK(any->tuple.family == Family::ipv6);
}

TEST_CASE("a line that is cut anywhere before its inode is none", "[host][tcp_table]") {
  const std::string whole = listener();
  const std::size_t inode = whole.find("12345");
  for (std::size_t length = 0; length < inode; ++length) {
    CAPTURE(length);
    CHECK_FALSE(parse_tcp_socket(std::string_view{whole}.substr(0, length), netns));
  }
}

TEST_CASE("garbage is no socket", "[host][tcp_table]") {
  const std::string rest = "0A 0:0 00:00000000 0 0 0 1";
  CHECK_FALSE(parse_tcp_socket(heading, netns));
  for (const std::string& local :
       {std::string{":1F90"}, loopback, loopback + ":", loopback + ":1F9G", loopback + ":11F90", loopback + "1F90",
        word(0) + loopback + ":1F90", std::string{"zzzzzzzz:1F90"}, loopback + word(0) + word(0) + ":1F90",
        std::string(10'000, 'F')}) {
    CAPTURE(local);
    CHECK_FALSE(parse_tcp_socket(line(local, word(0) + ":0000", rest), netns));
  }
  CHECK_FALSE(parse_tcp_socket(line(loopback + ":1F90", loopback6 + ":0000", rest), netns));
  for (const char* timer : {"", "00", "00:", ":0", "x:0", "00:x", "00:10000000000000000"}) {
    CAPTURE(timer);
    CHECK_FALSE(
        parse_tcp_socket(line(loopback + ":1F90", word(0) + ":0", std::string{"0A 0:0 "} + timer + " 0 0 0 1"), netns));
  }
}

TEST_CASE("both tables are read, in order, whatever else stands there", "[host][tcp_table]") {
  Tree tree;
  tree.file("proc/thread-self/net/tcp", heading + listener() + "\n\nnonsense\n" + in_state("08") + "\n");
  tree.file("proc/thread-self/net/tcp6",
            heading + line(loopback6 + ":1F90", unspecified6 + ":0000", "0A 0:0 00:0 0 0 0 9") + "\n");
  const auto found = sockets(tree);
  REQUIRE(found.size() == 3);
  CHECK(found[0].state == State::listen);
  CHECK(found[1].state == State::close_wait);
  CHECK(found[2].tuple.family == Family::ipv6);
  tree.remove("proc/thread-self/net/tcp6");
  CHECK(sockets(tree).size() == 2);
}

TEST_CASE("without the table it is told which", "[host][tcp_table]") {
  Tree tree;
  const auto missing = each_tcp_socket(tree.root(), netns, [](const TcpSocket&) {});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ENOENT);
  CHECK(missing.error().operation.find("proc/thread-self/net/tcp") != std::string::npos);
  tree.folder("proc/thread-self/net/tcp");
  const auto folder = each_tcp_socket(tree.root(), netns, [](const TcpSocket&) {});
  REQUIRE_FALSE(folder);
  CHECK(folder.error().code == EISDIR);
}

TEST_CASE("lines that go over from one piece of the file to the next, and one without an end", "[host][tcp_table]") {
  Tree tree;
  const std::size_t count = 5000;
  std::string text = heading;
  for (std::size_t at = 0; at < count; ++at) text += listener() + std::string(at % 60, ' ') + "\n";
  SECTION("all well") {}
  SECTION("a line of a megabyte in between") {
    std::string line(std::size_t{1} << 20, 'x');
    line.push_back('\n');
    text.insert(std::string_view{heading}.size(), line);
  }
  tree.file("proc/thread-self/net/tcp", text + std::string(200'000, 'x'));
  const auto found = sockets(tree);
  CHECK(found.size() == count);
  for (const TcpSocket& socket : found) REQUIRE(socket.inode == 12345);
}

TEST_CASE("the tables of this machine can be read", "[host][tcp_table]") {
  if (!std::filesystem::exists("/proc/thread-self/net/tcp")) return;
  CHECK(each_tcp_socket("/", netns, [](const TcpSocket& socket) { CHECK(socket.tuple.netns == netns); }));
}
