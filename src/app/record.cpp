// SPDX-License-Identifier: BSD-2-Clause
#include "app/record.hpp"

#include "app/output.hpp"
#include "host/safe_file.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace closewatch {
namespace {

/// Command lines of other people's programs are in it.
constexpr mode_t owner_alone = 0600;

}  // namespace

std::expected<Record, Error> Record::open(const Options& options) {
  Record record;
  if (options.record.empty()) return record;
  auto file = open_for_writing(options.record, owner_alone);
  if (!file) {
    file.error().operation = "record to " + options.record;
    return std::unexpected(file.error());
  }
  record.file_ = *std::move(file);
  return record;
}

bool Record::is_in(const Output& output) const { return file_.is_open() && is_one_file(file_.get(), output.fd()); }

void Record::serve(Session& session, const Options& options, const Engine::Settings& engine) {
  if (!file_.is_open()) return;
  struct stat status{};
  if (fstat(file_.get(), &status) == 0 && S_ISREG(status.st_mode) && ftruncate(file_.get(), 0) != 0)
    spdlog::warn("the recording's old content could not be removed");
  writer_.emplace(std::exchange(file_, Descriptor{}), options.record, options.record_max);
  session.record_to(*writer_, {.version = CLOSEWATCH_VERSION,
                               .command = command_name(options.command),
                               .began_ns = 0,
                               .stacks = options.stacks,
                               .engine = engine});
}

}  // namespace closewatch
