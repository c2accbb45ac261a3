// SPDX-License-Identifier: BSD-2-Clause
#include "app/trace.hpp"

#include "app/output.hpp"
#include "app/session.hpp"
#include "app/start.hpp"

#include <unistd.h>

namespace closewatch {

TraceSinks::TraceSinks(const Options& options, const Output& output)
    : writer_(output.fd(), output.name()),
      json_(writer_, options.events),
      text_(writer_, options.events, text_style(options, output.fd())),
      as_json_(options.json) {}

Sink& TraceSinks::sink() {
  if (as_json_) return json_;
  return text_;
}

Exit run_trace(const Options& options) {
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, record, source, limits] = *watch;

  output.begin();
  TraceSinks sinks{options, output};
  const Engine::Settings rules = engine_settings(options, settings, host_pids);
  Engine engine{rules};
  Feed feed{engine, sinks.sink(), sinks.writer()};
  Session session{source, feed, session_settings(options, settings, host_pids, limits)};
  record.serve(session, options, rules);
  session.on_resize([&] { sinks.resize(screen_rows(output.fd())); });
  const auto ran = session.run(started(options));
  if (!ran) return failed(ran.error());
  return record.is_good() ? Exit::done : Exit::failed;
}

}  // namespace closewatch
