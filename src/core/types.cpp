// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/types.hpp>

#include <algorithm>
#include <utility>

namespace closewatch {
namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(const Address& address) {
  return std::equal(mapped_prefix.begin(), mapped_prefix.end(), address.begin());
}

Address embedded(const Address& address) {
  Address out{};
  if (is_mapped(address)) std::copy(address.begin() + mapped_prefix.size(), address.end(), out.begin());
  return out;
}

}  // namespace

std::string_view name(State state) {
  switch (state) {
    case State::established: return "ESTABLISHED";
    case State::syn_sent: return "SYN_SENT";
    case State::syn_recv: return "SYN_RECV";
    case State::fin_wait1: return "FIN_WAIT1";
    case State::fin_wait2: return "FIN_WAIT2";
    case State::time_wait: return "TIME_WAIT";
    case State::close: return "CLOSE";
    case State::close_wait: return "CLOSE_WAIT";
    case State::last_ack: return "LAST_ACK";
    case State::listen: return "LISTEN";
    case State::closing: return "CLOSING";
  }
  std::unreachable();
}

std::string_view name(Role role) {
  switch (role) {
    case Role::unknown: return "unknown";
    case Role::connect: return "connect";
    case Role::accept: return "accept";
  }
  std::unreachable();
}

std::string_view name(Attribution attribution) {
  switch (attribution) {
    case Attribution::unknown: return "unknown";
    case Attribution::listener: return "listener";
    case Attribution::opener: return "opener";
    case Attribution::holder: return "holder";
    case Attribution::closer: return "closer";
  }
  std::unreachable();
}

std::string_view name(Cause cause) {
  switch (cause) {
    case Cause::network: return "network";
    case Cause::timer: return "timer";
    case Cause::connect: return "connect";
    case Cause::listen: return "listen";
    case Cause::close: return "close";
    case Cause::shutdown: return "shutdown";
    case Cause::exit: return "exit";
    case Cause::disconnect: return "disconnect";
    case Cause::kill: return "kill";
    case Cause::listener_closed: return "listener_closed";
    case Cause::expired: return "expired";
    case Cause::reused: return "reused";
    case Cause::overflow: return "overflow";
    case Cause::gone: return "gone";
  }
  std::unreachable();
}

std::string_view name(FirstFin first) {
  switch (first) {
    case FirstFin::none: return "none";
    case FirstFin::local: return "local";
    case FirstFin::peer: return "peer";
    case FirstFin::both: return "both";
  }
  std::unreachable();
}

std::string_view name(Ending ending) {
  switch (ending) {
    case Ending::fin: return "fin";
    case Ending::rst_linger0: return "rst_linger0";
    case Ending::rst_unread: return "rst_unread";
    case Ending::rst_linger2: return "rst_linger2";
    case Ending::rst_late_data: return "rst_late_data";
    case Ending::rst_received: return "rst_received";
    case Ending::timeout: return "timeout";
    case Ending::fin_timeout: return "fin_timeout";
    case Ending::refused: return "refused";
    case Ending::unreachable: return "unreachable";
    case Ending::abandoned: return "abandoned";
    case Ending::never_accepted: return "never_accepted";
    case Ending::killed: return "killed";
    case Ending::disconnected: return "disconnected";
    case Ending::unknown: return "unknown";
  }
  std::unreachable();
}

bool is_abort(Ending ending) {
  switch (ending) {
    case Ending::rst_linger0:
    case Ending::rst_unread:
    case Ending::rst_linger2:
    case Ending::rst_late_data:
    case Ending::rst_received:
    case Ending::timeout:
    case Ending::fin_timeout:
    case Ending::refused:
    case Ending::unreachable:
    case Ending::never_accepted:
    case Ending::killed: return true;
    case Ending::fin:
    case Ending::abandoned:
    case Ending::disconnected:
    case Ending::unknown: return false;
  }
  std::unreachable();
}

std::string_view name(Bucket bucket) {
  switch (bucket) {
    case Bucket::unknown: return "unknown";
    case Bucket::none: return "none";
    case Bucket::time_wait: return "time_wait";
    case Bucket::fin_wait2: return "fin_wait2";
  }
  std::unreachable();
}

Tuple unmapped(const Tuple& tuple) {
  if (tuple.family == Family::ipv4) return tuple;
  if (!is_mapped(tuple.local.address) && !is_mapped(tuple.peer.address)) return tuple;
  Tuple out = tuple;
  out.family = Family::ipv4;
  out.local.address = embedded(tuple.local.address);
  out.peer.address = embedded(tuple.peer.address);
  return out;
}

bool is_closing(State state) {
  switch (state) {
    case State::fin_wait1:
    case State::fin_wait2:
    case State::time_wait:
    case State::close_wait:
    case State::last_ack:
    case State::closing: return true;
    default: return false;
  }
}

std::string_view text(const Comm& comm) {
  const auto end = std::find(comm.begin(), comm.end(), '\0');
  return {comm.begin(), end};
}

}  // namespace closewatch
