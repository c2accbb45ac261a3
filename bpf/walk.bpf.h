/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_WALK_H
#define CLOSEWATCH_BPF_WALK_H

/*
 * Walks, in this order: the TCP tables of each network namespace (brings in sockets from before the start, and the
 * buckets), the descriptor tables (holders), the socket storage (rows; or tables and descriptors once more).
 */

#include "transition.bpf.h"

#define FILES_AT_A_TIME 4096
/* Of an accept queue. More than the backlog that most programs ask for, and a bound that the verifier can follow. */
#define QUEUE_LOOKED_AT 1024

/*
 * A walk that tells of little returns when all is walked, and the reader of the ring is the walker. 1: the kernel asks
 * for the same file again when it is next called, and lets go of us until then (bpf_iter_run_prog(): EAGAIN).
 */
static __always_inline int lets_go(void) {
  if (++files_looked_at < FILES_AT_A_TIME)
    return 0;
  files_looked_at = 0;
  return 1;
}

/* Begins to know a socket that was there before, unless a transition on another CPU has just done so. */
static __always_inline struct socket_state *adopt(struct sock *sk, const struct tcp_sock *tp) {
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
    whole_tuple_of(sk, tp, &state->tuple);
    if (now == TCP_LISTEN)
      state->listener_cookie = bpf_get_socket_cookie(sk);
  }
  return state;
}

static __always_inline void emit_port(struct seq_file *seq, __u64 cookie, const struct cw_tuple *tuple,
                                      __u64 opened_ns) {
  struct cw_port_row row = {};

  if (!matches_tuple(tuple))
    return;
  fill_header(&row.header, CW_RECORD_PORT, sizeof(row), bpf_ktime_get_boot_ns());
  row.cookie = cookie;
  row.tuple = *tuple;
  row.opened_ns = opened_ns;
  bpf_seq_write(seq, &row, sizeof(row));
}

/*
 * A bucket whose ends another connection has now was reused. What is older than the last walk was met by that one. The
 * tuple kept has no port before connect() has found one.
 */
static __always_inline int on_socket(struct seq_file *seq, struct sock *sk, const struct tcp_sock *tp) {
  struct socket_state *state = adopt(sk, tp);
  struct cw_tuple tuple = {};

  if (!state || !opened_since || state->opened_ns < opened_since || state->state == TCP_LISTEN)
    return 0;
  whole_tuple_of(sk, tp, &tuple);
  tuple.role = state->tuple.role;
  emit_port(seq, bpf_get_socket_cookie(sk), &tuple, state->opened_ns);
  return 0;
}

/* A SYN has come in for it, and nothing more yet. */
static __always_inline int on_request(struct seq_file *seq, const struct sock_common *skc) {
  struct cw_tuple tuple = {};

  if (!opened_since)
    return 0;
  tuple_of(skc, &tuple);
  tuple.role = CW_ROLE_ACCEPT;
  emit_port(seq, 0, &tuple, 0);
  return 0;
}

static __always_inline int on_bucket(struct seq_file *seq, struct sock_common *skc, struct tcp_timewait_sock *tw) {
  struct cw_bucket_row row = {};

  fill_header(&row.header, CW_RECORD_BUCKET, sizeof(row), bpf_ktime_get_boot_ns());
  row.cookie = bpf_get_socket_cookie(skc);
  tuple_of(&tw->tw_sk.__tw_common, &row.tuple);
  row.expires_in_ns = (__s64)(tw->tw_sk.tw_timer.expires - bpf_jiffies64()) * (__s64)config.tick_ns;
  row.substate = tw->tw_sk.tw_substate;
  if (matches_tuple(&row.tuple))
    bpf_seq_write(seq, &row, sizeof(row));
  return 0;
}

/* TCP has ended it, and a process has it still: once connected, since what never was is opened again as a rule. */
static __always_inline int is_dead(struct sock *sk, const struct tcp_sock *tp) {
  return sk->__sk_common.skc_state == TCP_CLOSE && sk->__sk_common.skc_dport && tp->rcv_nxt && sk->sk_socket &&
         !(sk->__sk_common.skc_flags & (1ul << SOCK_DEAD));
}

static __always_inline int emit_holder(struct seq_file *seq, struct sock *sk, const struct socket_state *state,
                                       const struct cw_process *holder, __u32 fd) {
  struct cw_holder_row row = {};

  if (!matches_tuple(&state->tuple))
    return 0;
  fill_header(&row.header, CW_RECORD_HOLDER, sizeof(row), bpf_ktime_get_boot_ns());
  row.cookie = bpf_get_socket_cookie(sk);
  row.process = *holder;
  row.fd = fd;
  for (int i = 0; i < CW_USERS; i++) {
    const struct user who = {.start_ns = holder->start_ns, .tgid = holder->tgid, .exec_id = holder->exec_id};

    if (!same_user(&state->users[i], &who))
      continue;
    row.used = 1;
    row.used_last = i == 0;
  }
  bpf_seq_write(seq, &row, sizeof(row));
  return 0;
}

/* Bound and neither connected nor listening: no table but that of the bound ports has it. */
static __always_inline void tell_bound(struct seq_file *seq, struct sock *sk) {
  struct cw_tuple tuple = {};

  if (sk->sk_protocol != IPPROTO_TCP || !sk->__sk_common.skc_num || !port_is_bound(sk))
    return;
  tuple_of(&sk->__sk_common, &tuple);
  tuple.peer_port = 0;
  __builtin_memset(tuple.peer, 0, sizeof(tuple.peer));
  emit_port(seq, bpf_get_socket_cookie(sk), &tuple, 0);
}

/* 0 where it is of no interest. What is known is TCP: nearly all are, and less of them is looked at. */
static __always_inline struct socket_state *state_of_held(struct sock *sk, __u8 now) {
  struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, 0);
  struct tcp_sock *tp;

  if (state && now != TCP_CLOSE)
    return state;
  if (sk->sk_protocol != IPPROTO_TCP)
    return 0;
  tp = bpf_skc_to_tcp_sock(sk);
  if (!tp || (now == TCP_CLOSE && !is_dead(sk, tp)))
    return 0;
  return adopt(sk, tp);
}

/* May a row of a socket in this state be wanted? Most sockets are open: of these one is for a census alone. */
static __always_inline int may_want_row(__u8 now) {
  switch (now) {
  case TCP_LISTEN:
  case TCP_FIN_WAIT1:
  case TCP_FIN_WAIT2:
  case TCP_CLOSE_WAIT:
  case TCP_LAST_ACK:
  case TCP_CLOSING:
  case TCP_CLOSE:
    return 1;
  default:
    return (int)census;
  }
}

/* Where its row is to come from. */
static __always_inline void note_place(const struct sock *sk, __u8 now) {
  __u32 netns = sk->__sk_common.skc_net.net->ns.inum, *known, number = walk;

  if (config.netns && netns != config.netns)
    return;
  if (now == TCP_CLOSE) {
    beyond_tables = number;
    return;
  }
  known = bpf_map_lookup_elem(&held_in, &netns);
  if (known)
    *known = number;
  else if (bpf_map_update_elem(&held_in, &netns, &number, BPF_ANY))
    beyond_tables = number;
}

/* Somebody who has it and is not the owner kept. */
static __always_inline void meet_other(struct sock *sk, struct task_struct *task, const struct cw_process *holder,
                                       __u8 matched, const struct cw_tuple *tuple) {
  struct walk_state *seen = bpf_sk_storage_get(&walked, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

  if (!seen) {
    count(&counters.storage_failed);
    return;
  }
  if (seen->holder_walk == walk && holder->start_ns >= seen->holder.start_ns)
    return;
  seen->holder = *holder;
  seen->holder_walk = walk;
  seen->holder_matched = matched;
  /* Of tens of thousands that are of no interest none is to be looked up. Who listens has what others connect to. */
  if (sk->__sk_common.skc_state == TCP_LISTEN ? in_namespace(tuple) : matches_tuple(tuple))
    announce(task, holder);
}

/* Of a listener that the filters on processes let through: who waits there to be accepted. */
static __always_inline void note_queue(struct sock *sk) {
  struct queue_place place = {.listener_cookie = bpf_get_socket_cookie(sk), .walk = walk};
  const struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
  const struct request_sock *request;

  if (!tp)
    return;
  request = tp->inet_conn.icsk_accept_queue.rskq_accept_head;
  /* It may change under our eyes: what is read then is no socket, or one that has just been accepted. */
  for (int i = 0; i < QUEUE_LOOKED_AT && request; i++) {
    __u64 waits = (__u64)request->sk;

    bpf_map_update_elem(&queues, &waits, &place, BPF_ANY);
    request = request->dl_next;
  }
}

static __always_inline int on_holder(struct seq_file *seq, struct task_struct *task, struct sock *sk, __u32 fd) {
  __u8 now = sk->__sk_common.skc_state;
  struct socket_state *state = state_of_held(sk, now);
  struct cw_process holder;
  __u8 matched = 0, others = 0;

  if (!state) {
    if (census && now == TCP_CLOSE)
      tell_bound(seq, sk);
    return 0;
  }
  process_of(task, &holder);
  if (filters_processes())
    matched = (__u8)matches_process(task, &holder);
  if (matched)
    state->matched = 1;
  if (matched && now == TCP_LISTEN)
    note_queue(sk);
  if (same_process(&holder, &state->owner)) {
    state->owner_walk = walk;
    state->met_state = now;
  } else {
    meet_other(sk, task, &holder, matched, &state->tuple);
    others = 1;
  }
  /* A walk over rows settles whose it is, too. */
  if (config.rows_by_tables && (others || may_want_row(now)))
    note_place(sk, now);
  switch (now) {
  case TCP_CLOSE_WAIT:
  case TCP_CLOSE:
  case TCP_LISTEN:
    return emit_holder(seq, sk, state, &holder, fd);
  default:
    return 0;
  }
}

/*
 * The owner kept is not among those who have the socket, and somebody else is: the oldest of these holds it. A walk is
 * not one moment (its owner may have got it behind our back), so that of a process that opened or used it an absence
 * is believed only when two walks in a row agree.
 */
static __always_inline void settle_owner(struct sock *sk, struct socket_state *state) {
  struct walk_state *seen;

  if (state->closer_by || state->owner_walk == walk)
    return;
  seen = bpf_sk_storage_get(&walked, sk, 0, 0);
  if (!seen || seen->holder_walk != walk)
    return;
  if (state->attribution >= CW_BY_OPENER && (!seen->absent_walk || seen->absent_walk + 1 != walk)) {
    seen->absent_walk = walk;
    return;
  }
  state->owner_matched = seen->holder_matched;
  set_owner(state, &seen->holder, state->state == TCP_LISTEN ? CW_BY_LISTENER : CW_BY_HOLDER);
}

/* It came in before the start, and waits in such a queue: from now on all of it is shown. */
static __always_inline void match_by_queue(struct sock *sk, struct socket_state *state) {
  __u64 address = (__u64)sk;
  const struct queue_place *place;

  if (!filters_processes() || state->matched || state->listener_cookie || sk->sk_socket ||
      (sk->__sk_common.skc_flags & (1ul << SOCK_DEAD)))
    return;
  place = bpf_map_lookup_elem(&queues, &address);
  if (!place || place->walk != walk)
    return;
  state->listener_cookie = place->listener_cookie;
  state->matched = 1;
}

/* Is the row of this one? What listens is always told of: never-accepted connections are named by it. */
static __always_inline int wants_row(struct sock *sk, const struct tcp_sock *tp, const struct socket_state *state) {
  switch (sk->__sk_common.skc_state) {
  case TCP_LISTEN:
    return 1;
  case TCP_CLOSE:
    return is_dead(sk, tp) && matches(state);
  default:
    return matches(state);
  }
}

static __always_inline __u64 before(__u64 now, __u64 jiffies) {
  return jiffies * config.tick_ns < now ? now - jiffies * config.tick_ns : 0;
}

static __always_inline void fill_condition(struct cw_socket_row *row, const struct socket_state *state,
                                           const struct sock *sk, const struct tcp_sock *tp) {
  __u64 now = row->header.time_ns, used = state->used_jiffies;
  __u32 received = tp->rcv_tstamp;
  __u64 jiffies = bpf_jiffies64(); /* behind the two, or what came in between would be in the future */

  row->unread = tp->rcv_nxt - tp->copied_seq;
  row->unsent = tp->write_seq - tp->snd_una;
  row->acked_bytes = tp->bytes_acked;
  row->retransmits = tp->inet_conn.icsk_retransmits;
  row->probes = tp->inet_conn.icsk_probes_out;
  row->received_ns = received ? before(now, (__u32)jiffies - received) : 0;
  row->used_ns = used ? before(now, jiffies - used) : 0;
  row->eof = state->eof;
  row->users = state->users_missed ? CW_USERS + 1 : state->user_count;
  /* splice() and receiving into mapped memory take what no tracepoint tells of. */
  if (state->use_observed && state->read_up_to == tp->copied_seq)
    row->flags |= CW_FLAG_USE_OBSERVED;
  if (sk->sk_socket && !sk->sk_socket->file)
    row->flags |= CW_FLAG_NO_FILE;
  if ((tp->inet_conn.icsk_ulp_ops && !is_mptcp(tp)) || ((unsigned long)sk->sk_user_data & SK_USER_DATA_PSOCK))
    row->flags |= CW_FLAG_READ_BY_KERNEL;
}

/* 0 where there was no room. */
static __always_inline int emit_stacks(struct sock *sk) {
  struct user_stacks *kept = bpf_sk_storage_get(&stacks, sk, 0, 0);
  struct cw_stacks_row *row;

  if (!kept)
    return 1;
  row = bpf_ringbuf_reserve(&rows, sizeof(*row), 0);
  if (!row)
    return 0;
  fill_header(&row->header, CW_RECORD_STACKS, sizeof(*row), bpf_ktime_get_boot_ns());
  row->cookie = bpf_get_socket_cookie(sk);
  row->opened = kept->opened;
  row->end_read = kept->end_read;
  bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
  return 1;
}

static __always_inline int on_row(struct sock *sk, struct socket_state *state) {
  struct cw_socket_row *row;
  struct tcp_sock *tp;

  /* Of most the walk of the descriptors has just seen that there is nothing to tell. */
  if (state->owner_walk == walk && !may_want_row(state->met_state))
    return 0;
  settle_owner(sk, state);
  match_by_queue(sk, state);
  if (!may_want_row(sk->__sk_common.skc_state) || state->row_walk == walk)
    return 0;
  tp = bpf_skc_to_tcp_sock(sk);
  if (!tp || !wants_row(sk, tp, state))
    return 0;
  if (config.stacks && (sk->__sk_common.skc_state == TCP_CLOSE_WAIT || sk->__sk_common.skc_state == TCP_CLOSE) &&
      !emit_stacks(sk)) {
    count(&counters.rows_refused);
    return 0;
  }
  row = bpf_ringbuf_reserve(&rows, sizeof(*row), 0);
  if (!row) {
    count(&counters.rows_refused);
    return 0;
  }
  state->row_walk = walk;
  __builtin_memset(row, 0, sizeof(*row));
  fill_header(&row->header, CW_RECORD_SOCKET, sizeof(*row), bpf_ktime_get_boot_ns());
  row->cookie = bpf_get_socket_cookie(sk);
  row->listener_cookie = state->listener_cookie;
  row->tuple = state->tuple;
  row->entered_ns = state->entered_ns;
  row->opened_ns = state->opened_ns;
  gather_flags(&row->flags, state, sk);
  row->state = sk->__sk_common.skc_state;
  row->attribution = read_owner(state, &row->process);
  if (row->state == TCP_LISTEN) {
    row->backlog = sk->sk_ack_backlog;
    row->backlog_max = sk->sk_max_ack_backlog;
  } else if (row->state == TCP_CLOSE_WAIT || row->state == TCP_CLOSE) {
    fill_condition(row, state, sk, tp);
  }
  if (state->owner_walk == walk)
    row->flags |= CW_FLAG_OWNER_MET;
  if (is_mptcp(tp))
    row->flags |= CW_FLAG_MPTCP;
  if (port_is_bound(sk))
    row->flags |= CW_FLAG_PORT_BOUND;
  if (!matches(state))
    row->flags |= CW_FLAG_HIDDEN;
  bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
  return 0;
}

#endif
