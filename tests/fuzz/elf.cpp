// SPDX-License-Identifier: BSD-2-Clause
// A program's file, as the symbol worker reads it. libdw is not built with sanitizers' eyes and not made for hostile
// files: what it does wrong itself ends the worker and nobody else (symbol_worker.hpp). What this looks for is ours:
// how deep and how far its answers are followed.
#include "input.hpp"

#include "host/call_site.hpp"
#include "host/elf_module.hpp"
#include "host/symbol_message.hpp"

#include <sys/mman.h>
#include <unistd.h>

using namespace closewatch;
using closewatch::fuzz::demand;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  const std::uint64_t offsets[] = {input.number<std::uint32_t>(), input.wide()};
  const std::string_view text = input.all();
  Descriptor file{memfd_create("module", MFD_CLOEXEC)};
  demand(file.get() >= 0, "no memory file");
  demand(write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()), "not written");
  for (const std::uint64_t offset : offsets) static_cast<void>(follows_call(file.get(), offset));
  ElfModule module{std::move(file)};
  for (const std::uint64_t offset : offsets) {
    CodePlace place{.build_id = module.build_id(), .address = module.address_of(offset), .location = {}};
    if (place.address) place.location = module.look_up(*place.address);
    demand(decoded(encoded(place)).has_value(), "an answer that cannot be sent");
  }
  static_cast<void>(module.weight());
  return 0;
}
