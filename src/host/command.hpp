// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_HOST_COMMAND_HPP
#define CLOSEWATCH_HOST_COMMAND_HPP

// The command of `closewatch run`: a child that waits until all is attached, then becomes COMMAND.

#include "host/signals.hpp"
#include "host/user.hpp"

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/types.hpp>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace closewatch {

/// How COMMAND ended: by itself with a status, or by a signal.
struct CommandEnd {
  bool signalled = false;
  int number = 0;
  std::optional<Error> not_run;  ///< why it was never executed; the status is 126 or 127 then
  /// As a shell tells it: 128 + n for a signal.
  [[nodiscard]] int exit_status() const { return signalled ? 128 + number : number; }
};

/// It stays in our process group and keeps the terminal, standard input and whatever descriptors we were given. All of
/// ours must be close-on-exec; none is closed for it, since those that we inherited (a jobserver's, an activated
/// socket's) are meant for it.
class Command {
 public:
  /// Forks. The child has its user and its signals when this returns, and has executed nothing of COMMAND. SIGCHLD must
  /// not stay ignored, or its status would be lost: it is set back to its default for us.
  static std::expected<Command, Error> start(const std::vector<std::string>& arguments, const std::optional<User>& user,
                                             const SignalsBefore& signals);
  Command(Command&& other) noexcept;
  Command& operator=(Command&&) = delete;
  /// A child that was never released ends here without having run anything, as it does when we are killed. One that was
  /// released is left alone.
  ~Command();

  [[nodiscard]] std::uint32_t pid() const { return static_cast<std::uint32_t>(pid_); }
  /// Readable once it has ended.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  /// Lets it execute COMMAND. Nothing happens where it has ended already.
  void release();
  [[nodiscard]] bool released() const { return released_; }
  /// Passes a signal on.
  void send(int signal) const;
  /// Waits for its end; at once where pidfd() is readable. One that was never released ends here, not run. To be called
  /// once.
  [[nodiscard]] std::expected<CommandEnd, Error> wait();

 private:
  Command(pid_t pid, Descriptor pidfd, Descriptor gate, std::string name);
  void call_off();
  pid_t pid_ = -1;  ///< -1 once waited for
  Descriptor pidfd_;
  Descriptor gate_;  ///< to the child: a byte opens it; from the child: what it could not do
  std::string name_;
  bool released_ = false;
};

/// A signal that was sent to us: is COMMAND to have it too? Not where it has it already, because it went to the whole
/// group: the terminal's (`code` is SI_KERNEL: Ctrl-C), or one that COMMAND or a descendant sent, as `kill 0` in a
/// script does. `code` and `sender` are those of the signalfd_siginfo.
[[nodiscard]] bool is_to_pass_on(const std::filesystem::path& root, std::uint32_t command, int code,
                                 std::uint32_t sender);

}  // namespace closewatch

#endif
