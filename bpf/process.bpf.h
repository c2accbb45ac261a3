/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_PROCESS_H
#define CLOSEWATCH_BPF_PROCESS_H

#include "maps.bpf.h"

/* Ancestors of a cgroup that are looked at: deeper trees are not seen in practice, and the loop needs a bound. */
#define CGROUP_DEPTH 32

static __always_inline void process_of(struct task_struct *task, struct cw_process *process) {
  struct task_struct *leader = task->group_leader;
  const __u64 *comm = (const __u64 *)&leader->comm;

  process->start_ns = leader->start_boottime;
  process->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
  process->tgid = (__u32)task->tgid;
  process->uid = task->cred->uid.val;
  process->exec_id = (__u32)leader->self_exec_id;
  __builtin_memcpy(process->comm, &(__u64){comm[0]}, 8);
  __builtin_memcpy(process->comm + 8, &(__u64){comm[1]}, 8);
  process->reserved = 0;
}

static __always_inline int same_process(const struct cw_process *a, const struct cw_process *b) {
  return a->tgid == b->tgid && a->start_ns == b->start_ns;
}

static __always_inline struct user user_of(const struct task_struct *task) {
  const struct task_struct *leader = task->group_leader;

  return (struct user){
      .start_ns = leader->start_boottime, .tgid = (__u32)task->tgid, .exec_id = (__u32)leader->self_exec_id};
}

static __always_inline int same_user(const struct user *a, const struct user *b) {
  return a->tgid == b->tgid && a->start_ns == b->start_ns && a->exec_id == b->exec_id;
}

/* The process ends, and not one of its threads. */
static __always_inline int is_ending(const struct task_struct *task) {
  return (task->flags & PF_EXITING) && !task->signal->live.counter;
}

static __always_inline int below_cgroup(struct task_struct *task, __u64 id) {
  struct cgroup_subsys_state *css = &task->cgroups->dfl_cgrp->self;

  for (int depth = 0; depth < CGROUP_DEPTH && css; depth++) {
    if (css->cgroup->kn->id == id)
      return 1;
    css = css->parent;
  }
  return 0;
}

/* Do the options on processes let this one through? Values of one option are OR, options are AND. */
static __always_inline int matches_process(struct task_struct *task, const struct cw_process *process) {
  if (config.pids) {
    struct cw_pid_key key = {.start_ticks = process->start_ns / CW_TICK_NS, .tgid = process->tgid};
    if (!bpf_map_lookup_elem(&filter_pids, &key))
      return 0;
  }
  if (config.comms) {
    struct cw_comm_key key = {};
    /* What stands behind the terminating zero is left from earlier names. */
    for (int i = 0; i < CW_COMM_SIZE - 1 && process->comm[i]; i++)
      key.comm[i] = process->comm[i];
    if (!bpf_map_lookup_elem(&filter_comms, &key))
      return 0;
  }
  if (config.cgroup_id && !below_cgroup(task, config.cgroup_id))
    return 0;
  return 1;
}

/* 0 where the ring had no room. */
static __always_inline int emit_process(const struct cw_process *process, enum cw_record_type type) {
  struct cw_process_record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

  if (!record)
    return 0;
  fill_header(&record->header, type, sizeof(*record), bpf_ktime_get_boot_ns());
  record->process = *process;
  /* At once: what /proc says of a short-lived process can only be read while it lives. */
  bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
  return 1;
}

/*
 * An end that is never told of leaves a process that has gone the owner of what its children have: where the ring has
 * no room it waits in a table of its own.
 */
static __always_inline void emit_exit(const struct cw_process *process) {
  struct cw_exit_key key = {.start_ns = process->start_ns, .tgid = process->tgid};
  __u64 now = bpf_ktime_get_boot_ns();

  if (emit_process(process, CW_RECORD_EXIT))
    return;
  if (bpf_map_update_elem(&exits, &key, &now, BPF_ANY))
    count(&counters.lost_others);
  else
    count(&counters.exits_kept);
}

/* Of a program that the ring had no room for: it is told of at its next call. */
#define ANNOUNCE_AGAIN (1ull << 63)

/* Tells of a process once, and again when it has become another program. */
static __always_inline void announce(struct task_struct *task, const struct cw_process *process) {
  __u64 program = (__u64)process->exec_id + 1;
  __u64 *known = bpf_task_storage_get(&announced, task->group_leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

  if (!known) {
    count(&counters.process_failed);
    return;
  }
  if (*known == program)
    return;
  if (emit_process(process, CW_RECORD_PROCESS)) {
    *known = program;
    return;
  }
  if (*known != (program | ANNOUNCE_AGAIN))
    count(&counters.process_failed); /* once, however often it is tried */
  *known = program | ANNOUNCE_AGAIN;
}

#endif
