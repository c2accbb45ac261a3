// SPDX-License-Identifier: BSD-2-Clause
#include "app/trace.hpp"

#include "app/session.hpp"
#include "host/machine.hpp"
#include "host/namespaces.hpp"
#include "host/preflight.hpp"
#include "host/processes.hpp"
#include "sink/json.hpp"
#include "sink/text.hpp"

#include <fcntl.h>
#include <langinfo.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>

namespace closewatch {
namespace {

const std::filesystem::path root = "/";

std::string message_of(const Error& error) {
  std::string text = "cannot " + error.operation;
  if (error.code != 0) text += ": " + std::generic_category().message(error.code);
  if (!error.remedy.empty()) text += "; " + error.remedy;
  return text;
}

/// libbpf tells EPERM of many things; under lockdown, or with the bpf() call closed off, no privilege helps.
Error explained(Error error) {
  if (error.code != EPERM || !error.remedy.empty()) return error;
  const auto lockdown = read_lockdown(root);
  error.remedy = lockdown && *lockdown != Lockdown::none
                     ? "the kernel is locked down (/sys/kernel/security/lockdown): boot with lockdown=none"
                     : "a security module or a container's seccomp profile refuses bpf(): run it on the host";
  return error;
}

std::expected<std::uint32_t, Error> wanted_netns(const std::string& text, bool sees_all_processes) {
  if (text.empty()) return 0U;
  std::uint32_t inode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), inode);
  if (error != std::errc{} || end != text.data() + text.size()) return namespace_inode(text);
  const std::vector<NetworkNamespace> known = network_namespaces(root);
  const bool found = std::any_of(known.begin(), known.end(), [&](const auto& one) { return one.inode == inode; });
  if (!found && sees_all_processes)
    return std::unexpected(Error{"find network namespace " + text, 0,
                                 "no process is in it, and it is mounted nowhere (lsns -t net lists them)"});
  return inode;
}

/// What the options name on this machine: it must be there.
std::expected<KernelSettings, Error> kernel_settings(const Options& options, bool host_pids) {
  KernelSettings settings{
      .ring_bytes = options.ring_bytes,
      .tick_ns = tick_ns(),
      .all_states = options.all_states,
      .ipv4 = options.ipv4,
      .ipv6 = options.ipv6,
      .children = options.children,
      .local_ports = options.local_ports,
      .remote_ports = options.remote_ports,
      .pids = {},
      .comms = options.comms,
  };
  const auto netns = wanted_netns(options.netns, host_pids);
  if (!netns) return std::unexpected(netns.error());
  settings.netns = *netns;
  if (!options.cgroup.empty()) {
    const auto id = cgroup_id(options.cgroup);
    if (!id) return std::unexpected(id.error());
    settings.cgroup_id = *id;
  }
  if (!options.pids.empty() && !host_pids)
    return std::unexpected(Error{"tell processes by pid outside the initial pid namespace", 0,
                                 "run it on the host, or in a container with the host's pids (hostPID: true)"});
  for (const std::uint32_t pid : options.pids) {
    const auto process = process_now(root, pid);
    if (!process) return std::unexpected(Error{"find process " + std::to_string(pid), 0, "there is none by this pid"});
    if (const auto leader = thread_group(root, pid); leader && *leader != pid)
      return std::unexpected(
          Error{"watch thread " + std::to_string(pid) + " alone", 0, "name its process, " + std::to_string(*leader)});
    settings.pids.push_back(*process);
  }
  if (options.children) settings.pids = with_descendants(root, settings.pids);
  return settings;
}

/// What was forked between the first look at /proc and the attaching. A child of one that was not watched yet is not
/// watched either: look again until nobody new turns up, which whoever forks without end could put off for ever.
std::expected<void, Error> watch_descendants(KernelSource& source, std::vector<ProcessTicks> known) {
  constexpr int looks_at_most = 100;
  for (int look = 0; look < looks_at_most; ++look) {
    std::vector<ProcessTicks> found = with_descendants(root, known);
    const bool all_known = found.size() == known.size();
    if (auto watched = source.watch(found); !watched) return watched;
    if (all_known) break;
    known = std::move(found);
  }
  return {};
}

class Output {
 public:
  static std::expected<Output, Error> open(const std::string& path) {
    if (path.empty() || path == "-") return of_stdout();
    // Emptied only once there is something to write: a run that never starts leaves the file as it was.
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0) return std::unexpected(Error{"write to " + path, errno, "choose a file that can be written, with -o"});
    return Output{fd, true};
  }
  Output(Output&& other) noexcept : fd_(std::exchange(other.fd_, -1)), owned_(other.owned_) {}
  Output& operator=(Output&&) = delete;
  ~Output() {
    if (owned_ && fd_ >= 0) ::close(fd_);
  }
  void begin() const {
    struct stat status{};
    if (owned_ && fstat(fd_, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd_, 0) != 0)
      spdlog::warn("the output's old content could not be removed: {}", std::strerror(errno));
  }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  /// A terminal or a pipe is opened anew, so that it can be told not to wait: the flags of the one that we were given
  /// are shared with whoever gave it.
  static Output of_stdout() {
    struct stat status{};
    const bool writable = (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (writable && fstat(STDOUT_FILENO, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))) {
      const int fd = ::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
      if (fd >= 0) return Output{fd, true};
    }
    return Output{STDOUT_FILENO, false};
  }

  Output(int fd, bool owned) : fd_(fd), owned_(owned) {}
  int fd_;
  bool owned_;
};

std::size_t screen_rows(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

std::int64_t utc_offset_ns() {
  const time_t now = time(nullptr);
  tm local{};
  if (localtime_r(&now, &local) == nullptr) return 0;
  return std::int64_t{local.tm_gmtoff} * 1'000'000'000;
}

TextSink::Style text_style(const Options& options, int fd) {
  const bool terminal = isatty(fd) != 0;
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return {
      .wide = options.wide,
      .utf8 = std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
      .colour = terminal && (no_colour == nullptr || *no_colour == '\0') &&
                (term != nullptr && std::strcmp(term, "dumb") != 0),
      .utc_offset_ns = utc_offset_ns(),
      .rows = terminal ? screen_rows(fd) : 0,
  };
}

std::string random_id() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = static_cast<std::uint64_t>(getpid());
  return fmt::format("{:016x}", bits);
}

Exit refuse(Exit exit, const std::string& why) {
  spdlog::error("{}", why);
  return exit;
}

Exit failed(const Error& error) {
  // Nobody reads any more: a quiet end, as everywhere in a pipeline.
  if (error.code == EPIPE) return Exit::done;
  return refuse(Exit::failed, message_of(error));
}

}  // namespace

Exit run_trace(const Options& options) {
  const bool host_pids = in_initial_pid_namespace(root);
  const auto settings = kernel_settings(options, host_pids);
  if (!settings) return refuse(Exit::usage, message_of(settings.error()));
  const Preflight machine = preflight(root);
  if (!machine.refusals.empty()) return refuse(Exit::failed, machine.refusals.front());

  const auto output = Output::open(options.output);
  if (!output) return refuse(Exit::failed, message_of(output.error()));
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of write()

  auto source = KernelSource::load(*settings, [](const std::string& text) { spdlog::debug("{}", text); });
  if (!source) return refuse(Exit::failed, message_of(explained(source.error())));
  if (auto attached = source->attach(); !attached) return refuse(Exit::failed, message_of(explained(attached.error())));
  if (options.children)
    if (auto watched = watch_descendants(*source, settings->pids); !watched)
      return refuse(Exit::failed, message_of(watched.error()));
  for (const std::string& limit : machine.limits) spdlog::warn("{}", limit);
  for (const std::string& limit : source->degraded()) spdlog::warn("{}", limit);
  if (!host_pids)
    spdlog::warn(
        "not in the initial pid namespace: pids are the host's, and what /proc tells of them (exe, cmdline, "
        "cgroup) is not looked up; run it on the host, or with hostPID");

  output->begin();
  Writer writer{output->fd(), options.output.empty() ? "standard output" : options.output};
  JsonSink json{writer, options.events};
  TextSink text{writer, options.events, text_style(options, output->fd())};
  Engine engine{{.filters_processes = !settings->pids.empty() || !settings->comms.empty() || settings->cgroup_id != 0}};
  Session session{*source,
                  engine,
                  options.json ? static_cast<Sink&>(json) : text,
                  writer,
                  {.root = root,
                   .netns = settings->netns,
                   .looks_up_pids = host_pids,
                   .quiet = options.quiet,
                   .ring_bytes = options.ring_bytes,
                   .duration = options.duration}};
  session.on_resize([&] { text.resize(screen_rows(output->fd())); });

  const MachineNames names = machine_names(root);
  const auto ran = session.run({.time_ns = 0,
                                .run = random_id(),
                                .version = CLOSEWATCH_VERSION,
                                .host = names.host,
                                .kernel = names.kernel,
                                .boot_id = names.boot_id,
                                .options = options.given});
  return ran ? Exit::done : failed(ran.error());
}

}  // namespace closewatch
