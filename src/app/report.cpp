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

Report make_report(Feed& feed, ReportFrame frame) {
  std::vector<std::string> reasons = std::move(frame.blind_spots);
  for (std::string& spot : blind_spots(feed.engine().refusals())) reasons.push_back(std::move(spot));
  return feed.engine().report({.host = feed.started().host,
                               .kernel = feed.started().kernel,
                               .from_ns = frame.began_ns,
                               .incomplete_reasons = std::move(reasons),
                               .with_stacks = frame.with_stacks,
                               .verbose = frame.verbose,
                               .between = std::move(frame.between)});
}

Report make_report(const Options& options, const Session& session, Feed& feed) {
  return make_report(feed, {.began_ns = session.began_ns(),
                            .with_stacks = options.stacks,
                            .verbose = options.verbose,
                            .blind_spots = session.blind_spots()});
}

Exit status_of(const Options& options, const Report& report) {
  if (!options.fail_on_leak) return Exit::done;
  if (leaked(report) > 0) return Exit::leak;
  return report.incomplete_reasons.empty() && report.lost == 0 ? Exit::done : Exit::incomplete;
}

std::expected<void, Error> write_report(const Options& options, const Report& report, const Output& output) {
  return write_document(output, options.json
                                    ? report_json(report)
                                    : report_text(report, text_style(options, output.fd()),
                                                  options.by_process ? ReportRows::process : ReportRows::workload));
}

Exit run_report(const Options& options, std::function<void()> on_started) {
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, record, source, limits] = *watch;

  Writer nothing{output.fd(), output.name()};  // only to see that nobody reads any more
  Progress progress{options};
  StackNames stacks{options.stacks};
  const Engine::Settings rules = engine_settings(options, settings, host_pids);
  Engine engine{rules};
  Feed feed{engine, progress, nothing};
  Session session{source, feed, session_settings(options, settings, host_pids, limits)};
  record.serve(session, options, rules);
  session.on_started(std::move(on_started));
  session.on_pulse([&] { progress.show(); });
  stacks.serve(session);
  const auto ran = session.run(started(options));
  progress.clear();
  if (!ran) return failed(ran.error());

  const Report report = make_report(options, session, feed);
  if (auto written = write_report(options, report, output); !written) return failed(written.error());
  const Exit status = status_of(options, report);
  return status == Exit::done && !record.is_good() ? Exit::failed : status;
}

}  // namespace closewatch
