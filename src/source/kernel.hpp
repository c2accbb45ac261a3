// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SOURCE_KERNEL_HPP
#define CLOSEWATCH_SOURCE_KERNEL_HPP

// The kernel as a source of records: loads the programs, drains the rings, walks the sockets. The only room that
// knows libbpf and the skeleton.

#include <closewatch/core/types.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

struct bpf_link;

namespace closewatch {

/// What the kernel programs are told before they are loaded. Empty lists and zeroes let everything through.
struct KernelSettings {
  std::uint32_t ring_bytes = 8U << 20U;  ///< rounded up to a power of two of whole pages
  std::uint64_t tick_ns = 0;             ///< length of a jiffy
  std::uint64_t cgroup_id = 0;
  std::uint32_t netns = 0;
  bool all_states = false;
  bool ipv4 = true;
  bool ipv6 = true;
  bool stacks = false;    ///< keep the user stacks of openings and of reads that returned the end
  bool children = false;  ///< add what the processes in `pids` fork from now on
  std::vector<std::uint16_t> local_ports;
  std::vector<std::uint16_t> remote_ports;
  std::vector<ProcessTicks> pids;
  std::vector<std::string> comms;
};

/// What the kernel side lost or could not do so far (struct cw_counters).
struct KernelLosses {
  std::uint64_t ring = 0;
  std::uint64_t ring_others = 0;
  std::uint64_t storage = 0;
  std::uint64_t missed = 0;
  std::uint64_t nested = 0;
  std::uint64_t processes = 0;
  std::uint64_t stacks = 0;
};

class KernelSource {
 public:
  using OnRecord = std::function<void(std::span<const std::byte>)>;
  using OnMessage = std::function<void(const std::string&)>;
  using Walk = std::function<std::expected<void, Error>()>;
  using Namespaces = std::vector<std::uint32_t>;  ///< inodes, in order
  /// Runs `walk` inside each network namespace that it can enter, and looks for a way into those that are `held`, too:
  /// a process has a socket there. Returns those that it was in.
  using Everywhere = std::function<std::expected<Namespaces, Error>(const Namespaces& held, const Walk& walk)>;

  /// Opens, configures and loads; nothing is attached yet. `on_message` gets libbpf's own warnings, for -v.
  [[nodiscard]] static std::expected<KernelSource, Error> load(const KernelSettings& settings, OnMessage on_message);

  KernelSource(KernelSource&&) noexcept;
  KernelSource& operator=(KernelSource&&) noexcept;
  ~KernelSource();

  [[nodiscard]] std::expected<void, Error> attach();

  /// Adds processes to those of the filter on pids, which must not have been empty at the load.
  [[nodiscard]] std::expected<void, Error> watch(const std::vector<ProcessTicks>& pids);

  /// The processes of the filter on pids that live, or did so a moment ago.
  [[nodiscard]] std::vector<ProcessTicks> watched() const;

  /// Readable when enough waits in the ring to be worth a wake-up; what is less is there all the same.
  [[nodiscard]] int event_fd() const;

  /// Hands over at most `most` records. Returns how many; fewer than `most` means that the ring is empty.
  std::size_t drain(std::size_t most, const OnRecord& on_record);

  /// Walks the TCP tables of the network namespace that this thread is in: adopts its sockets, hands over its buckets,
  /// and what was opened since `opened_since_ns` (after boot; 0: nothing of that). For `between` see below.
  [[nodiscard]] std::expected<void, Error> walk_tables(std::uint64_t opened_since_ns, const OnRecord& on_record,
                                                       const std::function<void()>& between);

  /// Walks descriptors and then sockets, in all namespaces: settles who holds what, hands over a row for each listener,
  /// each socket on the close path, and each that is dead with its descriptor open; with `census` for all others too.
  /// A walk over a hundred thousand takes a while: `between` is called now and then, to drain what comes meanwhile.
  /// `everywhere` is called only where it walks by tables.
  [[nodiscard]] std::expected<void, Error> walk_sockets(bool census, const Everywhere& everywhere,
                                                        const OnRecord& on_record,
                                                        const std::function<void()>& between);

  /// The kernel refuses the walk over the socket storage (iter/bpf_sk_storage_map): rows are those of the TCP tables,
  /// which are a network namespace's each, and of descriptors. What TCP has ended and no process has in its table of
  /// descriptors (it is on its way through a unix socket, or an io_uring's) is not met then.
  [[nodiscard]] bool walks_by_tables() const;

  [[nodiscard]] KernelLosses losses() const;

  /// Hooks that this kernel does not have, and what is missing because of it.
  [[nodiscard]] const std::vector<std::string>& degraded() const;

 private:
  struct State;
  explicit KernelSource(std::unique_ptr<State> state);
  std::expected<void, Error> run_walk(const bpf_link* link, const OnRecord& on_record,
                                      const std::function<void()>& between);
  std::expected<void, Error> walk_rows(const bpf_link* link, const OnRecord& on_record,
                                       const std::function<void()>& between);
  Namespaces namespaces_held();
  std::unique_ptr<State> state_;
};

}  // namespace closewatch

#endif
