// SPDX-License-Identifier: BSD-2-Clause
#include "app/app.hpp"

#include "app/options.hpp"
#include "app/trace.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <clocale>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace closewatch {
namespace {

void set_up_messages() {
  auto logger = spdlog::stderr_logger_st("closewatch");
  logger->set_pattern("closewatch: %v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

int run(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  set_up_messages();
  const auto options = parse_options({argv + 1, argv + argc});
  if (!options) {
    const NoStart& no = options.error();
    if (no.exit == Exit::done)
      std::fputs(no.text.c_str(), stdout);
    else
      spdlog::error("{}", no.text);
    return std::to_underlying(no.exit);
  }
  if (options->quiet) spdlog::set_level(spdlog::level::err);
  if (options->verbose) spdlog::set_level(spdlog::level::debug);
  return std::to_underlying(run_trace(*options));
}

}  // namespace closewatch
