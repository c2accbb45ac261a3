// SPDX-License-Identifier: BSD-2-Clause
// A whole run: records and what else the engine is told, through the sinks, and the report at its end.
//
// An input is a row of steps: a byte that says what, then as much as that takes. A record comes in three ways: from a
// few bytes, with possible values and few sockets and processes, so that they meet (the usual one); its body byte by
// byte; or with its header, as it came from a ring (a real run's).
#include "input.hpp"
#include "output.hpp"

#include "app/feed.hpp"
#include "sink/json.hpp"
#include "sink/report_json.hpp"
#include "sink/report_text.hpp"
#include "sink/text.hpp"

#include <closewatch/abi/record.h>
#include <closewatch/core/engine.hpp>

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

using namespace closewatch;
using closewatch::fuzz::demand;
using closewatch::fuzz::Input;

namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t boot_ns = 1000 * second_ns;
constexpr std::int64_t realtime_offset_ns = 1'709'210'096'000'000'789;
/// Beyond it an input shows nothing new, and only takes its time.
constexpr std::size_t most_steps = 512;

// -- records from a few bytes

template <std::size_t size>
void fill(Input& input, char (&comm)[size]) {
  const std::string_view text = input.text(size - 1);
  std::memcpy(comm, text.data(), text.size());
}

cw_process some_process(Input& input) {
  cw_process raw{};
  const std::uint8_t drawn = input.byte();
  if (drawn % 8 == 0) return raw;
  raw.tgid = 100U + drawn % 8U;
  raw.start_ns = boot_ns - (drawn >> 4U & 1U);  // now and then another process by the same pid
  raw.exec_id = drawn >> 5U & 1U;
  raw.uid = drawn >> 6U & 1U;
  raw.cgroup_id = drawn % 3U;
  fill(input, raw.comm);
  return raw;
}

cw_tuple some_tuple(Input& input) {
  cw_tuple raw{};
  const std::uint8_t drawn = input.byte();
  raw.netns = 4026531840U + (drawn & 1U);
  raw.family = (drawn & 2U) != 0 ? 6 : 4;
  raw.role = static_cast<__u8>((drawn >> 2U & 3U) % 3U);
  raw.local_port = static_cast<__u16>(input.byte() % 8U * 1111U);
  raw.peer_port = static_cast<__u16>((drawn >> 4U) * 3333U);
  raw.local[0] = raw.peer[0] = 127;
  raw.peer[3] = drawn >> 6U;
  return raw;
}

std::uint8_t some_state(Input& input) { return static_cast<std::uint8_t>(1 + input.byte() % 11U); }
std::uint64_t some_cookie(Input& input) { return input.byte() % 32U; }

/// Around now, not known, or anywhere.
std::uint64_t some_time(Input& input, std::uint64_t now_ns) {
  const std::uint8_t drawn = input.byte();
  if (drawn == 0) return 0;
  if (drawn < 0xf0) return now_ns - std::min(now_ns, drawn * second_ns / 4);
  return input.wide();
}

cw_transition some_transition(Input& input, std::uint64_t now_ns) {
  cw_transition raw{};
  raw.cookie = some_cookie(input);
  raw.listener_cookie = some_cookie(input);
  raw.tuple = some_tuple(input);
  raw.entered_ns = some_time(input, now_ns);
  raw.flags = input.number<std::uint32_t>();
  raw.error = input.byte();
  raw.from = some_state(input);
  raw.to = some_state(input);
  raw.attribution = input.byte() % 5U;
  raw.call = input.byte() % 8U;
  constexpr __u8 closing[] = {CW_CALL_NONE, CW_CALL_CLOSE, CW_CALL_SHUTDOWN, CW_CALL_EXIT};
  raw.closer_by = closing[input.byte() % 4U];
  raw.unread = static_cast<__u32>(input.wide());
  raw.orphan_ms = static_cast<__u32>(input.wide());
  raw.process = some_process(input);
  raw.actor = some_process(input);
  return raw;
}

cw_stack some_stack(Input& input) {
  cw_stack raw{};
  raw.tgid = 100U + input.byte() % 8U;
  raw.start_ns = boot_ns;
  const unsigned frames = input.byte() % (CW_STACK_FRAMES + 1U);
  const unsigned words = input.byte() % (CW_STACK_WORDS + 1U);
  raw.frames = frames * sizeof raw.address[0];
  raw.words = words * sizeof raw.word[0];
  for (unsigned place = 0; place < frames; ++place) raw.address[place] = input.wide();
  return raw;
}

cw_socket_row some_row(Input& input, std::uint64_t now_ns) {
  cw_socket_row raw{};
  raw.cookie = some_cookie(input);
  raw.listener_cookie = some_cookie(input);
  raw.tuple = some_tuple(input);
  raw.entered_ns = some_time(input, now_ns);
  raw.opened_ns = some_time(input, now_ns);
  raw.flags = input.number<std::uint32_t>();
  raw.state = some_state(input);
  raw.attribution = input.byte() % 5U;
  raw.eof = input.byte() % 3U;
  raw.users = input.byte() % (CW_USERS + 2U);
  raw.process = some_process(input);
  raw.acked_bytes = input.wide();
  raw.received_ns = some_time(input, now_ns);
  raw.used_ns = some_time(input, now_ns);
  raw.unread = static_cast<__u32>(input.wide());
  raw.unsent = static_cast<__u32>(input.wide());
  raw.backlog = input.byte();
  raw.backlog_max = input.byte();
  raw.retransmits = input.byte();
  raw.probes = input.byte();
  return raw;
}

// -- the run

/// The size of a record of this type, 0 for none.
std::size_t size_of(unsigned type) {
  switch (type) {
    case CW_RECORD_TRANSITION: return sizeof(cw_transition);
    case CW_RECORD_CLOSE: return sizeof(cw_close);
    case CW_RECORD_RESET: return sizeof(cw_reset);
    case CW_RECORD_PROCESS:
    case CW_RECORD_EXIT: return sizeof(cw_process_record);
    case CW_RECORD_SOCKET: return sizeof(cw_socket_row);
    case CW_RECORD_HOLDER: return sizeof(cw_holder_row);
    case CW_RECORD_RELEASE: return sizeof(cw_release);
    case CW_RECORD_STACKS: return sizeof(cw_stacks_row);
    case CW_RECORD_BUCKET: return sizeof(cw_bucket_row);
    case CW_RECORD_PORT: return sizeof(cw_port_row);
    default: return 0;
  }
}

Engine::Settings some_settings(unsigned drawn) {
  Engine::Settings settings;
  settings.filters_processes = (drawn & 1U) != 0;
  settings.sees_all_sockets = (drawn & 2U) != 0;
  settings.keeps_accounts = true;
  settings.detector.sanitizer = (drawn & 4U) != 0;
  settings.detector.sees_all_processes = (drawn & 8U) != 0;
  settings.detector.leak_after_ns = second_ns;
  settings.detector.sweep_ns = second_ns / 4;
  if ((drawn & 16U) != 0) return settings;
  settings.connections_limit = settings.buckets_limit = settings.detector.sockets_limit = 8;
  settings.listeners_limit = settings.processes_limit = settings.workloads_limit = settings.stacks_limit = 4;
  settings.detector.ended_limit = 4;
  return settings;
}

/// Into memory, to be read again.
class Captured {
 public:
  explicit Captured(std::size_t limit) : fd_(memfd_create("output", MFD_CLOEXEC)), writer_(fd_, "output", limit) {
    demand(fd_ >= 0, "no memory file");
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { ::close(fd_); }
  Writer& writer() { return writer_; }
  std::string text() {
    demand(writer_.pump().has_value(), "the output cannot be written");
    std::string out(static_cast<std::size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    demand(pread(fd_, out.data(), out.size(), 0) == static_cast<ssize_t>(out.size()), "the output cannot be read");
    return out;
  }

 private:
  int fd_;
  Writer writer_;
};

class Both final : public Sink {
 public:
  Both(Sink& one, Sink& other) : one_(one), other_(other) {}
  void take(const Fact& fact) override {
    one_.take(fact);
    other_.take(fact);
  }

 private:
  Sink& one_;
  Sink& other_;
};

class Run {
 public:
  explicit Run(Input input)
      : input_(input),
        drawn_(input_.number<std::uint16_t>()),
        engine_(some_settings(drawn_)),
        json_out_((drawn_ & 32U) != 0 ? 4096 : std::size_t{1} << 24U),
        text_out_(std::size_t{1} << 24U),
        json_(json_out_.writer(), EventTypes::all()),
        text_(text_out_.writer(), EventTypes::all(), {.wide = (drawn_ & 64U) != 0, .utf8 = (drawn_ & 128U) != 0}),
        feed_(engine_, both_, json_out_.writer()) {
    feed_.answers_by([this](const Identity& who) { return answer(who); });
  }

  /// All that was written, checked.
  std::string play() {
    step(Tick{now_ns_, realtime_offset_ns});
    for (std::size_t steps = 0; steps < most_steps && !input_.empty(); ++steps) take();
    start();
    step(WalkDone{now_ns_, now_ns_, true});
    json_out_.writer().lift_limit();
    if (const std::uint64_t lines = json_out_.writer().resume(); lines > 0) step(OutputLost{now_ns_, lines});
    step(Stopped{now_ns_, 1, 2});
    return checked_stream() + checked_report();
  }

 private:
  void start() {
    if (std::exchange(started_, true)) return;
    step(Started{now_ns_, "run", "0", "host", "6.18", "boot", {{"json", ""}}});
  }

  void take() {
    const std::uint8_t what = input_.byte();
    now_ns_ += (what >> 5U) * second_ns / 8;
    switch (what & 31U) {
      case 0: return take_bytes(input_.take(input_.byte() + std::size_t{256} * (input_.byte() % 4U)));
      case 12: return take_body();
      case 13: return step(Tick{(input_.byte() & 1U) != 0 ? now_ns_ : 0, realtime_offset_ns});
      case 14: return step(WalkDone{now_ns_, some_time(input_, now_ns_), (input_.byte() & 1U) != 0});
      case 15: return lose();
      case 16: return step(OutputLost{now_ns_, input_.wide() & 0xffffU});
      case 17: return walk_tables();
      case 18: return step(NamespaceGone{now_ns_, netns()});
      case 19: return look();
      case 20: return step(DescriptorsSeen{now_ns_, key(), input_.wide(), input_.wide(), input_.wide()});
      case 21: return step(Usage{now_ns_, input_.wide(), input_.wide()});
      case 22: now_ns_ += (input_.wide() & 0xffffU) * second_ns / 16; return;
      case 23: return start();
      default: return take_record(what & 15U);
    }
  }

  std::uint32_t netns() { return 4026531840U + (input_.byte() & 1U); }
  ProcessKey key() { return {.pid = 100U + input_.byte() % 8U, .start_ns = boot_ns}; }

  void lose() {
    losses_.time_ns = now_ns_;
    losses_.ring += input_.byte();
    losses_.storage += input_.byte();
    step(losses_);
  }
  void walk_tables() {
    TablesWalked walked{now_ns_, some_time(input_, now_ns_), netns(), std::nullopt};
    if ((input_.byte() & 1U) != 0) walked.overflows = input_.wide();
    step(walked);
  }
  void look() {
    NamespaceSeen seen{.time_ns = now_ns_, .netns = netns(), .look = {}};
    constexpr const char* names[] = {"tcp_fin_timeout", "tcp_max_tw_buckets", "tcp_tw_reuse", "somaxconn",
                                     "tcp_max_orphans"};
    for (const char* name : names) seen.look.settings.values[name] = input_.wide();
    if ((input_.byte() & 1U) != 0)
      seen.look.settings.port_range = {input_.number<std::uint16_t>(), input_.number<std::uint16_t>()};
    if ((input_.byte() & 1U) != 0)
      seen.look.settings.reserved_ports = {{input_.number<std::uint16_t>(), input_.number<std::uint16_t>()}};
    seen.look.counters["ListenOverflows"] = input_.wide();
    seen.look.counters["TCPTimeWaitOverflow"] = input_.wide();
    step(seen);
  }

  template <typename Record>
  void give(Record raw, unsigned type) {
    cw_header header{};
    header.version = CW_ABI_VERSION;
    header.type = static_cast<__u16>(type);
    header.size = sizeof raw;
    header.time_ns = now_ns_;
    std::memcpy(&raw, &header, sizeof header);
    take_bytes({reinterpret_cast<const char*>(&raw), sizeof raw});
  }

  void take_record(unsigned type) {
    switch (type) {
      case CW_RECORD_TRANSITION: return give(some_transition(input_, now_ns_), type);
      case CW_RECORD_CLOSE: {
        cw_close raw{.transition = some_transition(input_, now_ns_),
                     .opened_ns = some_time(input_, now_ns_),
                     .states_ns = {},
                     .bytes_sent = input_.wide(),
                     .bytes_received = input_.wide()};
        raw.states_ns[input_.byte() % CW_STATES] = input_.wide();
        return give(raw, type);
      }
      case CW_RECORD_RESET: return give(cw_reset{.header = {}, .cookie = some_cookie(input_)}, type);
      case CW_RECORD_PROCESS:
      case CW_RECORD_EXIT: return give(cw_process_record{.header = {}, .process = some_process(input_)}, type);
      case CW_RECORD_SOCKET: return give(some_row(input_, now_ns_), type);
      case CW_RECORD_HOLDER: {
        cw_holder_row raw{};
        raw.cookie = some_cookie(input_);
        raw.process = some_process(input_);
        raw.fd = static_cast<__u32>(input_.wide());
        raw.used = input_.byte() & 1U;
        raw.used_last = input_.byte() & 1U;
        return give(raw, type);
      }
      case CW_RECORD_RELEASE: {
        cw_release raw{};
        raw.cookie = some_cookie(input_);
        raw.actor = some_process(input_);
        raw.call = (input_.byte() & 1U) != 0 ? CW_CALL_CLOSE : CW_CALL_EXIT;
        return give(raw, type);
      }
      case CW_RECORD_STACKS:
        return give(cw_stacks_row{.header = {},
                                  .cookie = some_cookie(input_),
                                  .opened = some_stack(input_),
                                  .end_read = some_stack(input_)},
                    type);
      case CW_RECORD_BUCKET: {
        cw_bucket_row raw{};
        raw.cookie = some_cookie(input_);
        raw.tuple = some_tuple(input_);
        raw.expires_in_ns = static_cast<__s64>(input_.wide() * second_ns / 4);
        raw.substate = (input_.byte() & 1U) != 0 ? 6 : 5;
        return give(raw, type);
      }
      case CW_RECORD_PORT: {
        cw_port_row raw{};
        raw.cookie = some_cookie(input_);
        raw.tuple = some_tuple(input_);
        raw.opened_ns = some_time(input_, now_ns_);
        return give(raw, type);
      }
      default: return;
    }
  }

  void take_body() {
    const unsigned type = 1 + input_.byte() % 11U;
    std::string bytes(size_of(type), '\0');
    const cw_header header{.version = CW_ABI_VERSION,
                           .type = static_cast<__u16>(type),
                           .size = static_cast<__u32>(bytes.size()),
                           .time_ns = input_.number<std::uint64_t>()};
    std::memcpy(bytes.data(), &header, sizeof header);
    const std::string_view body = input_.take(bytes.size() - sizeof header);
    std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
    take_bytes(bytes);
  }

  void take_bytes(std::string_view bytes) {
    feed_.take_record(std::as_bytes(std::span{bytes}));
    name_stacks();
  }

  void step(const Event& event) {
    feed_.step(event);
    name_stacks();
  }

  // Names are asked for behind what asked; an address with a name in the input has it.
  void name_stacks() {
    for (const StackWanted& wanted : feed_.take_wanted_stacks()) {
      Stack stack;
      for (const std::uint64_t address : wanted.stack.addresses) {
        Frame frame;
        frame.address = address;
        if ((address & 1U) != 0) frame.function = std::string{input_.text(32)};
        stack.frames.push_back(std::move(frame));
      }
      step(StackResolved{wanted.cookie, wanted.end_read, std::move(stack)});
    }
  }

  ProcessResolved answer(const Identity& who) {
    ProcessResolved resolved{.key = who.key, .exec_id = who.exec_id, .skipped = false, .exited = false, .details = {}};
    const std::uint8_t drawn = input_.byte();
    resolved.skipped = drawn == 0xff;
    resolved.exited = drawn == 0xfe;
    if (drawn < 0xf0) {
      resolved.details.exe = std::string{input_.text(drawn)};
      resolved.details.cmdline = std::string{input_.text(drawn)};
      resolved.details.cgroup = std::string{input_.text(drawn)};
    }
    return resolved;
  }

  std::string checked_stream() {
    const std::string stream = json_out_.text();
    std::size_t line_number = 0;
    for (std::size_t at = 0; at < stream.size(); ++line_number) {
      const std::size_t end = stream.find('\n', at);
      demand(end != std::string::npos, "an unfinished line");
      const std::string_view line = std::string_view{stream}.substr(at, end - at);
      demand(is_json(line), "a line that is no JSON", line);
      demand(line.starts_with("{\"schema\":\"closewatch/1\",\"type\":\""), "a line without its head", line);
      demand(line.find("\"seq\":" + std::to_string(line_number) + ",") != std::string_view::npos, "a hole in seq",
             line);
      at = end + 1;
    }
    const std::string text = text_out_.text();
    demand(fuzz::is_plain_text(text), "a text that steers the terminal", text);
    return stream + text;
  }

  std::string checked_report() {
    const Report report = engine_.report({.host = "host",
                                          .kernel = "6.18",
                                          .from_ns = boot_ns,
                                          .incomplete_reasons = {},
                                          .with_stacks = (drawn_ & 256U) != 0,
                                          .verbose = (drawn_ & 512U) != 0});
    std::string out = report_json(report);
    demand(out.ends_with('\n') && is_json(std::string_view{out}.substr(0, out.size() - 1)), "a report that is no JSON",
           out);
    for (const ReportRows rows : {ReportRows::workload, ReportRows::process}) {
      const std::string text = report_text(report, {.wide = rows == ReportRows::process}, rows);
      demand(fuzz::is_plain_text(text), "a report that steers the terminal", text);
      out += text;
    }
    return out;
  }

  static bool is_json(std::string_view text) { return fuzz::is_json(text); }

  Input input_;
  unsigned drawn_;
  Engine engine_;
  Captured json_out_;
  Captured text_out_;
  JsonSink json_;
  TextSink text_;
  Both both_{json_, text_};
  Feed feed_;
  LossSeen losses_;
  std::uint64_t now_ns_ = boot_ns;
  bool started_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string first = Run{Input{data, size}}.play();
  // The same events give the same output; asked of some inputs, it takes as long again.
  if (size % 4 == 0) demand(Run{Input{data, size}}.play() == first, "the same events gave another output");
  return 0;
}
