/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_MAPS_H
#define CLOSEWATCH_BPF_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#include <closewatch/abi/control.h>
#include <closewatch/abi/record.h>

const volatile struct cw_config config = {};

/* Written by the programs with atomic adds, read by closewatch through the mapping of .bss. */
struct cw_counters counters = {};

/* The number of the walk under way, set by closewatch before each; 0 is no walk. */
__u32 walk = 0;

/*
 * Who walks the descriptors: ourselves. A walk holds each file that it visits, so that a close() meanwhile leaves the
 * last reference, and with it the close, to us.
 */
__u32 walker = 0;

/* The walk under way also emits rows of states off the close path. */
__u32 census = 0;

/* Files that the walk of the descriptors under way has looked at since its reader was last let go on. */
__u32 files_looked_at = 0;

/*
 * Where rows are told by tables: the last walk of the descriptors that met what they do not have (TCP has ended it, or
 * its namespace found no room in `held_in`).
 */
__u32 beyond_tables = 0;

/* The walk of the TCP tables under way also emits who has opened a connection since; 0: nobody. */
__u64 opened_since = 0;

/* A program of a process that has read or written a socket. */
struct user {
  __u64 start_ns;
  __u32 tgid;
  __u32 exec_id;
};

/* All that had come into the ring, in bytes, when its reader was last woken for what waits there. */
__u64 woken_at = 0;

/* What is known of a socket. A child that comes in on a listener starts with a copy of the listener's. */
struct socket_state {
  /*
   * First what a walk looks at in every socket of the machine: 56 bytes are what is left of the kernel's own line of
   * the cache, and a walk is as long as the lines are that it fetches.
   */
  struct cw_process owner;
  __u32 owner_walk; /* the last walk that met the owner among the holders */
  __u8 met_state; /* the state that it met the socket in */
  __u8 attribution;
  __u8 closer_by;
  __u8 matched; /* the filters on processes let it through, from then on for good */
  struct cw_tuple tuple;
  __u64 opened_ns;
  __u64 entered_ns; /* into `state`; 0 where that was not seen */
  __u64 states_ns[CW_STATES];
  __u64 listener_cookie;
  struct cw_process closer;
  __u64 opener_start_ns;
  __u64 used_jiffies; /* the last read or write; 0: none */
  struct user users[CW_USERS]; /* the last of them first */
  __u32 opener_tgid;
  __u32 owner_version;  /* odd while `owner` is being written */
  __u32 closer_version; /* likewise `closer` */
  __u32 users_busy;     /* 1 while `users` is being written */
  __u32 flags;     /* enum cw_flag, of the transition under way */
  __u32 read_up_to; /* copied_seq after the last read seen */
  __u32 unread;    /* rcv_nxt - copied_seq, of the transition under way */
  __u32 row_walk; /* the last walk that emitted its row */
  __u32
      state; /* TCP_ESTABLISHED …; 32 bits, which an atomic exchange takes at the least; 0 is a socket not known yet */
  __u8 previous; /* the state before, for FIN_WAIT2 → FIN_WAIT2 */
  __u8 handled; /* the first copy of the program has seen the transition under way */
  __u8 reset_sent;
  __u8 fins; /* CW_FLAG_LOCAL_FIN, CW_FLAG_PEER_FIN, shifted by FIN_SHIFT */
  __u8 call; /* enum cw_call, of the transition under way */
  __u8 releasing; /* the call that gives the last reference up, if one does */
  __u8 from; /* and its states */
  __u8 to;
  __u8 owner_matched; /* the filters on processes let the owner through: what a listener's children inherit */
  __u8 user_count; /* CW_USERS + 1: more than are kept */
  __u8 users_missed; /* one of them is perhaps not among those kept */
  __u8 eof; /* enum cw_eof */
  __u8 use_observed;
  __u8 fin_acked; /* all that was sent, the FIN included, is acknowledged */
};

/*
 * One is made for every connection and zeroed: the kernel puts 72 bytes before it, and what does not fit into 512 then
 * comes from the next larger slab.
 */
CW_ASSERT(sizeof(struct socket_state) <= 512 - 72, "socket_state");
CW_ASSERT(__builtin_offsetof(struct socket_state, tuple) == 64 - 8, "what walks look at");

#define FIN_SHIFT 9
CW_ASSERT(CW_FLAG_LOCAL_FIN >> FIN_SHIFT == 1, "FIN_SHIFT");

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
  __type(key, int);
  __type(value, struct socket_state);
} sockets SEC(".maps");

/* What walks know of a socket that somebody else than its owner holds, or held. */
struct walk_state {
  struct cw_process holder; /* the oldest holder but the owner that walk `holder_walk` met */
  __u32 absent_walk; /* the last walk that met others, and not the owner */
  __u32 holder_walk;
  __u8 holder_matched; /* the filters on processes let `holder` through */
};

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct walk_state);
} walked SEC(".maps");

/*
 * Sockets (their addresses, which are compared and not followed) in the accept queues of listeners that the filters on
 * processes let through: who has nobody matches by whose listener it waits on.
 */
struct queue_place {
  __u64 listener_cookie;
  __u32 walk; /* that met it there */
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, __u64);
  __type(value, struct queue_place);
} queues SEC(".maps");

/* Which program of a process was announced: its exec_id + 1. */
struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u64);
} announced SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 8 << 20);
} events SEC(".maps");

/* Where rows are told by tables: in which network namespaces to look for what is held, by the number of the walk. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CW_NAMESPACES);
  __type(key, __u32);
  __type(value, __u32);
} held_in SEC(".maps");

/* Ends of processes that the ring had no room for. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CW_EXITS);
  __type(key, struct cw_exit_key);
  __type(value, __u64); /* when */
} exits SEC(".maps");

/* Rows of walks have a ring of their own, so that a walk never takes room from events. */
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4 << 20);
} rows SEC(".maps");

/* Only with --stacks. */
struct user_stacks {
  struct cw_stack opened;
  struct cw_stack end_read;
};

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct user_stacks);
} stacks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CW_FILTER_ENTRIES);
  __type(key, struct cw_port_key);
  __type(value, __u8);
} filter_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CW_FILTER_PIDS);
  __type(key, struct cw_pid_key);
  __type(value, __u8);
} filter_pids SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CW_FILTER_ENTRIES);
  __type(key, struct cw_comm_key);
  __type(value, __u8);
} filter_comms SEC(".maps");

static __always_inline void fill_header(struct cw_header *header, enum cw_record_type type, __u32 size, __u64 time_ns) {
  header->version = CW_ABI_VERSION;
  header->type = (__u16)type;
  header->size = size;
  header->time_ns = time_ns;
}

static __always_inline void count(__u64 *counter) { __sync_fetch_and_add(counter, 1); }

/*
 * Once for each `wake_bytes` that come in, and not at every record while a reader that was woken waits for its turn: a
 * wake-up is an interrupt that the CPU sends to itself, microseconds in a virtual machine.
 */
static __always_inline unsigned long wake_flag(void) {
  __u64 last = *(volatile __u64 *)&woken_at, come_in;

  if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < config.wake_bytes)
    return BPF_RB_NO_WAKEUP;
  come_in = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
  if (come_in - last < config.wake_bytes || __sync_val_compare_and_swap(&woken_at, last, come_in) != last)
    return BPF_RB_NO_WAKEUP;
  return BPF_RB_FORCE_WAKEUP;
}

#endif
