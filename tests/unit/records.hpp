// SPDX-License-Identifier: BSD-2-Clause
#ifndef CLOSEWATCH_TESTS_UNIT_RECORDS_HPP
#define CLOSEWATCH_TESTS_UNIT_RECORDS_HPP

// One good record of each type, as the kernel would write it; tests change a field.

#include "builders.hpp"

#include <closewatch/abi/record.h>

#include "decode/decode.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <vector>

namespace closewatch::test {

template <typename Record>
std::vector<std::byte> bytes_of(const Record& record) {
  std::vector<std::byte> bytes(sizeof record);
  std::memcpy(bytes.data(), &record, sizeof record);
  return bytes;
}

inline void copy(const Address& from, __u8 (&to)[16]) { std::copy(from.begin(), from.end(), std::begin(to)); }

template <typename Record>
cw_header header_of(cw_record_type type) {
  cw_header header{};
  header.version = CW_ABI_VERSION;
  header.type = static_cast<__u16>(type);
  header.size = sizeof(Record);
  header.time_ns = 1001;
  return header;
}

inline cw_tuple raw_tuple() {
  cw_tuple raw{};
  raw.netns = netns;
  raw.local_port = 51234;
  raw.peer_port = 3306;
  raw.family = 4;
  raw.role = CW_ROLE_CONNECT;
  copy(endpoint("10.0.0.7", 0).address, raw.local);
  copy(endpoint("10.0.0.5", 0).address, raw.peer);
  return raw;
}

inline cw_process raw_person(__u32 pid, __u64 start_ns, std::string_view name) {
  cw_process raw{};
  raw.start_ns = start_ns;
  raw.cgroup_id = 77;
  raw.tgid = pid;
  raw.uid = 33;
  raw.exec_id = 3;
  std::copy(name.begin(), name.end(), std::begin(raw.comm));
  return raw;
}

inline cw_transition raw_transition() {
  cw_transition raw{};
  raw.header = header_of<cw_transition>(CW_RECORD_TRANSITION);
  raw.cookie = 81;
  raw.listener_cookie = 80;
  raw.tuple = raw_tuple();
  raw.entered_ns = 900;
  raw.error = -7;
  raw.from = 4;
  raw.to = 5;
  raw.attribution = CW_BY_CLOSER;
  raw.call = CW_CALL_SHUTDOWN;
  raw.closer_by = CW_CALL_CLOSE;
  raw.process = raw_person(812, 5000, "client");
  raw.actor = raw_person(813, 6000, "actor");
  return raw;
}

inline cw_close raw_close() {
  cw_close raw{};
  raw.transition = raw_transition();
  raw.transition.header = header_of<cw_close>(CW_RECORD_CLOSE);
  raw.transition.to = 7;
  raw.opened_ns = 400;
  for (unsigned state = 0; state < CW_STATES; ++state) raw.states_ns[state] = state * 10;
  raw.bytes_sent = 1234;
  raw.bytes_received = 5678;
  raw.transition.unread = 6;
  raw.transition.orphan_ms = 7;
  return raw;
}

inline cw_reset raw_reset() {
  cw_reset raw{};
  raw.header = header_of<cw_reset>(CW_RECORD_RESET);
  raw.cookie = 81;
  return raw;
}

inline cw_process_record raw_process(cw_record_type type) {
  cw_process_record raw{};
  raw.header = header_of<cw_process_record>(type);
  raw.process = raw_person(812, 5000, "client");
  return raw;
}

inline cw_socket_row raw_socket() {
  cw_socket_row raw{};
  raw.header = header_of<cw_socket_row>(CW_RECORD_SOCKET);
  raw.cookie = 81;
  raw.listener_cookie = 80;
  raw.tuple = raw_tuple();
  raw.entered_ns = 900;
  raw.flags = CW_FLAG_NO_SOCKET | CW_FLAG_MATCHED;
  raw.state = 8;
  raw.attribution = CW_BY_HOLDER;
  raw.process = raw_person(812, 5000, "client");
  raw.opened_ns = 800;
  raw.acked_bytes = 1ULL << 40U;
  raw.received_ns = 850;
  raw.used_ns = 860;
  raw.unsent = 70;
  raw.backlog = 5;
  raw.backlog_max = 128;
  raw.retransmits = 3;
  raw.probes = 4;
  return raw;
}

inline cw_holder_row raw_holder() {
  cw_holder_row raw{};
  raw.header = header_of<cw_holder_row>(CW_RECORD_HOLDER);
  raw.cookie = 81;
  raw.process = raw_person(812, 5000, "client");
  raw.fd = 7;
  return raw;
}

inline cw_release raw_release() {
  cw_release raw{};
  raw.header = header_of<cw_release>(CW_RECORD_RELEASE);
  raw.cookie = 81;
  raw.actor = raw_person(813, 6000, "actor");
  raw.call = CW_CALL_CLOSE;
  return raw;
}

/// Of two frames and one word; what is behind them is not set, and not 0.
inline cw_stack raw_stack(__u32 pid, __u64 first) {
  cw_stack raw{};
  raw.start_ns = 5000;
  raw.tgid = pid;
  raw.exec_id = 3;
  raw.frames = 2 * sizeof(__u64);
  raw.words = 1 * sizeof(__u64);
  std::fill(std::begin(raw.address), std::end(raw.address), ~0ULL);
  std::fill(std::begin(raw.word), std::end(raw.word), ~0ULL);
  raw.address[0] = first;
  raw.address[1] = first + 1;
  raw.word[0] = first + 2;
  return raw;
}

inline cw_stacks_row raw_stacks() {
  cw_stacks_row raw{};
  raw.header = header_of<cw_stacks_row>(CW_RECORD_STACKS);
  raw.cookie = 81;
  raw.opened = raw_stack(812, 0x1000);
  raw.end_read = raw_stack(813, 0x2000);
  return raw;
}

inline cw_bucket_row raw_bucket() {
  cw_bucket_row raw{};
  raw.header = header_of<cw_bucket_row>(CW_RECORD_BUCKET);
  raw.cookie = 81;
  raw.tuple = raw_tuple();
  raw.expires_in_ns = -5;
  raw.substate = 6;
  return raw;
}

inline cw_port_row raw_port() {
  cw_port_row raw{};
  raw.header = header_of<cw_port_row>(CW_RECORD_PORT);
  raw.cookie = 81;
  raw.tuple = raw_tuple();
  raw.opened_ns = 77;
  return raw;
}

inline std::vector<std::vector<std::byte>> one_of_each() {
  return {bytes_of(raw_transition()),
          bytes_of(raw_close()),
          bytes_of(raw_reset()),
          bytes_of(raw_process(CW_RECORD_PROCESS)),
          bytes_of(raw_process(CW_RECORD_EXIT)),
          bytes_of(raw_socket()),
          bytes_of(raw_holder()),
          bytes_of(raw_release()),
          bytes_of(raw_stacks()),
          bytes_of(raw_bucket()),
          bytes_of(raw_port())};
}

}  // namespace closewatch::test

#endif
