// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DEMO_STAGE_HPP
#define CLOSEWATCH_APP_DEMO_STAGE_HPP

// What the programs of `closewatch demo` act with: loopback sockets, and a board that says on which port each listens.

#include <closewatch/base/descriptor.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace closewatch::demo {

/// Whose listener: the program's, or of `pool`, `aborts` and `mptcp`, which connect, their other end's.
enum class Part : std::uint8_t {
  healthy,
  forgets,
  unread,
  hangs,
  inherits,
  dead,
  in_flight,
  backlog,
  blocked,
  half_close,
  lingers,
  pool,
  aborts,
  mptcp,
};
inline constexpr std::size_t part_count = static_cast<std::size_t>(Part::mptcp) + 1;

/// In memory that all of them share. 0: it does not listen yet.
class Board {
 public:
  void set(Part part, std::uint16_t port) { at(part) = port; }
  [[nodiscard]] std::uint16_t port(Part part) const { return ports_[static_cast<std::size_t>(part)]; }

 private:
  std::atomic<std::uint16_t>& at(Part part) { return ports_[static_cast<std::size_t>(part)]; }
  std::array<std::atomic<std::uint16_t>, part_count> ports_{};
};
static_assert(std::atomic<std::uint16_t>::is_always_lock_free, "it is shared by processes");

void nap(std::chrono::milliseconds time);
/// Until it is killed.
[[noreturn]] void stay();

/// A listener on 127.0.0.1, with a port of the kernel's choice; none where that fails (errno).
[[nodiscard]] Descriptor listener_of(int backlog);
[[nodiscard]] std::uint16_t port_of(const Descriptor& socket);
/// With patience; none where nobody answers (errno). `receive_buffer`: in bytes; the kernel's choice where there is
/// none.
[[nodiscard]] Descriptor connected(std::uint16_t port, std::optional<int> receive_buffer = std::nullopt);
/// The same by MPTCP, which a kernel may not have, or not want (sysctl net.mptcp.enabled).
[[nodiscard]] Descriptor connected_by_mptcp(std::uint16_t port);

/// Who has others to serve is not to wait long for one: what takes longer than two seconds fails.
void be_patient(const Descriptor& connection);

// A request and its answer are a word of a few bytes. False where the other end is gone, or too slow.
bool say(const Descriptor& connection);
bool hear(const Descriptor& connection);
void read_to_end(const Descriptor& connection);
/// Sends until nothing fits any more.
void fill(const Descriptor& connection);
/// Takes what is there, without waiting.
void drain(const Descriptor& connection);
void shut_down(const Descriptor& connection);
/// Closes with a RST (SO_LINGER 0).
void reset(Descriptor connection);

/// Where the kernel keeps the words of our command line (/proc/PID/cmdline), which a program may write over.
struct CommandLine {
  char* words = nullptr;
  std::size_t size = 0;
};
/// As ps and the kernel show it. The command line stays where the name finds no room there.
void rename_to(const char* name, CommandLine line);

/// Ends this process with its parent, whatever ends that.
void end_with(int parent);

/// What a program has of its stage. What it cannot do without ends it, and is told to closewatch.
class Stage {
 public:
  /// `channel`: where closewatch hears what it could not do.
  Stage(const char* name, Board& board, int channel, CommandLine line)
      : name_(name), board_(board), channel_(channel), line_(line) {}

  [[nodiscard]] Descriptor listen(Part part, int backlog = 64);
  [[nodiscard]] Descriptor accept(const Descriptor& listener) const;
  /// Accepted, its request read and answered: the kernel side knows who uses it.
  [[nodiscard]] Descriptor arrival(const Descriptor& listener) const;
  /// Waits until somebody listens there. None where nobody does any more.
  [[nodiscard]] Descriptor dial(Part part) const;
  [[nodiscard]] std::uint16_t port(Part part) const { return board_.port(part); }
  /// Waits until somebody listens there.
  [[nodiscard]] std::uint16_t port_when_there(Part part) const;
  /// Forks, with a name for the child; false in the child. It ends with us, whatever ends us.
  [[nodiscard]] bool fork_as(const char* name) const;
  [[noreturn]] void fail(const char* what) const;

 private:
  const char* name_;
  Board& board_;
  int channel_;
  CommandLine line_;
};

}  // namespace closewatch::demo

#endif
