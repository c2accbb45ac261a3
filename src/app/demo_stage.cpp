// SPDX-License-Identifier: BSD-2-Clause
#include "app/demo_stage.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

namespace closewatch::demo {
namespace {

constexpr std::string_view word = "hello";
constexpr timeval patience{.tv_sec = 2, .tv_usec = 0};  // with an other end that is stopped, or gone
/// So little that a writer whose reader does not read is stopped at once.
constexpr int small_buffer = 4096;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

const sockaddr* general(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

void set(const Descriptor& socket, int option, int value) {
  setsockopt(socket.get(), SOL_SOCKET, option, &value, sizeof value);
}

/// It is to be patient. None where nobody answers (errno).
Descriptor connected_to(std::uint16_t port, Descriptor socket) {
  be_patient(socket);
  const sockaddr_in address = loopback(port);
  if (socket.is_open() && connect(socket.get(), general(address), sizeof address) == 0) return socket;
  // A connect() that has taken longer than that says that it goes on.
  const int code = errno == EINPROGRESS ? ETIMEDOUT : errno;
  socket.close();
  errno = code;
  return {};
}

}  // namespace

void nap(std::chrono::milliseconds time) { poll(nullptr, 0, static_cast<int>(time.count())); }

void stay() {
  for (;;) pause();
}

Descriptor listener_of(int backlog) {
  Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const sockaddr_in address = loopback(0);
  if (!socket.is_open() || bind(socket.get(), general(address), sizeof address) != 0 ||
      ::listen(socket.get(), backlog) != 0)
    return {};
  return socket;
}

std::uint16_t port_of(const Descriptor& socket) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  return ntohs(address.sin_port);
}

Descriptor connected(std::uint16_t port, std::optional<int> receive_buffer) {
  Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (receive_buffer) set(socket, SO_RCVBUF, *receive_buffer);
  return connected_to(port, std::move(socket));
}

Descriptor connected_by_mptcp(std::uint16_t port) {
  return connected_to(port, Descriptor{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP)});
}

void be_patient(const Descriptor& connection) {
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})  // the latter is of connect() too
    setsockopt(connection.get(), SOL_SOCKET, option, &patience, sizeof patience);
}

bool say(const Descriptor& connection) {
  return send(connection.get(), word.data(), word.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(word.size());
}

bool hear(const Descriptor& connection) {
  std::array<char, word.size()> heard{};
  return recv(connection.get(), heard.data(), heard.size(), MSG_WAITALL) == static_cast<ssize_t>(heard.size());
}

void read_to_end(const Descriptor& connection) {
  std::array<char, 4096> bytes{};
  while (recv(connection.get(), bytes.data(), bytes.size(), 0) > 0) {
  }
}

void fill(const Descriptor& connection) {
  set(connection, SO_SNDBUF, small_buffer);
  const std::array<char, 1024> bytes{};
  while (send(connection.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
  }
}

void drain(const Descriptor& connection) {
  std::array<char, 4096> bytes{};
  while (recv(connection.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
}

void shut_down(const Descriptor& connection) { shutdown(connection.get(), SHUT_WR); }

void reset(Descriptor connection) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

Descriptor Stage::listen(Part part, int backlog) {
  Descriptor listener = listener_of(backlog);
  if (!listener.is_open()) fail("listen on 127.0.0.1");
  board_.set(part, port_of(listener));
  return listener;
}

Descriptor Stage::accept(const Descriptor& listener) const {
  Descriptor connection{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  if (!connection.is_open()) fail("accept");
  return connection;
}

Descriptor Stage::arrival(const Descriptor& listener) const {
  for (;;) {
    Descriptor connection = accept(listener);
    // Anybody on this machine may connect, and leave again.
    if (hear(connection) && say(connection)) return connection;
  }
}

Descriptor Stage::dial(Part part) const { return connected(port_when_there(part)); }

std::uint16_t Stage::port_when_there(Part part) const {
  constexpr std::chrono::milliseconds between_looks{10};
  while (port(part) == 0) nap(between_looks);
  return port(part);
}

bool Stage::fork_as(const char* name) const {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid > 0) return true;
  end_with(parent);
  rename_to(name, line_);
  return false;
}

void Stage::fail(const char* what) const {
  const std::string text = fmt::format("{}: cannot {}: {}", name_, what, std::strerror(errno));
  static_cast<void>(send(channel_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  _exit(1);
}

void end_with(int parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);  // it may have ended before
}

// The command line first: whoever is met by the new name is not looked up with the old line.
void rename_to(const char* name, CommandLine line) {
  const std::string_view text = name;
  if (text.size() < line.size) {
    // Zeroes to its end: without one there the kernel would take the environment for a part of it.
    std::memset(line.words, 0, line.size);
    std::memcpy(line.words, text.data(), text.size());
  }
  prctl(PR_SET_NAME, name);
}

}  // namespace closewatch::demo
