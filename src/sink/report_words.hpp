// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_SINK_REPORT_WORDS_HPP
#define CLOSEWATCH_SINK_REPORT_WORDS_HPP

// The phrases of the report for people. All that comes out of here is harmless to a terminal.

#include "sink/text.hpp"

#include <closewatch/core/report.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace closewatch::words {

/// "read to the end, never closed"
[[nodiscard]] std::string_view of(Kind kind);

/// "1 socket", "37 sockets"
[[nodiscard]] std::string count(std::uint64_t number, std::string_view one);

/// "1.7", "250": of a number a second.
[[nodiscard]] std::string rate(double per_second);

/// "≥3.4h" where it is a lower bound, ">=3.4h" without UTF-8.
[[nodiscard]] std::string age(std::uint64_t ns, bool is_lower_bound, bool utf8);

/// "*:8080 ← *" on the accepting side, "10.0.0.7:* → 10.0.0.5:3306" on the connecting side.
[[nodiscard]] std::string ends(const std::string& local, const std::string& peer, Role side, bool utf8);

/// The program's own line among the frames, not libc's: "handler.cc:88 in handler()". Empty where there is no frame.
[[nodiscard]] std::string place(const Stack& stack, bool utf8);

/// "handler() handler.cc:88, serve() server.cc:20", the innermost first.
[[nodiscard]] std::string frames(const Stack& stack, bool utf8);

/// "descriptors 7, 8 and 35 more of pid 812 server". Empty where nobody holds them.
[[nodiscard]] std::string holders(const std::vector<Holder>& holders, std::uint64_t in_all, bool utf8);

/// "pid 812 server"
[[nodiscard]] std::string mention(const Identity& process, bool utf8);

/// "used up in 5.6h", "none left"
[[nodiscard]] std::string none_left(double in_seconds);

/// "88 of 20000 in use, used up in 5.6h at this rate", the latter where they grow.
[[nodiscard]] std::string descriptors(const DescriptorUse& use);

/// The file name of a path.
[[nodiscard]] std::string_view base_name(std::string_view path);

/// "ESTABLISHED 120, TIME_WAIT 34", the most first, as `netstat | awk` would count them: without what TCP has ended.
[[nodiscard]] std::string states(const StateCounts& states);

}  // namespace closewatch::words

#endif
