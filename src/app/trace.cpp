// SPDX-License-Identifier: BSD-2-Clause
#include "app/trace.hpp"

#include "app/output.hpp"
#include "app/session.hpp"
#include "app/start.hpp"
#include "sink/json.hpp"
#include "sink/text.hpp"

#include <unistd.h>

namespace closewatch {

Exit run_trace(const Options& options) {
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, source] = *watch;

  output.begin();
  Writer writer{output.fd(), output.name()};
  JsonSink json{writer, options.events};
  TextSink text{writer, options.events, text_style(options, output.fd())};
  Engine engine{engine_settings(options, settings, host_pids)};
  Session session{source, engine, options.json ? static_cast<Sink&>(json) : text, writer,
                  session_settings(options, settings, host_pids)};
  session.on_resize([&] { text.resize(screen_rows(output.fd())); });
  const auto ran = session.run(started(options));
  return ran ? Exit::done : failed(ran.error());
}

}  // namespace closewatch
