/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_KERNEL_H
#define CLOSEWATCH_BPF_KERNEL_H

/*
 * The kernel's types by hand: the fields that are used, relocated at load time by the running kernel's BTF.
 * Where a field came, went or moved, the shim says in which version.
 */

#include <linux/bpf.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
  unsigned int inum;
};

typedef struct {
  int counter;
} atomic_t;

typedef struct {
  __s64 counter;
} atomic64_t;

typedef struct refcount_struct {
  atomic_t refs;
} refcount_t;

struct inet_timewait_death_row {
  refcount_t tw_refcount; /* since 5.17; before it was tw_count */
  int sysctl_max_tw_buckets;
};

struct netns_ipv4 {
  int sysctl_tcp_fin_timeout;                   /* jiffies */
  struct inet_timewait_death_row tcp_death_row; /* embedded, but for 5.17 to 6.0, where it was a pointer */
};

struct net {
  struct ns_common ns;
  struct netns_ipv4 ipv4;
};

typedef struct {
  struct net *net;
} possible_net_t;

struct in6_addr {
  union {
    __u8 u6_addr8[16];
    __u32 u6_addr32[4];
  } in6_u;
};

struct sock_common {
  __u32 skc_daddr;
  __u32 skc_rcv_saddr;
  __u16 skc_dport; /* network order */
  __u16 skc_num;   /* host order */
  unsigned short skc_family;
  volatile unsigned char skc_state;
  possible_net_t skc_net;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
  unsigned long skc_flags;
};

/* The count of a struct file: file_ref_t since 6.13, f_count before. */
typedef struct {
  atomic64_t refcnt;
} file_ref_t;

struct file {
  file_ref_t f_ref;
};

struct file___before_6_13 {
  atomic64_t f_count;
};

struct sock;

struct socket {
  struct file *file;
  struct sock *sk;
};

typedef struct {
  int owned;
} socket_lock_t;

struct tcp_ulp_ops;

struct sock {
  struct sock_common __sk_common;
  socket_lock_t sk_lock;
  struct socket *sk_socket;
  int sk_err;
  __u8 sk_shutdown;
  __u8 sk_userlocks; /* a bit field on some kernels: BPF_CORE_READ_BITFIELD() */
  __u16 sk_protocol;
  unsigned long sk_lingertime;
  __u32 sk_ack_backlog;
  __u32 sk_max_ack_backlog;
  void *sk_user_data; /* its low bits are flags: SK_USER_DATA_PSOCK since 5.19 */
};

struct inet_sock {
  struct sock sk;
  __u16 inet_sport; /* network order; outlives skc_num, which is 0 on most transitions to CLOSE */
};

/* A connection that came in; in the accept queue once `sk` is established. */
struct request_sock {
  struct request_sock *dl_next;
  struct sock *sk;
};

struct request_sock_queue {
  struct request_sock *rskq_accept_head;
};

struct inet_connection_sock {
  struct inet_sock icsk_inet;
  struct request_sock_queue icsk_accept_queue;
  __u8 icsk_retransmits;
  __u8 icsk_probes_out;
  __u32 icsk_rto; /* jiffies */
  const struct tcp_ulp_ops *icsk_ulp_ops; /* kTLS, MPTCP */
};

struct tcp_sock {
  struct inet_connection_sock inet_conn;
  __u64 bytes_sent;
  __u64 bytes_retrans;
  __u64 bytes_received;
  __u64 bytes_acked;
  __u32 rcv_tstamp; /* tcp_jiffies32 */
  __u32 rcv_nxt;
  __u32 copied_seq;
  __u32 write_seq;
  __u32 snd_una;
  int linger2;
  _Bool is_mptcp; /* since 5.6, with CONFIG_MPTCP */
};

struct timer_list {
  unsigned long expires; /* jiffies */
};

struct inet_timewait_sock {
  struct sock_common __tw_common;
  unsigned char tw_substate;
  __u16 tw_sport; /* network order */
  struct timer_list tw_timer;
};

struct tcp_timewait_sock {
  struct inet_timewait_sock tw_sk;
};

typedef struct {
  unsigned int val;
} kuid_t;

struct cred {
  kuid_t uid;
};

struct kernfs_node {
  __u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
  struct cgroup *cgroup;
  struct cgroup_subsys_state *parent;
};

struct cgroup {
  struct cgroup_subsys_state self;
  struct kernfs_node *kn;
};

struct css_set {
  struct cgroup *dfl_cgrp;
};

struct signal_struct {
  atomic_t live;
};

struct task_struct {
  unsigned int flags;
  int pid;
  int tgid;
  struct task_struct *group_leader;
  __u64 start_boottime; /* since 5.5; real_start_time before */
  __u64 self_exec_id;   /* 64 bits since 5.7 */
  const struct cred *cred;
  struct signal_struct *signal;
  struct css_set *cgroups;
  char comm[16];
};

struct pt_regs {
  unsigned long sp;
#if defined(__TARGET_ARCH_x86)
  unsigned long orig_ax;
#elif defined(__TARGET_ARCH_arm64)
  int syscallno;
#endif
};

/* The system calls of a task that only looks (asm/unistd.h, of 64-bit programs). */
#if defined(__TARGET_ARCH_x86)
#define syscall_of(regs) ((long)(regs)->orig_ax)
#define NR_READ 0
#define NR_PREAD64 17
#elif defined(__TARGET_ARCH_arm64)
#define syscall_of(regs) ((long)(regs)->syscallno)
#define NR_READ 63
#define NR_PREAD64 67
#endif

struct seq_file;

struct bpf_iter_meta {
  struct seq_file *seq;
};

struct bpf_iter__tcp {
  struct bpf_iter_meta *meta;
  struct sock_common *sk_common;
};

struct bpf_iter__task_file {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
  __u32 fd;
  struct file *file;
};

struct bpf_iter__bpf_sk_storage_map {
  struct bpf_iter_meta *meta;
  void *map;
  struct sock *sk;
  void *value;
};

#pragma clang attribute pop

/* include/net/sock.h, enum sock_flags: bits of skc_flags */
#define SOCK_DEAD 0
#define SOCK_DONE 1
#define SOCK_LINGER 4

/* include/net/sock.h */
#define SOCK_BINDPORT_LOCK 8
#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define SHUTDOWN_MASK 3

/* include/linux/sched.h */
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

/* include/linux/file_ref.h (6.13): what the count reads once the last reference is gone */
#define FILE_REF_DEAD 0xe000000000000000ULL

/* include/linux/skmsg.h (5.19): a sockmap has it */
#define SK_USER_DATA_PSOCK 4

/* include/linux/socket.h */
#define MSG_PEEK 2

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define ECONNABORTED 103

/* include/net/tcp.h: TCP_TIMEWAIT_LEN */
#define TIME_WAIT_MS 60000

/* include/net/tcp_states.h */
enum {
  TCP_ESTABLISHED = 1,
  TCP_SYN_SENT,
  TCP_SYN_RECV,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_TIME_WAIT,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_CLOSING,
  TCP_NEW_SYN_RECV,
};

#endif
