// SPDX-License-Identifier: BSD-2-Clause
#include "builders.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>

namespace closewatch::test {

Comm comm(std::string_view text) {
  Comm out{};
  std::copy_n(text.begin(), std::min(text.size(), out.size() - 1), out.begin());
  return out;
}

Identity person(std::uint32_t pid, std::string_view name, std::uint32_t exec_id) {
  Identity identity;
  identity.key = {pid, pid * ms};
  identity.uid = 1000;
  identity.exec_id = exec_id;
  identity.cgroup_id = 7;
  identity.comm = comm(name);
  return identity;
}

namespace {

bool is_ipv4(std::string_view address) { return address.find(':') == std::string_view::npos; }

}  // namespace

Endpoint endpoint(std::string_view address, std::uint16_t port) {
  Endpoint out;
  out.port = port;
  if (inet_pton(is_ipv4(address) ? AF_INET : AF_INET6, std::string{address}.c_str(), out.address.data()) != 1)
    std::abort();
  return out;
}

Tuple tuple(Role role, std::string_view local, std::uint16_t local_port, std::string_view peer,
            std::uint16_t peer_port) {
  Tuple out;
  out.netns = netns;
  out.family = is_ipv4(local) ? Family::ipv4 : Family::ipv6;
  out.role = role;
  out.local = endpoint(local, local_port);
  out.peer = endpoint(peer, peer_port);
  return out;
}

Identity client() { return person(812, "client"); }
Identity server() { return person(900, "server"); }
Tuple outgoing() { return tuple(Role::connect, "10.0.0.7", 51234, "10.0.0.5", 3306); }
Tuple incoming() { return tuple(Role::accept, "10.0.0.7", 8080, "10.0.0.9", 40000); }
Tuple listening() { return tuple(Role::unknown, "0.0.0.0", 8080, "0.0.0.0", 0); }

TransitionSeen change(std::uint64_t time_ns, State from, State to) {
  TransitionSeen seen;
  seen.time_ns = time_ns;
  seen.cookie = 81;
  seen.tuple = outgoing();
  seen.from = from;
  seen.to = to;
  seen.entered_ns = time_ns - 1 * ms;
  seen.attribution = Attribution::opener;
  seen.process = client();
  return seen;
}

TransitionSeen called(std::uint64_t time_ns, State from, State to, Cause call) {
  TransitionSeen seen = change(time_ns, from, to);
  seen.call = call;
  seen.actor = client();
  if (call == Cause::close || call == Cause::shutdown || call == Cause::exit) {
    seen.attribution = Attribution::closer;
    seen.closer_by = call;
  }
  return seen;
}

TransitionSeen on_incoming(TransitionSeen seen) {
  seen.cookie = 82;
  seen.listener_cookie = 80;
  seen.tuple = incoming();
  seen.process = server();
  if (seen.actor.key.pid != 0) seen.actor = server();
  return seen;
}

TransitionSeen last(TransitionSeen seen) {
  Totals totals;
  totals.opened_ns = seen.time_ns - 9 * ms;
  totals.states_ns[static_cast<std::size_t>(State::established)] = 8 * ms;
  totals.bytes_sent = 100;
  totals.bytes_received = 200;
  seen.totals = totals;
  return seen;
}

TransitionSeen listener_opens(std::uint64_t time_ns) {
  TransitionSeen seen = change(time_ns, State::close, State::listen);
  seen.cookie = 80;
  seen.listener_cookie = 80;
  seen.tuple = listening();
  seen.attribution = Attribution::listener;
  seen.process = server();
  seen.call = Cause::listen;
  seen.actor = server();
  return seen;
}

TransitionSeen listener_closes(std::uint64_t time_ns, const Identity& by) {
  TransitionSeen seen = listener_opens(time_ns);
  seen.from = State::listen;
  seen.to = State::close;
  seen.attribution = Attribution::closer;
  seen.process = by;
  seen.call = Cause::close;
  seen.actor = by;
  seen.closer_by = Cause::close;
  return seen;
}

SocketRow row(std::uint64_t time_ns, State state, Attribution attribution, const Identity& process) {
  SocketRow out;
  out.time_ns = time_ns;
  out.cookie = 81;
  out.tuple = outgoing();
  out.state = state;
  out.entered_ns = time_ns - 5 * ms;
  out.attribution = attribution;
  out.process = process;
  return out;
}

BucketRow bucket(std::uint64_t time_ns, std::uint64_t cookie, const Tuple& tuple) {
  BucketRow out;
  out.time_ns = time_ns;
  out.cookie = cookie;
  out.tuple = tuple;
  out.tuple.role = Role::unknown;
  out.expires_in_ns = 45 * static_cast<std::int64_t>(seconds);
  return out;
}

Started started(std::uint64_t time_ns) {
  Started out;
  out.time_ns = time_ns;
  out.run = "0123456789abcdef";
  out.version = "0.1.0";
  out.host = "box";
  out.kernel = "6.18.0";
  out.boot_id = "b00t";
  return out;
}

}  // namespace closewatch::test
