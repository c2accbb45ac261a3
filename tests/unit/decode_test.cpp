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
  // What is unread matters in every change: who exits in CLOSE_WAIT is judged by it.
  cw_transition raw = raw_transition();
  raw.unread = 1001;
  CHECK(as<TransitionSeen>(bytes_of(raw)).evidence.unread == 1001);
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
      {CW_FLAG_PORT_BOUND, [](const TransitionSeen& seen) { return seen.evidence.port_bound; }},
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
  CHECK(seen.orphan_ns == 7 * ms);
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
  CHECK(row.opened_ns == 800);
  CHECK(row.accept_queue.length == 5);
  CHECK(row.accept_queue.most == 128);
}

TEST_CASE("how a socket stands that a walk met", "[decode]") {
  const auto condition = as<SocketRow>(bytes_of(raw_socket())).condition;
  CHECK(condition.unsent_bytes == 70);
  CHECK(condition.acked_bytes == 1ULL << 40U);
  CHECK(condition.retransmits == 3);
  CHECK(condition.probes == 4);
  CHECK(condition.received_ns == 850);
  CHECK(condition.used_ns == 860);
  CHECK_FALSE(condition.use_observed);
  CHECK_FALSE(condition.was_used);
  CHECK_FALSE(condition.too_many_users);
  CHECK_FALSE(condition.no_file);
}

TEST_CASE("each flag of a row is its own", "[decode]") {
  cw_socket_row raw = raw_socket();
  raw.flags = GENERATE(0U, CW_FLAG_NO_FILE, CW_FLAG_USE_OBSERVED, CW_FLAG_READ_BY_KERNEL, CW_FLAG_OWNER_MET,
                       CW_FLAG_PORT_BOUND);
  const auto row = as<SocketRow>(bytes_of(raw));
  CHECK(row.condition.no_file == (raw.flags == CW_FLAG_NO_FILE));
  CHECK(row.condition.use_observed == (raw.flags == CW_FLAG_USE_OBSERVED));
  CHECK(row.evidence.owner_met == (raw.flags == CW_FLAG_OWNER_MET));
  CHECK(row.evidence.port_bound == (raw.flags == CW_FLAG_PORT_BOUND));
  CHECK_FALSE(row.evidence.no_socket);
}

TEST_CASE("who has used a socket: nobody, somebody, more than are kept", "[decode]") {
  cw_socket_row raw = raw_socket();
  const auto with = [&](int users) {
    raw.users = static_cast<__u8>(users);
    return as<SocketRow>(bytes_of(raw)).condition;
  };
  CHECK_FALSE(with(0).was_used);
  CHECK(with(1).was_used);
  CHECK(with(CW_USERS).was_used);
  CHECK_FALSE(with(CW_USERS).too_many_users);
  CHECK(with(CW_USERS + 1).was_used);
  CHECK(with(CW_USERS + 1).too_many_users);
  CHECK(with(255).too_many_users);
}

TEST_CASE("what became of the peer's FIN", "[decode]") {
  struct Row {
    unsigned flags;
    __u32 unread;  // as the kernel counts: with the FIN
    int eof;
    EndOfFile told;
    std::uint32_t bytes;
  };
  const unsigned fin = CW_FLAG_DONE;
  const unsigned no_fin = 0;
  const unsigned by_kernel = CW_FLAG_READ_BY_KERNEL;
  const std::vector<Row> rows{
      // A FIN, and whether its sequence number is consumed.
      {fin, 0, CW_EOF_READ, EndOfFile::read, 0},
      {fin, 0, CW_EOF_NOT_SEEN, EndOfFile::consumed, 0},
      {fin, 0, CW_EOF_PEEKED, EndOfFile::consumed, 0},  // taken by a later read that had data too
      {fin, 1, CW_EOF_NOT_SEEN, EndOfFile::unread, 0},
      {fin, 1, CW_EOF_PEEKED, EndOfFile::peeked, 0},
      {fin, 2, CW_EOF_NOT_SEEN, EndOfFile::unread, 1},
      {fin, 2, CW_EOF_PEEKED, EndOfFile::unread, 1},
      {fin, 1001, CW_EOF_READ, EndOfFile::unread, 1000},
      {fin, ~0U, CW_EOF_NOT_SEEN, EndOfFile::unread, ~0U - 1},
      // A RST came in its place: all that is there is data.
      {no_fin, 0, CW_EOF_NOT_SEEN, EndOfFile::unknown, 0},
      {no_fin, 0, CW_EOF_READ, EndOfFile::unknown, 0},
      {no_fin, 1, CW_EOF_NOT_SEEN, EndOfFile::unread, 1},
      {no_fin, 1000, CW_EOF_NOT_SEEN, EndOfFile::unread, 1000},
      // Whoever reads in the kernel does not count up copied_seq.
      {fin | by_kernel, 0, CW_EOF_READ, EndOfFile::unknown, 0},
      {fin | by_kernel, 1001, CW_EOF_NOT_SEEN, EndOfFile::unknown, 1000},
  };
  for (const Row& expected : rows) {
    CAPTURE(expected.flags, expected.unread, expected.eof);
    cw_socket_row raw = raw_socket();
    raw.flags = expected.flags;
    raw.unread = expected.unread;
    raw.eof = static_cast<__u8>(expected.eof);
    const auto condition = as<SocketRow>(bytes_of(raw)).condition;
    CHECK(name(condition.eof) == name(expected.told));
    CHECK(condition.unread_bytes == expected.bytes);
  }
}

TEST_CASE("a descriptor of a socket", "[decode]") {
  cw_holder_row raw = raw_holder();
  raw.used = static_cast<__u8>(GENERATE(0, 1));
  raw.used_last = static_cast<__u8>(GENERATE(0, 1));
  const auto row = as<HolderRow>(bytes_of(raw));
  CHECK(row.time_ns == 1001);
  CHECK(row.cookie == 81);
  CHECK(row.holder.process.key == ProcessKey{812, 5000});
  CHECK(row.holder.process.exec_id == 3);
  CHECK(text(row.holder.process.comm) == "client");
  CHECK(row.holder.fd == 7);
  CHECK(row.holder.used == (raw.used == 1));
  CHECK(row.holder.used_last == (raw.used_last == 1));
}

TEST_CASE("the last descriptor of a dead socket goes", "[decode]") {
  cw_release raw = raw_release();
  const auto closed = as<DescriptorClosed>(bytes_of(raw));
  CHECK(closed.time_ns == 1001);
  CHECK(closed.cookie == 81);
  CHECK(closed.actor.key == ProcessKey{813, 6000});
  CHECK(closed.by == Cause::close);
  raw.call = CW_CALL_EXIT;
  CHECK(as<DescriptorClosed>(bytes_of(raw)).by == Cause::exit);
  raw.actor.tgid = 0;
  CHECK(as<DescriptorClosed>(bytes_of(raw)).actor.key.pid == 0);
}

TEST_CASE("the stacks of a socket", "[decode]") {
  using Words = std::vector<std::uint64_t>;
  cw_stacks_row raw = raw_stacks();
  const auto stacks = as<StacksSeen>(bytes_of(raw));
  CHECK(stacks.time_ns == 1001);
  CHECK(stacks.cookie == 81);
  REQUIRE(stacks.opened);
  CHECK(stacks.opened->process == ProcessKey{812, 5000});
  CHECK(stacks.opened->exec_id == 3);
  CHECK(stacks.opened->addresses == Words{0x1000, 0x1001});
  CHECK(stacks.opened->words == Words{0x1002});
  REQUIRE(stacks.end_read);
  CHECK(stacks.end_read->process == ProcessKey{813, 5000});
  CHECK(stacks.end_read->addresses == Words{0x2000, 0x2001});
  SECTION("none was taken") {
    raw.opened.tgid = 0;
    CHECK_FALSE(as<StacksSeen>(bytes_of(raw)).opened);
    CHECK(as<StacksSeen>(bytes_of(raw)).end_read);
    raw.end_read.tgid = 0;
    CHECK_FALSE(as<StacksSeen>(bytes_of(raw)).end_read);
  }
  SECTION("full") {
    raw.opened.frames = sizeof raw.opened.address;
    raw.opened.words = sizeof raw.opened.word;
    const auto full = as<StacksSeen>(bytes_of(raw));
    CHECK(full.opened->addresses.size() == CW_STACK_FRAMES);
    CHECK(full.opened->words.size() == CW_STACK_WORDS);
  }
  SECTION("empty") {
    raw.opened.frames = raw.opened.words = 0;
    const auto empty = as<StacksSeen>(bytes_of(raw));
    CHECK(empty.opened->addresses.empty());
    CHECK(empty.opened->words.empty());
  }
  SECTION("half an address is none") {
    raw.opened.frames = sizeof(__u64) + 7;
    CHECK(as<StacksSeen>(bytes_of(raw)).opened->addresses == Words{0x1000});
  }
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

TEST_CASE("a row of a port that is taken", "[decode]") {
  const auto row = as<PortRow>(bytes_of(raw_port()));
  CHECK(row.time_ns == 1001);
  CHECK(row.cookie == 81);
  CHECK(row.opened_ns == 77);
  has_example_tuple(row.tuple);
  cw_port_row waiting = raw_port();
  waiting.cookie = waiting.opened_ns = 0;
  CHECK(as<PortRow>(bytes_of(waiting)).cookie == 0);
  CHECK(as<PortRow>(bytes_of(waiting)).opened_ns == 0);
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
    cw_port_row port = raw_port();
    port.tuple = bucket.tuple;
    has_example_tuple(as<PortRow>(bytes_of(port)).tuple);
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
