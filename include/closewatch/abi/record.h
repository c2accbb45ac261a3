/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLOSEWATCH_ABI_RECORD_H
#define CLOSEWATCH_ABI_RECORD_H

/*
 * What crosses from the kernel to closewatch: the records of the ring buffers and of the iterators.
 * C that C++ reads too. Fixed-width fields, natural alignment of at most 8, no holes; the asserts below hold the
 * layout, so that a recording made on one machine is read on another.
 *
 * Times are nanoseconds of CLOCK_BOOTTIME (bpf_ktime_get_boot_ns()); 0 means not known. Ports are in host order.
 * Addresses are 16 bytes in network order; IPv4 stands in the first four of them, the rest is 0.
 */

#include <linux/types.h>

#ifdef __cplusplus
#define CW_ASSERT(condition, text) static_assert(condition, text)
#else
#define CW_ASSERT(condition, text) _Static_assert(condition, text)

#endif

#define CW_ABI_VERSION 1
#define CW_COMM_SIZE 16
/* TCP states number 1 to 12 (include/net/tcp_states.h); 16 so that a masked index is always in range. */
#define CW_STATES 16

enum cw_record_type {
  CW_RECORD_TRANSITION = 1, /* a state change that leaves the socket with its process */
  CW_RECORD_CLOSE = 2,      /* the change to CLOSE: a transition with the totals of the connection behind it */
  CW_RECORD_RESET = 3,      /* a RST was sent for a socket that had just gone from FIN_WAIT1 or 2 to CLOSE */
  CW_RECORD_PROCESS = 4,    /* first sight of a process (or of its new program, after exec) in a call on a socket */
  CW_RECORD_EXIT = 5,       /* such a process ended */
  CW_RECORD_SOCKET = 6,     /* a row of the walk over the sockets */
  CW_RECORD_BUCKET = 7,     /* a row of the walk over the TIME_WAIT buckets */
  CW_RECORD_HOLDER = 8,     /* a row of the walk over the descriptors */
  CW_RECORD_RELEASE = 9,    /* the last descriptor went of a socket that TCP had ended before */
  CW_RECORD_STACKS = 10,    /* before the row of a socket: the user stacks kept of it */
  CW_RECORD_PORT = 11,      /* a socket that takes a local port, met by a walk */
};

/* How the process of a record is known (contract, section 2). */
enum cw_attribution {
  CW_BY_UNKNOWN = 0,
  CW_BY_LISTENER = 1, /* it called listen(), and the connection came in there */
  CW_BY_OPENER = 2,   /* it connected, or it is the first to use what was accepted */
  CW_BY_HOLDER = 3,   /* it has the descriptor: seen using it, or found by a walk */
  CW_BY_CLOSER = 4,   /* it made the closing call */
};

enum cw_call {
  CW_CALL_NONE = 0, /* the network or a timer */
  CW_CALL_CONNECT = 1,
  CW_CALL_LISTEN = 2,
  CW_CALL_CLOSE = 3,      /* close(), or exec() of a close-on-exec descriptor */
  CW_CALL_SHUTDOWN = 4,   /* shutdown() */
  CW_CALL_EXIT = 5,       /* the process ended with the socket open */
  CW_CALL_DISCONNECT = 6, /* connect(AF_UNSPEC), or shutdown() of a socket that listens or connects */
  CW_CALL_KILL = 7,       /* SOCK_DESTROY: `ss -K` */
};

enum cw_role {
  CW_ROLE_UNKNOWN = 0,
  CW_ROLE_CONNECT = 1,
  CW_ROLE_ACCEPT = 2,
};

/* What a read is known to have returned of the peer's FIN. */
enum cw_eof {
  CW_EOF_NOT_SEEN = 0,
  CW_EOF_PEEKED = 1, /* 0, with MSG_PEEK */
  CW_EOF_READ = 2,   /* 0, with nothing left */
};

/* Bits of cw_transition.flags: what the kernel's socket said at the moment of the transition. */
enum cw_flag {
  CW_FLAG_DEAD = 1u << 0,         /* SOCK_DEAD: no process has it any more (an orphan) */
  CW_FLAG_DONE = 1u << 1,         /* SOCK_DONE: the peer's FIN was processed (tcp_fin()) */
  CW_FLAG_NO_SOCKET = 1u << 2,    /* sk_socket is NULL: not accepted yet, or an orphan */
  CW_FLAG_LINGER_ZERO = 1u << 3,  /* SO_LINGER is on with a time of 0 */
  CW_FLAG_LINGER2_NEGATIVE = 1u << 4,
  CW_FLAG_RESET_SENT = 1u << 5,   /* a RST had been sent before this transition */
  CW_FLAG_TABLE_FULL = 1u << 6,   /* as many TIME_WAIT buckets as tcp_max_tw_buckets allows: perhaps no bucket */
  CW_FLAG_MPTCP = 1u << 7,        /* a subflow of an MPTCP connection (tcp_sock.is_mptcp) */
  CW_FLAG_RCV_SHUTDOWN = 1u << 8, /* sk_shutdown & RCV_SHUTDOWN: data that comes now is answered with a RST */
  CW_FLAG_LOCAL_FIN = 1u << 9,    /* our FIN was the first, or crossed the peer's */
  CW_FLAG_PEER_FIN = 1u << 10,    /* the peer's was the first, or crossed ours */
  CW_FLAG_MATCHED = 1u << 11,     /* the filters on processes let it through */
  CW_FLAG_HIDDEN = 1u << 12,      /* filtered out: told for what others' attribution needs of a listener */
  CW_FLAG_OWNER_MET = 1u << 13,   /* of a row: its walk met the owner among the holders */
  CW_FLAG_NO_FILE = 1u << 14,     /* of a row: a struct socket without a file, the kernel's own */
  CW_FLAG_USE_OBSERVED = 1u << 15, /* of a row: opened under watch, no read or write of it went unseen */
  CW_FLAG_READ_BY_KERNEL = 1u << 16, /* of a row: kTLS or a sockmap reads it, copied_seq says nothing */
  CW_FLAG_PORT_BOUND = 1u << 17, /* of a row, or a close: bind() was called for its local port (SOCK_BINDPORT_LOCK) */
};

struct cw_header {
  __u16 version; /* CW_ABI_VERSION */
  __u16 type;    /* enum cw_record_type */
  __u32 size;    /* of the whole record, this header included */
  __u64 time_ns;
};
CW_ASSERT(sizeof(struct cw_header) == 16, "cw_header");

/* A process: tgid 0 stands for none. All of the thread group's leader. */
struct cw_process {
  __u64 start_ns;  /* task_struct.start_boottime of the leader */
  __u64 cgroup_id; /* of the unified hierarchy */
  __u32 tgid;      /* in the initial pid namespace */
  __u32 uid;       /* in the initial user namespace */
  __u32 exec_id;   /* task_struct.self_exec_id, low half: how often it has called exec() */
  char comm[CW_COMM_SIZE]; /* as the kernel keeps it: any bytes, terminated by a 0 */
  __u32 reserved;
};
CW_ASSERT(sizeof(struct cw_process) == 48, "cw_process");

struct cw_tuple {
  __u32 netns;      /* inode of the network namespace */
  __u16 local_port; /* 0 where the kernel has not chosen one yet */
  __u16 peer_port;
  __u8 family; /* 4 or 6, as the socket says; an IPv4-mapped address is turned into IPv4 by the reader */
  __u8 role;   /* enum cw_role */
  __u8 reserved[6];
  __u8 local[16];
  __u8 peer[16];
};
CW_ASSERT(sizeof(struct cw_tuple) == 48, "cw_tuple");

struct cw_transition {
  struct cw_header header;
  __u64 cookie;          /* bpf_get_socket_cookie() */
  __u64 listener_cookie; /* of the listener that it came in on; of itself, for a listener; 0 where not known */
  struct cw_tuple tuple;
  __u64 entered_ns; /* when it entered the state `from` */
  __u32 flags;      /* enum cw_flag */
  __s32 error;      /* sk_err, an errno */
  __u8 from;        /* TCP_ESTABLISHED … */
  __u8 to;
  __u8 attribution; /* enum cw_attribution: how `process` is known */
  __u8 call;        /* enum cw_call: what made this transition */
  __u8 closer_by;   /* enum cw_call of the latest closing call: close, shutdown, exit, or none so far */
  __u8 reserved[3];
  __u32 unread; /* rcv_nxt - copied_seq: the peer's FIN counts as one */
  __u32 orphan_ms; /* with the change from FIN_WAIT2 to CLOSE: how long a bucket would be kept for the peer's FIN */
  struct cw_process process; /* the one responsible */
  struct cw_process actor;   /* who made the call, where a call did it */
};
CW_ASSERT(sizeof(struct cw_transition) == 208, "cw_transition");
CW_ASSERT(__builtin_offsetof(struct cw_transition, process) == 112, "cw_transition.process");

struct cw_close {
  struct cw_transition transition;
  __u64 opened_ns; /* start of the connection: connect(), or the SYN that came in */
  __u64 states_ns[CW_STATES]; /* time spent in each state, by its number */
  __u64 bytes_sent;           /* payload, without retransmissions */
  __u64 bytes_received;       /* as tcp_sock.bytes_received has it: the peer's FIN counts as one */
};
CW_ASSERT(sizeof(struct cw_close) == 360, "cw_close");

struct cw_reset {
  struct cw_header header;
  __u64 cookie;
};
CW_ASSERT(sizeof(struct cw_reset) == 24, "cw_reset");

/* CW_RECORD_PROCESS and CW_RECORD_EXIT */
struct cw_process_record {
  struct cw_header header;
  struct cw_process process;
};
CW_ASSERT(sizeof(struct cw_process_record) == 64, "cw_process_record");

/* A row: the state of a socket at header.time_ns. */
struct cw_socket_row {
  struct cw_header header;
  __u64 cookie;
  __u64 listener_cookie;
  struct cw_tuple tuple;
  __u64 entered_ns;
  __u64 opened_ns;
  __u32 flags;
  __u8 state;
  __u8 attribution;
  __u8 eof;   /* enum cw_eof */
  __u8 users; /* processes seen to read or write it; CW_USERS + 1: more than are kept, or one was missed */
  struct cw_process process;
  __u64 acked_bytes; /* tcp_sock.bytes_acked */
  __u64 received_ns; /* the last segment of the peer's (rcv_tstamp), to a jiffy */
  __u64 used_ns;     /* the last read or write seen, to a jiffy; 0: none */
  __u32 unread;      /* rcv_nxt - copied_seq: the peer's FIN counts as one */
  __u32 unsent;      /* write_seq - snd_una: our FIN counts as one */
  __u32 backlog;     /* of LISTEN: the accept queue's length, and its limit */
  __u32 backlog_max;
  __u8 retransmits; /* icsk_retransmits */
  __u8 probes;      /* icsk_probes_out */
  __u8 reserved[6];
};
CW_ASSERT(sizeof(struct cw_socket_row) == 200, "cw_socket_row");

/* Processes that are kept of those that read or wrote a socket. */
#define CW_USERS 4

/* A descriptor of a socket in CLOSE_WAIT, in LISTEN, or dead. */
struct cw_holder_row {
  struct cw_header header;
  __u64 cookie;
  struct cw_process process;
  __u32 fd;
  __u8 used;      /* it has read or written the socket, with the program that it is now */
  __u8 used_last; /* and nobody has done so since */
  __u8 reserved[2];
};
CW_ASSERT(sizeof(struct cw_holder_row) == 80, "cw_holder_row");

struct cw_release {
  struct cw_header header;
  __u64 cookie;
  struct cw_process actor; /* tgid 0 where it was no process's doing */
  __u8 call;               /* enum cw_call: close, or exit */
  __u8 reserved[7];
};
CW_ASSERT(sizeof(struct cw_release) == 80, "cw_release");

/* Frames of a user stack, and words at its end: the caller of libc's wrapper is among these, and not in the frames. */
#define CW_STACK_FRAMES 24
#define CW_STACK_WORDS 16

struct cw_stack {
  __u64 start_ns; /* whose it is; tgid 0: none was taken */
  __u32 tgid;
  __u32 exec_id;
  __u32 frames; /* bytes of addresses that are set */
  __u32 words;  /* bytes of words that are set */
  __u64 address[CW_STACK_FRAMES];
  __u64 word[CW_STACK_WORDS];
};
CW_ASSERT(sizeof(struct cw_stack) == 344, "cw_stack");

struct cw_stacks_row {
  struct cw_header header;
  __u64 cookie;
  struct cw_stack opened;   /* connect(), or the first use of what was accepted */
  struct cw_stack end_read; /* the last read that returned the end */
};
CW_ASSERT(sizeof(struct cw_stacks_row) == 712, "cw_stacks_row");

/*
 * Of iter/tcp: a connection opened since the last walk of its namespace, or one that is not accepted yet (cookie 0).
 * Of the descriptors' walk: a socket that was bound to a port and not connected; the peer is 0 then.
 */
struct cw_port_row {
  struct cw_header header;
  __u64 cookie;
  struct cw_tuple tuple;
  __u64 opened_ns; /* 0: not known */
};
CW_ASSERT(sizeof(struct cw_port_row) == 80, "cw_port_row");

/* A bucket of iter/tcp: a connection in TIME_WAIT, or an orphan in FIN_WAIT2. */
struct cw_bucket_row {
  struct cw_header header;
  __u64 cookie;
  struct cw_tuple tuple;
  __s64 expires_in_ns; /* until its timer fires */
  __u8 substate;       /* 5 FIN_WAIT2 or 6 TIME_WAIT (inet_timewait_sock.tw_substate) */
  __u8 reserved[7];
};
CW_ASSERT(sizeof(struct cw_bucket_row) == 88, "cw_bucket_row");

/* Names what the kernel side lost or could not do; each counter reaches the user (gap events, -v). */
struct cw_counters {
  __u64 lost_transitions; /* no room in the ring for a transition: one event each */
  __u64 lost_others;      /* no room for another record: a reset, a release, a hidden listener, an exit */
  __u64 storage_failed;   /* no socket storage to be had: one transition each */
  __u64 missed;           /* the state kept did not fit the transition's: at least one transition not seen */
  __u64 rows_refused;     /* no room for a row of a walk; the walk is repeated */
  __u64 nested;           /* transitions caught by the second copy */
  __u64 process_failed;   /* no room for a process: it was announced late or not at all, or a child is not followed */
  __u64 stacks_failed;    /* no socket storage for a stack */
  __u64 exits_kept;       /* ends of processes that wait in `exits` instead of the ring: no loss */
};

#endif
