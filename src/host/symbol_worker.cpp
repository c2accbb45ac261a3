// SPDX-License-Identifier: BSD-2-Clause
#include "host/symbol_worker.hpp"

#include "host/processes.hpp"
#include "host/recent.hpp"
#include "host/symbol_message.hpp"

#include <closewatch/core/types.hpp>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

namespace closewatch {
namespace {

using std::chrono::milliseconds;

/// What one question about a file may cost.
constexpr milliseconds most_work{3000};
/// Where others leave it no CPU: whoever asks waits as long.
constexpr milliseconds longest_wait{30'000};
constexpr milliseconds between_looks{100};
/// Workers that may end over a file: somebody who writes such files could write any number.
constexpr std::uint64_t most_failures = 8;
constexpr std::size_t most_modules = 64;
constexpr std::uint64_t most_module_bytes = std::uint64_t{512} << 20;
/// Of private memory that can be written to: without what is only mapped, which the kernel can take back.
constexpr rlim_t memory_limit = rlim_t{1} << 30;
constexpr int worker_socket = 3;

/// The address sanitizer's, larger than any limit. GCC and clang tell of it in ways of their own.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool has_shadow = true;
#elif defined(__has_feature)
constexpr bool has_shadow = __has_feature(address_sanitizer);
#else
constexpr bool has_shadow = false;
#endif

void limit(__rlimit_resource resource, rlim_t most) {
  const rlimit limits{most, most};
  setrlimit(resource, &limits);
}

/// What is left is reading files that others can read too. What is refused here was not ours to begin with.
void give_up_privileges() {
  constexpr uid_t nobody = 65534;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (geteuid() == 0 && setgroups(0, nullptr) == 0 && setresgid(nobody, nobody, nobody) == 0)
    static_cast<void>(setresuid(nobody, nobody, nobody) == 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  syscall(SYS_capset, &header, none.data());
}

/// Of all that closewatch has open, its socket alone stays: nobody is to wait for an end of file because of us.
void keep_only(int socket) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  // Its own number is above those that it is moved to.
  const int moved = fcntl(socket, F_DUPFD_CLOEXEC, worker_socket + 1);
  dup2(moved, worker_socket);
  for (int standard = 0; standard < worker_socket; ++standard) dup2(null, standard);
  syscall(SYS_close_range, worker_socket + 1, ~0U, 0);
}

CodePlace place_in(ElfModule& module, std::uint64_t file_offset) {
  CodePlace place{.build_id = module.build_id(), .address = module.address_of(file_offset), .location = {}};
  if (place.address) place.location = module.look_up(*place.address);
  return place;
}

[[noreturn]] void work() {
  Recent<FileKey, ElfModule> modules{most_modules, most_module_bytes};
  while (auto request = receive_request(worker_socket)) {
    const FileKey key{request->first.device, request->first.inode};
    ElfModule* module = modules.find(key);
    if (module == nullptr) {
      ElfModule opened{std::move(request->second)};
      const std::uint64_t weight = opened.weight();
      module = &modules.add(key, std::move(opened), weight);
    }
    const std::string reply = encoded(place_in(*module, request->first.file_offset));
    if (send(worker_socket, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
  }
  _exit(0);
}

[[noreturn]] void become_worker(int socket, pid_t parent) noexcept {
  sigset_t all;
  sigfillset(&all);
  // A signal of the terminal's is closewatch's to act upon. Faults end us all the same.
  sigprocmask(SIG_SETMASK, &all, nullptr);
  keep_only(socket);
  give_up_privileges();
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_NOFILE, 4 * most_modules);
  if (!has_shadow) limit(RLIMIT_DATA, memory_limit);
  // Forgotten where the user changes, hence so late.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent) _exit(0);
  work();
}

milliseconds computed(const ProcessStat& stat) {
  return std::chrono::duration_cast<milliseconds>(std::chrono::nanoseconds{stat.cpu_ticks * ns_per_tick});
}

}  // namespace

SymbolWorker::~SymbolWorker() { stop(); }

std::optional<CodePlace> SymbolWorker::ask(const FileKey& key, int fd, std::uint64_t file_offset) {
  if (failed_ >= most_failures || !start()) return std::nullopt;
  const SymbolRequest request{.device = key.first, .inode = key.second, .file_offset = file_offset};
  if (!send_request(socket_.get(), request, fd)) {
    // It was ended from outside, not by this file.
    stop();
    if (!start() || !send_request(socket_.get(), request, fd)) return std::nullopt;
  }
  if (auto place = answer()) return place;
  stop();
  ++failed_;
  return std::nullopt;
}

// What counts is that it has computed, or waited for the file. What other programs keep it waiting is not the file's
// doing: on a machine in trouble that can be seconds for a millisecond's work.
bool SymbolWorker::answers() const {
  std::optional<ProcessStat> before;
  milliseconds blocked{0};
  for (milliseconds waited{0}; waited < longest_wait; waited += between_looks) {
    pollfd wanted{socket_.get(), POLLIN, 0};
    const int ready = poll(&wanted, 1, static_cast<int>(between_looks.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (meanwhile_) meanwhile_();
    const auto now = stat_of("/", static_cast<std::uint32_t>(pid_));
    if (!before) before = now;
    if (!now || now->state != 'R') blocked += between_looks;
    const milliseconds worked = now ? computed(*now) - computed(*before) : milliseconds{0};
    if (blocked + worked >= most_work) return false;
  }
  return false;
}

std::optional<CodePlace> SymbolWorker::answer() const {
  if (!answers()) return std::nullopt;
  std::string packet(reply_limit, '\0');
  const ssize_t length = recv(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
  if (length <= 0) return std::nullopt;
  return decoded(std::string_view{packet}.substr(0, static_cast<std::size_t>(length)));
}

bool SymbolWorker::start() {
  if (pid_ > 0) return true;
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return false;
  Descriptor ours{ends[0]};
  const Descriptor theirs{ends[1]};
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become_worker(theirs.get(), parent);
  if (child < 0) return false;
  pid_ = child;
  socket_ = std::move(ours);
  return true;
}

void SymbolWorker::stop() {
  if (pid_ <= 0) return;
  socket_ = Descriptor{};
  // Where it is another user's and CAP_KILL is missing: it ends with its socket, or with us, and is not waited for.
  const bool ends = kill(pid_, SIGKILL) == 0;
  while (waitpid(pid_, nullptr, ends ? 0 : WNOHANG) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace closewatch
