// SPDX-License-Identifier: BSD-2-Clause
#include "scene.hpp"

namespace closewatch::test {

Judged leaked_socket(std::uint64_t cookie, const Identity& process, const Tuple& tuple, std::uint64_t age_ns) {
  Judged out;
  out.cookie = cookie;
  out.tuple = tuple;
  out.since_ns = Scene::now_ns - age_ns;
  out.condition.eof = EndOfFile::read;
  out.holders = {holder(process, 7)};
  out.process = process;
  out.attribution = Attribution::holder;
  out.kind = Kind::eof_ignored;
  out.verdict = Verdict::leak;
  return out;
}

Tuple outgoing_from(std::uint16_t port) {
  Tuple out = outgoing();
  out.local.port = port;
  return out;
}

Stack stack_at(const std::string& function, std::uint32_t line) {
  Frame wrapper;
  wrapper.address = 0x7f0000001000;
  wrapper.function = "recv";
  wrapper.module = "libc.so.6";
  wrapper.build_id = "c0ffee";
  wrapper.offset = 0x1000;
  Frame frame;
  frame.address = 0x401000 + line;
  frame.function = function;
  frame.file = "/src/app/handler.cc";
  frame.line = line;
  frame.module = "server";
  frame.build_id = "abcdef";
  frame.offset = 0x1000 + line;
  return {{wrapper, frame}, false};
}

Scene::Scene()
    : input{
          .host = "box",
          .kernel = "6.18.0",
          .from_ns = leap_day_ns - 60 * static_cast<std::int64_t>(seconds),
          .to_ns = leap_day_ns,
          .realtime_offset_ns = leap_day_ns - static_cast<std::int64_t>(now_ns),
          .incomplete_reasons = {},
          .lost = 0,
          .rows = {},
          .bound = {},
          .namespaces = {},
          .others_before = {},
          .others_before_ns = 0,
          .judged = {},
          .ended = {},
          .trend = {},
          .mended = {},
          .descriptors = {},
          .with_stacks = false,
          .stacks = {},
          .verbose = false,
          .ledger = ledger,
          .accounts = accounts,
          .workloads = workloads,
          .processes = processes,
          .listeners = listeners,
      } {
  ProcessDetails details;
  details.exe = "/usr/bin/client";
  details.cmdline = "client -x";
  details.cgroup = "/app.slice";
  is(client(), details);
  details.exe = "/usr/sbin/server";
  details.cmdline = "server";
  details.container = "ab12cd34ef56";
  is(server(), details);
}

void Scene::is(const Identity& process, ProcessDetails details) {
  (void)processes.find(process);
  ProcessResolved answer;
  answer.key = process.key;
  answer.exec_id = process.exec_id;
  answer.details = std::move(details);
  processes.resolve(answer);
}

Judged& Scene::keep(std::vector<Judged>& place, Judged socket) {
  socket.workload = workloads.of(socket.process, socket.tuple);
  return place.emplace_back(std::move(socket));
}

SocketRow& Scene::row(State state, const Identity& process, const Tuple& tuple) {
  SocketRow out = test::row(now_ns, state, Attribution::opener, process);
  out.cookie = next_cookie_++;
  out.tuple = tuple;
  if (process.key.pid == 0) out.attribution = Attribution::unknown;
  return input.rows.emplace_back(out);
}

Ledger::Bucket Scene::a_bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns) {
  Ledger::Bucket out;
  out.cookie = next_cookie_++;
  out.entered_ns = now_ns - age_ns;
  out.known_ns = out.entered_ns;
  const bool is_known = process.key.pid != 0;
  out.owner = std::make_shared<Responsible>(is_known ? responsible(process, Attribution::closer) : Responsible{});
  out.workload = workloads.of(process, tuple);
  out.role = tuple.role;
  return out;
}

void Scene::put(const Tuple& tuple, Ledger::Bucket bucket) { ledger.enter(tuple, bucket, changes_); }

void Scene::bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns) {
  put(tuple, a_bucket(process, tuple, age_ns));
}

void Scene::closed_into_bucket(const Identity& process, const Tuple& tuple, std::uint64_t age_ns) {
  closed(process, tuple, Ending::fin, Bucket::time_wait, next_cookie_++);
  bucket(process, tuple, age_ns);
}

TcpSettings& Scene::settings(PortRange range, std::uint64_t reuse) {
  NamespaceHealth& health = input.namespaces[netns];
  health.netns = netns;
  TcpSettings& out = health.now.settings;
  out.port_range = range;
  out.values["tcp_tw_reuse"] = reuse;
  out.values["tcp_timestamps"] = 1;
  return out;
}

Closed Scene::closed(const Identity& process, const Tuple& tuple, Ending ending, Bucket bucket, std::uint64_t cookie) {
  Closed out = a_closed();
  out.connection = {{tuple.netns, cookie}, tuple, false};
  out.responsible = process.key.pid == 0 ? Responsible{} : responsible(process, Attribution::closer);
  out.ending = ending;
  out.bucket = bucket;
  accounts.take(out, now_ns);
  return out;
}

}  // namespace closewatch::test
