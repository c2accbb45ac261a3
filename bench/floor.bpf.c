/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */

/*
 * Not closewatch: the least that a program on inet_sock_set_state can do, a rung at a time. What each of them costs is
 * what no tracer that does as much gets below (bench/floor.py).
 */

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* As much as closewatch keeps of a socket (struct socket_state). */
#define STATE_BYTES 440

struct small {
  __u64 word;
};

struct large {
  __u64 word[STATE_BYTES / sizeof(__u64)];
};

#define STORAGE(name, value_type)          \
  struct {                                 \
    __uint(type, BPF_MAP_TYPE_SK_STORAGE); \
    __uint(map_flags, BPF_F_NO_PREALLOC);  \
    __type(key, int);                      \
    __type(value, value_type);             \
  } name SEC(".maps")

STORAGE(small_storage, struct small);
STORAGE(large_storage, struct large);

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1 << 18);
  __type(key, __u64);
  __type(value, struct large);
} table SEC(".maps");

static const struct large nothing = {};

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(called, struct sock *sk, int from, int to) { return 0; }

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(called_again, struct sock *sk, int from, int to) { return 0; }

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(keep_small, struct sock *sk, int from, int to) {
  struct small *state = bpf_sk_storage_get(&small_storage, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

  if (state) state->word++;
  return 0;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(keep, struct sock *sk, int from, int to) {
  struct large *state = bpf_sk_storage_get(&large_storage, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

  if (state) state->word[0]++;
  return 0;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(keep_in_table, struct sock *sk, int from, int to) {
  __u64 key = (__u64)sk;
  struct large *state;

  if ((from == TCP_CLOSE && to == TCP_SYN_SENT) || (from == TCP_LISTEN && to == TCP_SYN_RECV)) {
    bpf_map_update_elem(&table, &key, &nothing, BPF_ANY);
    return 0;
  }
  state = bpf_map_lookup_elem(&table, &key);
  if (state) state->word[0]++;
  return 0;
}

SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(forget, struct sock *sk) {
  __u64 key = (__u64)sk;

  bpf_map_delete_elem(&table, &key);
  return 0;
}

SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(destroyed, struct sock *sk) { return 0; }

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(received, struct sock *sk, int result, int flags) { return 0; }

SEC("?tp_btf/sock_send_length")
int BPF_PROG(sent, struct sock *sk, int result, int flags) { return 0; }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
