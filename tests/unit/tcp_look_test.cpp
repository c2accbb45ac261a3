// SPDX-License-Identifier: BSD-2-Clause
#include "catch.hpp"
#include "tree.hpp"

#include "host/tcp_look.hpp"
#include "host/words.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// As Linux 6.18 has it, cut down.
class Namespace : public Tree {
 public:
  Namespace() {
    ipv4("tcp_fin_timeout", "60\n");
    ipv4("tcp_tw_reuse", "2\n");
    ipv4("tcp_tw_reuse_delay", "1000\n");
    ipv4("tcp_max_tw_buckets", "131072\n");
    ipv4("ip_local_port_range", "32768\t60999\n");
    ipv4("ip_local_reserved_ports", "8080,9148-9150\n");
    ipv4("tcp_congestion_control", "cubic\n");
    ipv4("tcp_adv_win_scale", "1\n");
    file("proc/sys/net/core/somaxconn", "4096\n");
    file("proc/sys/net/netfilter/nf_conntrack_count", "17\n");
    file("proc/sys/net/netfilter/nf_conntrack_max", "262144\n");
    file("proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60\n");
    netstat(
        "TcpExt: SyncookiesSent TW TWRecycled TCPHPHits PAWSActive TCPAbortOnData TCPTimeWaitOverflow "
        "TCPACKSkippedTimeWait\n"
        "TcpExt: 1 2 3 4 5 6 7 8\n"
        "IpExt: InNoRoutes TW\n"
        "IpExt: 90 91\n");
    sockstat("sockets: used 17\nTCP: inuse 5 orphan 2 tw 12 alloc 9 mem 1\nUDP: inuse 3 mem 0\n");
  }
  void ipv4(std::string_view name, std::string_view text) { file("proc/sys/net/ipv4/" + std::string{name}, text); }
  void netstat(std::string_view text) { file("proc/thread-self/net/netstat", text); }
  void sockstat(std::string_view text) { file("proc/thread-self/net/sockstat", text); }
};

using Ranges = std::vector<PortRange>;

}  // namespace

TEST_CASE("a look at a namespace: settings, counters, conntrack", "[host][tcp_look]") {
  const Namespace tree;
  const TcpLook look = look_at_tcp(tree.root());
  CHECK(look.settings.values == Numbers{{"tcp_fin_timeout", 60},
                                        {"tcp_tw_reuse", 2},
                                        {"tcp_tw_reuse_delay", 1000},
                                        {"tcp_max_tw_buckets", 131072},
                                        {"somaxconn", 4096}});
  CHECK(look.settings.port_range == PortRange{32768, 60999});
  CHECK(look.settings.reserved_ports == Ranges{{8080, 8080}, {9148, 9150}});
  CHECK(look.counters == Numbers{{"SyncookiesSent", 1},
                                 {"TW", 2},
                                 {"TWRecycled", 3},
                                 {"PAWSActive", 5},
                                 {"TCPAbortOnData", 6},
                                 {"TCPTimeWaitOverflow", 7},
                                 {"TCPACKSkippedTimeWait", 8},
                                 {"inuse", 5},
                                 {"orphan", 2},
                                 {"tw", 12},
                                 {"alloc", 9}});
  CHECK(look.conntrack ==
        Numbers{{"nf_conntrack_count", 17}, {"nf_conntrack_max", 262144}, {"nf_conntrack_tcp_timeout_close_wait", 60}});
  CHECK(time_wait_overflows(tree.root()) == 7U);
}

TEST_CASE("where there is nothing, all is missing", "[host][tcp_look]") {
  const Tree tree;
  const TcpLook look = look_at_tcp(tree.root());
  CHECK(look.settings.values.empty());
  CHECK_FALSE(look.settings.port_range);
  CHECK(look.settings.reserved_ports.empty());
  CHECK(look.counters.empty());
  CHECK(look.conntrack.empty());
  CHECK_FALSE(time_wait_overflows(tree.root()));
}

TEST_CASE("a setting that is no number is missing", "[host][tcp_look]") {
  Namespace tree;
  for (const char* text : {"", "\n", "-1", "60s", "0x3c", " 60", "18446744073709551616", "60\n61"}) {
    CAPTURE(text);
    tree.ipv4("tcp_fin_timeout", text);
    CHECK_FALSE(number(look_at_tcp(tree.root()).settings.values, "tcp_fin_timeout"));
  }
  tree.ipv4("tcp_fin_timeout", "18446744073709551615");
  CHECK(number(look_at_tcp(tree.root()).settings.values, "tcp_fin_timeout") == 18446744073709551615U);
}

TEST_CASE("a range of ports that is none is missing", "[host][tcp_look]") {
  Namespace tree;
  for (const char* text : {"", "32768", "32768 x", "60999 32768", "1 65536", "1 2 3", "-1 2", "1-2"}) {
    CAPTURE(text);
    tree.ipv4("ip_local_port_range", text);
    CHECK_FALSE(look_at_tcp(tree.root()).settings.port_range);
  }
  tree.ipv4("ip_local_port_range", "5 5\n");
  CHECK(look_at_tcp(tree.root()).settings.port_range == PortRange{5, 5});
}

TEST_CASE("lists of ports", "[host][tcp_look]") {
  CHECK(parse_port_ranges("").empty());
  CHECK(parse_port_ranges("1") == Ranges{{1, 1}});
  CHECK(parse_port_ranges("0-65535") == Ranges{{0, 65535}});
  CHECK(parse_port_ranges("1,3-5,7") == Ranges{{1, 1}, {3, 5}, {7, 7}});
  CHECK(parse_port_ranges("1,,x,5-3,-,6-,-7,8-9-10,65536,11").size() == 2);
  CHECK(parse_port_ranges("1,,x,5-3,-,6-,-7,8-9-10,65536,11") == Ranges{{1, 1}, {11, 11}});
}

TEST_CASE("a list of every second port is read to its end", "[host][tcp_look]") {
  Namespace tree;
  std::string text;
  for (int port = 1; port < 65536; port += 2) text += std::to_string(port) + (port == 65535 ? "\n" : ",");
  tree.ipv4("ip_local_reserved_ports", text);
  const Ranges ranges = look_at_tcp(tree.root()).settings.reserved_ports;
  REQUIRE(ranges.size() == 32768);
  CHECK(ranges.back() == PortRange{65535, 65535});
}

TEST_CASE("netstat that is cut short, mixed up or no netstat at all", "[host][tcp_look]") {
  Namespace tree;
  const auto overflows = [&](std::string_view text) {
    tree.netstat(text);
    CHECK(look_at_tcp(tree.root()).counters.count("TCPTimeWaitOverflow") == (time_wait_overflows(tree.root()) ? 1 : 0));
    return time_wait_overflows(tree.root());
  };
  CHECK_FALSE(overflows(""));
  CHECK_FALSE(overflows("TcpExt:"));
  CHECK_FALSE(overflows("TcpExt: TCPTimeWaitOverflow"));
  CHECK_FALSE(overflows("TcpExt: TW TCPTimeWaitOverflow\nTcpExt: 1"));
  CHECK_FALSE(overflows("TcpExt: TCPTimeWaitOverflow\nTcpExt: x"));
  CHECK_FALSE(overflows("TcpExt: TCPTimeWaitOverflow\nIpExt: 1"));
  CHECK_FALSE(overflows("IpExt: TCPTimeWaitOverflow\nIpExt: 1"));
  CHECK_FALSE(overflows("TcpExtTCPTimeWaitOverflow\nTcpExt: 1"));
  CHECK(overflows("IpExt: a\nIpExt: 1\nTcpExt: x TCPTimeWaitOverflow\nTcpExt: y 4 5 6") == 4U);
  std::string names = "TcpExt:";
  std::string values = "TcpExt:";
  for (int at = 0; at < 100'000; ++at) {
    names += " Some" + std::to_string(at);
    values += " 1";
  }
  CHECK(overflows(names + " TCPTimeWaitOverflow\n" + values + " 2\n") == 2U);
}

TEST_CASE("sockstat that says less", "[host][tcp_look]") {
  Namespace tree;
  tree.netstat("");
  for (const char* text : {"", "TCP:", "TCP: inuse", "TCP6: inuse 4", "UDP: tw 4", "TCP: inuse x", "TCP"}) {
    CAPTURE(text);
    tree.sockstat(text);
    CHECK(look_at_tcp(tree.root()).counters.empty());
  }
  tree.sockstat("TCP: tw 4");
  CHECK(look_at_tcp(tree.root()).counters == Numbers{{"tw", 4}});
}

TEST_CASE("lines, words and numbers", "[host]") {
  std::string_view text = "one\n\ntwo";
  CHECK(take_line(text) == "one");
  CHECK(take_line(text).empty());
  CHECK(take_line(text) == "two");
  CHECK(text.empty());
  CHECK(take_line(text).empty());
  std::string_view words = "  one\ttwo ";
  CHECK(take_word(words) == "one");
  CHECK(take_word(words) == "two");
  CHECK(take_word(words).empty());
  CHECK(words.empty());
  CHECK(whole_number<std::uint8_t>("255") == 255);
  CHECK_FALSE(whole_number<std::uint8_t>("256"));
  CHECK_FALSE(whole_number<int>(""));
  CHECK_FALSE(whole_number<int>("1 "));
  CHECK(whole_number<unsigned>("fF", 16) == 255U);
}
