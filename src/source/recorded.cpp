// SPDX-License-Identifier: BSD-2-Clause
#include "source/recorded.hpp"

#include <nlohmann/json.hpp>

#include <concepts>
#include <limits>
#include <stdexcept>
#include <utility>

namespace closewatch {
namespace {

using Json = nlohmann::json;

/// What a field is not: caught in from_recorded().
struct Misfit : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Command lines and names are bytes, and JSON has none: each byte becomes the code point of its number (ISO 8859-1).
std::string text_of(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    if (value < 0x80) {
      text += byte;
    } else {
      text += static_cast<char>(0xc0U | (value >> 6U));
      text += static_cast<char>(0x80U | (value & 0x3fU));
    }
  }
  return text;
}

/// `text` is valid UTF-8: the JSON parser has seen to that.
std::string bytes_of(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) {
      bytes += text[at];
    } else if (lead <= 0xc3 && at + 1 < text.size()) {
      const auto tail = static_cast<unsigned char>(text[++at]);
      bytes += static_cast<char>(((lead & 0x03U) << 6U) | (tail & 0x3fU));
    } else {
      throw Misfit("a character that is no byte");
    }
  }
  return bytes;
}

template <typename T, typename Plain>
concept Is = std::same_as<std::remove_const_t<T>, Plain>;

// The fields of each, once for both directions. Times are nanoseconds, as in core/event.hpp.

template <typename Archive, Is<ProcessKey> T>
void fields(Archive& archive, T& key) {
  archive("pid", key.pid)("start", key.start_ns);
}

template <typename Archive, Is<RecordingHead> T>
void fields(Archive& archive, T& head) {
  archive("version", head.version)("command", head.command)("began", head.began_ns)("stacks", head.stacks);
  archive("filters_processes", head.engine.filters_processes)("sees_all_sockets", head.engine.sees_all_sockets);
  archive("leak_after", head.engine.detector.leak_after_ns)("sweep", head.engine.detector.sweep_ns);
  archive("sanitizer", head.engine.detector.sanitizer)("sees_all_processes", head.engine.detector.sees_all_processes);
}

template <typename Archive, Is<RecordingEnd> T>
void fields(Archive& archive, T& end) {
  archive("blind_spots", end.blind_spots)("at_limit", end.at_limit);
}

template <typename Archive, Is<Started> T>
void fields(Archive& archive, T& started) {
  archive("time", started.time_ns)("run", started.run)("version", started.version)("host", started.host);
  archive("kernel", started.kernel)("boot_id", started.boot_id)("options", started.options);
}

template <typename Archive, Is<Tick> T>
void fields(Archive& archive, T& tick) {
  archive("time", tick.time_ns)("realtime_offset", tick.realtime_offset_ns);
}

template <typename Archive, Is<WalkDone> T>
void fields(Archive& archive, T& done) {
  archive("time", done.time_ns)("began", done.began_ns)("census", done.census);
  archive.may_have("by_tables", done.by_tables);
  archive.may_have("entered", done.entered);
}

template <typename Archive, Is<TablesWalked> T>
void fields(Archive& archive, T& walked) {
  archive("time", walked.time_ns)("began", walked.began_ns)("netns", walked.netns)("overflows", walked.overflows);
}

template <typename Archive, Is<NamespaceGone> T>
void fields(Archive& archive, T& gone) {
  archive("time", gone.time_ns)("netns", gone.netns);
}

template <typename Archive, Is<PortRange> T>
void fields(Archive& archive, T& range) {
  archive("first", range.first)("last", range.last);
}

template <typename Archive, Is<TcpLook> T>
void fields(Archive& archive, T& look) {
  archive("settings", look.settings.values)("port_range", look.settings.port_range);
  archive("reserved_ports", look.settings.reserved_ports)("counters", look.counters)("conntrack", look.conntrack);
}

template <typename Archive, Is<NamespaceSeen> T>
void fields(Archive& archive, T& seen) {
  archive("time", seen.time_ns)("netns", seen.netns)("look", seen.look);
}

template <typename Archive, Is<DescriptorsSeen> T>
void fields(Archive& archive, T& seen) {
  archive("time", seen.time_ns)("process", seen.key)("open", seen.open)("soft_limit", seen.soft_limit);
  archive("sockets", seen.sockets);
}

template <typename Archive, Is<Frame> T>
void fields(Archive& archive, T& frame) {
  archive("address", frame.address)("function", frame.function)("file", frame.file)("line", frame.line);
  archive("module", frame.module)("build_id", frame.build_id)("offset", frame.offset);
}

template <typename Archive, Is<Stack> T>
void fields(Archive& archive, T& stack) {
  archive("frames", stack.frames)("cut_short", stack.cut_short);
}

template <typename Archive, Is<StackResolved> T>
void fields(Archive& archive, T& answer) {
  archive("cookie", answer.cookie)("end_read", answer.end_read)("stack", answer.stack);
}

template <typename Archive, Is<ProcessDetails> T>
void fields(Archive& archive, T& details) {
  archive("exe", details.exe)("cmdline", details.cmdline)("cgroup", details.cgroup)("container", details.container);
}

template <typename Archive, Is<ProcessResolved> T>
void fields(Archive& archive, T& answer) {
  archive("process", answer.key)("exec", answer.exec_id)("skipped", answer.skipped)("exited", answer.exited);
  archive("details", answer.details);
}

template <typename Archive, Is<LossSeen> T>
void fields(Archive& archive, T& seen) {
  archive("time", seen.time_ns)("ring", seen.ring)("storage", seen.storage);
  archive.may_have("others", seen.others);
}

template <typename Archive, Is<Usage> T>
void fields(Archive& archive, T& usage) {
  archive("time", usage.time_ns)("cpu_ms", usage.cpu_ms)("rss_bytes", usage.rss_bytes);
}

template <typename Archive, Is<Stopped> T>
void fields(Archive& archive, T& stopped) {
  archive("time", stopped.time_ns)("cpu_ms", stopped.cpu_ms)("rss_bytes", stopped.rss_bytes);
}

class Writing {
 public:
  template <typename T>
  Writing& operator()(const char* name, const T& value) {
    out_[name] = json_of(value);
    return *this;
  }
  /// Written only where it says something, and so is not missed in a recording from before.
  template <typename T>
  void may_have(const char* name, const T& value) {
    if (value != T{}) out_[name] = json_of(value);
  }
  [[nodiscard]] Json take() { return std::move(out_); }

 private:
  template <std::integral T>
  static Json json_of(T value) {
    return value;
  }
  static Json json_of(const std::string& bytes) { return text_of(bytes); }
  static Json json_of(const Numbers& numbers) {
    Json out = Json::object();
    for (const auto& [name, value] : numbers) out[text_of(name)] = value;
    return out;
  }
  static Json json_of(const std::pair<std::string, std::string>& pair) {
    return Json::array({text_of(pair.first), text_of(pair.second)});
  }
  template <typename T>
  static Json json_of(const std::optional<T>& value) {
    return value ? json_of(*value) : Json{};
  }
  template <typename T>
  static Json json_of(const std::vector<T>& values) {
    Json out = Json::array();
    for (const T& value : values) out.push_back(json_of(value));
    return out;
  }
  template <typename T>
    requires requires(Writing& archive, const T& value) { fields(archive, value); }
  static Json json_of(const T& value) {
    Writing nested;
    fields(nested, value);
    return nested.take();
  }

  Json out_ = Json::object();
};

class Reading {
 public:
  explicit Reading(const Json& in) : in_(in) {
    if (!in.is_object()) throw Misfit("no object");
  }
  template <typename T>
  Reading& operator()(const char* name, T& value) {
    const auto found = in_.find(name);
    if (found == in_.end()) throw Misfit(std::string{"no field '"} + name + "'");
    try {
      read(*found, value);
    } catch (const Misfit& misfit) {
      throw Misfit(std::string{"field '"} + name + "': " + misfit.what());
    }
    return *this;
  }
  template <typename T>
  void may_have(const char* name, T& value) {
    if (in_.contains(name)) (*this)(name, value);
  }

 private:
  static void read(const Json& in, bool& value) {
    if (!in.is_boolean()) throw Misfit("no boolean");
    value = in.get<bool>();
  }
  template <std::unsigned_integral T>
  static void read(const Json& in, T& value) {
    if (!in.is_number_unsigned() || in.get<std::uint64_t>() > std::numeric_limits<T>::max())
      throw Misfit("no number of its range");
    value = in.get<T>();
  }
  static void read(const Json& in, std::int64_t& value) {
    if (!in.is_number_integer() ||
        (in.is_number_unsigned() &&
         in.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())))
      throw Misfit("no number of its range");
    value = in.get<std::int64_t>();
  }
  static void read(const Json& in, std::string& bytes) {
    if (!in.is_string()) throw Misfit("no string");
    bytes = bytes_of(in.get_ref<const std::string&>());
  }
  /// Of a namespace the kernel has some three hundred counters and fewer settings.
  static void read(const Json& in, Numbers& numbers) {
    constexpr std::size_t most = 2048;
    if (!in.is_object()) throw Misfit("no object");
    if (in.size() > most) throw Misfit("more names than the kernel has");
    for (const auto& [name, value] : in.items()) read(value, numbers[bytes_of(name)]);
  }
  static void read(const Json& in, std::pair<std::string, std::string>& pair) {
    if (!in.is_array() || in.size() != 2) throw Misfit("no pair");
    read(in[0], pair.first);
    read(in[1], pair.second);
  }
  template <typename T>
  static void read(const Json& in, std::optional<T>& value) {
    if (in.is_null()) return;
    read(in, value.emplace());
  }
  template <typename T>
  static void read(const Json& in, std::vector<T>& values) {
    if (!in.is_array()) throw Misfit("no array");
    for (const Json& item : in) read(item, values.emplace_back());
  }
  template <typename T>
    requires requires(Reading& archive, T& value) { fields(archive, value); }
  static void read(const Json& in, T& value) {
    Reading nested{in};
    fields(nested, value);
  }

  const Json& in_;
};

template <typename T>
RecordedItem written(ItemKind kind, const T& value) {
  Writing archive;
  fields(archive, value);
  return {kind, archive.take().dump()};
}

template <typename T>
T read_as(const Json& json) {
  T value;
  Reading archive{json};
  fields(archive, value);
  return value;
}

/// Each text is 4 KiB at most, with a word of the kernel's behind it; what is forged would be kept by the thousand.
ProcessResolved with_texts_of_proc(ProcessResolved answer) {
  constexpr std::size_t longest = 4096 + 64;
  for (const auto* text :
       {&answer.details.exe, &answer.details.cmdline, &answer.details.cgroup, &answer.details.container})
    if (*text && (*text)->size() > longest) throw Misfit("a text of a process that is too long");
  return answer;
}

/// How an event is kept: none for those that are as the kernel's records, and for lines lost on their way out.
struct KindOf {
  std::optional<ItemKind> operator()(const Started&) const { return ItemKind::started; }
  std::optional<ItemKind> operator()(const Tick&) const { return ItemKind::tick; }
  std::optional<ItemKind> operator()(const WalkDone&) const { return ItemKind::walk_done; }
  std::optional<ItemKind> operator()(const TablesWalked&) const { return ItemKind::tables_walked; }
  std::optional<ItemKind> operator()(const NamespaceGone&) const { return ItemKind::namespace_gone; }
  std::optional<ItemKind> operator()(const NamespaceSeen&) const { return ItemKind::namespace_seen; }
  std::optional<ItemKind> operator()(const DescriptorsSeen&) const { return ItemKind::descriptors_seen; }
  std::optional<ItemKind> operator()(const StackResolved&) const { return ItemKind::stack_resolved; }
  std::optional<ItemKind> operator()(const ProcessResolved&) const { return ItemKind::process_resolved; }
  std::optional<ItemKind> operator()(const LossSeen&) const { return ItemKind::loss_seen; }
  std::optional<ItemKind> operator()(const Usage&) const { return ItemKind::usage; }
  std::optional<ItemKind> operator()(const Stopped&) const { return ItemKind::stopped; }
  // Named one by one: a new kind of input that is not kept would be missing from each replay.
  template <typename Kept>
    requires(Is<Kept, TransitionSeen> || Is<Kept, ResetSeen> || Is<Kept, ProcessSeen> || Is<Kept, ProcessExited> ||
             Is<Kept, SocketRow> || Is<Kept, HolderRow> || Is<Kept, DescriptorClosed> || Is<Kept, StacksSeen> ||
             Is<Kept, BucketRow> || Is<Kept, PortRow> || Is<Kept, OutputLost>)
  std::optional<ItemKind> operator()(const Kept&) const {
    return std::nullopt;
  }
};

std::variant<RecordingHead, RecordingEnd, Event> item_of(ItemKind kind, const Json& json) {
  switch (kind) {
    case ItemKind::head: return read_as<RecordingHead>(json);
    case ItemKind::end: return read_as<RecordingEnd>(json);
    case ItemKind::started: return Event{read_as<Started>(json)};
    case ItemKind::tick: return Event{read_as<Tick>(json)};
    case ItemKind::walk_done: return Event{read_as<WalkDone>(json)};
    case ItemKind::tables_walked: return Event{read_as<TablesWalked>(json)};
    case ItemKind::namespace_gone: return Event{read_as<NamespaceGone>(json)};
    case ItemKind::namespace_seen: return Event{read_as<NamespaceSeen>(json)};
    case ItemKind::descriptors_seen: return Event{read_as<DescriptorsSeen>(json)};
    case ItemKind::stack_resolved: return Event{read_as<StackResolved>(json)};
    case ItemKind::process_resolved: return Event{with_texts_of_proc(read_as<ProcessResolved>(json))};
    case ItemKind::loss_seen: return Event{read_as<LossSeen>(json)};
    case ItemKind::usage: return Event{read_as<Usage>(json)};
    case ItemKind::stopped: return Event{read_as<Stopped>(json)};
    case ItemKind::record: break;
  }
  throw Misfit("an item of an unknown kind");
}

}  // namespace

RecordedItem recorded(const RecordingHead& head) { return written(ItemKind::head, head); }

RecordedItem recorded(const RecordingEnd& end) { return written(ItemKind::end, end); }

std::optional<RecordedItem> recorded(const Event& event) {
  return std::visit(
      [](const auto& what) -> std::optional<RecordedItem> {
        const std::optional<ItemKind> kind = KindOf{}(what);
        if (!kind) return std::nullopt;
        if constexpr (requires(Writing& archive) { fields(archive, what); }) return written(*kind, what);
        std::unreachable();
      },
      event);
}

std::expected<std::variant<RecordingHead, RecordingEnd, Event>, std::string> from_recorded(std::uint16_t kind,
                                                                                           std::string_view json) {
  try {
    // Ours are flat. What is forged could be all brackets, each of which takes eighty times its own size.
    const auto refuse_depth = [](int depth, Json::parse_event_t, const Json&) -> bool {
      constexpr int deepest = 8;
      if (depth > deepest) throw Misfit("nested too deep");
      return true;
    };
    return item_of(static_cast<ItemKind>(kind), Json::parse(json, refuse_depth));
  } catch (const Misfit& misfit) {
    return std::unexpected(misfit.what());
  } catch (const Json::exception&) {
    return std::unexpected("no JSON");
  }
}

}  // namespace closewatch
