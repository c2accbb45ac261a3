// SPDX-License-Identifier: BSD-2-Clause
#include "app/report.hpp"

#include "app/output.hpp"
#include "app/progress.hpp"
#include "app/session.hpp"
#include "app/stacks.hpp"
#include "app/start.hpp"
#include "sink/report_json.hpp"
#include "sink/report_text.hpp"

#include <unistd.h>

#include <utility>

namespace closewatch {

Report make_report(const Options& options, const Session& session, Engine& engine) {
  const Started names = started(options);
  return engine.report({.host = names.host,
                        .kernel = names.kernel,
                        .from_ns = session.began_ns(),
                        .incomplete_reasons = session.blind_spots(),
                        .with_stacks = options.stacks,
                        .verbose = options.verbose});
}

std::expected<void, Error> write_report(const Options& options, const Report& report, const Output& output) {
  return write_document(output, options.json
                                    ? report_json(report)
                                    : report_text(report, text_style(options, output.fd()),
                                                  options.by_process ? ReportRows::process : ReportRows::workload));
}

Exit run_report(const Options& options) {
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, source] = *watch;

  Writer nothing{output.fd(), output.name()};  // only to see that nobody reads any more
  Progress progress{options};
  StackNames stacks{options.stacks};
  Engine engine{engine_settings(options, settings, host_pids)};
  Session session{source, engine, progress, nothing, session_settings(options, settings, host_pids)};
  session.on_pulse([&] { progress.show(); });
  stacks.serve(session);
  const auto ran = session.run(started(options));
  progress.clear();
  if (!ran) return failed(ran.error());

  const Report report = make_report(options, session, engine);
  if (auto written = write_report(options, report, output); !written) return failed(written.error());
  if (!options.fail_on_leak) return Exit::done;
  if (leaked(report) > 0) return Exit::leak;
  return report.incomplete_reasons.empty() && report.lost == 0 ? Exit::done : Exit::incomplete;
}

}  // namespace closewatch
