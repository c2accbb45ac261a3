// SPDX-License-Identifier: BSD-2-Clause
#include "host/command.hpp"

#include "host/processes.hpp"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

constexpr int status_not_found = 127;
constexpr int status_not_executable = 126;

/// What the child says of itself. After the last word the gate is closed by exec.
enum class Step : int { became_user, ready, executed };
struct Word {
  Step step = Step::ready;
  int code = 0;  ///< an errno where it failed
};

void say(int gate, const Word& word) { (void)::send(gate, &word, sizeof word, MSG_NOSIGNAL); }

std::optional<Word> hear(int gate, int flags) {
  Word word;
  ssize_t length = 0;
  do length = ::recv(gate, &word, sizeof word, flags | MSG_WAITALL);
  while (length < 0 && errno == EINTR);
  if (length != sizeof word) return std::nullopt;
  return word;
}

/// execvp() says EACCES also where a folder of PATH is closed to the user (root's PATH, COMMAND as somebody else) and
/// no other has the name: a shell says that it is not found.
bool found_in_path(const std::string& name) {
  const char* path = getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/bin:/usr/bin";
  for (bool last = false; !last;) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    last = folder.size() == rest.size();
    rest.remove_prefix(last ? folder.size() : folder.size() + 1);
    if (access((std::filesystem::path{folder} / name).c_str(), F_OK) == 0) return true;
  }
  return false;
}

/// The child, from fork to exec. A closed gate means that we are not to run at all.
[[noreturn]] void become_command(int gate, const std::vector<std::string>& arguments, const std::optional<User>& user,
                                 const SignalsBefore& signals) {
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  if (user) {
    if (const int code = become(*user); code != 0) {
      say(gate, {Step::became_user, code});
      _exit(status_not_executable);
    }
  }
  signals.restore();
  say(gate, {Step::ready, 0});
  char open = 0;
  ssize_t length = 0;
  do length = ::recv(gate, &open, sizeof open, 0);
  while (length < 0 && errno == EINTR);
  if (length != sizeof open) _exit(status_not_executable);
  execvp(words.front(), words.data());
  int code = errno;
  const std::string& name = arguments.front();
  if (code == EACCES && name.find('/') == std::string::npos && !found_in_path(name)) code = ENOENT;
  say(gate, {Step::executed, code});
  _exit(code == ENOENT ? status_not_found : status_not_executable);
}

Error not_executed(const std::string& name, int code) {
  std::string remedy;
  if (code == ENOENT)
    remedy = name.find('/') == std::string::npos ? "no folder of PATH has it"
                                                 : "it, or the interpreter that it names, is not there";
  if (code == EACCES) remedy = "it is not executable, or COMMAND's user may not reach it";
  return {"run " + name, code, remedy};
}

std::expected<int, Error> wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return std::unexpected(Error{"wait for COMMAND", errno, ""});
  return status;
}

}  // namespace

std::expected<Command, Error> Command::start(const std::vector<std::string>& arguments, const std::optional<User>& user,
                                             const SignalsBefore& signals) {
  if (arguments.empty()) return std::unexpected(Error{"start COMMAND", EINVAL, "name it"});
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return std::unexpected(Error{"start COMMAND", errno, ""});
  Descriptor ours{ends[0]};
  Descriptor theirs{ends[1]};
  if (signals.ignored(SIGCHLD)) ::signal(SIGCHLD, SIG_DFL);
  const pid_t pid = fork();
  if (pid < 0) return std::unexpected(Error{"start COMMAND", errno, ""});
  if (pid == 0) {
    ours.close();  // or it would hold its own gate open after our end
    become_command(theirs.get(), arguments, user, signals);
  }
  theirs.close();
  // pidfd_open() is in libc only since glibc 2.36. It is close-on-exec by itself.
  Command command{pid, Descriptor{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))}, std::move(ours),
                  arguments.front()};
  if (!command.pidfd_.is_open()) return std::unexpected(Error{"watch the end of COMMAND", errno, ""});
  const auto word = hear(command.gate_.get(), 0);
  if (!word) return std::unexpected(Error{"start COMMAND", 0, "its process ended before it could run anything"});
  if (word->step == Step::became_user)
    return std::unexpected(Error{"run COMMAND as " + user->name, word->code,
                                 "run closewatch as root (CAP_SETUID, CAP_SETGID), or leave --user out"});
  return command;
}

Command::Command(pid_t pid, Descriptor pidfd, Descriptor gate, std::string name)
    : pid_(pid), pidfd_(std::move(pidfd)), gate_(std::move(gate)), name_(std::move(name)) {}

Command::Command(Command&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      gate_(std::move(other.gate_)),
      name_(std::move(other.name_)),
      released_(other.released_) {}

Command::~Command() {
  if (pid_ < 0 || released_) return;
  call_off();
  if (!wait_for(pid_)) return;  // somebody else has waited for it
}

void Command::call_off() {
  gate_.close();
  send(SIGCONT);  // it may have been stopped while it waited
}

void Command::release() {
  const char open = 1;
  (void)::send(gate_.get(), &open, sizeof open, MSG_NOSIGNAL);
  released_ = true;
}

void Command::send(int signal) const { (void)syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0); }

std::expected<CommandEnd, Error> Command::wait() {
  if (!released_) call_off();  // or each would wait for the other
  const auto status = wait_for(pid_);
  if (!status) return std::unexpected(status.error());
  pid_ = -1;
  CommandEnd end{.signalled = WIFSIGNALED(*status),
                 .number = WIFSIGNALED(*status) ? WTERMSIG(*status) : WEXITSTATUS(*status),
                 .not_run = std::nullopt};
  if (!released_)
    end.not_run = Error{"run " + name_, ECANCELED, ""};
  else if (const auto word = hear(gate_.get(), MSG_DONTWAIT); word && word->step == Step::executed)
    end.not_run = not_executed(name_, word->code);
  return end;
}

bool is_to_pass_on(const std::filesystem::path& root, std::uint32_t command, int code, std::uint32_t sender) {
  if (code == SI_KERNEL) return false;
  constexpr int generations_at_most = 1000;  // a chain that changes while it is followed need not end
  for (int generation = 0; sender > 1 && generation < generations_at_most; ++generation) {
    if (sender == command) return false;
    const auto stat = stat_of(root, sender);
    if (!stat) break;
    sender = stat->parent;
  }
  return true;
}

}  // namespace closewatch
