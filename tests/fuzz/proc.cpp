// SPDX-License-Identifier: BSD-2-Clause
// The texts that closewatch reads of /proc, of programs and of its own worker: the first byte says which.
#include "input.hpp"

#include "host/descriptors.hpp"
#include "host/memory_map.hpp"
#include "host/perf_map.hpp"
#include "host/preflight.hpp"
#include "host/processes.hpp"
#include "host/symbol_message.hpp"
#include "host/sysctl_files.hpp"
#include "host/tcp_look.hpp"
#include "host/tcp_table.hpp"
#include "host/words.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace closewatch;
using closewatch::fuzz::demand;
using closewatch::fuzz::Input;

namespace {

void stat(Input& input) {
  const std::string_view text = input.all();
  if (const auto stat = parse_stat(text)) demand(stat->comm.size() < text.size(), "a name longer than the text");
}

void status(Input& input) {
  const std::string key{input.text(16)};
  const std::string_view text = input.all();
  for (const std::string_view known : {std::string_view{"CapEff"}, std::string_view{"Tgid"}, std::string_view{key}})
    demand(status_field(text, known).find('\n') == std::string_view::npos, "a field of two lines", text);
}

void cgroup(Input& input) {
  const std::string_view text = input.all();
  const auto path = parse_cgroup(text);
  if (path) demand(path->size() <= text.size() && path->find('\n') == std::string::npos, "a cgroup of two lines", text);
  if (const auto container = container_of(path ? std::string_view{*path} : text))
    demand(container->size() == 12 && container->find_first_not_of("0123456789abcdef") == std::string::npos,
           "a container's id that is none", *container);
}

void maps(Input& input) {
  const auto address = input.number<std::uint64_t>();
  const std::string_view text = input.all();
  const auto mappings = parse_maps(text);
  for (const Mapping& mapping : mappings) {
    demand(mapping.start < mapping.end, "a mapping that ends before it begins");
    // A file's name may have line breaks, which the kernel writes as \012.
    demand(mapping.name.find('\n') == std::string::npos || text.find("\\012") != std::string_view::npos,
           "a name of two lines");
  }
  for (const std::uint64_t wanted : {address, mappings.empty() ? 0 : mappings.back().end - 1})
    if (const Mapping* found = mapping_of(mappings, wanted))
      demand(found->start <= wanted && wanted < found->end, "a mapping without the address");
}

void perf_map(Input& input) {
  std::vector<std::uint64_t> addresses(input.byte() % 5U);
  for (std::uint64_t& address : addresses) address = input.number<std::uint32_t>();
  const std::size_t piece = input.byte() + std::size_t{1};
  const std::string_view text = input.all();
  PerfMapReader in_pieces{addresses};
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size())))
    in_pieces.read(rest.substr(0, piece));
  PerfMapReader at_once{addresses};
  at_once.read(text);
  const auto names = std::move(in_pieces).names();
  demand(names.size() == addresses.size(), "not one name an address");
  demand(names == std::move(at_once).names(), "where the file is cut makes a difference");
}

void limits(Input& input) { static_cast<void>(parse_descriptor_limit(input.all())); }

void sysctl_file(Input& input) {
  for (const SysctlLine& line : parse_sysctl_file(input.all(), "/etc/sysctl.d/a.conf"))
    demand(!line.name.empty() && line.name.find('\n') == std::string::npos, "a setting without a name");
}

void port_ranges(Input& input) {
  for (const PortRange& range : parse_port_ranges(input.all())) demand(range.first <= range.last, "a range backwards");
}

void tcp_sockets(Input& input) {
  for (std::string_view rest = input.all(); !rest.empty();)
    if (const auto socket = parse_tcp_socket(take_line(rest), 7)) {
      demand(!name(socket->state).empty(), "a socket without a state");
      demand(socket->tuple.netns == 7, "a socket of another namespace");
    }
}

void message(Input& input) {
  const std::string_view packet = input.all();
  const auto place = decoded(packet);
  if (!place) return;
  const std::string again = encoded(*place);
  demand(again.size() <= reply_limit, "a packet that is too large");
  const auto second = decoded(again);
  demand(second && second->build_id == place->build_id && second->address == place->address &&
             second->location.line == place->location.line,
         "a packet that is not read as it was written");
}

void numbers(Input& input) {
  const std::string_view text = input.all();
  static_cast<void>(parse_kernel_version(text));
  for (const int base : {10, 16})
    if (const auto value = whole_number<std::uint64_t>(text, base))
      demand(!text.empty() && *value + 1 != 0 + *value, "");
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t before = rest.size();
    static_cast<void>(take_word(rest));
    demand(rest.size() < before, "a word that takes nothing");
  }
}

constexpr void (*parsers[])(Input&) = {stat,        status,      cgroup,      maps,    perf_map, limits,
                                       sysctl_file, port_ranges, tcp_sockets, message, numbers};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{data, size};
  parsers[input.byte() % std::size(parsers)](input);
  return 0;
}
