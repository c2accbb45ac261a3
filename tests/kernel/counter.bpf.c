// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// The judge of the flood: counts every TCP transition the kernel reports in one network namespace, and does nothing
// else. It shares no line with the tracer it judges.
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define IPPROTO_TCP 6

struct ns_common {
  unsigned int inum;
} __attribute__((preserve_access_index));

struct net {
  struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
  struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;

struct sock_common {
  possible_net_t skc_net;
} __attribute__((preserve_access_index));

struct sock {
  struct sock_common __sk_common;
  __u16 sk_protocol;
} __attribute__((preserve_access_index));

const volatile __u32 netns_inum = 0;

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} transitions SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(count, const struct sock *sk) {
  const __u32 zero = 0;
  if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_net.net->ns.inum != netns_inum) return 0;
  __u64 *value = bpf_map_lookup_elem(&transitions, &zero);
  if (value) *value += 1;  // a CPU's own cell, and a nested run is skipped: no atomics
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
