// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_BUILDERS_HPP
#define CLOSEWATCH_TESTS_UNIT_BUILDERS_HPP

// Made-up processes, connections and events, short enough that a test reads as the array of events it is.

#include <closewatch/core/event.hpp>
#include <closewatch/core/fact.hpp>

#include <string_view>

namespace closewatch::test {

inline constexpr std::uint64_t us = 1'000;
inline constexpr std::uint64_t ms = 1'000'000;
inline constexpr std::uint64_t seconds = 1'000'000'000;
inline constexpr std::uint32_t netns = 4'026'531'840;

Comm comm(std::string_view text);
/// A process that began at `pid` milliseconds after boot.
Identity person(std::uint32_t pid, std::string_view name, std::uint32_t exec_id = 0);

/// As inet_pton(3) reads it, either family.
Endpoint endpoint(std::string_view address, std::uint16_t port);
/// `local` and `peer` are of one family.
Tuple tuple(Role role, std::string_view local, std::uint16_t local_port, std::string_view peer,
            std::uint16_t peer_port);

/// 812 connected; its connection is 81. 900 listens on port 8080 (cookie 80); what comes in there is 82.
Identity client();
Identity server();
Tuple outgoing();
Tuple incoming();
Tuple listening();

/// A change made by the network: of the client's connection, known by its opener.
TransitionSeen change(std::uint64_t time_ns, State from, State to);
/// The same, made by a call of the client's. A closing call makes it the closer.
TransitionSeen called(std::uint64_t time_ns, State from, State to, Cause call);
/// The same change, of the connection 82 that came in on the server's listener.
TransitionSeen on_incoming(TransitionSeen seen);
/// The same change, with the totals that the change to CLOSE brings.
TransitionSeen last(TransitionSeen seen);
/// The listener of cookie 80 opens (CLOSE → LISTEN) or closes (LISTEN → CLOSE) by its process.
TransitionSeen listener_opens(std::uint64_t time_ns);
TransitionSeen listener_closes(std::uint64_t time_ns, const Identity& by);

SocketRow row(std::uint64_t time_ns, State state, Attribution attribution, const Identity& process);
BucketRow bucket(std::uint64_t time_ns, std::uint64_t cookie, const Tuple& tuple);
Started started(std::uint64_t time_ns);

}  // namespace closewatch::test

#endif
