/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef CLOSEWATCH_BENCH_FLOOR_H
#define CLOSEWATCH_BENCH_FLOOR_H

/* As much as closewatch keeps of a socket (struct socket_state). */
#define FLOOR_STATE_BYTES 440

#endif
