// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DOCTOR_HPP
#define CLOSEWATCH_APP_DOCTOR_HPP

#include "app/options.hpp"

namespace closewatch {

/// Says whether this machine can be traced and how near it is to trouble on the close path, as far as it may look.
/// It changes nothing, and leaves nothing attached. Whatever it finds, it has done its work: Exit::done.
Exit run_doctor(const Options& options);

}  // namespace closewatch

#endif
