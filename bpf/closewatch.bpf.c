/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */

#include "transition.bpf.h"
#include "use.bpf.h"
#include "walk.bpf.h"
#include <bpf/bpf_tracing.h>

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(transition, struct sock *sk, int from, int to) { return on_transition(ctx, sk, from, to, 0); }

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(transition_nested, struct sock *sk, int from, int to) { return on_transition(ctx, sk, from, to, 1); }

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(send_reset, struct sock *sk) { return on_send_reset(sk); }

/* Since 6.3; they fire for every family of sockets. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(use_recv, struct sock *sk, int result, int flags) { return on_use(ctx, sk, result, flags, 1); }

SEC("tp_btf/sock_send_length")
int BPF_PROG(use_send, struct sock *sk, int result, int flags) { return on_use(ctx, sk, result, flags, 0); }

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy, struct sock *sk) { return on_destroy(sk); }

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task) {
  struct cw_process process;
  __u64 *known;

  /* The thread group ends with its last thread, whichever that is. */
  if (task->signal->live.counter != 0)
    return 0;
  known = bpf_task_storage_get(&announced, task->group_leader, 0, 0);
  if (!known)
    return 0;
  process_of(task, &process);
  emit_exit(&process);
  return 0;
}

/* Only with --children. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child) {
  struct cw_pid_key key = {.start_ticks = parent->group_leader->start_boottime / CW_TICK_NS,
                           .tgid = (__u32)parent->tgid};
  __u8 one = 1;

  if (child->tgid == parent->tgid || !bpf_map_lookup_elem(&filter_pids, &key))
    return 0;
  key.start_ticks = child->start_boottime / CW_TICK_NS;
  key.tgid = (__u32)child->tgid;
  if (bpf_map_update_elem(&filter_pids, &key, &one, BPF_ANY))
    count(&counters.process_failed);
  return 0;
}

/* Only with --children. Not at the exit, which comes before the sockets are closed by it. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(process_free, struct task_struct *task) {
  struct cw_pid_key key = {.start_ticks = task->start_boottime / CW_TICK_NS, .tgid = (__u32)task->tgid};

  if (task->pid == task->tgid)
    bpf_map_delete_elem(&filter_pids, &key);
  return 0;
}

SEC("iter/tcp")
int walk_tcp(struct bpf_iter__tcp *ctx) {
  struct sock_common *skc = ctx->sk_common;
  struct tcp_timewait_sock *tw;
  struct tcp_sock *tp;

  if (!skc)
    return 0;
  tw = bpf_skc_to_tcp_timewait_sock(skc);
  if (tw)
    return on_bucket(ctx->meta->seq, skc, tw);
  tp = bpf_skc_to_tcp_sock(skc);
  if (tp)
    return on_socket(ctx->meta->seq, (struct sock *)tp, tp);
  return skc->skc_state == TCP_NEW_SYN_RECV ? on_request(ctx->meta->seq, skc) : 0;
}

SEC("iter/task_file")
int walk_files(struct bpf_iter__task_file *ctx) {
  struct task_struct *task = ctx->task;
  struct file *file = ctx->file;
  struct socket *socket;

  walker = (__u32)(bpf_get_current_pid_tgid() >> 32);
  if (!task || !file)
    return 0;
  if (lets_go())
    return 1;
  socket = bpf_sock_from_file(file);
  if (!socket || !socket->sk)
    return 0;
  return on_holder(ctx->meta->seq, task, socket->sk, ctx->fd);
}

SEC("iter/bpf_sk_storage_map")
int walk_sockets(struct bpf_iter__bpf_sk_storage_map *ctx) {
  struct sock *sk = ctx->sk;
  struct socket_state *state = ctx->value;

  if (!sk || !state)
    return 0;
  return on_row(sk, state);
}

/*
 * Instead of the last, where the kernel refuses it (some that are hardened do so with every iterator over a map's
 * elements): what is in a table, and what has a descriptor. Of these two the first is loaded a second time, since what
 * a program does for a row is long and the start has no use for it.
 */
SEC("iter/tcp")
int walk_rows_of_tables(struct bpf_iter__tcp *ctx) {
  struct sock_common *skc = ctx->sk_common;
  struct socket_state *state;
  struct tcp_sock *tp;

  if (!skc)
    return 0;
  tp = bpf_skc_to_tcp_sock(skc);
  if (!tp)
    return 0;
  state = bpf_sk_storage_get(&sockets, (struct sock *)tp, 0, 0);
  return state ? on_row((struct sock *)tp, state) : 0;
}

SEC("iter/task_file")
int walk_rows_of_files(struct bpf_iter__task_file *ctx) {
  struct file *file = ctx->file;
  struct socket_state *state;
  struct socket *socket;

  walker = (__u32)(bpf_get_current_pid_tgid() >> 32);
  if (!file)
    return 0;
  if (lets_go())
    return 1;
  socket = bpf_sock_from_file(file);
  if (!socket || !socket->sk)
    return 0;
  state = bpf_sk_storage_get(&sockets, socket->sk, 0, 0);
  return state ? on_row(socket->sk, state) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
