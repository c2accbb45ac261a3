// SPDX-License-Identifier: BSD-2-Clause
#include "app/messages.hpp"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <system_error>

namespace closewatch {

std::string reason_of(const Error& error) {
  std::string text = error.operation;
  if (error.code != 0) text += ": " + std::generic_category().message(error.code);
  if (!error.remedy.empty()) text += "; " + error.remedy;
  return text;
}

std::string message_of(const Error& error) { return "cannot " + reason_of(error); }

Exit refuse(Exit exit, const std::string& why) {
  spdlog::error("{}", why);
  return exit;
}

Exit failed(const Error& error) {
  if (error.code == EPIPE) return Exit::done;
  return refuse(Exit::failed, message_of(error));
}

}  // namespace closewatch
