// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_OUTPUT_HPP
#define CLOSEWATCH_APP_OUTPUT_HPP

#include "app/options.hpp"
#include "sink/text.hpp"

#include <closewatch/base/descriptor.hpp>
#include <closewatch/core/types.hpp>

#include <chrono>
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

namespace closewatch {

/// Where results go: a file of -o, or one of the standard descriptors.
class Output {
 public:
  /// `standard`: STDOUT_FILENO or STDERR_FILENO, where `path` is empty. `-` is standard output.
  static std::expected<Output, Error> open(const std::string& path, int standard);

  /// Empties a file. To be called once there is something to write: a run that never starts leaves it as it was.
  void begin() const;
  [[nodiscard]] int fd() const { return owned_.is_open() ? owned_.get() : standard_; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  Output(Descriptor owned, int standard, std::string name)
      : owned_(std::move(owned)), standard_(standard), name_(std::move(name)) {}
  static Output of_standard(int fd);

  Descriptor owned_;
  int standard_;
  std::string name_;  ///< for messages
};

/// One regular file behind both descriptors: what is written to the one would be in the other.
[[nodiscard]] bool is_one_file(int fd, int other);

/// Somebody reads it page by page.
inline constexpr std::chrono::hours as_long_as_it_takes{24 * 365};

/// All of it, to the end: a reader may take his time.
[[nodiscard]] std::expected<void, Error> write_document(const Output& output, std::string_view text);

/// Of the terminal behind `fd`; 0 where there is none.
[[nodiscard]] std::size_t screen_rows(int fd);

/// How text is to look on `fd`: its width, its letters, its colours.
[[nodiscard]] TextSink::Style text_style(const Options& options, int fd);

}  // namespace closewatch

#endif
