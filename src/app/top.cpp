// SPDX-License-Identifier: BSD-2-Clause
#include "app/top.hpp"

#include "app/clock.hpp"
#include "app/report.hpp"
#include "app/session.hpp"
#include "app/stacks.hpp"
#include "app/start.hpp"
#include "app/top_show.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <expected>
#include <optional>
#include <utility>

namespace closewatch {
namespace {

/// -d 0: what there is now, as a table.
bool is_one_look(const Options& options) { return options.duration == std::chrono::milliseconds{0}; }

Session::Settings settings_of(const Options& options, Session::Settings settings) {
  constexpr int pulses = 4;  // so that a refresh is late by no more than that part of the interval
  settings.census_at_sweeps = true;
  settings.walks_at_end = is_one_look(options);  // otherwise nothing is shown any more
  settings.pulse = std::min(settings.pulse, options.interval / pulses);
  return settings;
}

}  // namespace

Engine::Settings rules_of_top(Engine::Settings rules) {
  rules.gone_kept_ns = nanoseconds(std::chrono::minutes{1});  // as long as TIME_WAIT
  return rules;
}

Exit run_top(const Options& options, std::function<void()> on_started) {
  // A terminal that cannot be used is refused before anything starts.
  const auto display = Output::open({}, STDOUT_FILENO);
  if (!display) return refuse(Exit::failed, message_of(display.error()));
  std::expected<std::optional<TopTerminal>, Error> terminal;
  if (!is_one_look(options)) terminal = open_terminal(options, *display);
  if (!terminal) return refuse(Exit::failed, message_of(terminal.error()));
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, record, source, limits] = *watch;

  CountedTransitions transitions;
  TopShow show{options, *display, *std::move(terminal)};
  StackNames stacks{options.stacks};
  const Engine::Settings rules = engine_settings(options, settings, host_pids);
  Engine engine{rules_of_top(rules)};
  Feed feed{engine, transitions, show.writer()};
  Session session{source, feed, settings_of(options, session_settings(options, settings, host_pids, limits))};
  record.serve(session, options, rules);
  stacks.serve(session);
  show.makes_reports_by([&](bool whole) {
    return make_report(feed, {.began_ns = session.began_ns(),
                              .with_stacks = options.stacks,
                              .verbose = whole,
                              .blind_spots = session.blind_spots(),
                              .between = [&] { session.hold(); }});
  });
  session.on_started([&] {
    if (show.has_screen()) show.begin();
    if (on_started) on_started();
  });
  if (show.has_screen()) {
    session.on_pulse([&] { show.pulse(now_ns(), transitions.count()); });
    session.next_frame_by([&] { return show.next_ns(); });
    session.on_resize([&] { show.resize(); });
    session.gives_way([&] { show.stop(); }, [&] { show.go_on(); });
    session.looks_at({.fd = show.keyboard(),
                      .wanted = [&] { return show.wanted_of_keyboard(); },
                      .come = [&](short events) { return show.keyboard_came(events); }});
    session.looks_at({.fd = show.display(),
                      .wanted = [&] { return show.wanted_of_display(); },
                      .come = [&](short events) { return show.display_came(events); }});
    session.on_ending([&] { show.end(); });
  } else {
    session.on_pulse([&] {
      if (show.refresh_when_due(now_ns(), transitions.count())) show.print();
    });
  }
  const auto ran = session.run(started(options));
  show.end();
  if (!ran) return failed(ran.error());
  if (is_one_look(options)) {
    show.refresh(now_ns(), transitions.count());
    show.print();
    if (auto written = show.writer().finish(as_long_as_it_takes); !written) return failed(written.error());
  }
  return record.is_good() ? Exit::done : Exit::failed;
}

}  // namespace closewatch
