// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_LOCALE_HPP
#define CLOSEWATCH_TESTS_UNIT_LOCALE_HPP

#include "catch.hpp"

#include <clocale>
#include <string>

namespace closewatch::test {

/// wcwidth(3) answers by the locale: UTF-8 for the time of a test.
class Utf8 {
 public:
  Utf8() : before_(std::setlocale(LC_CTYPE, nullptr)) { REQUIRE(std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr); }
  Utf8(const Utf8&) = delete;
  Utf8& operator=(const Utf8&) = delete;
  ~Utf8() { std::setlocale(LC_CTYPE, before_.c_str()); }

 private:
  std::string before_;
};

}  // namespace closewatch::test

#endif
