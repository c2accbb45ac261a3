// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_TRACE_HPP
#define CLOSEWATCH_APP_TRACE_HPP

#include "app/options.hpp"
#include "sink/json.hpp"
#include "sink/text.hpp"
#include "sink/writer.hpp"

#include <cstddef>

namespace closewatch {

class Output;

/// `closewatch trace`: everything from the options to the exit status.
[[nodiscard]] Exit run_trace(const Options& options);

/// Where the event stream goes: lines of JSON or of text, as the options want it.
class TraceSinks {
 public:
  TraceSinks(const Options& options, const Output& output);
  [[nodiscard]] Sink& sink();
  [[nodiscard]] Writer& writer() { return writer_; }
  void resize(std::size_t rows) { text_.resize(rows); }

 private:
  Writer writer_;
  JsonSink json_;
  TextSink text_;
  bool as_json_;
};

}  // namespace closewatch

#endif
