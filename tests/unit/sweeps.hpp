// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_SWEEPS_HPP
#define CLOSEWATCH_TESTS_UNIT_SWEEPS_HPP

// A made-up machine that is swept: sockets with their holders, and what the detector says of them.

#include "builders.hpp"

#include <closewatch/core/detector.hpp>

#include <map>
#include <string>
#include <vector>

namespace closewatch::test {

/// A socket of the server's in CLOSE_WAIT that came in on port 8080, read to its end with the end seen.
SocketRow waiting(std::uint64_t cookie, std::uint64_t entered_ns);
/// Its descriptor 7, used by whoever holds it.
Holder held_by(const Identity& process, bool used = true, std::uint32_t fd = 7);
/// The one that came in on port 8080 under this cookie leaves CLOSE_WAIT, where it was for `in_state_ns`.
TransitionSeen leaves(std::uint64_t time_ns, std::uint64_t cookie, std::uint64_t in_state_ns, std::optional<Cause> call,
                      State to = State::last_ack);
DescriptorClosed gone(std::uint64_t time_ns, std::uint64_t cookie, Cause by);

class Sweeps {
 public:
  explicit Sweeps(const Detector::Settings& settings = {});

  struct Socket {
    SocketRow row;
    std::vector<Holder> holders;
  };
  /// What the next sweeps will meet.
  std::map<std::uint64_t, Socket> sockets;
  /// How they go (WalkDone).
  bool by_tables = false;
  std::vector<std::uint32_t> entered;

  /// Adds one, held by its row's process.
  Socket& add(const SocketRow& row);
  /// One sweep at `time_ns`. Returns what it changed, as words: "81 raised eof_ignored stuck".
  std::vector<std::string> sweep(std::uint64_t time_ns);
  /// One every `every_ns`, from the last or `from_ns` to `to_ns`, both included.
  std::vector<std::string> sweep(std::uint64_t from_ns, std::uint64_t to_ns, std::uint64_t every_ns = 5 * seconds);
  std::vector<std::string> transition(const TransitionSeen& seen);
  std::vector<std::string> released(const DescriptorClosed& seen);
  std::vector<std::string> finish(std::uint64_t time_ns);
  /// `times` connections of the server's that it closes `after_ns` after their peers.
  void closes_others(std::uint64_t time_ns, std::size_t times, std::uint64_t after_ns);
  /// What /proc says.
  void resolve(const Identity& process, const std::string& exe);

  /// As the detector has it now.
  [[nodiscard]] Judged judged(std::uint64_t cookie) const;
  /// "eof_ignored stuck".
  [[nodiscard]] std::string words(std::uint64_t cookie) const;

  Processes processes{1000};
  Listeners listeners{1000};
  Workloads workloads;
  Detector detector;
  std::vector<Judgement> judgements;  ///< of the last call
};

}  // namespace closewatch::test

#endif
