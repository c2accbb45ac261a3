/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_SOCKET_H
#define CLOSEWATCH_BPF_SOCKET_H

#include "maps.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

static __always_inline void tuple_of(const struct sock_common *skc, struct cw_tuple *tuple) {
  tuple->netns = skc->skc_net.net->ns.inum;
  tuple->local_port = skc->skc_num;
  tuple->peer_port = bpf_ntohs(skc->skc_dport);
  if (skc->skc_family == AF_INET) {
    tuple->family = 4;
    *(__u32 *)tuple->local = skc->skc_rcv_saddr;
    *(__u32 *)tuple->peer = skc->skc_daddr;
  } else {
    tuple->family = 6;
    for (int i = 0; i < 4; i++) {
      ((__u32 *)tuple->local)[i] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
      ((__u32 *)tuple->peer)[i] = skc->skc_v6_daddr.in6_u.u6_addr32[i];
    }
  }
}

/* skc_num is 0 again once TCP has ended; inet_sport outlives it. */
static __always_inline void whole_tuple_of(const struct sock *sk, const struct tcp_sock *tp, struct cw_tuple *tuple) {
  tuple_of(&sk->__sk_common, tuple);
  if (!tuple->local_port)
    tuple->local_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
}

static __always_inline int port_is_bound(const struct sock *sk) {
  return (BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK) != 0;
}

static __always_inline int is_mapped(const __u8 *address) {
  const __u32 *word = (const __u32 *)address;
  return word[0] == 0 && word[1] == 0 && word[2] == bpf_htonl(0xffff);
}

static __always_inline int is_ipv4(const struct cw_tuple *tuple) {
  return tuple->family == 4 || is_mapped(tuple->peer) || is_mapped(tuple->local);
}

static __always_inline int port_listed(enum cw_port_side side, __u16 port) {
  struct cw_port_key key = {.side = side, .port = port};
  return bpf_map_lookup_elem(&filter_ports, &key) != 0;
}

static __always_inline int in_namespace(const struct cw_tuple *tuple) {
  return !config.netns || tuple->netns == config.netns;
}

static __always_inline int matches_tuple(const struct cw_tuple *tuple) {
  if (!in_namespace(tuple))
    return 0;
  if (!config.ipv4 || !config.ipv6) {
    int ipv4 = is_ipv4(tuple);
    if ((ipv4 && !config.ipv4) || (!ipv4 && !config.ipv6))
      return 0;
  }
  if (config.local_ports && !port_listed(CW_PORT_LOCAL, tuple->local_port))
    return 0;
  if (config.remote_ports && !port_listed(CW_PORT_REMOTE, tuple->peer_port))
    return 0;
  return 1;
}

static __always_inline int filters_processes(void) { return config.pids || config.comms || config.cgroup_id; }

static __always_inline int matches(const struct socket_state *state) {
  return (!filters_processes() || state->matched) && matches_tuple(&state->tuple);
}

/* The last reference to the struct file is gone: this is the close, and no shutdown() or connect(). */
static __always_inline int file_is_gone(struct file *file) {
  if (bpf_core_field_exists(file->f_ref))
    return (__u64)file->f_ref.refcnt.counter == FILE_REF_DEAD;
  return ((struct file___before_6_13 *)file)->f_count.counter == 0;
}

/* tcp_time_wait() makes no bucket where the table is full; after the fact only the count tells, and not for certain. */
static __always_inline int table_is_full(const struct sock *sk) {
  struct net *net = sk->__sk_common.skc_net.net;

  if (!bpf_core_field_exists(net->ipv4.tcp_death_row.tw_refcount))
    return 0;
  return net->ipv4.tcp_death_row.tw_refcount.refs.counter - 1 >= net->ipv4.tcp_death_row.sysctl_max_tw_buckets;
}

/*
 * Flags are gathered in the storage and not in a register: what is read back from there is any number to the verifier,
 * where it would otherwise follow every combination of them through the rest of the program.
 */
static __always_inline void raise_flag(volatile __u32 *flags, __u32 flag) { *flags |= flag; }

static __always_inline void gather_flags(volatile __u32 *flags, const struct socket_state *state, struct sock *sk) {
  unsigned long bits = sk->__sk_common.skc_flags;

  *flags = (__u32)state->fins << FIN_SHIFT;
  if (bits & (1ul << SOCK_DEAD))
    raise_flag(flags, CW_FLAG_DEAD);
  if (bits & (1ul << SOCK_DONE))
    raise_flag(flags, CW_FLAG_DONE);
  if ((bits & (1ul << SOCK_LINGER)) && !sk->sk_lingertime)
    raise_flag(flags, CW_FLAG_LINGER_ZERO);
  if (!sk->sk_socket)
    raise_flag(flags, CW_FLAG_NO_SOCKET);
  if (sk->sk_shutdown & RCV_SHUTDOWN)
    raise_flag(flags, CW_FLAG_RCV_SHUTDOWN);
  if (state->reset_sent)
    raise_flag(flags, CW_FLAG_RESET_SENT);
  if (state->matched)
    raise_flag(flags, CW_FLAG_MATCHED);
}

/*
 * A reader's first recv() names the owner while another process's does too, or while a softirq on another CPU reports
 * it. Nobody waits: a writer makes the version odd meanwhile, one that meets it so leaves it to the other, and a reader
 * that meets it so, or sees it change, says "unknown" and not half of each.
 */
static __always_inline void set_owner(struct socket_state *state, const struct cw_process *process,
                                      enum cw_attribution attribution) {
  __u32 version = *(volatile __u32 *)&state->owner_version;

  if ((version & 1) || __sync_val_compare_and_swap(&state->owner_version, version, version + 1) != version)
    return;
  state->owner = *process;
  state->attribution = attribution;
  __sync_fetch_and_add(&state->owner_version, 1);
}

/* Its writers hold the socket's lock; a walk reads it without. */
static __always_inline void set_closer(struct socket_state *state, const struct cw_process *process, __u8 by) {
  __sync_fetch_and_add(&state->closer_version, 1);
  state->closer = *process;
  state->closer_by = by;
  __sync_fetch_and_add(&state->closer_version, 1);
}

static __always_inline int is_torn(const __u32 *version, __u32 before) {
  barrier();
  return (before & 1) || *(const volatile __u32 *)version != before;
}

/* Who is responsible, and how that is known. */
static __always_inline __u8 read_owner(const struct socket_state *state, struct cw_process *process) {
  __u32 version = *(const volatile __u32 *)&state->closer_version;
  __u8 attribution;

  if (state->closer_by) {
    *process = state->closer;
    if (!is_torn(&state->closer_version, version))
      return CW_BY_CLOSER;
  } else {
    version = *(const volatile __u32 *)&state->owner_version;
    attribution = state->attribution;
    *process = state->owner;
    if (!is_torn(&state->owner_version, version))
      return attribution;
  }
  __builtin_memset(process, 0, sizeof(*process));
  return CW_BY_UNKNOWN;
}

static __always_inline int is_mptcp(const struct tcp_sock *tp) {
  return bpf_core_field_exists(tp->is_mptcp) && tp->is_mptcp;
}

/* What must have been, for a socket that was there before closewatch. */
static __always_inline __u8 fins_implied_by(__u8 state) {
  switch (state) {
  case TCP_FIN_WAIT1:
  case TCP_FIN_WAIT2:
    return CW_FLAG_LOCAL_FIN >> FIN_SHIFT;
  case TCP_CLOSE_WAIT:
  case TCP_LAST_ACK:
    return CW_FLAG_PEER_FIN >> FIN_SHIFT;
  case TCP_CLOSING:
    return (CW_FLAG_LOCAL_FIN | CW_FLAG_PEER_FIN) >> FIN_SHIFT;
  default:
    return 0;
  }
}

#endif
