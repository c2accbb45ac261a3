// SPDX-License-Identifier: BSD-2-Clause
// rewrite IN OUT [FROM TO]...: the recording IN without what names the machine that it was made on: each FROM in a
// path, a command line or an option becomes TO; host, kernel, boot id, cgroups and containers become the same
// everywhere. rewrite --print FILE: every text in a recording, a line an item, so that one can see what it tells.

#include "decode/decode.hpp"
#include "source/recorded.hpp"
#include "source/recording.hpp"

#include <closewatch/base/descriptor.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <expected>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace {

using namespace closewatch;

using Replacements = std::vector<std::pair<std::string, std::string>>;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "rewrite: %s\n", what.c_str());
  std::exit(1);
}

RecordingReader open_recording(const std::string& path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.is_open()) die("cannot open " + path);
  auto reader = RecordingReader::open(std::move(file), path);
  if (!reader) die(reader.error().operation);
  return std::move(*reader);
}

std::optional<RecordingReader::Item> next_of(RecordingReader& reader) {
  auto item = reader.next();
  if (!item) die(item.error().operation);
  return std::move(*item);
}

/// What belongs to one network namespace: its sockets, and the processes that had to do with them.
class Inside {
 public:
  explicit Inside(std::uint32_t netns) : netns_(netns) {}

  /// The first time through: all sockets, and only then the processes.
  void meet_socket(const Event& event) {
    std::visit(
        [&](const auto& what) {
          if constexpr (requires { what.tuple; })
            if (what.tuple.netns == netns_) cookies_.insert(what.cookie);
        },
        event);
  }
  void meet_processes(const Event& event) {
    if (std::holds_alternative<ProcessSeen>(event) || !has_socket(event)) return;
    std::visit(
        [&](const auto& what) {
          if constexpr (requires { what.process.key; }) meet(what.process);
          if constexpr (requires { what.actor.key; }) meet(what.actor);
          if constexpr (requires { what.holder.process; }) meet(what.holder.process);
        },
        event);
  }

  /// What is about neither a socket nor a process is everybody's.
  [[nodiscard]] bool has(const Event& event) const {
    return has_socket(event) && std::visit(
                                    [&](const auto& what) {
                                      using What = std::remove_cvref_t<decltype(what)>;
                                      if constexpr (std::is_same_v<What, ProcessSeen>)
                                        return knows(what.process.key);
                                      else if constexpr (requires { what.key; })
                                        return knows(what.key);
                                      else
                                        return true;
                                    },
                                    event);
  }

 private:
  using Key = std::pair<std::uint32_t, std::uint64_t>;

  [[nodiscard]] bool has_socket(const Event& event) const {
    return std::visit(
        [&](const auto& what) {
          // What is not accepted yet has no cookie.
          if constexpr (requires { what.tuple; })
            return what.tuple.netns == netns_;
          else if constexpr (requires { what.cookie; })
            return cookies_.contains(what.cookie);
          else
            return true;
        },
        event);
  }
  void meet(const Identity& process) { processes_.insert({process.key.pid, process.key.start_ns}); }
  [[nodiscard]] bool knows(const ProcessKey& key) const { return processes_.contains({key.pid, key.start_ns}); }

  std::uint32_t netns_;
  std::set<std::uint64_t> cookies_;
  std::set<Key> processes_;
};

class Rewriter {
 public:
  explicit Rewriter(Replacements replacements) : replacements_(std::move(replacements)) {}

  void operator()(Started& started) const {
    started.host = "golden";
    started.kernel = "6.18.0";
    started.boot_id = "00000000-0000-4000-8000-000000000000";
    for (const auto& [from, to] : replacements_)
      if (from == "--version") started.version = to;
    for (auto& [name, value] : started.options) replace(value);
  }
  void operator()(ProcessResolved& answer) const {
    if (answer.details.exe) replace(*answer.details.exe);
    if (answer.details.cmdline) replace(*answer.details.cmdline);
    if (answer.details.cgroup) answer.details.cgroup = "/golden.slice";
    if (answer.details.container) answer.details.container = "0123456789ab";
  }
  void operator()(StackResolved& answer) const {
    for (Frame& frame : answer.stack.frames) {
      replace(frame.module);
      replace(frame.file);
    }
  }
  void operator()(RecordingEnd& end) const {
    for (std::string& spot : end.blind_spots) replace(spot);
  }
  template <typename Other>
  void operator()(Other&) const {}

 private:
  void replace(std::string& text) const {
    for (const auto& [from, to] : replacements_)
      for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
  }
  Replacements replacements_;
};

/// Of every item that is an event, or a record of the kernel's that can be understood.
template <typename Visit>
void each_event(const std::string& path, Visit visit) {
  RecordingReader reader = open_recording(path);
  while (auto item = next_of(reader)) {
    if (const auto* event = std::get_if<Event>(&*item)) {
      visit(*event);
    } else if (const auto* record = std::get_if<RecordingReader::Record>(&*item)) {
      if (const auto decoded = decode(*record)) visit(*decoded);
    }
  }
}

std::optional<Inside> inside_of(const std::string& path, const Replacements& words) {
  const auto found = std::find_if(words.begin(), words.end(), [](const auto& pair) { return pair.first == "--netns"; });
  if (found == words.end()) return std::nullopt;
  Inside inside{static_cast<std::uint32_t>(std::strtoul(found->second.c_str(), nullptr, 10))};
  each_event(path, [&](const Event& event) { inside.meet_socket(event); });
  each_event(path, [&](const Event& event) { inside.meet_processes(event); });
  return inside;
}

void rewrite(const std::string& from, const std::string& to, const Replacements& replacements) {
  const Rewriter rewriter{replacements};
  const std::optional<Inside> inside = inside_of(from, replacements);
  RecordingReader reader = open_recording(from);
  Descriptor file{::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  if (!file.is_open()) die("cannot write " + to);
  RecordingWriter writer{std::move(file), to, 0};
  writer.begin(reader.head());
  while (auto item = next_of(reader)) {
    if (auto* end = std::get_if<RecordingEnd>(&*item)) {
      rewriter(*end);
      writer.end(*end);
    } else if (auto* event = std::get_if<Event>(&*item)) {
      if (inside && !inside->has(*event)) continue;
      std::visit(rewriter, *event);
      writer.put(*event);
      // Blocks as the run has made them, about one a second: damage is then told of where it is.
      if (const auto* tick = std::get_if<Tick>(event); tick != nullptr && tick->time_ns > 0)
        writer.pulse(tick->time_ns);
    } else if (const auto* record = std::get_if<RecordingReader::Record>(&*item)) {
      const auto decoded = decode(*record);
      if (!inside || !decoded || inside->has(*decoded)) writer.put(*record);
    }
  }
  if (writer.error()) die(writer.error()->operation);
}

/// Comms are all the text that a record of the kernel's has.
void print_texts(RecordingReader::Record record) {
  std::string text;
  for (const std::byte byte : record) {
    const auto letter = std::to_integer<unsigned char>(byte);
    if (std::isprint(letter) != 0)
      text += static_cast<char>(letter);
    else if (!text.empty() && text.back() != ' ')
      text += ' ';
  }
  std::printf("record of %zu bytes: %s\n", record.size(), text.c_str());
}

void print(const std::string& path) {
  RecordingReader reader = open_recording(path);
  std::puts(recorded(reader.head()).json.c_str());
  while (auto item = next_of(reader)) {
    if (const auto* end = std::get_if<RecordingEnd>(&*item))
      std::puts(recorded(*end).json.c_str());
    else if (const auto* event = std::get_if<Event>(&*item))
      std::puts(recorded(*event).value_or(RecordedItem{}).json.c_str());
    else if (const auto* record = std::get_if<RecordingReader::Record>(&*item))
      print_texts(*record);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words{argv + 1, argv + argc};
  if (words.size() == 2 && words[0] == "--print") {
    print(words[1]);
    return 0;
  }
  if (words.size() < 2 || words.size() % 2 != 0) die("usage: rewrite IN OUT [FROM TO]... | rewrite --print FILE");
  Replacements replacements;
  for (std::size_t at = 2; at < words.size(); at += 2) replacements.emplace_back(words[at], words[at + 1]);
  rewrite(words[0], words[1], replacements);
  return 0;
}
