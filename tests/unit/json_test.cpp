// SPDX-License-Identifier: BSD-2-Clause
// The contract's lines, to the byte: keys in its order, no blanks.
#include "catch.hpp"
#include "output.hpp"

#include "sink/json.hpp"

using namespace closewatch;
using namespace closewatch::test;

namespace {

/// What one fact becomes, as the first line of its run.
std::string line_of(const Fact& fact) {
  Captured output;
  JsonSink sink{output.writer(), EventTypes::all()};
  sink.take(fact);
  const auto lines = output.lines();
  REQUIRE(lines.size() == 1);
  return lines[0];
}

std::string head(const std::string& type) {
  return R"({"schema":"closewatch/1","type":")" + type +
         R"(","seq":0,"run":"","time":"2024-02-29T12:34:56.000000789Z")";
}

const std::string conn = R"("conn":{"id":"4026531840:81","netns":4026531840,"family":"ipv4","role":"connect",)"
                         R"("local":{"address":"10.0.0.7","port":51234},"peer":{"address":"10.0.0.5","port":3306}})";
const std::string process =
    R"("process":{"pid":812,"start_ns":812000000,"comm":"client","exe":"/usr/bin/client","cmdline":"client -x",)"
    R"("uid":1000,"cgroup":"/app.slice","container":"ab12cd34ef56","exited":false})";
const std::string mention = R"({"pid":812,"start_ns":812000000,"comm":"client")";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("JSON: hello", "[sink][json]") {
  Hello hello;
  hello.time_ns = leap_day_ns;
  hello.run = "0123456789abcdef";
  hello.version = "0.1.0";
  hello.host = "b\"ox";
  hello.kernel = "6.18.0";
  hello.boot_id = "2f1c";
  hello.options = {{"pid", "1,2"}, {"json", "true"}};
  CHECK(
      line_of(hello) ==
      R"({"schema":"closewatch/1","type":"hello","seq":0,"run":"0123456789abcdef",)"
      R"("time":"2024-02-29T12:34:56.000000789Z",)"
      R"("version":"0.1.0","host":"b\"ox","kernel":"6.18.0","boot_id":"2f1c","options":{"pid":"1,2","json":"true"}})");
}

TEST_CASE("JSON: hello without options", "[sink][json]") {
  Hello hello;
  hello.time_ns = leap_day_ns;
  CHECK(line_of(hello) == head("hello") + R"(,"version":"","host":"","kernel":"","boot_id":"","options":{}})");
}

TEST_CASE("JSON: the id of a run that a recording tells of may be anything", "[sink][json]") {
  Hello hello;
  hello.time_ns = leap_day_ns;
  hello.run = "a\",\"lost\":0\n";
  CHECK(has(line_of(hello), R"("seq":0,"run":"a\",\"lost\":0\u000a","time":)"));
}

TEST_CASE("JSON: snapshot and its end", "[sink][json]") {
  CHECK(line_of(a_snapshot()) == head("snapshot") + "," + conn + R"(,"state":"CLOSE_WAIT","age_ns":5,)" + process +
                                     R"(,"attribution":"holder"})");
  Snapshot unknown = a_snapshot();
  unknown.age_ns.reset();
  unknown.responsible = {};
  unknown.connection.tuple.role = Role::unknown;
  CHECK(line_of(unknown) ==
        head("snapshot") + R"(,"conn":{"id":"4026531840:81","netns":4026531840,"family":"ipv4","role":null,)"
                           R"("local":{"address":"10.0.0.7","port":51234},"peer":{"address":"10.0.0.5","port":3306}})"
                           R"(,"state":"CLOSE_WAIT","age_ns":null,"process":null,"attribution":"unknown"})");
  CHECK(line_of(SnapshotEnd{leap_day_ns}) == head("snapshot_end") + "}");
}

TEST_CASE("JSON: transition", "[sink][json]") {
  CHECK(line_of(a_transition()) ==
        head("transition") + "," + conn + R"(,"from":"ESTABLISHED","to":"FIN_WAIT1","in_state_ns":1234,)" + process +
            R"(,"attribution":"closer","actor":)" + mention + R"(},"cause":"close","observed":"event"})");
}

TEST_CASE("JSON: transition by the network, with nothing known", "[sink][json]") {
  Transition transition = a_transition();
  transition.in_state_ns.reset();
  transition.responsible = {};
  transition.actor.reset();
  transition.cause = Cause::network;
  CHECK(line_of(transition) == head("transition") + "," + conn +
                                   R"(,"from":"ESTABLISHED","to":"FIN_WAIT1","in_state_ns":null,"process":null,)"
                                   R"("attribution":"unknown","actor":null,"cause":"network","observed":"event"})");
}

TEST_CASE("JSON: the end of a bucket, which no event told of", "[sink][json]") {
  Transition transition = a_transition();
  transition.from = State::time_wait;
  transition.to = State::close;
  transition.actor.reset();
  transition.by_sweep = true;
  for (const Cause cause : {Cause::expired, Cause::reused, Cause::overflow, Cause::gone}) {
    transition.cause = cause;
    CHECK(line_of(transition) == head("transition") + "," + conn +
                                     R"(,"from":"TIME_WAIT","to":"CLOSE","in_state_ns":1234,)" + process +
                                     R"(,"attribution":"closer","actor":null,"cause":")" + std::string{name(cause)} +
                                     R"(","observed":"sweep"})");
  }
}

TEST_CASE("JSON: closed", "[sink][json]") {
  CHECK(line_of(a_closed()) ==
        head("closed") + "," + conn + "," + process + R"(,"attribution":"closer","closer":)" + mention +
            R"(,"by":"close"},"first_fin":"local","ending":"fin","errno":0,"bucket":"time_wait",)"
            R"("states_ns":{"SYN_SENT":5,"ESTABLISHED":7,"FIN_WAIT2":9},"duration_ns":21,)"
            R"("bytes_sent":100,"bytes_received":200})");
}

TEST_CASE("JSON: closed by nobody, with nothing known", "[sink][json]") {
  Closed closed = a_closed();
  closed.responsible = {};
  closed.closer.reset();
  closed.first_fin = FirstFin::none;
  closed.ending = Ending::rst_received;
  closed.error = 104;
  closed.bucket = Bucket::unknown;
  closed.states_ns = {};
  closed.duration_ns.reset();
  CHECK(line_of(closed) ==
        head("closed") + "," + conn +
            R"(,"process":null,"attribution":"unknown","closer":null,"first_fin":"none","ending":"rst_received",)"
            R"("errno":104,"bucket":null,"states_ns":{},"duration_ns":null,"bytes_sent":100,"bytes_received":200})");
}

TEST_CASE("JSON: the buckets of closed", "[sink][json]") {
  Closed closed = a_closed();
  for (const auto& [bucket, text] :
       {std::pair{Bucket::none, "\"none\""}, std::pair{Bucket::fin_wait2, "\"fin_wait2\""},
        std::pair{Bucket::time_wait, "\"time_wait\""}, std::pair{Bucket::unknown, "null"}}) {
    closed.bucket = bucket;
    CHECK(has(line_of(closed), std::string{",\"bucket\":"} + text + ","));
  }
}

TEST_CASE("JSON: every state that time was spent in", "[sink][json]") {
  Closed closed = a_closed();
  for (std::size_t state = 1; state <= 11; ++state) closed.states_ns[state] = state;
  CHECK(has(line_of(closed),
            R"("states_ns":{"CLOSE":7,"LISTEN":10,"SYN_SENT":2,"SYN_RECV":3,"ESTABLISHED":1,"FIN_WAIT1":4,)"
            R"("FIN_WAIT2":5,"CLOSING":11,"TIME_WAIT":6,"CLOSE_WAIT":8,"LAST_ACK":9})"));
}

TEST_CASE("JSON: finding", "[sink][json]") {
  const std::string told =
      std::string{advice(Kind::eof_ignored).meaning} + " " + std::string{advice(Kind::eof_ignored).remedy};
  CHECK(line_of(a_finding()) ==
        head("finding") + "," + conn + "," + process +
            R"(,"attribution":"holder","status":"raised","kind":"eof_ignored","verdict":"leak","resolution":null,)"
            R"("age_ns":31000000000,"age_is_lower_bound":false,"unread_bytes":0,"eof":"read","unsent_bytes":0,)"
            R"("retransmits":0,"probes":0,"holders":[)" +
            mention + R"(,"fd":7}],"stacks":null,"advice":")" + told + R"("})");
}

TEST_CASE("JSON: a finding that is over, with all that can be said of it", "[sink][json]") {
  Finding finding = a_finding();
  finding.status = Finding::Status::resolved;
  finding.resolution = Resolution::reset_still_open;
  finding.age_is_lower_bound = true;
  finding.condition = {};
  finding.condition.unread_bytes = 1;
  finding.condition.unsent_bytes = 2;
  finding.condition.retransmits = 3;
  finding.condition.probes = 4;
  finding.holders.clear();
  finding.stacks.emplace();
  Frame frame;
  frame.function = "f\"x";
  frame.line = 3;
  finding.stacks->opened = Stack{{frame}, true};
  CHECK(has(line_of(finding),
            R"("status":"resolved","kind":"eof_ignored","verdict":"leak","resolution":"reset_still_open",)"
            R"("age_ns":31000000000,"age_is_lower_bound":true,"unread_bytes":1,"eof":"unknown","unsent_bytes":2,)"
            R"("retransmits":3,"probes":4,"holders":[],"stacks":{"opened":[{"function":"f\"x","file":null,"line":3,)"
            R"("module":null,"build_id":null,"offset":0}],"end_read":null},"advice":)"));
}

TEST_CASE("JSON: gap, stats, bye", "[sink][json]") {
  CHECK(line_of(Gap{leap_day_ns, 12, Gap::Where::output}) == head("gap") + R"(,"lost":12,"where":"output"})");
  const TotalsSoFar totals{1, 2, 3, 4, 5};
  CHECK(line_of(Stats{leap_day_ns, totals}) ==
        head("stats") + R"(,"events":1,"lost":2,"connections":3,"cpu_ms":4,"rss_bytes":5})");
  CHECK(line_of(Bye{leap_day_ns, totals, 6}) ==
        head("bye") + R"(,"events":1,"lost":2,"connections":3,"cpu_ms":4,"rss_bytes":5,"findings":6})");
}

TEST_CASE("JSON: questions are no lines", "[sink][json]") {
  Captured output;
  JsonSink sink{output.writer(), EventTypes::all()};
  sink.take(ProcessWanted{client()});
  sink.take(WalkWanted{true});
  CHECK(output.text().empty());
}

TEST_CASE("JSON: IPv6", "[sink][json]") {
  Transition transition = a_transition();
  transition.connection = connection(tuple(Role::accept, "2001:db8::7", 443, "fe80::1", 1));
  CHECK(has(line_of(transition),
            R"("family":"ipv6","role":"accept",)"
            R"("local":{"address":"2001:db8::7","port":443},"peer":{"address":"fe80::1","port":1}})"));
}

TEST_CASE("JSON: hostile names leave it valid", "[sink][json]") {
  Transition transition = a_transition();
  Identity hostile = client();
  hostile.comm = comm("\x1b[2J\"\\\n\xff");
  transition.responsible = responsible(hostile);
  ProcessEntry entry;
  entry.details.cmdline = "sh -c \"\x01\"";
  entry.exited = true;
  transition.responsible.process->entry = std::make_shared<ProcessEntry>(entry);
  transition.actor = hostile;
  const std::string line = line_of(transition);
  const std::string name = "\"comm\":\"\\u001b[2J\\\"\\\\\\u000a\xEF\xBF\xBD\"";
  CHECK(
      has(line,
          R"("process":{"pid":812,"start_ns":812000000,)" + name +
              R"(,"exe":null,"cmdline":"sh -c \"\u0001\"","uid":1000,"cgroup":null,"container":null,"exited":true})"));
  CHECK(has(line, R"("actor":{"pid":812,"start_ns":812000000,)" + name + "}"));
}

TEST_CASE("JSON: times before and after midnight, and in the last nanosecond", "[sink][json]") {
  const auto time = [](std::int64_t ns) { return line_of(SnapshotEnd{ns}).substr(66); };
  CHECK(has(time(0), "1970-01-01T00:00:00.000000000Z"));
  CHECK(has(time(1'709'251'199'999'999'999), "2024-02-29T23:59:59.999999999Z"));
  CHECK(has(time(1'709'251'200'000'000'000), "2024-03-01T00:00:00.000000000Z"));
}

TEST_CASE("JSON: only the types that were asked for, and seq counts those", "[sink][json]") {
  Captured output;
  EventTypes types;
  types.add(EventType::closed);
  types.add(EventType::bye);
  JsonSink sink{output.writer(), types};
  Hello hello;
  hello.run = "r1";
  sink.take(hello);
  sink.take(a_transition());
  sink.take(a_closed());
  sink.take(Bye{});
  const auto lines = output.lines();
  REQUIRE(lines.size() == 2);
  CHECK(has(lines[0], R"("type":"closed","seq":0,"run":"r1",)"));
  CHECK(has(lines[1], R"("type":"bye","seq":1,"run":"r1",)"));
}

TEST_CASE("JSON: lines that are dropped leave no hole in seq", "[sink][json]") {
  Captured output{600};
  JsonSink sink{output.writer(), EventTypes::all()};
  for (int line = 0; line < 10; ++line) sink.take(a_transition());
  const std::size_t kept = output.lines().size();
  CHECK(kept < 10);
  REQUIRE(output.writer().dropped_before_room() == 10 - kept);
  SECTION("a gap and the end are owed to a slow reader too") {
    sink.take(Gap{leap_day_ns, output.writer().resume(), Gap::Where::output});
    sink.take(a_transition());
    sink.take(Bye{});
    const auto lines = output.lines();
    for (std::size_t line = 0; line < lines.size(); ++line)
      CHECK(has(lines[line], "\"seq\":" + std::to_string(line) + ","));
    CHECK(has(lines.at(kept), "\"type\":\"gap\""));
    CHECK(has(lines.back(), "\"type\":\"bye\""));
  }
  SECTION("also while there is no room") {
    sink.take(a_transition());
    sink.take(Bye{});
    const auto lines = output.lines();
    REQUIRE(lines.size() == kept + 1);
    CHECK(has(lines.back(), "\"type\":\"bye\",\"seq\":" + std::to_string(kept) + ","));
  }
}
