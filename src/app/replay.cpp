// SPDX-License-Identifier: BSD-2-Clause
#include "app/replay.hpp"

#include "app/clock.hpp"
#include "app/messages.hpp"
#include "app/output.hpp"
#include "app/replay_top.hpp"
#include "app/report.hpp"
#include "app/trace.hpp"
#include "app/values.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <tuple>

namespace closewatch {
namespace {

/// As many as the engine keeps, some times over.
constexpr std::size_t most_known = 65'536;

std::expected<Descriptor, Error> open_recording(const std::string& path) {
  Descriptor file{path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  if (!file.is_open()) return std::unexpected(Error{"read the recording " + path, errno, ""});
  return file;
}

/// The rules by which the run was judged, or --leak-after.
std::expected<Engine::Settings, Error> rules_of(const Options& options, const RecordingHead& head) {
  Engine::Settings rules = head.engine;
  rules.keeps_accounts = options.command != Subcommand::trace;
  if (!is_given(options, "leak-after")) return rules;
  const std::chrono::nanoseconds swept{rules.detector.sweep_ns};
  if (options.leak_after < 4 * swept)
    return std::unexpected(
        Error{fmt::format("judge a socket after {}: the recording's sweeps are {} apart", time_text(options.leak_after),
                          time_text(std::chrono::duration_cast<std::chrono::milliseconds>(swept))),
              0, "--leak-after takes at least four times as long"});
  rules.detector.leak_after_ns = nanoseconds(options.leak_after);
  return rules;
}

Exit replay_trace(const Options& options, RecordingReader& recording, const Engine::Settings& rules,
                  const Output& output) {
  output.begin();
  TraceSinks sinks{options, output};
  Writer& writer = sinks.writer();
  writer.lift_limit();
  Engine engine{rules};
  Feed feed{engine, sinks.sink(), writer};
  // Nothing is in a hurry here: a reader gets every line, however slow he is.
  Replay replay{recording, feed, [&]() -> std::expected<void, Error> {
                  if (writer.is_full_enough()) return writer.finish(as_long_as_it_takes);
                  return {};
                }};
  Replay::Outcome outcome = replay.run();
  if (!outcome.failure)
    if (auto finished = writer.finish(as_long_as_it_takes); !finished) outcome.failure = finished.error();
  return ended(outcome, Exit::done);
}

/// In place of the stream.
class NoStream final : public Sink {
 public:
  void take(const Fact&) override {}
};

Exit replay_report(const Options& options, RecordingReader& recording, const Engine::Settings& rules,
                   const Output& output) {
  Writer nothing{-1, "nothing"};
  NoStream none;
  Engine engine{rules};
  Feed feed{engine, none, nothing};
  Replay replay{recording, feed, [] { return std::expected<void, Error>{}; }};
  Replay::Outcome outcome = replay.run();
  const Report report = make_report(feed, {.began_ns = recording.head().began_ns,
                                           .with_stacks = recording.head().stacks,
                                           .verbose = options.verbose,
                                           .blind_spots = outcome.blind_spots});
  if (auto written = write_report(options, report, output); !written) outcome.failure = written.error();
  return ended(outcome, status_of(options, report));
}

}  // namespace

Exit ended(const Replay::Outcome& outcome, Exit status) {
  if (outcome.failure) return failed(*outcome.failure);
  if (outcome.fault) return refuse(Exit::failed, message_of(*outcome.fault));
  return status;
}

bool Replay::Before::operator()(const Asked& left, const Asked& right) const {
  const auto key = [](const Asked& asked) { return std::tuple{asked.first.pid, asked.first.start_ns, asked.second}; };
  return key(left) < key(right);
}

Replay::Replay(RecordingReader& recording, Feed& feed, std::function<std::expected<void, Error>()> between)
    : recording_(recording), feed_(feed), between_(std::move(between)) {
  feed_.answers_by([this](const Identity& process) { return answer(process); });
}

Replay::Outcome Replay::run() {
  Outcome outcome;
  for (;;) {
    auto item = recording_.next();
    if (!item) {
      outcome.fault = std::move(item.error());
      break;
    }
    if (!*item) break;
    if (auto taken = take(*std::move(*item), outcome); !taken) {
      outcome.failure = taken.error();
      return outcome;
    }
  }
  if (auto fed = feed_waiting(); !fed) {
    outcome.failure = fed.error();
    return outcome;
  }
  if (outcome.fault)
    outcome.blind_spots.push_back(
        fmt::format("the recording does not reach to the end of the run ({})", outcome.fault->operation));
  if (!stopped_) end_early();
  return outcome;
}

std::expected<void, Error> Replay::take(RecordingReader::Item item, Outcome& outcome) {
  if (auto* end = std::get_if<RecordingEnd>(&item)) {
    outcome.blind_spots = std::move(end->blind_spots);
    if (end->at_limit)
      outcome.blind_spots.emplace_back("the recording ends before the run did: it had grown to its limit");
    return {};
  }
  if (auto* event = std::get_if<Event>(&item)) {
    if (auto* resolved = std::get_if<ProcessResolved>(event)) {
      if (known_.size() >= most_known) known_.clear();
      known_.insert_or_assign({resolved->key, resolved->exec_id}, *resolved);
      answers_.push_back(std::move(*resolved));
      return {};
    }
  }
  auto fed = feed_waiting();
  if (auto* event = std::get_if<Event>(&item)) {
    waiting_ = std::move(*event);
  } else if (const auto* record = std::get_if<RecordingReader::Record>(&item)) {
    waiting_ = std::vector<std::byte>{record->begin(), record->end()};
  }
  return fed;
}

std::expected<void, Error> Replay::feed_waiting() {
  if (!waiting_) return {};
  const Input input = *std::exchange(waiting_, std::nullopt);
  if (const auto* event = std::get_if<Event>(&input)) {
    std::visit(
        [&](const auto& what) {
          if constexpr (requires { what.time_ns; }) last_ns_ = std::max(last_ns_, what.time_ns);
        },
        *event);
    stopped_ = stopped_ || std::holds_alternative<Stopped>(*event);
    feed_.step(*event);
  } else {
    feed_.take_record(std::get<std::vector<std::byte>>(input));
  }
  answers_.clear();
  return between_();
}

ProcessResolved Replay::answer(const Identity& process) {
  const auto mine = [&](const ProcessResolved& one) {
    return one.key == process.key && one.exec_id == process.exec_id;
  };
  if (const auto found = std::find_if(answers_.begin(), answers_.end(), mine); found != answers_.end()) {
    ProcessResolved answer = std::move(*found);
    answers_.erase(found);
    return answer;
  }
  if (const auto found = known_.find({process.key, process.exec_id}); found != known_.end()) return found->second;
  return {.key = process.key, .exec_id = process.exec_id, .skipped = true, .exited = false, .details = {}};
}

// What the engine holds back is let go; the run's own end is not in the recording, and no `bye` is made up for it.
void Replay::end_early() {
  feed_.withhold_bye();
  feed_.step(Stopped{last_ns_, 0, 0});
}

Exit run_replay(const Options& options) {
  auto file = open_recording(options.replay);
  if (!file) return refuse(Exit::failed, message_of(file.error()));
  const Descriptor same{::fcntl(file->get(), F_DUPFD_CLOEXEC, 0)};
  auto recording = RecordingReader::open(*std::move(file), options.replay == "-" ? "standard input" : options.replay);
  if (!recording) return refuse(Exit::failed, message_of(recording.error()));
  const auto rules = rules_of(options, recording->head());
  if (!rules) return refuse(Exit::usage, message_of(rules.error()));
  spdlog::debug("a recording of closewatch {} as {}", recording->head().version, recording->head().command);
  const auto output = Output::open(options.output, STDOUT_FILENO);
  if (!output) return refuse(Exit::failed, message_of(output.error()));
  if (is_one_file(same.get(), output->fd()))
    return refuse(Exit::usage, "the results would be written into the recording itself; name another file with -o");
  switch (options.command) {
    case Subcommand::trace: return replay_trace(options, *recording, *rules, *output);
    case Subcommand::top: return replay_top(options, *recording, *rules, *output);
    default: return replay_report(options, *recording, *rules, *output);
  }
}

}  // namespace closewatch
