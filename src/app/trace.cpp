// SPDX-License-Identifier: BSD-2-Clause
#include "app/trace.hpp"

#include "app/output.hpp"
#include "app/session.hpp"
#include "app/start.hpp"
#include "host/machine.hpp"
#include "sink/json.hpp"
#include "sink/text.hpp"

#include <unistd.h>

namespace closewatch {

Exit run_trace(const Options& options) {
  const bool host_pids = in_initial_pid_namespace(root);
  const auto settings = kernel_settings(options, host_pids);
  if (!settings) return refuse(Exit::usage, message_of(settings.error()));
  const auto output = Output::open(options.output, STDOUT_FILENO);
  if (!output) return refuse(Exit::failed, message_of(output.error()));
  auto source = attached_source(*settings, host_pids);
  if (!source) return refuse(Exit::failed, source.error());

  output->begin();
  Writer writer{output->fd(), output->name()};
  JsonSink json{writer, options.events};
  TextSink text{writer, options.events, text_style(options, output->fd())};
  Engine engine{engine_settings(options, *settings, host_pids)};
  Session session{*source, engine, options.json ? static_cast<Sink&>(json) : text, writer,
                  session_settings(options, *settings, host_pids)};
  session.on_resize([&] { text.resize(screen_rows(output->fd())); });
  const auto ran = session.run(started(options));
  return ran ? Exit::done : failed(ran.error());
}

}  // namespace closewatch
