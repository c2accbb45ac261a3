/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BPF_STACK_H
#define CLOSEWATCH_BPF_STACK_H

/* User stacks, with --stacks alone. Only ever taken in a call of the process's own, never in softirq. */

#include "maps.bpf.h"

static __always_inline void take_stack(void *ctx, struct cw_stack *stack, const struct user *user) {
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
  long length;

  __builtin_memset(stack, 0, sizeof(*stack));
  length = bpf_get_stack(ctx, stack->address, sizeof(stack->address), BPF_F_USER_STACK);
  if (length <= 0)
    return;
  stack->frames = (__u32)length;
  /* libc's wrappers keep no frame pointer: the one who called is only on the stack, a few words up. */
  for (int i = 0; i < CW_STACK_WORDS; i++) {
    if (bpf_probe_read_user(&stack->word[i], sizeof(stack->word[i]), (void *)(regs->sp + (unsigned long)i * 8)))
      break;
    stack->words += sizeof(stack->word[i]);
  }
  stack->start_ns = user->start_ns;
  stack->exec_id = user->exec_id;
  stack->tgid = user->tgid;
}

/* Of the opening the first stays, of the end's reading the last. */
static __always_inline void keep_stack(void *ctx, struct sock *sk, const struct user *user, int end_read) {
  struct user_stacks *kept = bpf_sk_storage_get(&stacks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

  if (!kept)
    count(&counters.stacks_failed);
  else if (end_read)
    take_stack(ctx, &kept->end_read, user);
  else if (!kept->opened.tgid)
    take_stack(ctx, &kept->opened, user);
}

#endif
