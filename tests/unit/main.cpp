// SPDX-License-Identifier: BSD-2-Clause
// Only where the package of Catch2 has no main() of its own.
#define CATCH_CONFIG_MAIN
#include "catch.hpp"
