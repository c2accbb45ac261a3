// SPDX-License-Identifier: BSD-2-Clause
#include "app/output.hpp"

#include "host/safe_file.hpp"
#include "sink/writer.hpp"

#include <fcntl.h>
#include <langinfo.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace closewatch {
namespace {

std::int64_t utc_offset_ns(std::int64_t time_ns) {
  const time_t then = time_ns / 1'000'000'000;
  tm local{};
  if (localtime_r(&then, &local) == nullptr) return 0;
  return std::int64_t{local.tm_gmtoff} * 1'000'000'000;
}

}  // namespace

std::expected<Output, Error> Output::open(const std::string& path, int standard) {
  if (path.empty() || path == "-") {
    const int fd = path.empty() ? standard : STDOUT_FILENO;
    // Standard output that was closed is occupied by what can only be read. Messages may go nowhere, results may not.
    if (fd == STDOUT_FILENO && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
      return std::unexpected(Error{"write to standard output", EBADF, "do not close it, or name a file with -o"});
    return of_standard(fd);
  }
  auto file = open_for_writing(path, 0644);
  if (!file) return std::unexpected(file.error());
  return Output{*std::move(file), -1, path};
}

void Output::begin() const {
  struct stat status{};
  if (owned_.is_open() && fstat(owned_.get(), &status) == 0 && S_ISREG(status.st_mode) &&
      ftruncate(owned_.get(), 0) != 0)
    spdlog::warn("the output's old content could not be removed: {}", std::strerror(errno));
}

/// A terminal or a pipe is opened anew, so that it can be told not to wait: the flags of the one that we were given are
/// shared with whoever gave it.
Output Output::of_standard(int fd) {
  const std::string name = fd == STDERR_FILENO ? "standard error" : "standard output";
  struct stat status{};
  if (fstat(fd, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    return Output{Descriptor{::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)}, fd, name};
  }
  return Output{Descriptor{}, fd, name};
}

bool is_one_file(int fd, int other) {
  struct stat one{};
  struct stat two{};
  return fstat(fd, &one) == 0 && fstat(other, &two) == 0 && (S_ISREG(one.st_mode) || S_ISFIFO(one.st_mode)) &&
         one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

std::expected<void, Error> write_document(const Output& output, std::string_view text) {
  output.begin();
  Writer writer{output.fd(), output.name()};
  writer.lift_limit();
  writer.put(text);
  return writer.finish(as_long_as_it_takes);
}

std::size_t screen_rows(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
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
      .utc_offset_ns = utc_offset_ns,
      .rows = terminal ? screen_rows(fd) : 0,
  };
}

}  // namespace closewatch
