// SPDX-License-Identifier: BSD-2-Clause
#include <closewatch/core/fact.hpp>
#include <closewatch/core/finding.hpp>

#include <utility>

namespace closewatch {

std::string_view name(EndOfFile eof) {
  switch (eof) {
    case EndOfFile::unknown: return "unknown";
    case EndOfFile::unread: return "unread";
    case EndOfFile::peeked: return "peeked";
    case EndOfFile::consumed: return "consumed";
    case EndOfFile::read: return "read";
  }
  std::unreachable();
}

std::string_view name(Kind kind) {
  switch (kind) {
    case Kind::mptcp: return "mptcp";
    case Kind::never_accepted: return "never_accepted";
    case Kind::kernel: return "kernel";
    case Kind::dead_unclosed: return "dead_unclosed";
    case Kind::write_blocked: return "write_blocked";
    case Kind::replying: return "replying";
    case Kind::inherited: return "inherited";
    case Kind::in_flight: return "in_flight";
    case Kind::eof_unread: return "eof_unread";
    case Kind::eof_ignored: return "eof_ignored";
  }
  std::unreachable();
}

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::stuck: return "stuck";
    case Verdict::leak: return "leak";
  }
  std::unreachable();
}

std::string_view name(Trend trend) {
  switch (trend) {
    case Trend::growing: return "growing";
    case Trend::steady: return "steady";
    case Trend::draining: return "draining";
  }
  std::unreachable();
}

std::string_view name(Resolution resolution) {
  switch (resolution) {
    case Resolution::closed: return "closed";
    case Resolution::accepted: return "accepted";
    case Resolution::exit: return "exit";
    case Resolution::reset_still_open: return "reset_still_open";
    case Resolution::killed: return "killed";
  }
  std::unreachable();
}

std::string_view name(Finding::Status status) {
  switch (status) {
    case Finding::Status::raised: return "raised";
    case Finding::Status::changed: return "changed";
    case Finding::Status::resolved: return "resolved";
  }
  std::unreachable();
}

// CLOSE_WAIT has no timer: it lasts until the program closes. So keepalive (whose probes a living peer answers, and
// whose reset leaves the descriptor open) is never the remedy, nor is any sysctl.
Advice advice(Kind kind) {
  switch (kind) {
    case Kind::mptcp:
      return {"This is a subflow of an MPTCP connection, and has no descriptor of its own.",
              "Nothing is to be done here: the MPTCP socket that owns it decides when it closes."};
    case Kind::never_accepted:
      return {
          "The peer has closed a connection that still waits in the accept queue: the listener is not calling "
          "accept().",
          "Find what keeps the listener's process from accept(): blocked, overloaded, or out of descriptors; a "
          "longer backlog only hides it."};
    case Kind::kernel:
      return {"The socket is the kernel's own (a network file system, say), and no program has a descriptor of it.",
              "There is nothing to mend in a program: the part of the kernel that opened it closes it."};
    case Kind::dead_unclosed:
      return {
          "TCP has ended this connection (a reset, a timeout, or both sides have shut it down), so that ss no longer "
          "shows it, but its descriptor is still open: it is leaked all the same.",
          "Call close() also after shutdown(), when a read or write fails, or poll() reports POLLHUP or POLLERR: "
          "nothing but close() frees the descriptor."};
    case Kind::write_blocked:
      return {
          "What was written does not get through: where probes go unanswered or the window stays shut the peer has "
          "stopped reading, and where retransmissions are not answered the path to it is dead.",
          "Give writes a deadline and call close() when it passes; TCP_USER_TIMEOUT makes the kernel give up as "
          "well, but the descriptor still needs its close()."};
    case Kind::replying:
      return {
          "The peer has closed its own direction only, and still takes what is sent to it: a legitimate half-close.",
          "Nothing is to be done while the reply goes on, but for a close() at its end."};
    case Kind::inherited:
      return {
          "Whoever used the socket no longer has it, and those who still have it never read or wrote it: it was "
          "leaked through fork() or exec().",
          "Open sockets with SOCK_CLOEXEC (accept4() too), and after fork() close in the child what it does not "
          "use."};
    case Kind::in_flight:
      return {
          "No process has a descriptor of this open socket: it was sent over a unix socket and never received, or it "
          "is registered with io_uring.",
          "Receive what waits in the unix socket, or close both ends of that; take sockets that are done out of "
          "io_uring's registered files."};
    case Kind::eof_unread:
      return {
          "The program does not read this socket any more: the peer's end, or data before it, is unread (a stale "
          "connection in a pool, a busy worker, a stalled upstream).",
          "Watch idle connections for their end (EPOLLRDHUP, or an idle timeout shorter than the peer's) and close() "
          "them; keepalive or a sysctl does not cure CLOSE_WAIT."};
    case Kind::eof_ignored:
      return {
          "The program has read everything, the peer's end too, and has not called close().",
          "Call close() on every way out once a read has returned 0, the error paths included; neither keepalive nor "
          "any sysctl cures CLOSE_WAIT."};
  }
  std::unreachable();
}

}  // namespace closewatch
