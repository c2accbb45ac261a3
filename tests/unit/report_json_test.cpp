// SPDX-License-Identifier: BSD-2-Clause
// The document of the contract, to the byte: keys in its order, no blanks outside strings.
#include "catch.hpp"
#include "scene.hpp"

#include "sink/pattern.hpp"
#include "sink/report_json.hpp"

#include <limits>

using namespace closewatch;
using namespace closewatch::test;

namespace {

const std::string head = R"({"schema":"closewatch/report/1","host":"box","kernel":"6.18.0",)"
                         R"("from":"2024-02-29T12:33:56.000000789Z","to":"2024-02-29T12:34:56.000000789Z",)";
const std::string no_descriptors = R"("fds":{"open":null,"soft_limit":null,"sockets":null,"seconds_left":null},)";
const std::string no_latency = R"("close_latency_ns":{"p50":0,"p99":0,"max":0,"count":0})";
const std::string in_server =
    R"({"pid":900,"start_ns":900000000,"comm":"server","exe":"/usr/sbin/server","cmdline":"server","uid":1000,)"
    R"("cgroup":"/app.slice","container":"ab12cd34ef56","exited":false})";
const std::string held = R"([{"pid":900,"start_ns":900000000,"comm":"server","fd":7}])";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string advice_text(Kind kind) {
  return std::string{advice(kind).meaning} + " " + std::string{advice(kind).remedy};
}

/// One leaked socket of the server's.
struct Leak : Scene {
  Leak() {
    judged(leaked_socket(82, server(), incoming(), 50 * seconds)).condition.unread_bytes = 3;
    input.trend = [](WorkloadId, Kind) { return std::optional{Trend::growing}; };
  }
  [[nodiscard]] std::string json() const { return report_json(report()); }
};

}  // namespace

TEST_CASE("report JSON: an empty machine", "[sink][report]") {
  CHECK(report_json(Scene{}.report()) ==
        head + R"("complete":true,"incomplete_reasons":[],"lost":0,"states":{},"workloads":[],"processes":[],)"
               R"("host_findings":[]})"
               "\n");
}

TEST_CASE("report JSON: why it is incomplete", "[sink][report]") {
  Scene scene;
  scene.input.incomplete_reasons = {"no \"pids\"", "two"};
  scene.input.lost = 12;
  CHECK(has(report_json(scene.report()),
            R"("complete":false,"incomplete_reasons":["no \"pids\"","two"],"lost":12,"states":{})"));
}

TEST_CASE("report JSON: one leak, whole", "[sink][report]") {
  const std::string findings =
      R"("states":{"CLOSE_WAIT":1},)" + no_descriptors +
      R"("close_wait":{"now":1,"leaked":1,"stuck":0,"oldest_ns":50000000000,"groups":[{"kind":"eof_ignored",)"
      R"("verdict":"leak","count":1,"trend":"growing","local":"*:8080","peer":"*","holders":)" +
      held +
      R"(,"accept_queue":null,"unread_bytes":3,"sockets":[{"conn":{"id":"4026531840:82","netns":4026531840,)"
      R"("family":"ipv4","role":"accept","local":{"address":"10.0.0.7","port":8080},)"
      R"("peer":{"address":"10.0.0.9","port":40000}},"age_ns":50000000000,"age_is_lower_bound":false,)"
      R"("unread_bytes":3,"eof":"read","unsent_bytes":0,"retransmits":0,"probes":0,"attribution":"holder","holders":)" +
      held + R"(}],"stacks":null,"advice":")" + advice_text(Kind::eof_ignored) +
      R"("}]},"time_wait":{"now":0,"entered":0,"per_second":0,"by_endpoint":[]},)"
      R"("fin_wait2":{"orphaned":0,"living":0},"endings":{},)" +
      no_latency + "}";
  CHECK(Leak{}.json() ==
        head +
            R"("complete":true,"incomplete_reasons":[],"lost":0,"states":{"CLOSE_WAIT":1},)"
            R"("workloads":[{"exe":"/usr/sbin/server","cgroup":"/app.slice","container":"ab12cd34ef56",)"
            R"("endpoint":"*:8080","processes":1,)" +
            findings + R"(],"processes":[{"process":)" + in_server + "," + findings +
            R"(],"host_findings":[]})"
            "\n");
}

TEST_CASE("report JSON: what belongs to nobody known", "[sink][report]") {
  Scene scene;
  scene.row(State::established, {});
  const std::string json = report_json(scene.report());
  CHECK(has(json, R"("workloads":[{"exe":null,"cgroup":null,"container":null,"endpoint":"10.0.0.5:3306",)"
                  R"("processes":0,"states":{"ESTABLISHED":1},)"));
  CHECK(has(json, R"("processes":[{"process":null,"states":{"ESTABLISHED":1},)"));
}

TEST_CASE("report JSON: descriptors, and the time that is left in thousandths", "[sink][report]") {
  Leak scene;
  scene.input.descriptors[server().key] = {812, 1024, 700, std::nullopt};
  CHECK(has(scene.json(), R"("fds":{"open":812,"soft_limit":1024,"sockets":700,"seconds_left":null},)"));
  scene.input.descriptors[server().key].seconds_left = 1.0 / 3;
  CHECK(has(scene.json(), R"("seconds_left":0.333},)"));
  scene.input.descriptors[server().key].seconds_left = std::numeric_limits<double>::infinity();
  CHECK(has(scene.json(), R"("seconds_left":null},)"));
}

TEST_CASE("report JSON: TIME_WAIT, endings and latencies", "[sink][report]") {
  Scene scene;
  for (std::uint16_t port = 40'001; port <= 40'006; ++port)
    scene.closed_into_bucket(client(), outgoing_from(port), 5 * seconds);
  scene.closed(client(), outgoing(), Ending::rst_linger0, Bucket::none, 7);
  CHECK(has(report_json(scene.report()),
            R"("time_wait":{"now":6,"entered":6,"per_second":0.1,"by_endpoint":[{"side":"connect",)"
            R"("local":"10.0.0.7:*","peer":"10.0.0.5:3306","now":6,"ports":null}]},)"
            R"("fin_wait2":{"orphaned":0,"living":0},"endings":{"fin":6,"rst_linger0":1},)"));
  scene.settings({40'001, 40'010});
  CHECK(has(report_json(scene.report()), R"("now":6,"ports":{"range":10,"in_use":6,"seconds_left":null}}]})"));
  Report report = scene.report();
  report.processes[0].findings.time_wait.by_endpoint[0].ports->seconds_left = 12.5;
  report.processes[0].findings.close_latency_ns = {1, 2, 3, 4};
  CHECK(has(report_json(report), R"("ports":{"range":10,"in_use":6,"seconds_left":12.5}}]})"));
  CHECK(has(report_json(report), R"("close_latency_ns":{"p50":1,"p99":2,"max":3,"count":4}})"));
}

TEST_CASE("report JSON: accept queue, no trend", "[sink][report]") {
  Leak scene;
  scene.input.trend = nullptr;
  scene.input.judged[0].accept_queue = AcceptQueue{3, 128};
  CHECK(has(scene.json(), R"("count":1,"trend":null,)"));
  CHECK(has(scene.json(), R"("accept_queue":{"len":3,"max":128},)"));
}

TEST_CASE("report JSON: stacks, with null for what is not known", "[sink][report]") {
  Leak scene;
  scene.input.with_stacks = true;
  Stack stack = stack_at("handler", 88);
  stack.frames[1].module.clear();
  stack.frames[1].build_id.clear();
  scene.input.stacks[82].end_read = stack;
  CHECK(has(scene.json(),
            R"("stacks":{"opened":null,"end_read":[{"function":"recv","file":null,"line":null,"module":"libc.so.6",)"
            R"("build_id":"c0ffee","offset":4096},{"function":"handler","file":"/src/app/handler.cc","line":88,)"
            R"("module":null,"build_id":null,"offset":4184}]},"advice":)"));
}

TEST_CASE("report JSON: findings of the host", "[sink][report]") {
  Report report = Scene{}.report();
  report.host_findings = {{"tw_full", HostFinding::Severity::critical, "full", "mend \"it\"", "not this"}};
  CHECK(has(report_json(report),
            R"("host_findings":[{"id":"tw_full","severity":"critical","text":"full","remedy":"mend \"it\""}]})"));
}

TEST_CASE("report JSON: hostile names leave it valid", "[sink][report]") {
  Scene scene;
  const Identity hostile = person(7, "\x1b[2J\"\\\n\xff");
  ProcessDetails details;
  details.exe = "/tmp/\"\n\xff";
  scene.is(hostile, details);
  scene.row(State::established, hostile);
  scene.input.host = "a\"b";
  const std::string json = report_json(scene.report());
  CHECK(has(json, R"("host":"a\"b")"));
  CHECK(has(json, "\"comm\":\"\\u001b[2J\\\"\\\\\\u000a\xEF\xBF\xBD\""));
  CHECK(has(json, "\"exe\":\"/tmp/\\\"\\u000a\xEF\xBF\xBD\""));
  CHECK(json.find('\n') == json.size() - 1);
}

TEST_CASE("ends with what is not fixed, as ss prints them", "[sink][report]") {
  const Address four = endpoint("10.0.0.7", 0).address;
  const Address six = endpoint("::1", 0).address;
  CHECK(pattern_text({}) == "*");
  CHECK(pattern_text({Family::ipv6, std::nullopt, 8080}) == "*:8080");
  CHECK(pattern_text({Family::ipv4, four, std::nullopt}) == "10.0.0.7:*");
  CHECK(pattern_text({Family::ipv6, six, std::nullopt}) == "[::1]:*");
  CHECK(pattern_text({Family::ipv4, four, 22}) == "10.0.0.7:22");
  CHECK(pattern_text({Family::ipv6, six, 22}) == "[::1]:22");
  CHECK(service_text({}) == "*");
  CHECK(service_text({Role::accept, Family::ipv4, endpoint("10.0.0.7", 80)}) == "*:80");
  CHECK(service_text({Role::connect, Family::ipv6, endpoint("::1", 80)}) == "[::1]:80");
}
