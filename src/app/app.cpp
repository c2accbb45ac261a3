// SPDX-License-Identifier: BSD-2-Clause
#include "app/app.hpp"

#include "app/demo.hpp"
#include "app/doctor.hpp"
#include "app/options.hpp"
#include "app/replay.hpp"
#include "app/report.hpp"
#include "app/run.hpp"
#include "app/top.hpp"
#include "app/trace.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

/// Messages go to standard error only where that does not wait: with `2>&1 | less` it is the same pipe as the output's,
/// and a reader that does not read must not stop the draining of the ring.
class MessageSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    // Why it ended is worth a moment; the rest is not.
    constexpr int patience_for_errors_ms = 1000;
    pollfd entry{STDERR_FILENO, POLLOUT, 0};
    if (poll(&entry, 1, message.level >= spdlog::level::err ? patience_for_errors_ms : 0) <= 0) return;
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nowhere left to say so
  }
  void flush_() override {}
};

void set_up_messages() {
  auto logger = std::make_shared<spdlog::logger>("closewatch", std::make_shared<MessageSink>());
  logger->set_pattern("closewatch: %v");
  spdlog::set_default_logger(std::move(logger));
}

/// Closed standard descriptors would be given to the first file or program that is opened. Standard output is taken so
/// that writing to it fails: results that go nowhere are not to pass for written.
void occupy_standard_descriptors() {
  for (const auto& [fd, mode] :
       {std::pair{STDIN_FILENO, O_RDONLY}, std::pair{STDOUT_FILENO, O_RDONLY}, std::pair{STDERR_FILENO, O_WRONLY}})
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", mode) < 0) std::abort();
}

/// The kernel lays the words out one behind the other.
demo::CommandLine command_line_of(int argc, char** argv) {
  const std::span words{argv, static_cast<std::size_t>(argc)};
  demo::CommandLine line{.words = words.empty() ? nullptr : words.front(), .size = 0};
  for (char* word : words)
    if (word == line.words + line.size) line.size += std::strlen(word) + 1;
  return line;
}

}  // namespace

int run(int argc, char** argv) {
  const SignalsBefore before = SignalsBefore::now();
  occupy_standard_descriptors();
  std::setlocale(LC_CTYPE, "");
  set_up_messages();
  const auto options =
      parse_options({argv + 1, argv + argc}, isatty(STDOUT_FILENO) != 0 ? Subcommand::top : Subcommand::trace);
  if (!options) {
    const NoStart& no = options.error();
    if (no.exit != Exit::done) {
      spdlog::error("{}", no.text);
    } else if (std::fputs(no.text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
      spdlog::error("cannot write to standard output: {}", std::strerror(errno));
      return std::to_underlying(Exit::failed);
    }
    return std::to_underlying(no.exit);
  }
  if (options->quiet) spdlog::set_level(spdlog::level::err);
  if (options->verbose) spdlog::set_level(spdlog::level::debug);
  // A reader that went, and a file at its limit, are errors of write().
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  if (!options->replay.empty()) return std::to_underlying(run_replay(*options));
  switch (options->command) {
    case Subcommand::top: return std::to_underlying(run_top(*options));
    case Subcommand::trace: return std::to_underlying(run_trace(*options));
    case Subcommand::report: return std::to_underlying(run_report(*options));
    case Subcommand::demo:
      return std::to_underlying(
          run_demo(*options, command_line_of(argc, argv), options->report ? run_report : run_top));
    case Subcommand::run: return run_command(*options, before);
    case Subcommand::doctor: return std::to_underlying(run_doctor(*options));
  }
  std::unreachable();
}

}  // namespace closewatch
