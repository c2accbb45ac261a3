// SPDX-License-Identifier: BSD-2-Clause
#include "host/symbols.hpp"

#include "host/call_site.hpp"
#include "host/process_files.hpp"
#include "host/processes.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

namespace closewatch {
namespace {

constexpr std::size_t most_processes = 256;
constexpr std::uint64_t most_process_bytes = std::uint64_t{64} << 20;
constexpr std::size_t most_modules = 64;
/// Places in a file that are kept; past it all are forgotten and asked for anew.
constexpr std::size_t most_places = 4096;
/// Names of a process's code that was made at run time.
constexpr std::size_t most_made_names = 4096;

std::uint64_t size_of(const std::vector<Mapping>& mappings) {
  return std::accumulate(
      mappings.begin(), mappings.end(), std::uint64_t{0},
      [](std::uint64_t sum, const Mapping& mapping) { return sum + sizeof(Mapping) + mapping.name.size(); });
}

/// Memory of no file: the heap, anonymous (also with a name of the program's own), /memfd and /dev/zero have an inode.
bool may_be_made(const Mapping& mapping) {
  return mapping.inode == 0 ? mapping.name != "[vdso]" && mapping.name != "[vsyscall]"
                            : mapping.name.starts_with("/memfd:") || mapping.name.starts_with("/dev/zero");
}

bool is_beginning(std::string_view function) {
  // glibc, musl and the BSDs' names; Go's; Rust's threads begin in libc's.
  constexpr std::array<std::string_view, 20> beginnings = {"_start",
                                                           "__start",
                                                           "_start_c",
                                                           "main",
                                                           "__libc_start_main",
                                                           "__libc_start_call_main",
                                                           "clone",
                                                           "clone3",
                                                           "__clone",
                                                           "__clone3",
                                                           "start_thread",
                                                           "thread_start",
                                                           "start",
                                                           "__libc_start_main_impl",
                                                           "__libc_start_main_stage2",
                                                           "libc_start_main_stage2",
                                                           "runtime.main",
                                                           "runtime.goexit",
                                                           "runtime.goexit.abi0",
                                                           "runtime.mstart"};
  return std::find(beginnings.begin(), beginnings.end(), function) != beginnings.end();
}

bool is_libc(std::string_view module) {
  const std::string_view name = module.substr(module.rfind('/') + 1);
  return name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("libpthread") ||
         name.starts_with("ld-musl");
}

}  // namespace

Symbols::Symbols(std::filesystem::path root)
    : root_(std::move(root)), memories_(most_processes, most_process_bytes), modules_(most_modules, most_modules) {}

void Symbols::remember(const ProcessTicks& process, std::uint32_t exec_id) { read_memory(process, exec_id); }

std::vector<Frame> Symbols::look_up(const ProcessTicks& process, std::uint32_t exec_id,
                                    std::span<const std::uint64_t> addresses) {
  std::vector<Frame> frames(addresses.size());
  for (std::size_t at = 0; at < addresses.size(); ++at) frames[at].address = addresses[at];
  Memory* memory = memory_of(process, exec_id, addresses);
  if (memory == nullptr) return frames;
  name_made_code(process, *memory, addresses);
  for (Frame& frame : frames) describe(process, *memory, frame);
  return frames;
}

std::optional<std::uint64_t> Symbols::return_address(const ProcessTicks& process, std::uint32_t exec_id,
                                                     std::span<const std::uint64_t> words) {
  const Memory* memory = memory_of(process, exec_id, {});
  if (memory == nullptr) return std::nullopt;
  for (const std::uint64_t word : words) {
    const Mapping* mapping = mapping_of(memory->mappings, word - 1);
    if (mapping == nullptr) continue;
    if (may_be_made(*mapping)) return word;
    const Module* module = module_of(process, *mapping);
    if (module != nullptr && follows_call(module->file.get(), word - mapping->start + mapping->offset)) return word;
  }
  return std::nullopt;
}

Symbols::Memory* Symbols::memory_of(const ProcessTicks& process, std::uint32_t exec_id,
                                    std::span<const std::uint64_t> addresses) {
  Memory* known = memories_.find({process.pid, process.start_ticks, exec_id});
  const bool whole = known != nullptr && std::all_of(addresses.begin(), addresses.end(), [&](std::uint64_t address) {
                       return mapping_of(known->mappings, address - 1) != nullptr;
                     });
  if (whole) return known;
  // A library may have been loaded since.
  Memory* now = read_memory(process, exec_id);
  return now != nullptr ? now : known;
}

Symbols::Memory* Symbols::read_memory(const ProcessTicks& process, std::uint32_t exec_id) {
  auto mappings = executable_mappings(root_, process);
  // A process that is ending has none any more; what is known of it is better.
  if (!mappings || mappings->empty()) return nullptr;
  const ProcessProgram key{process.pid, process.start_ticks, exec_id};
  Memory memory{.mappings = std::move(*mappings), .perf_map = std::nullopt, .made = {}};
  if (Memory* known = memories_.find(key)) {
    memory.perf_map = known->perf_map;
    memory.made = std::move(known->made);
  }
  const std::uint64_t weight = size_of(memory.mappings);
  return &memories_.add(key, std::move(memory), weight);
}

Symbols::Module* Symbols::module_of(const ProcessTicks& process, const Mapping& mapping) {
  const FileKey key{mapping.device, mapping.inode};
  if (Module* known = modules_.find(key)) return known;
  auto file = open_mapped(root_, process, mapping);
  if (!file) return nullptr;
  return &modules_.add(key, Module{.file = std::move(file->file), .places = {}, .broken = false}, 1);
}

const CodePlace* Symbols::place_of(const FileKey& key, Module& module, std::uint64_t file_offset) {
  if (const auto known = module.places.find(file_offset); known != module.places.end()) return &known->second;
  if (module.broken) return nullptr;
  auto place = worker_.ask(key, module.file.get(), file_offset);
  if (!place) {
    module.broken = true;
    return nullptr;
  }
  if (module.places.size() >= most_places) module.places.clear();
  return &(module.places[file_offset] = std::move(*place));
}

void Symbols::name_made_code(const ProcessTicks& process, Memory& memory, std::span<const std::uint64_t> addresses) {
  std::vector<std::uint64_t> wanted;
  bool unknown = false;
  for (const std::uint64_t address : addresses) {
    const Mapping* mapping = mapping_of(memory.mappings, address - 1);
    if (mapping == nullptr || !may_be_made(*mapping)) continue;
    const auto known = memory.made.find(address);
    if (known != memory.made.end() && !known->second.empty()) continue;
    unknown = unknown || known == memory.made.end();
    wanted.push_back(address - 1);
  }
  if (wanted.empty()) return;
  // A file that has not changed has no names for those that it had none for.
  const auto found = look_up_perf_map(root_, process.pid, wanted, unknown ? std::nullopt : memory.perf_map);
  // Asked last: if it is the same process now, the file was its own.
  if (!found || !runs_still(root_, process)) return;
  if (memory.made.size() + wanted.size() > most_made_names) memory.made.clear();
  memory.perf_map = found->stamp;
  for (std::size_t at = 0; at < wanted.size(); ++at) memory.made[wanted[at] + 1] = found->names[at];
}

void Symbols::describe(const ProcessTicks& process, const Memory& memory, Frame& frame) {
  const std::uint64_t address = frame.address - 1;
  const Mapping* mapping = mapping_of(memory.mappings, address);
  if (mapping == nullptr) return;
  frame.module = mapping->name;
  // Of the address itself and not of the byte before, as every debugger prints it.
  frame.offset = frame.address - mapping->start + mapping->offset;
  if (const auto made = memory.made.find(frame.address); made != memory.made.end()) frame.function = made->second;
  Module* module = frame.function.empty() ? module_of(process, *mapping) : nullptr;
  if (module == nullptr) return;
  const CodePlace* place = place_of({mapping->device, mapping->inode}, *module, frame.offset - 1);
  if (place == nullptr) return;
  frame.build_id = place->build_id;
  if (place->address) frame.offset = *place->address + 1;
  frame.function = place->location.function;
  frame.file = place->location.file;
  frame.line = place->location.line;
}

bool looks_cut_short(const std::vector<Frame>& frames) {
  bool program_seen = false;
  for (const Frame& frame : frames) {
    if (is_beginning(frame.function)) return false;
    // A stripped libc has no name for the function that calls main(), or a thread's first.
    if (program_seen && frame.function.empty() && is_libc(frame.module)) return false;
    program_seen = program_seen || (!frame.module.empty() && !is_libc(frame.module));
  }
  return true;
}

}  // namespace closewatch
