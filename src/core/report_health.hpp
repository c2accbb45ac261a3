// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_CORE_REPORT_HEALTH_HPP
#define CLOSEWATCH_CORE_REPORT_HEALTH_HPP

#include "report_ports.hpp"

#include <closewatch/core/health.hpp>
#include <closewatch/core/report.hpp>

namespace closewatch {

/// What a watch has learnt of the machine, for findings_of(). Of the routes only those short of ports.
[[nodiscard]] MachineHealth health_of(const ReportInput& input, const PortUse& ports);

}  // namespace closewatch

#endif
