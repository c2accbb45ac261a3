// SPDX-License-Identifier: BSD-2-Clause
#include "app/app.hpp"

#include <exception>
#include <iostream>

int main(int argc, char** argv) {
  try {
    return closewatch::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "closewatch: " << error.what() << '\n';
    return 1;
  }
}
