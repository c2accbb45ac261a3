// SPDX-License-Identifier: BSD-2-Clause
// Each record of the ABI and the event that it is.
#include "builders.hpp"
#include "catch.hpp"
#include "records.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

template <typename Wanted>
Wanted as(const std::vector<std::byte>& bytes) {
  const auto event = decode(bytes);
  if (!event) FAIL("refused: " << name(event.error()));
  REQUIRE(std::holds_alternative<Wanted>(*event));
  return std::get<Wanted>(*event);
}

void has_example_tuple(const Tuple& tuple) {
  CHECK(tuple.netns == netns);
  CHECK(tuple.family == Family::ipv4);
  CHECK(tuple.role == Role::connect);
  CHECK(tuple.local == endpoint("10.0.0.7", 51234));
  CHECK(tuple.peer == endpoint("10.0.0.5", 3306));
}

}  // namespace

TEST_CASE("a transition", "[decode]") {
  const auto seen = as<TransitionSeen>(bytes_of(raw_transition()));
  CHECK(seen.time_ns == 1001);
  CHECK(seen.cookie == 81);
  CHECK(seen.listener_cookie == 80);
  has_example_tuple(seen.tuple);
  CHECK(seen.from == State::fin_wait1);
  CHECK(seen.to == State::fin_wait2);
  CHECK(seen.entered_ns == 900);
  CHECK(seen.attribution == Attribution::closer);
  CHECK(seen.process.key == ProcessKey{812, 5000});
  CHECK(seen.process.uid == 33);
  CHECK(seen.process.exec_id == 3);
  CHECK(seen.process.cgroup_id == 77);
  CHECK(text(seen.process.comm) == "client");
  CHECK(seen.call == Cause::shutdown);
  CHECK(seen.actor.key == ProcessKey{813, 6000});
  CHECK(text(seen.actor.comm) == "actor");
  CHECK(seen.closer_by == Cause::close);
  CHECK(seen.evidence.error == -7);
  CHECK(seen.evidence.unread == 0);
  CHECK_FALSE(seen.totals);
}

TEST_CASE("each flag is its own evidence", "[decode]") {
  struct Row {
    std::uint32_t flag;
    std::function<bool(const TransitionSeen&)> told;
  };
  const std::vector<Row> rows{
      {CW_FLAG_DEAD, [](const TransitionSeen& seen) { return seen.evidence.dead; }},
      {CW_FLAG_DONE, [](const TransitionSeen& seen) { return seen.evidence.done; }},
      {CW_FLAG_NO_SOCKET, [](const TransitionSeen& seen) { return seen.evidence.no_socket; }},
      {CW_FLAG_LINGER_ZERO, [](const TransitionSeen& seen) { return seen.evidence.linger_zero; }},
      {CW_FLAG_LINGER2_NEGATIVE, [](const TransitionSeen& seen) { return seen.evidence.linger2_negative; }},
      {CW_FLAG_RESET_SENT, [](const TransitionSeen& seen) { return seen.evidence.reset_sent; }},
      {CW_FLAG_TABLE_FULL, [](const TransitionSeen& seen) { return seen.evidence.table_full; }},
      {CW_FLAG_MPTCP, [](const TransitionSeen& seen) { return seen.evidence.mptcp; }},
      {CW_FLAG_RCV_SHUTDOWN, [](const TransitionSeen& seen) { return seen.evidence.receive_shutdown; }},
      {CW_FLAG_LOCAL_FIN, [](const TransitionSeen& seen) { return seen.local_fin; }},
      {CW_FLAG_PEER_FIN, [](const TransitionSeen& seen) { return seen.peer_fin; }},
      {CW_FLAG_MATCHED, [](const TransitionSeen& seen) { return seen.evidence.matched; }},
      {CW_FLAG_HIDDEN, [](const TransitionSeen& seen) { return seen.evidence.hidden; }},
      {CW_FLAG_OWNER_MET, [](const TransitionSeen& seen) { return seen.evidence.owner_met; }},
  };
  for (const Row& set : rows) {
    cw_transition raw = raw_transition();
    raw.flags = set.flag;
    const auto seen = as<TransitionSeen>(bytes_of(raw));
    for (const Row& asked : rows) {
      CAPTURE(set.flag, asked.flag);
      CHECK(asked.told(seen) == (set.flag == asked.flag));
    }
  }
}

TEST_CASE("each call, attribution, role and state", "[decode]") {
  cw_transition raw = raw_transition();
  const auto seen = [&] { return as<TransitionSeen>(bytes_of(raw)); };
  const std::vector<std::optional<Cause>> calls{std::nullopt,    Cause::connect, Cause::listen,     Cause::close,
                                                Cause::shutdown, Cause::exit,    Cause::disconnect, Cause::kill};
  for (std::size_t value = 0; value < calls.size(); ++value) {
    raw.call = static_cast<std::uint8_t>(value);
    CHECK(seen().call == calls[value]);
  }
  for (const auto& [value, by] :
       {std::pair{CW_CALL_NONE, std::optional<Cause>{}}, std::pair{CW_CALL_CLOSE, std::optional{Cause::close}},
        std::pair{CW_CALL_SHUTDOWN, std::optional{Cause::shutdown}},
        std::pair{CW_CALL_EXIT, std::optional{Cause::exit}}}) {
    raw.closer_by = static_cast<std::uint8_t>(value);
    CHECK(seen().closer_by == by);
  }
  const std::vector<Attribution> attributions{Attribution::unknown, Attribution::listener, Attribution::opener,
                                              Attribution::holder, Attribution::closer};
  for (std::size_t value = 0; value < attributions.size(); ++value) {
    raw.attribution = static_cast<std::uint8_t>(value);
    CHECK(seen().attribution == attributions[value]);
  }
  const std::vector<Role> roles{Role::unknown, Role::connect, Role::accept};
  for (std::size_t value = 0; value < roles.size(); ++value) {
    raw.tuple.role = static_cast<std::uint8_t>(value);
    CHECK(seen().tuple.role == roles[value]);
  }
  for (std::uint8_t value = 1; value <= 11; ++value) {
    raw.from = value;
    raw.to = static_cast<std::uint8_t>(12 - value);
    CHECK(static_cast<int>(seen().from) == value);
    CHECK(static_cast<int>(seen().to) == 12 - value);
  }
}

TEST_CASE("a change to CLOSE brings the totals", "[decode]") {
  const auto seen = as<TransitionSeen>(bytes_of(raw_close()));
  CHECK(seen.to == State::close);
  CHECK(seen.evidence.unread == 6);
  REQUIRE(seen.totals);
  CHECK(seen.totals->opened_ns == 400);
  CHECK(seen.totals->bytes_sent == 1234);
  CHECK(seen.totals->bytes_received == 5678);
  for (std::size_t state = 0; state < state_slots; ++state) CHECK(seen.totals->states_ns[state] == state * 10);
}

TEST_CASE("a reset", "[decode]") {
  const auto seen = as<ResetSeen>(bytes_of(raw_reset()));
  CHECK(seen.time_ns == 1001);
  CHECK(seen.cookie == 81);
}

TEST_CASE("a process, and its end", "[decode]") {
  const auto seen = as<ProcessSeen>(bytes_of(raw_process(CW_RECORD_PROCESS)));
  CHECK(seen.time_ns == 1001);
  CHECK(seen.process.key == ProcessKey{812, 5000});
  CHECK(text(seen.process.comm) == "client");
  const auto exited = as<ProcessExited>(bytes_of(raw_process(CW_RECORD_EXIT)));
  CHECK(exited.time_ns == 1001);
  CHECK(exited.key == ProcessKey{812, 5000});
}

TEST_CASE("a row of the walk over the sockets", "[decode]") {
  const auto row = as<SocketRow>(bytes_of(raw_socket()));
  CHECK(row.time_ns == 1001);
  CHECK(row.cookie == 81);
  CHECK(row.listener_cookie == 80);
  has_example_tuple(row.tuple);
  CHECK(row.state == State::close_wait);
  CHECK(row.entered_ns == 900);
  CHECK(row.attribution == Attribution::holder);
  CHECK(row.process.key == ProcessKey{812, 5000});
  CHECK(row.evidence.no_socket);
  CHECK(row.evidence.matched);
  CHECK_FALSE(row.evidence.dead);
}

TEST_CASE("a row of the walk over the buckets", "[decode]") {
  const auto row = as<BucketRow>(bytes_of(raw_bucket()));
  CHECK(row.time_ns == 1001);
  CHECK(row.cookie == 81);
  has_example_tuple(row.tuple);
  CHECK(row.substate == State::time_wait);
  CHECK(row.expires_in_ns == -5);
  cw_bucket_row orphan = raw_bucket();
  orphan.substate = 5;
  CHECK(as<BucketRow>(bytes_of(orphan)).substate == State::fin_wait2);
}

TEST_CASE("an IPv4-mapped IPv6 address is IPv4", "[decode]") {
  cw_transition raw = raw_transition();
  const auto with = [&](std::string_view local, std::string_view peer) {
    raw.tuple.family = 6;
    copy(endpoint(local, 0).address, raw.tuple.local);
    copy(endpoint(peer, 0).address, raw.tuple.peer);
    return as<TransitionSeen>(bytes_of(raw)).tuple;
  };
  SECTION("both ends") {
    const Tuple mapped = with("::ffff:10.0.0.7", "::ffff:10.0.0.5");
    CHECK(mapped.family == Family::ipv4);
    CHECK(mapped.local == endpoint("10.0.0.7", 51234));
    CHECK(mapped.peer == endpoint("10.0.0.5", 3306));
  }
  SECTION("the local end not bound yet") {
    const Tuple half = with("::", "::ffff:10.0.0.5");
    CHECK(half.family == Family::ipv4);
    CHECK(half.local.address == Address{});
    CHECK(half.peer.address == endpoint("10.0.0.5", 0).address);
  }
  SECTION("a listener bound to a mapped address") {
    const Tuple listener = with("::ffff:10.0.0.7", "::");
    CHECK(listener.family == Family::ipv4);
    CHECK(listener.local.address == endpoint("10.0.0.7", 0).address);
    CHECK(listener.peer.address == Address{});
  }
  SECTION("IPv6 stays what it is") {
    const Tuple ipv6 = with("2001:db8::7", "2001:db8::5");
    CHECK(ipv6.family == Family::ipv6);
    CHECK(ipv6.local == endpoint("2001:db8::7", 51234));
    CHECK(with("::", "::").family == Family::ipv6);
  }
  SECTION("rows and buckets likewise") {
    cw_bucket_row bucket = raw_bucket();
    bucket.tuple.family = 6;
    copy(endpoint("::ffff:10.0.0.7", 0).address, bucket.tuple.local);
    copy(endpoint("::ffff:10.0.0.5", 0).address, bucket.tuple.peer);
    has_example_tuple(as<BucketRow>(bytes_of(bucket)).tuple);
  }
}

TEST_CASE("a name without its zero ends with its room", "[decode]") {
  cw_process_record raw = raw_process(CW_RECORD_PROCESS);
  std::fill(std::begin(raw.process.comm), std::end(raw.process.comm), 'x');
  CHECK(text(as<ProcessSeen>(bytes_of(raw)).process.comm) == std::string(15, 'x'));
}

TEST_CASE("any bytes may be a name", "[decode]") {
  cw_process_record raw = raw_process(CW_RECORD_PROCESS);
  const char hostile[CW_COMM_SIZE] = "\x1b[2J\xff\n\"\\";
  std::copy(std::begin(hostile), std::end(hostile), std::begin(raw.process.comm));
  CHECK(text(as<ProcessSeen>(bytes_of(raw)).process.comm) == "\x1b[2J\xff\n\"\\");
}
