// SPDX-License-Identifier: BSD-2-Clause
#include "sweeps.hpp"

#include <algorithm>
#include <cstdlib>

namespace closewatch::test {
namespace {

std::vector<std::string> told(const std::vector<Judgement>& judgements) {
  std::vector<std::string> out;
  for (const Judgement& judgement : judgements) {
    const Judged& socket = judgement.socket;
    std::string line = std::to_string(socket.cookie);
    for (const std::string_view word : {name(judgement.status), name(socket.kind), name(socket.verdict)})
      line.append(" ").append(word);
    if (socket.resolution) line.append(" ").append(name(*socket.resolution));
    out.push_back(line);
  }
  return out;
}

}  // namespace

SocketRow waiting(std::uint64_t cookie, std::uint64_t entered_ns) {
  SocketRow out;
  out.cookie = cookie;
  out.listener_cookie = 80;
  out.tuple = incoming();
  out.state = State::close_wait;
  out.entered_ns = entered_ns;
  out.attribution = Attribution::opener;
  out.process = server();
  out.condition.eof = EndOfFile::read;
  out.condition.use_observed = true;
  out.condition.was_used = true;
  return out;
}

Holder held_by(const Identity& process, bool used, std::uint32_t fd) {
  Holder out;
  out.process = process;
  out.fd = fd;
  out.used = used;
  return out;
}

TransitionSeen leaves(std::uint64_t time_ns, std::uint64_t cookie, std::uint64_t in_state_ns, std::optional<Cause> call,
                      State to) {
  TransitionSeen seen = on_incoming(change(time_ns, State::close_wait, to));
  seen.cookie = cookie;
  seen.entered_ns = time_ns - in_state_ns;
  seen.call = call;
  if (call) seen.actor = server();
  if (call == Cause::close || call == Cause::shutdown || call == Cause::exit) {
    seen.attribution = Attribution::closer;
    seen.closer_by = call;
  }
  return seen;
}

DescriptorClosed gone(std::uint64_t time_ns, std::uint64_t cookie, Cause by) { return {time_ns, cookie, server(), by}; }

Sweeps::Sweeps(const Detector::Settings& settings)
    : workloads(processes, listeners, 1000), detector(settings, workloads) {
  resolve(server(), "/usr/bin/server");
}

void Sweeps::resolve(const Identity& process, const std::string& exe) {
  (void)processes.find(process);
  ProcessResolved answer;
  answer.key = process.key;
  answer.exec_id = process.exec_id;
  answer.details.exe = exe;
  processes.resolve(answer);
}

Sweeps::Socket& Sweeps::add(const SocketRow& row) {
  Socket& socket = sockets[row.cookie];
  socket.row = row;
  socket.holders = {held_by(row.process)};
  return socket;
}

std::vector<std::string> Sweeps::sweep(std::uint64_t time_ns) {
  judgements.clear();
  for (auto& [cookie, socket] : sockets) {
    socket.row.time_ns = time_ns;
    detector.row(socket.row);
    for (const Holder& holder : socket.holders) detector.holder({time_ns, cookie, holder});
  }
  detector.sweep_done({time_ns, time_ns - 1 * ms, false, by_tables, entered}, judgements);
  return told(judgements);
}

std::vector<std::string> Sweeps::sweep(std::uint64_t from_ns, std::uint64_t to_ns, std::uint64_t every_ns) {
  std::vector<std::string> out;
  for (std::uint64_t now_ns = from_ns; now_ns <= to_ns; now_ns += every_ns) {
    const std::vector<std::string> lines = sweep(now_ns);
    out.insert(out.end(), lines.begin(), lines.end());
  }
  return out;
}

std::vector<std::string> Sweeps::transition(const TransitionSeen& seen) {
  judgements.clear();
  detector.transition(seen, judgements);
  return told(judgements);
}

std::vector<std::string> Sweeps::released(const DescriptorClosed& seen) {
  judgements.clear();
  detector.released(seen, judgements);
  return told(judgements);
}

std::vector<std::string> Sweeps::finish(std::uint64_t time_ns) {
  judgements.clear();
  detector.finish(time_ns, judgements);
  return told(judgements);
}

void Sweeps::closes_others(std::uint64_t time_ns, std::size_t times, std::uint64_t after_ns) {
  for (std::size_t i = 0; i < times; ++i) (void)transition(leaves(time_ns, 5000 + i, after_ns, Cause::close));
}

Judged Sweeps::judged(std::uint64_t cookie) const {
  const std::vector<Judged> all = detector.sockets();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Judged& one) { return one.cookie == cookie; });
  if (found == all.end()) std::abort();
  return *found;
}

std::string Sweeps::words(std::uint64_t cookie) const {
  const Judged one = judged(cookie);
  return std::string{name(one.kind)}.append(" ").append(name(one.verdict));
}

}  // namespace closewatch::test
