// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_APP_HPP
#define CLOSEWATCH_APP_APP_HPP

namespace closewatch {

/// The whole program: returns its exit status.
int run(int argc, char** argv);

}  // namespace closewatch

#endif
