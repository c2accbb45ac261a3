// SPDX-License-Identifier: BSD-2-Clause
// One record: any bytes give an event whose every field is possible, or an error that has a name.
#include "input.hpp"

#include "decode/decode.hpp"

#include <closewatch/abi/record.h>

#include <span>

using namespace closewatch;
using closewatch::fuzz::demand;

namespace {

void check(const Tuple& tuple) { demand(!name(tuple.role).empty() || tuple.role == Role::unknown, "a role"); }

struct Check {
  void operator()(const TransitionSeen& seen) const {
    demand(!name(seen.from).empty() && !name(seen.to).empty(), "a state without a name");
    demand(!name(seen.attribution).empty(), "an attribution without a name");
    if (seen.call) demand(!name(*seen.call).empty(), "a call without a name");
    check(seen.tuple);
  }
  void operator()(const SocketRow& row) const {
    demand(!name(row.state).empty() && !name(row.condition.eof).empty(), "a row without a state");
    check(row.tuple);
  }
  void operator()(const BucketRow& row) const {
    demand(row.substate == State::time_wait || row.substate == State::fin_wait2, "a bucket in another state");
    check(row.tuple);
  }
  void operator()(const StacksSeen& stacks) const {
    for (const auto* stack : {&stacks.opened, &stacks.end_read})
      if (*stack)
        demand((*stack)->addresses.size() <= CW_STACK_FRAMES && (*stack)->words.size() <= CW_STACK_WORDS,
               "more of a stack than there is room for");
  }
  template <typename Other>
  void operator()(const Other&) const {}
};

}  // namespace

// libFuzzer hands over a block of its very size: the address sanitizer sees a read behind it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto event = decode(std::as_bytes(std::span{data, size}));
  if (event)
    std::visit(Check{}, *event);
  else
    demand(!name(event.error()).empty(), "an error without a name");
  return 0;
}
