// SPDX-License-Identifier: BSD-2-Clause
//
// What events cost in user space, without a kernel: the records of short connections, as connect_load makes them, go
// through decoder, engine and sink. Prints one line of JSON. Counts are repeatable, whatever else runs:
//   valgrind --tool=callgrind build/feed_load --connections 20000 --sink json

#include "app/feed.hpp"
#include "sink/json.hpp"

#include <closewatch/abi/record.h>

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

namespace closewatch {
namespace {

constexpr std::uint64_t connection_ns = 33'000;  // 30,000 a second
constexpr std::uint64_t connections_a_pulse = 150;
constexpr std::uint64_t began_ns = 100'000'000'000;
constexpr std::uint64_t client_start_ns = 90'000'000'000;
constexpr std::uint64_t server_start_ns = 80'000'000'000;
constexpr std::uint64_t realtime_ns = 1'700'000'000'000'000'000;
constexpr std::uint32_t netns = 4026531840;
constexpr __u16 port = 8080;

/// Nobody sees it: what a report is made of is kept all the same.
class NoSink final : public Sink {
 public:
  void take(const Fact&) override {}
};

cw_process person(__u32 pid, __u64 start_ns, std::string_view comm) {
  cw_process who{};
  who.start_ns = start_ns;
  who.cgroup_id = 1;
  who.tgid = pid;
  std::copy(comm.begin(), comm.end(), std::begin(who.comm));
  return who;
}

cw_tuple tuple(__u8 role, std::uint64_t number) {
  cw_tuple ends{};
  ends.netns = netns;
  ends.family = 4;
  ends.role = role;
  const auto client = static_cast<__u16>(10000 + number / 8 % 55000);
  ends.local_port = role == CW_ROLE_CONNECT ? client : port;
  ends.peer_port = role == CW_ROLE_CONNECT ? port : client;
  const __u8 address[4] = {127, 0, 0, static_cast<__u8>(1 + number % 8)};
  std::copy(std::begin(address), std::end(address), std::begin(ends.local));
  std::copy(std::begin(address), std::end(address), std::begin(ends.peer));
  return ends;
}

/// One side of a connection: the records differ from step to step in little.
struct Side {
  cw_close record{};

  void begin(std::uint64_t number, __u8 role) {
    cw_transition& seen = record.transition;
    seen.cookie = 1000 + 2 * number + (role == CW_ROLE_ACCEPT ? 1 : 0);
    seen.listener_cookie = role == CW_ROLE_ACCEPT ? 7 : 0;
    seen.tuple = tuple(role, number);
    seen.process = role == CW_ROLE_CONNECT ? person(4000 + number % 2, client_start_ns, "load-client")
                                           : person(3000 + number % 2, server_start_ns, "load-server");
    seen.attribution = CW_BY_OPENER;
    seen.closer_by = CW_CALL_NONE;
    seen.flags = 0;
    seen.from = 1;
    seen.header.time_ns = seen.entered_ns = began_ns + number * connection_ns;
    record.opened_ns = seen.entered_ns - 20'000;
    std::fill(std::begin(record.states_ns), std::end(record.states_ns), 0);
    record.bytes_sent = record.bytes_received = 64;
  }

  void step(Feed& feed, State to, std::uint64_t time_ns, __u8 call, __u32 flags) {
    cw_transition& seen = record.transition;
    const bool over = to == State::close;
    record.states_ns[seen.from] = time_ns - seen.entered_ns;
    seen.header = {.version = CW_ABI_VERSION,
                   .type = static_cast<__u16>(over ? CW_RECORD_CLOSE : CW_RECORD_TRANSITION),
                   .size = over ? static_cast<__u32>(sizeof record) : static_cast<__u32>(sizeof seen),
                   .time_ns = time_ns};
    seen.to = static_cast<__u8>(to);
    seen.call = call;
    seen.flags |= flags;
    seen.actor = call != CW_CALL_NONE ? seen.process : cw_process{};
    if (call != CW_CALL_NONE) {
      seen.closer_by = call;
      seen.attribution = CW_BY_CLOSER;
    }
    feed.take_record({reinterpret_cast<const std::byte*>(&record), seen.header.size});
    seen.from = seen.to;
    seen.entered_ns = time_ns;
  }
};

void connect_once(Feed& feed, std::uint64_t number) {
  static Side client;
  static Side server;
  client.begin(number, CW_ROLE_CONNECT);
  server.begin(number, CW_ROLE_ACCEPT);
  const std::uint64_t now_ns = began_ns + number * connection_ns + 1000;
  client.step(feed, State::fin_wait1, now_ns, CW_CALL_CLOSE, CW_FLAG_LOCAL_FIN);
  server.step(feed, State::close_wait, now_ns + 3000, CW_CALL_NONE, CW_FLAG_PEER_FIN | CW_FLAG_DONE);
  client.step(feed, State::fin_wait2, now_ns + 5000, CW_CALL_NONE, CW_FLAG_DEAD | CW_FLAG_NO_SOCKET);
  client.record.transition.orphan_ms = 60000;
  client.step(feed, State::close, now_ns + 5500, CW_CALL_NONE, CW_FLAG_RCV_SHUTDOWN);
  server.step(feed, State::last_ack, now_ns + 20000, CW_CALL_CLOSE, 0);
  server.step(feed, State::close, now_ns + 22000, CW_CALL_NONE, CW_FLAG_DEAD | CW_FLAG_NO_SOCKET);
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int run(std::uint64_t connections, std::string_view sink_name, const char* path) {
  const int out = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out < 0) {
    std::perror(path);
    return 1;
  }
  Writer writer{out, path};
  JsonSink json{writer, EventTypes::all()};
  NoSink none;
  const bool prints = sink_name == "json";
  Engine engine{{.keeps_accounts = !prints}};
  Feed feed{engine, prints ? static_cast<Sink&>(json) : none, writer};
  feed.answers_by([](const Identity& who) {
    ProcessResolved resolved;
    resolved.key = who.key;
    resolved.exec_id = who.exec_id;
    resolved.details = {.exe = "/usr/local/bin/connect_load",
                        .cmdline = "connect_load --connections 30000 --servers 2 --clients 2",
                        .cgroup = "/system.slice/bench.service",
                        .container = std::nullopt};
    return resolved;
  });
  feed.step(Started{
      .time_ns = began_ns, .run = "feed", .version = "", .host = "", .kernel = "", .boot_id = "", .options = {}});
  const double before = cpu_seconds();
  for (std::uint64_t number = 0; number < connections; ++number) {
    connect_once(feed, number);
    if (number % connections_a_pulse != connections_a_pulse - 1) continue;
    feed.step(Tick{began_ns + number * connection_ns + 30'000, static_cast<std::int64_t>(realtime_ns)});
    if (auto pumped = writer.pump(); !pumped) return 1;
  }
  const double used = cpu_seconds() - before;
  std::printf("{\"sink\":\"%.*s\",\"connections\":%llu,\"events\":%llu,\"us_per_connection\":%.3f}\n",
              static_cast<int>(sink_name.size()), sink_name.data(), static_cast<unsigned long long>(connections),
              static_cast<unsigned long long>(6 * connections), used * 1e6 / static_cast<double>(connections));
  return 0;
}

}  // namespace
}  // namespace closewatch

int main(int argc, char** argv) {
  std::uint64_t connections = 100'000;
  std::string_view sink = "json";
  const char* path = "/dev/null";
  for (int at = 1; at + 1 < argc; at += 2) {
    const std::string_view option = argv[at];
    if (option == "--connections")
      connections = std::strtoull(argv[at + 1], nullptr, 10);
    else if (option == "--sink")
      sink = argv[at + 1];
    else if (option == "-o")
      path = argv[at + 1];
  }
  if (sink != "json" && sink != "none") {
    std::fprintf(stderr, "usage: feed_load [--connections N] [--sink json|none] [-o FILE]\n");
    return 2;
  }
  return closewatch::run(connections, sink, path);
}
