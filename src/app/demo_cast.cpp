// SPDX-License-Identifier: BSD-2-Clause
#include "app/demo_cast.hpp"

#include "app/demo_parts.hpp"
#include "app/messages.hpp"
#include "host/privileges.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <new>
#include <optional>
#include <utility>

namespace closewatch::demo {
namespace {

constexpr const char* manager_name = "demo";
/// What the manager says when it is ready, and what it is told to begin.
constexpr std::string_view ready = "ready";
constexpr std::string_view begin_now = "begin";

bool tell(int channel, std::string_view text) {
  return send(channel, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::optional<std::string> told(int channel, int flags) {
  std::string text(512, '\0');
  ssize_t length = 0;
  do length = recv(channel, text.data(), text.size(), flags);
  while (length < 0 && errno == EINTR);
  if (length <= 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(length));
  return text;
}

/// Nobody is to wait for the end of a pipe because of us, and nothing is said on a terminal that is not ours.
bool keep_only(int channel) {
  const Descriptor null{open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (!null.is_open()) return false;
  for (int standard = 0; standard < 3; ++standard)
    if (dup2(null.get(), standard) < 0) return false;
  const auto kept = static_cast<unsigned>(channel);
  if (kept > 3 && syscall(SYS_close_range, 3U, kept - 1, 0) != 0) return false;
  return syscall(SYS_close_range, kept + 1, ~0U, 0) == 0;
}

Board* shared_board() {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) Board;
}

/// All below us, those too whose parents have ended: they are ours then (PR_SET_CHILD_SUBREAPER).
[[noreturn]] void end_all(const std::vector<pid_t>& programs) {
  for (const pid_t pid : programs) kill(pid, SIGKILL);
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  _exit(0);
}

/// Until closewatch says that it is over. Whoever is ended meanwhile, and not by itself, is told of.
void watch_over(int channel, const std::vector<pid_t>& programs) {
  std::vector<Descriptor> lives;
  std::vector<pollfd> entries{{channel, POLLIN, 0}};
  for (const pid_t pid : programs) {
    lives.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    entries.push_back({lives.back().get(), POLLIN, 0});
  }
  for (;;) {
    if (poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) return;
    // No word but the end comes.
    if (entries[0].revents != 0) return;
    for (std::size_t at = 0; at < programs.size(); ++at) {
      pollfd& life = entries[at + 1];
      if (life.revents == 0) continue;
      life = {-1, 0, 0};
      siginfo_t end{};
      // It is left to be waited for, so that nobody else has its pid when the others are ended.
      if (waitid(P_PID, static_cast<id_t>(programs[at]), &end, WEXITED | WNOWAIT) == 0 && end.si_code != CLD_EXITED)
        tell(channel, std::string{roles[at].name} + " was ended by somebody else (signal " +
                          std::to_string(end.si_status) + ")");
    }
  }
}

[[noreturn]] void manage(int channel, pid_t parent, CommandLine line) {
  end_with(parent);
  rename_to(manager_name, line);
  Board* board = shared_board();
  if (board == nullptr || setsid() < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || !keep_only(channel)) {
    tell(channel, message_of({"set the demo's processes up", errno, ""}));
    _exit(1);
  }
  if (const auto given_up = give_up_all_but(0); !given_up) {
    tell(channel, message_of(given_up.error()));
    _exit(1);
  }
  tell(channel, ready);
  if (told(channel, 0) != begin_now) _exit(0);
  std::vector<pid_t> programs;
  const pid_t manager = getpid();
  for (const Role& role : roles) {
    const pid_t pid = fork();
    if (pid < 0) {
      tell(channel, message_of({std::string{"start "} + role.name, errno, ""}));
      end_all(programs);
    }
    if (pid == 0) {
      end_with(manager);
      rename_to(role.name, line);
      Stage stage{role.name, *board, channel, line};
      role.play(stage);
    }
    programs.push_back(pid);
  }
  watch_over(channel, programs);
  end_all(programs);
}

}  // namespace

std::expected<Cast, Error> Cast::gather(CommandLine line) {
  const auto failed = [] { return std::unexpected(Error{"start the demo's processes", errno, ""}); };
  std::array<int, 2> ends{-1, -1};
  // Words stay whole, whoever says them.
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return failed();
  Descriptor ours{ends[0]};
  Descriptor theirs{ends[1]};
  ::signal(SIGCHLD, SIG_DFL);  // ignored, its status would be lost
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return failed();
  if (pid == 0) manage(theirs.get(), parent, line);
  theirs.close();
  Cast cast{pid, Descriptor{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))}, std::move(ours)};
  if (!cast.pidfd_.is_open()) return failed();
  const auto word = told(cast.channel_.get(), 0);
  if (!word) return std::unexpected(Error{"start the demo's processes", 0, "the first of them ended at once"});
  if (*word != ready) return std::unexpected(Error{"start the demo's processes", 0, *word});
  return cast;
}

Cast::Cast(int pid, Descriptor pidfd, Descriptor channel)
    : pid_(pid), pidfd_(std::move(pidfd)), channel_(std::move(channel)) {}

Cast::Cast(Cast&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), channel_(std::move(other.channel_)) {}

void Cast::begin() { tell(channel_.get(), begin_now); }

std::vector<std::string> Cast::end() {
  std::vector<std::string> troubles;
  if (pid_ < 0) return troubles;
  // What they say from here on is of each other's end.
  while (auto text = told(channel_.get(), MSG_DONTWAIT)) troubles.push_back(*std::move(text));
  constexpr int patience_ms = 2000;
  pollfd entry{pidfd_.get(), POLLIN, 0};
  if (troubles.empty() && poll(&entry, 1, 0) > 0)
    troubles.emplace_back("the demo's first process was ended by somebody else, and its programs with it");
  shutdown(channel_.get(), SHUT_RDWR);
  // One that was stopped does not hear; the others end with it.
  if (poll(&entry, 1, patience_ms) <= 0) kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return troubles;
}

}  // namespace closewatch::demo
