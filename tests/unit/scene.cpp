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
          .buckets = {},
          .judged = {},
          .ended = {},
          .trend = {},
          .mended = {},
          .descriptors = {},
          .with_stacks = false,
          .stacks = {},
          .verbose = false,
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

Closed Scene::closed(const Identity& process, const Tuple& tuple, Ending ending, Bucket bucket, std::uint64_t cookie) {
  Closed out = a_closed();
  out.connection = {{tuple.netns, cookie}, tuple, false};
  out.responsible = process.key.pid == 0 ? Responsible{} : responsible(process, Attribution::closer);
  out.ending = ending;
  out.bucket = bucket;
  accounts.take(out);
  return out;
}

}  // namespace closewatch::test
