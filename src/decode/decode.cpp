// SPDX-License-Identifier: BSD-2-Clause
#include "decode.hpp"

#include <closewatch/abi/record.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace closewatch {
namespace {

std::optional<State> state_of(std::uint8_t value) {
  if (value < CW_STATES && value >= std::to_underlying(State::established) &&
      value <= std::to_underlying(State::closing))
    return static_cast<State>(value);
  return std::nullopt;
}

std::optional<Attribution> attribution_of(std::uint8_t value) {
  switch (value) {
    case CW_BY_UNKNOWN: return Attribution::unknown;
    case CW_BY_LISTENER: return Attribution::listener;
    case CW_BY_OPENER: return Attribution::opener;
    case CW_BY_HOLDER: return Attribution::holder;
    case CW_BY_CLOSER: return Attribution::closer;
    default: return std::nullopt;
  }
}

/// Outer empty: not a call that there is. Inner empty: no call.
std::optional<std::optional<Cause>> call_of(std::uint8_t value) {
  switch (value) {
    case CW_CALL_NONE: return std::optional<Cause>{};
    case CW_CALL_CONNECT: return Cause::connect;
    case CW_CALL_LISTEN: return Cause::listen;
    case CW_CALL_CLOSE: return Cause::close;
    case CW_CALL_SHUTDOWN: return Cause::shutdown;
    case CW_CALL_EXIT: return Cause::exit;
    case CW_CALL_DISCONNECT: return Cause::disconnect;
    case CW_CALL_KILL: return Cause::kill;
    default: return std::nullopt;
  }
}

bool is_closing_call(const std::optional<Cause>& call) {
  return !call || call == Cause::close || call == Cause::shutdown || call == Cause::exit;
}

std::optional<Role> role_of(std::uint8_t value) {
  switch (value) {
    case CW_ROLE_UNKNOWN: return Role::unknown;
    case CW_ROLE_CONNECT: return Role::connect;
    case CW_ROLE_ACCEPT: return Role::accept;
    default: return std::nullopt;
  }
}

Address address_of(const __u8 (&bytes)[16]) {
  Address address{};
  std::copy(std::begin(bytes), std::end(bytes), address.begin());
  return address;
}

std::optional<Tuple> tuple_of(const cw_tuple& raw) {
  const std::optional<Role> role = role_of(raw.role);
  if (!role || (raw.family != 4 && raw.family != 6)) return std::nullopt;
  return unmapped({
      .netns = raw.netns,
      .family = raw.family == 4 ? Family::ipv4 : Family::ipv6,
      .role = *role,
      .local = {address_of(raw.local), raw.local_port},
      .peer = {address_of(raw.peer), raw.peer_port},
  });
}

Identity identity_of(const cw_process& raw) {
  Identity identity{
      .key = {raw.tgid, raw.start_ns},
      .uid = raw.uid,
      .exec_id = raw.exec_id,
      .cgroup_id = raw.cgroup_id,
  };
  std::copy_n(std::begin(raw.comm), identity.comm.size(), identity.comm.begin());
  identity.comm.back() = '\0';
  return identity;
}

Evidence evidence_of(std::uint32_t flags) {
  return {
      .dead = (flags & CW_FLAG_DEAD) != 0,
      .done = (flags & CW_FLAG_DONE) != 0,
      .no_socket = (flags & CW_FLAG_NO_SOCKET) != 0,
      .linger_zero = (flags & CW_FLAG_LINGER_ZERO) != 0,
      .linger2_negative = (flags & CW_FLAG_LINGER2_NEGATIVE) != 0,
      .reset_sent = (flags & CW_FLAG_RESET_SENT) != 0,
      .table_full = (flags & CW_FLAG_TABLE_FULL) != 0,
      .mptcp = (flags & CW_FLAG_MPTCP) != 0,
      .receive_shutdown = (flags & CW_FLAG_RCV_SHUTDOWN) != 0,
      .hidden = (flags & CW_FLAG_HIDDEN) != 0,
      .matched = (flags & CW_FLAG_MATCHED) != 0,
      .owner_met = (flags & CW_FLAG_OWNER_MET) != 0,
      .port_bound = (flags & CW_FLAG_PORT_BOUND) != 0,
  };
}

/// Into its place at once, as long as it is: a million a minute are no rarity.
bool fill(TransitionSeen& seen, const cw_transition& raw) {
  const auto from = state_of(raw.from);
  const auto to = state_of(raw.to);
  const auto attribution = attribution_of(raw.attribution);
  const auto call = call_of(raw.call);
  const auto closer_by = call_of(raw.closer_by);
  const auto tuple = tuple_of(raw.tuple);
  if (!from || !to || !attribution || !call || !closer_by || !is_closing_call(*closer_by) || !tuple) return false;
  seen.time_ns = raw.header.time_ns;
  seen.cookie = raw.cookie;
  seen.listener_cookie = raw.listener_cookie;
  seen.tuple = *tuple;
  seen.from = *from;
  seen.to = *to;
  seen.entered_ns = raw.entered_ns;
  seen.attribution = *attribution;
  seen.process = identity_of(raw.process);
  seen.call = *call;
  seen.actor = identity_of(raw.actor);
  seen.closer_by = *closer_by;
  seen.local_fin = (raw.flags & CW_FLAG_LOCAL_FIN) != 0;
  seen.peer_fin = (raw.flags & CW_FLAG_PEER_FIN) != 0;
  seen.evidence = evidence_of(raw.flags);
  seen.evidence.error = raw.error;
  seen.evidence.unread = raw.unread;
  seen.orphan_ns = std::uint64_t{raw.orphan_ms} * 1'000'000;
  return true;
}

std::expected<Event, DecodeError> transition_of(const cw_transition& raw) {
  std::expected<Event, DecodeError> event{std::in_place, std::in_place_type<TransitionSeen>};
  if (!fill(std::get<TransitionSeen>(*event), raw)) return std::unexpected(DecodeError::field);
  return event;
}

std::expected<Event, DecodeError> close_of(const cw_close& raw) {
  std::expected<Event, DecodeError> event{std::in_place, std::in_place_type<TransitionSeen>};
  auto& seen = std::get<TransitionSeen>(*event);
  if (!fill(seen, raw.transition)) return std::unexpected(DecodeError::field);
  Totals& totals = seen.totals.emplace();
  totals.opened_ns = raw.opened_ns;
  totals.bytes_sent = raw.bytes_sent;
  totals.bytes_received = raw.bytes_received;
  static_assert(CW_STATES == state_slots);
  std::copy(std::begin(raw.states_ns), std::end(raw.states_ns), totals.states_ns.begin());
  return event;
}

/// The FIN takes a sequence number. Where it came, `unread` counts it until it is consumed.
EndOfFile end_of_file_of(const cw_socket_row& raw) {
  const bool fin = (raw.flags & CW_FLAG_DONE) != 0;
  if ((raw.flags & CW_FLAG_READ_BY_KERNEL) != 0) return EndOfFile::unknown;
  if (raw.unread > (fin ? 1U : 0U)) return EndOfFile::unread;
  if (!fin) return EndOfFile::unknown;  // a RST, and nothing before it
  if (raw.unread == 1) return raw.eof == CW_EOF_PEEKED ? EndOfFile::peeked : EndOfFile::unread;
  return raw.eof == CW_EOF_READ ? EndOfFile::read : EndOfFile::consumed;
}

Condition condition_of(const cw_socket_row& raw) {
  const bool fin = (raw.flags & CW_FLAG_DONE) != 0;
  return {
      .eof = end_of_file_of(raw),
      .unread_bytes = raw.unread - (fin && raw.unread > 0 ? 1U : 0U),
      .unsent_bytes = raw.unsent,
      .acked_bytes = raw.acked_bytes,
      .retransmits = raw.retransmits,
      .probes = raw.probes,
      .received_ns = raw.received_ns,
      .used_ns = raw.used_ns,
      .use_observed = (raw.flags & CW_FLAG_USE_OBSERVED) != 0,
      .was_used = raw.users > 0,
      .too_many_users = raw.users > CW_USERS,
      .no_file = (raw.flags & CW_FLAG_NO_FILE) != 0,
  };
}

std::expected<Event, DecodeError> socket_of(const cw_socket_row& raw) {
  const auto state = state_of(raw.state);
  const auto attribution = attribution_of(raw.attribution);
  const auto tuple = tuple_of(raw.tuple);
  if (!state || !attribution || !tuple) return std::unexpected(DecodeError::field);
  return SocketRow{
      .time_ns = raw.header.time_ns,
      .cookie = raw.cookie,
      .listener_cookie = raw.listener_cookie,
      .tuple = *tuple,
      .state = *state,
      .entered_ns = raw.entered_ns,
      .attribution = *attribution,
      .process = identity_of(raw.process),
      .evidence = evidence_of(raw.flags),
      .opened_ns = raw.opened_ns,
      .condition = condition_of(raw),
      .accept_queue = {raw.backlog, raw.backlog_max},
  };
}

std::expected<Event, DecodeError> holder_of(const cw_holder_row& raw) {
  return HolderRow{
      .time_ns = raw.header.time_ns,
      .cookie = raw.cookie,
      .holder = {identity_of(raw.process), raw.fd, raw.used != 0, raw.used_last != 0},
  };
}

std::expected<Event, DecodeError> release_of(const cw_release& raw) {
  const auto call = call_of(raw.call);
  if (!call || !*call || (**call != Cause::close && **call != Cause::exit)) return std::unexpected(DecodeError::field);
  return DescriptorClosed{raw.header.time_ns, raw.cookie, identity_of(raw.actor), **call};
}

std::expected<std::optional<RawStack>, DecodeError> stack_of(const cw_stack& raw) {
  if (raw.frames > sizeof raw.address || raw.words > sizeof raw.word) return std::unexpected(DecodeError::field);
  if (raw.tgid == 0) return std::optional<RawStack>{};
  const auto count = [](std::uint32_t bytes) { return static_cast<std::ptrdiff_t>(bytes / sizeof(__u64)); };
  return RawStack{
      .process = {raw.tgid, raw.start_ns},
      .exec_id = raw.exec_id,
      .addresses = {std::begin(raw.address), std::begin(raw.address) + count(raw.frames)},
      .words = {std::begin(raw.word), std::begin(raw.word) + count(raw.words)},
  };
}

std::expected<Event, DecodeError> stacks_of(const cw_stacks_row& raw) {
  auto opened = stack_of(raw.opened);
  auto end_read = stack_of(raw.end_read);
  if (!opened || !end_read) return std::unexpected(DecodeError::field);
  return StacksSeen{raw.header.time_ns, raw.cookie, *std::move(opened), *std::move(end_read)};
}

std::expected<Event, DecodeError> bucket_of(const cw_bucket_row& raw) {
  const auto substate = state_of(raw.substate);
  const auto tuple = tuple_of(raw.tuple);
  if (!tuple || (substate != State::time_wait && substate != State::fin_wait2))
    return std::unexpected(DecodeError::field);
  return BucketRow{
      .time_ns = raw.header.time_ns,
      .cookie = raw.cookie,
      .tuple = *tuple,
      .substate = *substate,
      .expires_in_ns = raw.expires_in_ns,
  };
}

std::expected<Event, DecodeError> port_of(const cw_port_row& raw) {
  const auto tuple = tuple_of(raw.tuple);
  if (!tuple) return std::unexpected(DecodeError::field);
  return PortRow{.time_ns = raw.header.time_ns, .cookie = raw.cookie, .tuple = *tuple, .opened_ns = raw.opened_ns};
}

template <typename Record, typename Make>
std::expected<Event, DecodeError> make(std::span<const std::byte> bytes, Make of) {
  if (bytes.size() != sizeof(Record)) return std::unexpected(DecodeError::size);
  Record record;
  std::memcpy(&record, bytes.data(), sizeof record);
  return of(record);
}

}  // namespace

std::string_view name(DecodeError error) {
  switch (error) {
    case DecodeError::truncated: return "truncated";
    case DecodeError::version: return "of another version";
    case DecodeError::unknown_type: return "of an unknown type";
    case DecodeError::size: return "of a wrong size";
    case DecodeError::field: return "with an impossible field";
  }
  std::unreachable();
}

std::expected<Event, DecodeError> decode(std::span<const std::byte> bytes) {
  cw_header header;
  if (bytes.size() < sizeof header) return std::unexpected(DecodeError::truncated);
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version != CW_ABI_VERSION) return std::unexpected(DecodeError::version);
  if (bytes.size() < header.size) return std::unexpected(DecodeError::truncated);
  if (header.size < sizeof header) return std::unexpected(DecodeError::size);
  bytes = bytes.first(header.size);  // the ring rounds sizes up to eight bytes
  switch (header.type) {
    case CW_RECORD_TRANSITION: return make<cw_transition>(bytes, transition_of);
    case CW_RECORD_CLOSE: return make<cw_close>(bytes, close_of);
    case CW_RECORD_RESET:
      return make<cw_reset>(bytes, [](const cw_reset& raw) -> std::expected<Event, DecodeError> {
        return ResetSeen{raw.header.time_ns, raw.cookie};
      });
    case CW_RECORD_PROCESS:
      return make<cw_process_record>(bytes, [](const cw_process_record& raw) -> std::expected<Event, DecodeError> {
        return ProcessSeen{raw.header.time_ns, identity_of(raw.process)};
      });
    case CW_RECORD_EXIT:
      return make<cw_process_record>(bytes, [](const cw_process_record& raw) -> std::expected<Event, DecodeError> {
        return ProcessExited{raw.header.time_ns, identity_of(raw.process).key};
      });
    case CW_RECORD_SOCKET: return make<cw_socket_row>(bytes, socket_of);
    case CW_RECORD_HOLDER: return make<cw_holder_row>(bytes, holder_of);
    case CW_RECORD_RELEASE: return make<cw_release>(bytes, release_of);
    case CW_RECORD_STACKS: return make<cw_stacks_row>(bytes, stacks_of);
    case CW_RECORD_BUCKET: return make<cw_bucket_row>(bytes, bucket_of);
    case CW_RECORD_PORT: return make<cw_port_row>(bytes, port_of);
    default: return std::unexpected(DecodeError::unknown_type);
  }
}

}  // namespace closewatch
