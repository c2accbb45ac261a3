// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_MESSAGES_HPP
#define CLOSEWATCH_APP_MESSAGES_HPP

// How a command says why it can't.

#include "app/options.hpp"

#include <closewatch/core/types.hpp>

#include <string>

namespace closewatch {

/// What failed, why, and what would help.
[[nodiscard]] std::string reason_of(const Error& error);
/// The same as a message: "cannot …".
[[nodiscard]] std::string message_of(const Error& error);
/// Says why, and gives the status back.
Exit refuse(Exit exit, const std::string& why);
/// The end of a run that failed. Where nobody reads any more it is a quiet one, as everywhere in a pipeline.
[[nodiscard]] Exit failed(const Error& error);

}  // namespace closewatch

#endif
