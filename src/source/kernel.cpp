// SPDX-License-Identifier: BSD-2-Clause
#include "kernel.hpp"

#include "programs.hpp"

#include <closewatch/base/descriptor.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

namespace closewatch {
namespace {

/// seq_file hands out pages of 32 KiB (PAGE_SIZE << 3); with less an iterator visits the row at the border twice.
constexpr std::size_t iterator_buffer = 64U << 10U;
/// Walks for rows that found no room; this bounds a kernel that never says that all are through.
constexpr int passes_at_most = 4096;
/// Wake-ups cost more than the programs themselves; this many in a full ring keep it from overflowing between them.
constexpr std::uint64_t wakes_per_ring = 8;

KernelSource::OnMessage& message_sink() {
  static KernelSource::OnMessage sink;  // libbpf's print callback takes no context
  return sink;
}

int print(libbpf_print_level level, const char* format, va_list arguments) noexcept {
  if (level == LIBBPF_DEBUG || !message_sink()) return 0;
  std::array<char, 1024> line{};
  const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
  if (length <= 0) return 0;
  std::string_view text{line.data(), std::min(static_cast<std::size_t>(length), line.size() - 1)};
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  try {
    message_sink()(std::string{text});
  } catch (...) {
    return 0;  // a message that cannot be shown is no reason to end libbpf's work
  }
  return 0;
}

struct Ring {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

/// Ends of processes that the ring had no room for, told in the order of time as the ring would have: what is read from
/// the ring behind such an end was written after it was kept. They are asked for before each record, which costs the
/// look at a counter.
struct ExitsKept {
  const cw_counters* counters = nullptr;
  int map = -1;
  std::uint64_t fetched = 0;  ///< up to so many of cw_counters.exits_kept
  std::vector<cw_process_record> waiting;  ///< the latest first

  void fetch() {
    const std::uint64_t kept = std::atomic_ref{const_cast<__u64&>(counters->exits_kept)}.load();
    if (kept == fetched) return;
    fetched = kept;
    cw_exit_key key{};
    for (std::size_t most = CW_EXITS; most > 0 && bpf_map_get_next_key(map, nullptr, &key) == 0; --most) {
      cw_process_record record{};
      record.header = {CW_ABI_VERSION, CW_RECORD_EXIT, sizeof record, 0};
      record.process.start_ns = key.start_ns;
      record.process.tgid = key.tgid;
      __u64 time_ns = 0;
      if (bpf_map_lookup_elem(map, &key, &time_ns) != 0 || bpf_map_delete_elem(map, &key) != 0) break;
      record.header.time_ns = time_ns;
      waiting.push_back(record);
    }
    std::sort(waiting.begin(), waiting.end(), [](const cw_process_record& one, const cw_process_record& other) {
      return one.header.time_ns > other.header.time_ns;
    });
  }

  void tell(const KernelSource::OnRecord& on_record, std::uint64_t until_ns) {
    while (!waiting.empty() && waiting.back().header.time_ns <= until_ns) {
      const cw_process_record record = waiting.back();
      waiting.pop_back();
      on_record(std::as_bytes(std::span{&record, 1}));
    }
  }

  void tell_before(std::span<const std::byte> next, const KernelSource::OnRecord& on_record) {
    fetch();
    if (waiting.empty() || next.size() < sizeof(cw_header)) return;
    cw_header header;
    std::memcpy(&header, next.data(), sizeof header);
    tell(on_record, header.time_ns);
  }
};

/// One round of draining: libbpf's callback takes a pointer, and stops after the record for which it gets a negative
/// number (libbpf 1.1's ring_buffer__consume() would drain without bound).
struct Round {
  const KernelSource::OnRecord* on_record = nullptr;
  std::size_t most = 0;
  std::size_t taken = 0;
  ExitsKept* exits = nullptr;  ///< null: of the ring of rows
};
constexpr int stop_round = -ECANCELED;

int take(void* context, void* data, std::size_t size) noexcept {
  Round& round = *static_cast<Round*>(context);
  const std::span bytes{static_cast<const std::byte*>(data), size};
  if (round.exits != nullptr) round.exits->tell_before(bytes, *round.on_record);
  (*round.on_record)(bytes);
  return ++round.taken >= round.most ? stop_round : 0;
}

Error error_of(std::string operation, int result, std::string remedy = {}) {
  return {std::move(operation), result < 0 ? -result : result, std::move(remedy)};
}

std::uint32_t ring_size(std::uint32_t bytes) {
  const auto page = static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE));
  return std::bit_ceil(std::max(bytes, page));
}

void configure(closewatch_bpf& skeleton, const KernelSettings& settings) {
  cw_config& config = skeleton.rodata->config;
  config.wake_bytes = ring_size(settings.ring_bytes) / wakes_per_ring;
  config.tick_ns = settings.tick_ns;
  config.cgroup_id = settings.cgroup_id;
  config.netns = settings.netns;
  config.all_states = settings.all_states ? 1 : 0;
  config.ipv4 = settings.ipv4 ? 1 : 0;
  config.ipv6 = settings.ipv6 ? 1 : 0;
  config.local_ports = static_cast<std::uint32_t>(settings.local_ports.size());
  config.remote_ports = static_cast<std::uint32_t>(settings.remote_ports.size());
  config.pids = static_cast<std::uint32_t>(settings.pids.size());
  config.comms = static_cast<std::uint32_t>(settings.comms.size());
  config.stacks = settings.stacks ? 1 : 0;
}

std::expected<void, Error> put(bpf_map* map, const void* key, std::size_t size, const std::string& what) {
  const std::uint8_t one = 1;
  const int result = bpf_map__update_elem(map, key, size, &one, sizeof one, BPF_ANY);
  if (result != 0) return std::unexpected(error_of("put the filter on " + what + " into the kernel", result));
  return {};
}

std::expected<void, Error> fill_pids(closewatch_bpf& skeleton, const std::vector<ProcessTicks>& pids) {
  for (const ProcessTicks& process : pids) {
    const cw_pid_key key{process.start_ticks, process.pid, 0};
    if (auto done = put(skeleton.maps.filter_pids, &key, sizeof key, "processes"); !done) return done;
  }
  return {};
}

std::expected<void, Error> fill_filters(closewatch_bpf& skeleton, const KernelSettings& settings) {
  for (const auto& [side, ports] :
       {std::pair{CW_PORT_LOCAL, &settings.local_ports}, std::pair{CW_PORT_REMOTE, &settings.remote_ports}}) {
    for (const std::uint16_t port : *ports) {
      const cw_port_key key{static_cast<__u16>(side), port};
      if (auto done = put(skeleton.maps.filter_ports, &key, sizeof key, "ports"); !done) return done;
    }
  }
  for (const std::string& comm : settings.comms) {
    cw_comm_key key{};
    std::copy_n(comm.begin(), std::min(comm.size(), sizeof key.comm - 1), std::begin(key.comm));
    if (auto done = put(skeleton.maps.filter_comms, &key, sizeof key, "command names"); !done) return done;
  }
  return fill_pids(skeleton, settings.pids);
}

}  // namespace

struct KernelSource::State {
  SkeletonPtr skeleton;
  std::unique_ptr<ring_buffer, Ring> events;
  std::unique_ptr<ring_buffer, Ring> rows;
  std::vector<LinkPtr> links;
  LinkPtr tables_walk;
  LinkPtr files_walk;
  bool by_tables = false;  ///< then the next is null, and otherwise the two behind it
  LinkPtr sockets_walk;
  LinkPtr rows_of_tables;
  LinkPtr rows_of_files;
  Round event_round;  // libbpf keeps pointers to these two: the State never moves
  Round row_round;
  ExitsKept exits;
  std::vector<std::string> degraded;
  std::vector<std::byte> buffer = std::vector<std::byte>(iterator_buffer);
};

KernelSource::KernelSource(std::unique_ptr<State> state) : state_(std::move(state)) {}
KernelSource::KernelSource(KernelSource&&) noexcept = default;
KernelSource& KernelSource::operator=(KernelSource&&) noexcept = default;
KernelSource::~KernelSource() = default;

std::expected<KernelSource, Error> KernelSource::load(const KernelSettings& settings, OnMessage on_message) {
  message_sink() = std::move(on_message);
  libbpf_set_print(print);
  auto state = std::make_unique<State>();
  state->skeleton.reset(closewatch_bpf__open());
  if (!state->skeleton) return std::unexpected(error_of("open the kernel programs", errno));
  closewatch_bpf& skeleton = *state->skeleton;

  btf* kernel = btf__load_vmlinux_btf();
  if (kernel == nullptr)
    return std::unexpected(
        error_of("read the kernel's BTF", errno,
                 "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every Debian kernel since 11 is)"));
  // Both came with Linux 6.3; one without the other would make of a socket that is written to one that is not used.
  const bool observes_use = has_tracepoint(kernel, "sock_recv_length") && has_tracepoint(kernel, "sock_send_length");
  state->by_tables = !can_walk_storage(kernel);
  btf__free(kernel);
  if (!observes_use) {
    bpf_program__set_autoload(skeleton.progs.use_recv, false);
    bpf_program__set_autoload(skeleton.progs.use_send, false);
    state->degraded.emplace_back(
        "this kernel does not tell of reads and writes (no sock_recv_length, Linux 6.3): accepted connections are "
        "named after their listener until they close or a sweep finds who holds them, and nothing is called inherited");
  }
  bpf_program__set_autoload(skeleton.progs.walk_sockets, !state->by_tables);
  bpf_program__set_autoload(skeleton.progs.walk_rows_of_tables, state->by_tables);
  bpf_program__set_autoload(skeleton.progs.walk_rows_of_files, state->by_tables);
  bpf_program__set_autoload(skeleton.progs.process_fork, settings.children);
  bpf_program__set_autoload(skeleton.progs.process_free, settings.children);

  bpf_map__set_max_entries(skeleton.maps.events, ring_size(settings.ring_bytes));
  configure(skeleton, settings);
  skeleton.rodata->config.observes_use = observes_use ? 1 : 0;
  skeleton.rodata->config.rows_by_tables = state->by_tables ? 1 : 0;

  if (const int result = closewatch_bpf__load(&skeleton); result != 0)
    return std::unexpected(error_of("load the programs into the kernel", result));
  if (auto filled = fill_filters(skeleton, settings); !filled) return std::unexpected(filled.error());
  return KernelSource{std::move(state)};
}

std::expected<void, Error> KernelSource::attach() {
  State& state = *state_;
  closewatch_bpf& skeleton = *state.skeleton;
  state.events.reset(ring_buffer__new(bpf_map__fd(skeleton.maps.events), take, &state.event_round, nullptr));
  state.rows.reset(ring_buffer__new(bpf_map__fd(skeleton.maps.rows), take, &state.row_round, nullptr));
  state.exits = {&skeleton.bss->counters, bpf_map__fd(skeleton.maps.exits), 0, {}};
  if (!state.events || !state.rows) return std::unexpected(error_of("map the ring buffer", errno));

  // The second copy of the program goes on behind the first: it asks whether the first has been there.
  for (bpf_program* program : {skeleton.progs.transition, skeleton.progs.transition_nested, skeleton.progs.send_reset,
                               skeleton.progs.use_recv, skeleton.progs.use_send, skeleton.progs.destroy,
                               skeleton.progs.process_exit, skeleton.progs.process_fork, skeleton.progs.process_free}) {
    if (!bpf_program__autoload(program)) continue;
    bpf_link* link = bpf_program__attach(program);
    if (link == nullptr)
      return std::unexpected(error_of(std::string{"attach the program "} + bpf_program__name(program), errno));
    state.links.emplace_back(link);
  }

  state.tables_walk.reset(bpf_program__attach_iter(skeleton.progs.walk_tcp, nullptr));
  state.files_walk.reset(bpf_program__attach_iter(skeleton.progs.walk_files, nullptr));
  if (state.by_tables) {
    state.rows_of_tables.reset(bpf_program__attach_iter(skeleton.progs.walk_rows_of_tables, nullptr));
    state.rows_of_files.reset(bpf_program__attach_iter(skeleton.progs.walk_rows_of_files, nullptr));
  } else {
    state.sockets_walk.reset(attach_storage_walk(skeleton.progs.walk_sockets, skeleton.maps.sockets));
  }
  const bool walks_rows = state.by_tables ? state.rows_of_tables && state.rows_of_files : state.sockets_walk != nullptr;
  if (!state.tables_walk || !state.files_walk || !walks_rows)
    return std::unexpected(error_of("attach the iterators", errno));
  return {};
}

std::expected<void, Error> KernelSource::watch(const std::vector<ProcessTicks>& pids) {
  return fill_pids(*state_->skeleton, pids);
}

std::vector<ProcessTicks> KernelSource::watched() const {
  std::vector<ProcessTicks> processes;
  const int map = bpf_map__fd(state_->skeleton->maps.filter_pids);
  cw_pid_key key{};
  const cw_pid_key* before = nullptr;
  while (bpf_map_get_next_key(map, before, &key) == 0 && processes.size() < CW_FILTER_PIDS) {
    processes.push_back({key.tgid, key.start_ticks});
    before = &key;
  }
  return processes;
}

int KernelSource::event_fd() const { return ring_buffer__epoll_fd(state_->events.get()); }

std::size_t KernelSource::drain(std::size_t most, const OnRecord& on_record) {
  state_->event_round = {&on_record, most, 0, &state_->exits};
  ring_buffer__consume(state_->events.get());
  // What is left in the ring may be older than they are.
  if (state_->event_round.taken < most) {
    state_->exits.fetch();
    state_->exits.tell(on_record, std::numeric_limits<std::uint64_t>::max());
  }
  return state_->event_round.taken;
}

std::expected<void, Error> KernelSource::run_walk(const bpf_link* link, const OnRecord& on_record,
                                                  const std::function<void()>& between) {
  const Descriptor iterator{bpf_iter_create(bpf_link__fd(link))};
  if (iterator.get() < 0) return std::unexpected(error_of("start a walk over the sockets", errno));
  std::vector<std::byte>& buffer = state_->buffer;
  std::size_t kept = 0;  // the head of a row that a read cut off
  for (;;) {
    const ssize_t length = ::read(iterator.get(), buffer.data() + kept, buffer.size() - kept);
    if (length < 0) {
      const int error = errno;
      if (error != EINTR && error != EAGAIN) return std::unexpected(error_of("walk the sockets", error));
      if (error == EAGAIN) between();  // it has let go of us (lets_go()), and goes on
      continue;
    }
    if (length == 0) break;
    std::span<const std::byte> bytes{buffer.data(), kept + static_cast<std::size_t>(length)};
    while (bytes.size() >= sizeof(cw_header)) {
      cw_header header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (header.size < sizeof header || header.size > bytes.size()) break;
      on_record(bytes.first(header.size));
      bytes = bytes.subspan(header.size);
    }
    kept = bytes.size();
    std::memmove(buffer.data(), bytes.data(), kept);
    between();
    if (kept == buffer.size()) return std::unexpected(error_of("read a row of the sockets' walk", EPROTO));
  }
  return {};
}

std::expected<void, Error> KernelSource::walk_tables(std::uint64_t opened_since_ns, const OnRecord& on_record,
                                                     const std::function<void()>& between) {
  state_->skeleton->bss->opened_since = opened_since_ns;
  return run_walk(state_->tables_walk.get(), on_record, between);
}

bool KernelSource::walks_by_tables() const { return state_->by_tables; }

// Repeated for the rows that found no room, until all are through.
std::expected<void, Error> KernelSource::walk_rows(const bpf_link* link, const OnRecord& on_record,
                                                   const std::function<void()>& between) {
  std::atomic_ref refused{state_->skeleton->bss->counters.rows_refused};
  // Events are newer than the rows that wait: these are told first.
  const auto between_rows = [&] {
    state_->row_round = {&on_record, std::numeric_limits<std::size_t>::max(), 0, nullptr};
    ring_buffer__consume(state_->rows.get());
    between();
  };
  for (int pass = 0; pass < passes_at_most; ++pass) {
    const std::uint64_t before = refused.load();
    if (auto walked = run_walk(link, on_record, between_rows); !walked) return walked;
    between_rows();
    if (refused.load() == before) return {};
  }
  return std::unexpected(error_of("walk all sockets", EOVERFLOW));
}

std::expected<void, Error> KernelSource::walk_sockets(bool census, const Everywhere& everywhere,
                                                      const OnRecord& on_record, const std::function<void()>& between) {
  closewatch_bpf& skeleton = *state_->skeleton;
  ++skeleton.bss->walk;
  skeleton.bss->census = census ? 1 : 0;
  if (auto walked = run_walk(state_->files_walk.get(), on_record, between); !walked) return walked;
  if (!state_->by_tables) return walk_rows(state_->sockets_walk.get(), on_record, between);
  const Namespaces held = namespaces_held();
  const auto entered = everywhere(held, [&] { return walk_rows(state_->rows_of_tables.get(), on_record, between); });
  if (!entered) return std::unexpected(entered.error());
  const bool met_all = skeleton.bss->beyond_tables != skeleton.bss->walk &&
                       std::includes(entered->begin(), entered->end(), held.begin(), held.end());
  return met_all ? std::expected<void, Error>{} : walk_rows(state_->rows_of_files.get(), on_record, between);
}

/// Those that the last walk of the descriptors has met; others are forgotten.
KernelSource::Namespaces KernelSource::namespaces_held() {
  Namespaces held;
  Namespaces left;
  const int map = bpf_map__fd(state_->skeleton->maps.held_in);
  std::uint32_t netns = 0;
  const std::uint32_t* before = nullptr;
  while (held.size() + left.size() < CW_NAMESPACES && bpf_map_get_next_key(map, before, &netns) == 0) {
    std::uint32_t walk = 0;
    const bool is_held = bpf_map_lookup_elem(map, &netns, &walk) == 0 && walk == state_->skeleton->bss->walk;
    (is_held ? held : left).push_back(netns);
    before = &netns;
  }
  for (const std::uint32_t gone : left) bpf_map_delete_elem(map, &gone);
  std::sort(held.begin(), held.end());
  return held;
}

KernelLosses KernelSource::losses() const {
  cw_counters& counters = state_->skeleton->bss->counters;
  const auto read = [](__u64& counter) { return std::uint64_t{std::atomic_ref{counter}.load()}; };
  return {
      .ring = read(counters.lost_transitions),
      .ring_others = read(counters.lost_others),
      .storage = read(counters.storage_failed),
      .missed = read(counters.missed),
      .nested = read(counters.nested),
      .processes = read(counters.process_failed),
      .stacks = read(counters.stacks_failed),
  };
}

const std::vector<std::string>& KernelSource::degraded() const { return state_->degraded; }

}  // namespace closewatch
