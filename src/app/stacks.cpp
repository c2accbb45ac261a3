// SPDX-License-Identifier: BSD-2-Clause
#include "app/stacks.hpp"

#include "app/start.hpp"

#include <algorithm>
#include <vector>

namespace closewatch {
namespace {

bool is_code(const Frame& frame) { return !frame.module.empty() || !frame.function.empty(); }

}  // namespace

StackNames::StackNames(bool wanted) {
  if (wanted) symbols_.emplace(root);
}

void StackNames::serve(Session& session) {
  if (!symbols_) return;
  symbols_->while_waiting([&session] { session.hold(); });
  session.names_stacks_by([this](const RawStack& raw) { return name(raw); },
                          [this](const Identity& process) {
                            symbols_->remember({process.key.pid, process.key.start_ns / ns_per_tick}, process.exec_id);
                          });
}

Stack StackNames::name(const RawStack& raw) {
  const ProcessTicks process{raw.process.pid, raw.process.start_ns / ns_per_tick};
  std::vector<std::uint64_t> addresses = raw.addresses;
  // libc's wrapper of the system call keeps no frame pointer, so that the walk steps from it to its caller's caller.
  // The caller's address is the first on the stack that a call has left there.
  if (!addresses.empty())
    if (const auto caller = symbols_->return_address(process, raw.exec_id, raw.words);
        caller && std::find(addresses.begin(), addresses.end(), *caller) == addresses.end())
      addresses.insert(addresses.begin() + 1, *caller);
  Stack stack{.frames = symbols_->look_up(process, raw.exec_id, addresses), .cut_short = false};
  // Where a register served another purpose than pointing to a frame, the walk ends somewhere that is no code.
  const bool any_known = std::any_of(stack.frames.begin(), stack.frames.end(), is_code);
  while (any_known && !is_code(stack.frames.back())) stack.frames.pop_back();
  stack.cut_short = looks_cut_short(stack.frames);
  return stack;
}

}  // namespace closewatch
