// SPDX-License-Identifier: BSD-2-Clause
#include "app/replay_top.hpp"

#include "app/clock.hpp"
#include "app/messages.hpp"
#include "app/output.hpp"
#include "app/replay.hpp"
#include "app/report.hpp"
#include "app/top.hpp"
#include "app/top_show.hpp"
#include "host/signals.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace closewatch {
namespace {

/// Between two looks at the keyboard.
constexpr std::uint64_t look_ns = 20'000'000;

/// Time and keys, while a recording is played.
class Player {
 public:
  Player(TopShow& show, const Signals& signals) : show_(show), signals_(signals) {}

  /// Waits until the recording's time is due. False: it is over before its end.
  bool play_to(std::uint64_t recorded_ns, std::uint64_t events) {
    if (recorded_ns == 0) return true;
    if (began_ns_ == 0) began_ns_ = now_ns() - recorded_ns;
    for (;;) {
      const std::uint64_t now = now_ns();
      const std::uint64_t due = began_ns_ + recorded_ns;
      if (now < last_look_ns_ + look_ns && now >= due) return true;
      const bool stands = show_.is_paused();
      const std::uint64_t patience = stands || due > now + look_ns ? look_ns : due > now ? due - now : 0;
      if (!look(patience)) return false;
      show_.pulse(recorded_ns, events);
      last_look_ns_ = now_ns();
      if (stands) began_ns_ += last_look_ns_ - now;  // the recording waits too
      if (!show_.is_paused() && last_look_ns_ >= due) return true;
    }
  }

  /// Until it is ended by a key or a signal.
  void stand(std::uint64_t recorded_ns, std::uint64_t events) {
    show_.refresh(recorded_ns, events);
    show_.say("The recording has ended. q quits.");
    do show_.pulse(0, events);
    while (look(look_ns));
  }

 private:
  /// Takes keys and signals.
  bool look(std::uint64_t patience_ns) {
    std::array<pollfd, 3> entries{{{signals_.fd(), POLLIN, 0},
                                   {show_.keyboard(), show_.wanted_of_keyboard(), 0},
                                   {show_.display(), show_.wanted_of_display(), 0}}};
    constexpr std::uint64_t ms = 1'000'000;
    if (poll(entries.data(), entries.size(), static_cast<int>((patience_ns + ms - 1) / ms)) < 0 && errno != EINTR)
      return false;
    while (const auto signal = signals_.next()) {
      switch (signal->ssi_signo) {
        case SIGWINCH: show_.resize(); break;
        case SIGTSTP:
          show_.stop();
          signals_.stop();
          [[fallthrough]];
        case SIGCONT: show_.go_on(); break;
        default: return false;
      }
    }
    if (entries[1].revents != 0 && !show_.keyboard_came(entries[1].revents)) return false;
    return entries[2].revents == 0 || show_.display_came(entries[2].revents);
  }

  TopShow& show_;
  const Signals& signals_;
  std::uint64_t began_ns_ = 0;  ///< of our clock less the recording's
  std::uint64_t last_look_ns_ = 0;
};

}  // namespace

Exit replay_top(const Options& options, RecordingReader& recording, const Engine::Settings& rules,
                const Output& output) {
  auto terminal = open_terminal(options, output);
  if (!terminal) return refuse(Exit::failed, message_of(terminal.error()));
  const Signals signals{false, terminal->has_value()};
  CountedTransitions transitions;
  TopShow show{options, output, *std::move(terminal)};
  Engine engine{rules_of_top(rules)};
  Feed feed{engine, transitions, show.writer()};
  std::vector<std::string> blind_spots;
  show.makes_reports_by([&](bool whole) {
    return make_report(feed, {.began_ns = recording.head().began_ns,
                              .with_stacks = recording.head().stacks,
                              .verbose = whole,
                              .blind_spots = blind_spots});
  });
  Player player{show, signals};
  bool knows_scope = false;
  Replay replay{recording, feed, [&]() -> std::expected<void, Error> {
                  const std::uint64_t time_ns = replay.time_ns();
                  if (feed.has_started() && !std::exchange(knows_scope, true))
                    show.narrows_to(scope_of(recording.head().command, feed.started().options));
                  const bool goes_on =
                      show.has_screen() ? player.play_to(time_ns, transitions.count()) : !signals.next().has_value();
                  if (!goes_on) return std::unexpected(Error{"play the recording", ECANCELED, ""});
                  if (!show.has_screen() && feed.has_started()) show.refresh_when_due(time_ns, transitions.count());
                  return {};
                }};
  show.begin();
  Replay::Outcome outcome = replay.run();
  blind_spots = outcome.blind_spots;
  if (outcome.failure) return Exit::done;  // somebody has ended it, by q or a signal
  if (show.has_screen()) {
    player.stand(replay.time_ns(), transitions.count());
  } else {
    show.refresh(replay.time_ns(), transitions.count());
    show.print();
    if (auto written = show.writer().finish(as_long_as_it_takes); !written) outcome.failure = written.error();
  }
  show.end();
  return ended(outcome, Exit::done);
}

}  // namespace closewatch
