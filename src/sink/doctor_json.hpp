// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_DOCTOR_JSON_HPP
#define CLOSEWATCH_SINK_DOCTOR_JSON_HPP

#include <closewatch/core/doctor.hpp>

#include <string>

namespace closewatch {

/// What the doctor found, as one document (docs/doctor.schema.json) with a line break at its end.
[[nodiscard]] std::string doctor_json(const DoctorReport& report);

}  // namespace closewatch

#endif
