// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_APP_DEMO_HPP
#define CLOSEWATCH_APP_DEMO_HPP

#include "app/demo_stage.hpp"
#include "app/options.hpp"

#include <functional>

namespace closewatch {

/// Watches by the options, and calls `on_started` once everything is attached and what was there before is known.
using WatchCommand = std::function<Exit(const Options& options, std::function<void()> on_started)>;

/// Harmless programs of our own on loopback, one for each kind and verdict, watched by `watch`. None is left when it
/// returns. It forks: to be called before anything else is opened.
Exit run_demo(const Options& options, demo::CommandLine line, const WatchCommand& watch);

}  // namespace closewatch

#endif
