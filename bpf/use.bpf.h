/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_USE_H
#define CLOSEWATCH_BPF_USE_H

/* Reads and writes: who uses a socket, and whether the end of what the peer sent was read. */

#include "transition.bpf.h"

/*
 * Moves this user to the front. Of two users at once the second leaves the list alone, and it is known that one is
 * missing from it: who has left the socket to the other may never use it again.
 */
static __always_inline void keep_user(struct socket_state *state, const struct user *user) {
  struct user before;
  int known = 0;

  if (__sync_val_compare_and_swap(&state->users_busy, 0, 1)) {
    state->users_missed = 1;
    return;
  }
  before = state->users[0];
  state->users[0] = *user;
  for (int i = 1; i < CW_USERS && !known; i++) {
    struct user moved = before;

    if (!moved.tgid)
      break;
    before = state->users[i];
    state->users[i] = moved;
    known = same_user(&before, user);
  }
  if (!known && state->user_count <= CW_USERS)
    state->user_count++;
  __sync_val_compare_and_swap(&state->users_busy, 1, 0);
}

/*
 * A read that returned 0 saw the end where nothing is left to be read. A peek leaves the FIN; a read of no bytes
 * returns 0 before the end as well, which the unread bytes tell.
 */
static __always_inline void keep_end(struct socket_state *state, const struct sock *sk, const struct tcp_sock *tp,
                                     int flags) {
  __u32 left_over = tp->rcv_nxt - tp->copied_seq;

  if (!(sk->__sk_common.skc_flags & (1ul << SOCK_DONE)))
    return;
  if (left_over == 0)
    state->eof = CW_EOF_READ;
  else if (left_over == 1 && (flags & MSG_PEEK) && state->eof == CW_EOF_NOT_SEEN)
    state->eof = CW_EOF_PEEKED;
}

/* Of several holders the last user is the one to name; of what was accepted, the first user is the one who did so. */
static __always_inline void keep_owner_by_use(struct socket_state *state, struct task_struct *task) {
  struct cw_process user;
  int opened;

  process_of(task, &user);
  if (state->attribution == CW_BY_LISTENER && state->opened_ns && user.start_ns < state->opened_ns) {
    /* Nobody has used it before, and this process was there when it came in: it accepted. */
    state->opener_tgid = user.tgid;
    state->opener_start_ns = user.start_ns;
  }
  opened = state->opener_tgid == user.tgid && state->opener_start_ns == user.start_ns;
  set_owner(state, &user, opened ? CW_BY_OPENER : CW_BY_HOLDER);
  remember_process(state, task, &user);
}

static __always_inline int on_use(void *ctx, struct sock *sk, int result, int flags, int reads) {
  struct socket_state *state;
  struct task_struct *task;
  struct tcp_sock *tp;
  struct user user;
  int first, ended;

  if (sk->sk_protocol != IPPROTO_TCP)
    return 0;
  state = bpf_sk_storage_get(&sockets, sk, 0, 0);
  if (!state)
    return 0;
  task = bpf_get_current_task_btf();
  user = user_of(task);
  first = !same_user(&state->users[0], &user);
  if (first || state->owner.tgid != user.tgid || state->attribution < CW_BY_OPENER) {
    /* The kernel's own sockets (NFS, CIFS) are used by whoever touches the mount. */
    if ((task->flags & PF_KTHREAD) || !sk->sk_socket || !sk->sk_socket->file)
      return 0;
    keep_user(state, &user);
    if (state->owner.tgid != user.tgid || state->attribution < CW_BY_OPENER || state->owner.start_ns != user.start_ns ||
        state->owner.exec_id != user.exec_id)
      keep_owner_by_use(state, task);
  }
  state->used_jiffies = bpf_jiffies64();
  ended = reads && result == 0;
  tp = reads ? bpf_skc_to_tcp_sock(sk) : 0;
  if (tp) {
    state->read_up_to = tp->copied_seq;
    if (ended)
      keep_end(state, sk, tp, flags);
  }
  /* accept() has no tracepoint that sees the socket: where it was used first is near. */
  if (config.stacks && first && state->user_count == 1)
    keep_stack(ctx, sk, &user, 0);
  if (config.stacks && ended && state->eof != CW_EOF_NOT_SEEN)
    keep_stack(ctx, sk, &user, 1);
  return 0;
}

#endif
