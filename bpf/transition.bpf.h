/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_TRANSITION_H
#define CLOSEWATCH_BPF_TRANSITION_H

/* A transition of a TCP socket: who made it, what is kept of it, and the record that tells of it. */

#include "process.bpf.h"
#include "socket.bpf.h"
#include "stack.bpf.h"

/*
 * What a transition is made of (its states, the call, the flags) is kept in the socket's storage while it is worked on,
 * and read from there: what comes from memory is any number to the verifier, where it would otherwise follow every
 * combination of values through all that comes after (a second of load time, and a limit that old kernels reach).
 */
static __always_inline int left(const struct socket_state *state) { return *(const volatile __u8 *)&state->from; }

static __always_inline int entered(const struct socket_state *state) { return *(const volatile __u8 *)&state->to; }

static __always_inline int called(const struct socket_state *state) { return *(const volatile __u8 *)&state->call; }

/* Any change to what the close path is: out of it, or along it. Listeners and sockets never used have none. */
static __always_inline int on_close_path(int from, int to) {
  switch (to) {
  case TCP_FIN_WAIT1:
  case TCP_FIN_WAIT2:
  case TCP_CLOSING:
  case TCP_CLOSE_WAIT:
  case TCP_LAST_ACK:
    return 1;
  case TCP_CLOSE:
    return from != TCP_LISTEN && from != TCP_CLOSE;
  default:
    return 0;
  }
}

/*
 * exit or close, where the descriptor's last reference is going; none where the socket stays open. Without a file it is
 * the kernel's own socket, or a subflow, and nobody's descriptor. A thread that ends while others live closes nothing
 * by it: then it is a call that it was in.
 */
static __always_inline enum cw_call releasing_call(struct sock *sk, const struct task_struct *task) {
  struct socket *socket = sk->sk_socket;

  if (is_ending(task))
    return CW_CALL_EXIT;
  if (!socket || !socket->file || file_is_gone(socket->file))
    return CW_CALL_CLOSE;
  return CW_CALL_NONE;
}

static __always_inline int has_had_it(const struct task_struct *task, const struct socket_state *state) {
  __u32 tgid = (__u32)task->tgid;

  if (tgid == state->owner.tgid || tgid == state->opener_tgid)
    return 1;
  for (int i = 0; i < CW_USERS; i++)
    if (tgid == state->users[i].tgid)
      return 1;
  return 0;
}

/*
 * Whoever looks at another's descriptors (an iterator over them, ours among these, or /proc/PID/fdinfo) holds each file
 * for that moment: a close() meanwhile leaves the last reference, and with it the close, to him, in his read(). He is
 * never its closer. A thread that reads what another thread of its process closes may be; so is who is killed in a
 * read(), which stays the call that he was in. We hold some elsewhere too.
 */
static __always_inline int only_looks(struct task_struct *task, const struct socket_state *state) {
#ifdef NR_READ
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
  long called = syscall_of(regs);

  if ((called == NR_READ || called == NR_PREAD64) && !(task->flags & PF_EXITING) && !has_had_it(task, state))
    return 1;
#endif
  return (__u32)task->tgid == walker;
}

static __always_inline enum cw_call call_of_close(const struct socket_state *state, int error) {
  __u32 flags = state->flags;
  enum cw_call releasing = state->releasing;
  int from = left(state);

  if (error == ECONNABORTED)
    return CW_CALL_KILL;
  /* A reset or a timer, worked off in the backlog of a call that has nothing to do with it. */
  if (error || from == TCP_CLOSE)
    return CW_CALL_NONE;
  switch (from) {
  case TCP_FIN_WAIT2:
    if (flags & CW_FLAG_DONE)
      return CW_CALL_NONE; /* the peer's FIN, from the backlog */
    if (flags & CW_FLAG_DEAD)
      /* close() of a socket that was in FIN_WAIT2 hands it over itself; after FIN_WAIT1 it was the backlog's ACK. */
      return state->previous == TCP_FIN_WAIT2 ? releasing : CW_CALL_NONE;
    break;
  case TCP_CLOSING:
  case TCP_LAST_ACK:
    /* tcp_rcv_state_process() ends these two when our FIN is acknowledged, and only then: the rest are aborts. */
    if (state->fin_acked)
      return CW_CALL_NONE;
    break;
  default:
    break;
  }
  return releasing ? releasing : CW_CALL_DISCONNECT;
}

/*
 * The call that made this transition. The current task is believed only where it owns the socket's lock (sk_lock.owned)
 * and is no kernel thread: in softirq it is whoever happened to run, on loopback often the peer.
 */
static __always_inline enum cw_call call_of(struct sock *sk, const struct task_struct *task, struct socket_state *state,
                                            int error) {
  if (!sk->sk_lock.owned || (task->flags & PF_KTHREAD))
    return CW_CALL_NONE;
  *(volatile __u8 *)&state->releasing = (__u8)releasing_call(sk, task);
  switch (entered(state)) {
  case TCP_CLOSE:
    return call_of_close(state, error);
  case TCP_SYN_SENT:
    return CW_CALL_CONNECT;
  case TCP_LISTEN:
    return left(state) == TCP_CLOSE ? CW_CALL_LISTEN : CW_CALL_NONE;
  case TCP_FIN_WAIT1:
  case TCP_LAST_ACK:
    return state->releasing ? state->releasing : CW_CALL_SHUTDOWN;
  case TCP_FIN_WAIT2:
    if (left(state) != TCP_FIN_WAIT2)
      return CW_CALL_NONE;
    return state->releasing ? state->releasing : CW_CALL_CLOSE;
  case TCP_CLOSING:
    /* tcp_close_state() stays in the states that have sent a FIN: CLOSING → CLOSING is a close() after shutdown(). */
    if (left(state) != TCP_CLOSING)
      return CW_CALL_NONE;
    return state->releasing ? state->releasing : CW_CALL_CLOSE;
  default:
    return CW_CALL_NONE;
  }
}

static __always_inline void start_over(struct socket_state *state, __u64 now) {
  __builtin_memset(&state->tuple, 0, sizeof(state->tuple));
  __builtin_memset(&state->states_ns, 0, sizeof(state->states_ns));
  __builtin_memset(&state->closer, 0, sizeof(state->closer));
  state->opened_ns = now;
  state->entered_ns = now;
  state->opener_tgid = 0;
  state->opener_start_ns = 0;
  state->closer_by = CW_CALL_NONE;
  state->reset_sent = 0;
  state->fins = 0;
  state->previous = 0;
  state->owner_walk = 0;
  state->row_walk = 0;
  state->used_jiffies = 0;
  /* A listener has users too: recv() on it fails, and is a use all the same. */
  __builtin_memset(&state->users, 0, sizeof(state->users));
  state->users_busy = 0;
  state->users_missed = 0;
  state->user_count = 0;
  state->eof = CW_EOF_NOT_SEEN;
  state->use_observed = (__u8)config.observes_use;
}

static __always_inline void remember_process(struct socket_state *state, struct task_struct *task,
                                             const struct cw_process *process) {
  if (filters_processes()) {
    __u8 matched = (__u8)matches_process(task, process);

    state->matched |= matched;
    if (called(state) == CW_CALL_LISTEN)
      state->owner_matched = matched;
  }
  announce(task, process);
}

static __always_inline void keep_time(struct socket_state *state, __u64 now) {
  if (left(state) == entered(state)) /* a close() after shutdown(): the state goes on */
    return;
  if (state->entered_ns && now > state->entered_ns)
    state->states_ns[left(state) & (CW_STATES - 1)] += now - state->entered_ns;
  state->entered_ns = now;
}

static __always_inline void keep_fins(struct socket_state *state) {
  int to = entered(state);

  if (to == TCP_FIN_WAIT1 && !state->fins)
    state->fins = CW_FLAG_LOCAL_FIN >> FIN_SHIFT;
  else if (to == TCP_CLOSE_WAIT && !state->fins)
    state->fins = CW_FLAG_PEER_FIN >> FIN_SHIFT;
  else if (to == TCP_CLOSING)
    state->fins |= (CW_FLAG_LOCAL_FIN | CW_FLAG_PEER_FIN) >> FIN_SHIFT;
}

/* Most changes to CLOSE leave no port behind, so the tuple is kept from the first sight of it whole. */
static __always_inline void keep_tuple(struct socket_state *state, struct sock *sk, const struct tcp_sock *tp) {
  __u8 role = state->tuple.role;

  if (state->tuple.local_port && state->tuple.peer_port)
    return;
  whole_tuple_of(sk, tp, &state->tuple);
  state->tuple.role = role;
}

struct change {
  struct cw_process current;
  __u64 now;
  __u64 cookie;
  __u64 entered_ns; /* into the state that is left */
  __s32 error;
};

static __always_inline void fill(struct cw_transition *record, const struct socket_state *state,
                                 const struct change *change) {
  record->cookie = change->cookie;
  record->listener_cookie = state->listener_cookie;
  record->tuple = state->tuple;
  record->entered_ns = change->entered_ns;
  record->flags = state->flags;
  record->error = change->error;
  record->from = state->from;
  record->to = state->to;
  record->call = state->call;
  record->closer_by = state->closer_by;
  record->reserved[0] = record->reserved[1] = record->reserved[2] = 0;
  record->unread = state->unread;
  record->orphan_ms = 0;
  record->attribution = read_owner(state, &record->process);
  record->actor = change->current; /* zeroes where no call made it */
}

static __always_inline void emit_transition(const struct socket_state *state, const struct change *change, int shown) {
  struct cw_transition *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

  if (!record) {
    count(shown ? &counters.lost_transitions : &counters.lost_others);
    return;
  }
  fill_header(&record->header, CW_RECORD_TRANSITION, sizeof(*record), change->now);
  fill(record, state, change);
  if (!shown)
    record->flags |= CW_FLAG_HIDDEN;
  bpf_ringbuf_submit(record, wake_flag());
}

/*
 * tcp_time_wait() keeps an orphan for TCP_LINGER2 or tcp_fin_timeout, and for three and a half retransmission timeouts
 * at least. What is longer than TIME_WAIT is spent as a full socket first (tcp_keepalive_timer()).
 */
static __always_inline __u32 orphan_ms(const struct tcp_sock *tp) {
  const struct net *net = tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net;
  __u64 rto = tp->inet_conn.icsk_rto, least = (rto << 2) - (rto >> 1), jiffies = (__u32)tp->linger2, ms;

  if (!jiffies)
    jiffies = (__u32)net->ipv4.sysctl_tcp_fin_timeout;
  if (jiffies < least)
    jiffies = least;
  ms = jiffies * config.tick_ns / 1000000;
  return (__u32)(ms > TIME_WAIT_MS ? ms - TIME_WAIT_MS : ms);
}

static __always_inline void emit_close(const struct socket_state *state, const struct change *change,
                                       const struct tcp_sock *tp) {
  struct cw_close *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

  if (!record) {
    count(&counters.lost_transitions);
    return;
  }
  fill(&record->transition, state, change);
  fill_header(&record->transition.header, CW_RECORD_CLOSE, sizeof(*record), change->now);
  if (state->from == TCP_FIN_WAIT2)
    record->transition.orphan_ms = orphan_ms(tp);
  record->opened_ns = state->opened_ns;
  __builtin_memcpy(record->states_ns, state->states_ns, sizeof(record->states_ns));
  record->bytes_sent = tp->bytes_sent - tp->bytes_retrans;
  record->bytes_received = tp->bytes_received;
  bpf_ringbuf_submit(record, wake_flag());
}

static __always_inline void keep_owner(struct socket_state *state, struct task_struct *task,
                                       const struct change *change) {
  switch (called(state)) {
  case CW_CALL_CONNECT:
    state->tuple.role = CW_ROLE_CONNECT;
    state->opener_tgid = change->current.tgid;
    state->opener_start_ns = change->current.start_ns;
    set_owner(state, &change->current, CW_BY_OPENER);
    break;
  case CW_CALL_LISTEN:
    state->listener_cookie = change->cookie;
    set_owner(state, &change->current, CW_BY_LISTENER);
    break;
  case CW_CALL_CLOSE:
  case CW_CALL_SHUTDOWN:
  case CW_CALL_EXIT:
    set_closer(state, &change->current, state->call);
    break;
  default:
    break;
  }
  if (called(state))
    remember_process(state, task, &change->current);
}

/* The child's storage is a copy of its listener's: what was the listener's own goes, who listened stays. */
static __always_inline void become_child(struct socket_state *state, __u64 now) {
  start_over(state, now);
  state->tuple.role = CW_ROLE_ACCEPT;
  state->state = TCP_LISTEN;
  /* A copy made while the listener's owner was being written is half of each. */
  state->attribution = state->owner.tgid && !(state->owner_version & 1) ? CW_BY_LISTENER : CW_BY_UNKNOWN;
  state->owner_version = 0;
  state->closer_version = 0;
  /* Whoever else holds the listener has no part in what another accepts. */
  state->matched = state->owner_matched;
}

static __always_inline void become_new(struct socket_state *state, __u64 now) {
  start_over(state, now);
  state->listener_cookie = 0;
  state->attribution = CW_BY_UNKNOWN;
  __builtin_memset(&state->owner, 0, sizeof(state->owner));
}

static __always_inline void gather_tcp(struct socket_state *state, struct sock *sk, const struct tcp_sock *tp) {
  int from = left(state);

  state->unread = tp->rcv_nxt - tp->copied_seq;
  if (entered(state) == TCP_ESTABLISHED)
    state->read_up_to = tp->copied_seq;
  state->fin_acked = tp->snd_una == tp->write_seq;
  if (is_mptcp(tp))
    raise_flag(&state->flags, CW_FLAG_MPTCP);
  if (entered(state) == TCP_CLOSE && port_is_bound(sk))
    raise_flag(&state->flags, CW_FLAG_PORT_BOUND);
  if (tp->linger2 < 0)
    raise_flag(&state->flags, CW_FLAG_LINGER2_NEGATIVE);
  if (entered(state) == TCP_CLOSE && (from == TCP_FIN_WAIT2 || from == TCP_CLOSING) && table_is_full(sk))
    raise_flag(&state->flags, CW_FLAG_TABLE_FULL);
}

/* Has the first copy of the program seen to it? Each marks what it does, and the second takes the mark away. */
static __always_inline int is_handled(struct socket_state *state, int to, int second) {
  int handled = state->handled;

  state->handled = !second;
  return second && handled && state->state == (__u32)to;
}

static __always_inline void begin(struct socket_state *state, int from, int to, __u64 now) {
  *(volatile __u8 *)&state->from = (__u8)from;
  *(volatile __u8 *)&state->to = (__u8)to;
  if (from == TCP_LISTEN && to == TCP_SYN_RECV)
    become_child(state, now);
  else if (from == TCP_CLOSE && to != TCP_CLOSE)
    become_new(state, now);
  else if (state->state && state->state != (__u32)from && matches(state))
    count(&counters.missed);
}

static __always_inline void emit(const struct socket_state *state, const struct change *change,
                                 const struct tcp_sock *tp) {
  int from = left(state), to = entered(state);
  int shown = (config.all_states || on_close_path(from, to)) && matches(state);

  /* Up to 6.12 a child's first step shows its listener's cookie and no peer: nothing that could be told under its name.
   */
  if (from == TCP_LISTEN && to == TCP_SYN_RECV && !state->tuple.peer_port)
    return;
  /* What listens is always told of: the reader names never-accepted connections and old buckets by it. */
  if (shown && to == TCP_CLOSE && from != TCP_LISTEN && from != TCP_CLOSE)
    emit_close(state, change, tp);
  else if (shown || to == TCP_LISTEN || (from == TCP_LISTEN && to == TCP_CLOSE))
    emit_transition(state, change, shown);
}

/* A loss counts where the event would have been shown; of its process nothing is known. */
static __always_inline void count_without_storage(struct sock *sk) {
  struct cw_tuple tuple = {};

  tuple_of(&sk->__sk_common, &tuple);
  if (matches_tuple(&tuple))
    count(&counters.storage_failed);
}

/*
 * Both copies of the program run this; the second acts only where the first was skipped. The kernel skips a program
 * that is already running on this CPU (a softirq came in between), told only by its recursion_misses.
 */
static __always_inline int on_transition(void *ctx, struct sock *sk, int from, int to, int second) {
  struct change change = {};
  struct socket_state *state;
  struct task_struct *task;
  struct tcp_sock *tp;

  if (sk->sk_protocol != IPPROTO_TCP)
    return 0;
  state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!state) {
    if (second) /* once, and after both have tried */
      count_without_storage(sk);
    return 0;
  }
  if (is_handled(state, to, second))
    return 0;
  if (second)
    count(&counters.nested);
  tp = bpf_skc_to_tcp_sock(sk);
  if (!tp) /* not a full socket: no transition is made of one */
    return 0;
  change.now = bpf_ktime_get_boot_ns();
  begin(state, from, to, change.now);

  change.cookie = bpf_get_socket_cookie(sk);
  change.error = sk->sk_err;
  /* What begins now was in no state that we saw begin. */
  change.entered_ns = state->entered_ns == change.now ? 0 : state->entered_ns;
  keep_tuple(state, sk, tp);
  keep_fins(state);
  gather_flags(&state->flags, state, sk);
  gather_tcp(state, sk, tp);
  task = bpf_get_current_task_btf();
  *(volatile __u8 *)&state->call = (__u8)call_of(sk, task, state, change.error);
  if (called(state) && !only_looks(task, state)) {
    process_of(task, &change.current);
    keep_owner(state, task, &change);
    if (state->matched)
      raise_flag(&state->flags, CW_FLAG_MATCHED);
    if (config.stacks && called(state) == CW_CALL_CONNECT) {
      struct user user = user_of(task);

      /* Those of an earlier connection that was opened with the same socket. */
      bpf_sk_storage_delete(&stacks, sk);
      keep_stack(ctx, sk, &user, 0);
    }
  }
  keep_time(state, change.now);
  state->previous = state->from;
  state->state = state->to;
  state->reset_sent = 0;
  emit(state, &change, tp);
  return 0;
}

/* A RST goes out. Right behind FIN_WAIT1/2 → CLOSE it means: data came for an orphan, and there is no bucket. */
static __always_inline int on_send_reset(struct sock *sk) {
  struct socket_state *state;
  struct cw_reset *record;

  /* A bucket or a request is no full socket and has no storage. */
  if (!sk || sk->__sk_common.skc_state == TCP_TIME_WAIT || sk->__sk_common.skc_state > TCP_CLOSING)
    return 0;
  if (sk->sk_protocol != IPPROTO_TCP)
    return 0;
  state = bpf_sk_storage_get(&sockets, sk, 0, 0);
  if (!state)
    return 0;
  state->reset_sent = 1;
  if (state->state != TCP_CLOSE || (state->previous != TCP_FIN_WAIT1 && state->previous != TCP_FIN_WAIT2) ||
      !matches(state))
    return 0;
  record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
  if (!record) {
    count(&counters.lost_others);
    return 0;
  }
  fill_header(&record->header, CW_RECORD_RESET, sizeof(*record), bpf_ktime_get_boot_ns());
  record->cookie = bpf_get_socket_cookie(sk);
  bpf_ringbuf_submit(record, wake_flag());
  return 0;
}

/*
 * The last reference to a socket goes. Where TCP had ended it while its descriptor was open, no transition tells of it:
 * only then can SOCK_DEAD have been clear at the change to CLOSE. The lock is not owned here, but the orphan of a
 * moment ago is nobody's but the closing task's.
 */
static __always_inline int on_destroy(struct sock *sk) {
  struct socket_state *state;
  struct cw_release *record;
  struct task_struct *task;

  if (sk->sk_protocol != IPPROTO_TCP)
    return 0;
  state = bpf_sk_storage_get(&sockets, sk, 0, 0);
  if (!state || state->state != TCP_CLOSE || (state->flags & CW_FLAG_DEAD) || !state->tuple.peer_port ||
      !matches(state))
    return 0;
  record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
  if (!record) {
    count(&counters.lost_others);
    return 0;
  }
  fill_header(&record->header, CW_RECORD_RELEASE, sizeof(*record), bpf_ktime_get_boot_ns());
  record->cookie = bpf_get_socket_cookie(sk);
  __builtin_memset(record->reserved, 0, sizeof(record->reserved));
  task = bpf_get_current_task_btf();
  if ((task->flags & PF_KTHREAD) || only_looks(task, state)) {
    __builtin_memset(&record->actor, 0, sizeof(record->actor));
    record->call = CW_CALL_CLOSE;
  } else {
    process_of(task, &record->actor);
    record->call = is_ending(task) ? CW_CALL_EXIT : CW_CALL_CLOSE;
  }
  bpf_ringbuf_submit(record, wake_flag());
  return 0;
}

#endif
