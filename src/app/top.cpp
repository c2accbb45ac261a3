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
#include <utility>

namespace closewatch {
namespace {

Session::Settings settings_of(const Options& options, Session::Settings settings) {
  constexpr int pulses = 4;  // so that a refresh is late by no more than that part of the interval
  settings.census_at_sweeps = true;
  settings.pulse = std::min(settings.pulse, options.interval / pulses);
  return settings;
}

}  // namespace

Exit run_top(const Options& options, std::function<void()> on_started) {
  // A terminal that cannot be used is refused before anything starts.
  const auto display = Output::open({}, STDOUT_FILENO);
  if (!display) return refuse(Exit::failed, message_of(display.error()));
  auto terminal = open_terminal(options, *display);
  if (!terminal) return refuse(Exit::failed, message_of(terminal.error()));
  auto watch = begin_watch(options, STDOUT_FILENO);
  if (!watch) return watch.error();
  auto& [host_pids, settings, output, record, source, limits] = *watch;

  CountedTransitions transitions;
  TopShow show{options, *display, *std::move(terminal)};
  StackNames stacks{options.stacks};
  const Engine::Settings rules = engine_settings(options, settings, host_pids);
  Engine engine{rules};
  Feed feed{engine, transitions, show.writer()};
  Session session{source, feed, settings_of(options, session_settings(options, settings, host_pids, limits))};
  record.serve(session, options, rules);
  stacks.serve(session);
  show.makes_reports_by([&](bool whole) {
    return make_report(feed, {.began_ns = session.began_ns(),
                              .with_stacks = options.stacks,
                              .verbose = whole,
                              .blind_spots = session.blind_spots()});
  });
  session.on_started([&] {
    if (show.has_screen()) show.begin();
    if (on_started) on_started();
  });
  if (show.has_screen()) {
    session.on_pulse([&] { show.pulse(now_ns(), transitions.count()); });
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
  return record.is_good() ? Exit::done : Exit::failed;
}

}  // namespace closewatch
