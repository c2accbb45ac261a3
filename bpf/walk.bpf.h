/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_WALK_H
#define CLOSEWATCH_BPF_WALK_H

/*
 * Walks, in this order: the TCP tables of each network namespace (brings in sockets from before the start, and the
 * buckets), the descriptor tables (holders), the socket storage (rows).
 */

#include "transition.bpf.h"

/* Begins to know a socket that was there before, unless a transition on another CPU has just done so. */
static __always_inline struct socket_state *adopt(struct sock *sk) {
  struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  __u8 now = sk->__sk_common.skc_state;
  __u8 fins = fins_implied_by(now);

  if (!state) {
    count(&counters.storage_failed);
    return 0;
  }
  if (!state->state && !__sync_val_compare_and_swap(&state->state, 0, now)) {
    if (fins)
      state->fins = fins;
    tuple_of(&sk->__sk_common, &state->tuple);
    if (now == TCP_LISTEN)
      state->listener_cookie = bpf_get_socket_cookie(sk);
  }
  return state;
}

static __always_inline int on_bucket(struct seq_file *seq, struct sock_common *skc, struct tcp_timewait_sock *tw) {
  struct cw_bucket_row row = {};

  row.header.version = CW_ABI_VERSION;
  row.header.type = CW_RECORD_BUCKET;
  row.header.size = sizeof(row);
  row.header.time_ns = bpf_ktime_get_boot_ns();
  row.cookie = bpf_get_socket_cookie(skc);
  tuple_of(&tw->tw_sk.__tw_common, &row.tuple);
  row.expires_in_ns = (__s64)(tw->tw_sk.tw_timer.expires - bpf_jiffies64()) * (__s64)config.tick_ns;
  row.substate = tw->tw_sk.tw_substate;
  if (matches_tuple(&row.tuple))
    bpf_seq_write(seq, &row, sizeof(row));
  return 0;
}

static __always_inline int on_holder(struct task_struct *task, struct sock *sk) {
  struct socket_state *state;
  struct cw_process holder;
  __u8 matched = 0;

  if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_state == TCP_CLOSE)
    return 0;
  state = adopt(sk);
  if (!state)
    return 0;
  process_of(task, &holder);
  if (filters_processes())
    matched = (__u8)matches_process(task, &holder);
  state->matched |= matched;
  if (same_process(&holder, &state->owner))
    state->owner_walk = walk;
  else if (state->holder_walk != walk || holder.start_ns < state->holder.start_ns) {
    state->holder = holder;
    state->holder_walk = walk;
    state->holder_matched = matched;
    announce(task, &holder);
  }
  return 0;
}

/*
 * The owner kept is not among those who have the socket, and somebody else is: the oldest of these holds it. A walk is
 * not one moment (its owner may have got it behind our back), so that of a process that opened or used it an absence
 * is believed only when two walks in a row agree.
 */
static __always_inline void settle_owner(struct socket_state *state) {
  if (state->closer_by || state->owner_walk == walk || state->holder_walk != walk)
    return;
  if (state->attribution >= CW_BY_OPENER && (!state->absent_walk || state->absent_walk + 1 != walk)) {
    state->absent_walk = walk;
    return;
  }
  state->owner_matched = state->holder_matched;
  set_owner(state, &state->holder, state->state == TCP_LISTEN ? CW_BY_LISTENER : CW_BY_HOLDER);
}

static __always_inline int on_row(struct sock *sk, struct socket_state *state) {
  struct cw_socket_row *row;

  if (state->row_walk == walk)
    return 0;
  switch (sk->__sk_common.skc_state) {
  case TCP_FIN_WAIT1:
  case TCP_FIN_WAIT2:
  case TCP_CLOSE_WAIT:
  case TCP_LAST_ACK:
  case TCP_CLOSING:
    settle_owner(state);
    if (!matches(state))
      return 0;
    break;
  case TCP_LISTEN:
    settle_owner(state);
    break;
  default:
    settle_owner(state);
    return 0;
  }
  row = bpf_ringbuf_reserve(&rows, sizeof(*row), 0);
  if (!row) {
    count(&counters.rows_refused);
    return 0;
  }
  state->row_walk = walk;
  row->header.version = CW_ABI_VERSION;
  row->header.type = CW_RECORD_SOCKET;
  row->header.size = sizeof(*row);
  row->header.time_ns = bpf_ktime_get_boot_ns();
  row->cookie = bpf_get_socket_cookie(sk);
  row->listener_cookie = state->listener_cookie;
  row->tuple = state->tuple;
  row->entered_ns = state->entered_ns;
  gather_flags(&state->row_flags, state, sk);
  row->flags = state->row_flags;
  row->state = sk->__sk_common.skc_state;
  row->reserved[0] = row->reserved[1] = 0;
  row->attribution = read_owner(state, &row->process);
  if (state->owner_walk == walk)
    row->flags |= CW_FLAG_OWNER_MET;
  if (!matches(state))
    row->flags |= CW_FLAG_HIDDEN;
  bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
  return 0;
}

#endif
