/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLOSEWATCH_ABI_CONTROL_H
#define CLOSEWATCH_ABI_CONTROL_H

/* What closewatch tells its kernel programs: constants set before the load, and the keys of the filter maps. */

#include <linux/types.h>

#define CW_FILTER_ENTRIES 2048
#define CW_FILTER_PIDS 65536

enum cw_port_side { CW_PORT_LOCAL = 0, CW_PORT_REMOTE = 1 };

struct cw_port_key {
  __u16 side; /* enum cw_port_side */
  __u16 port; /* host order */
};

/* A process as /proc names it: start times there are in clock ticks of 10 ms (USER_HZ is 100 everywhere). */
#define CW_TICK_NS 10000000

struct cw_pid_key {
  __u64 start_ticks;
  __u32 tgid;
  __u32 reserved;
};

/* Ends of processes that are kept until closewatch asks for them, where the ring has no room. */
#define CW_EXITS 65536

struct cw_exit_key {
  __u64 start_ns; /* of the thread group's leader, as cw_process has it */
  __u32 tgid;
  __u32 reserved;
};

/* Network namespaces in which a walk of the descriptors has met sockets. */
#define CW_NAMESPACES 65536

struct cw_comm_key {
  char comm[16]; /* padded with zeroes */
};

/* Read-only to the programs: what is off here is not evaluated, and the verifier drops its code. */
struct cw_config {
  __u64 wake_bytes;  /* wake the reader when so much waits in the ring */
  __u64 tick_ns;     /* length of a jiffy */
  __u64 cgroup_id;   /* 0: any */
  __u32 netns;       /* 0: any */
  __u32 all_states;  /* also the transitions before the close path */
  __u32 ipv4;        /* let IPv4 through (IPv4-mapped too) */
  __u32 ipv6;        /* let IPv6 through */
  __u32 local_ports; /* how many entries of each kind the filter maps have; 0: any */
  __u32 remote_ports;
  __u32 pids;
  __u32 comms;
  __u32 observes_use; /* reads and writes are seen (Linux 6.3) */
  __u32 stacks;       /* keep user stacks */
  __u32 rows_by_tables; /* rows are told by the tables of each network namespace */
  __u32 reserved;
};

#endif
