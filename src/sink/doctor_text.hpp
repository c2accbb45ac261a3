// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_DOCTOR_TEXT_HPP
#define CLOSEWATCH_SINK_DOCTOR_TEXT_HPP

#include "sink/text.hpp"

#include <closewatch/core/doctor.hpp>

#include <string>

namespace closewatch {

/// What the doctor found, for people: whether the machine can be traced, what is missing, what is wrong, worst first.
/// At most 80 columns unless wide. `verbose`: also what is in order, and each setting and counter.
[[nodiscard]] std::string doctor_text(const DoctorReport& report, const TextSink::Style& style, bool verbose);

}  // namespace closewatch

#endif
