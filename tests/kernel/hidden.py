# SPDX-License-Identifier: BSD-2-Clause
"""Transitions that the kernel hides from BPF, as its own event tracing tells them.

Seen on a hardened 6.18: a softirq that happens to run on a thread of pid 1 (there the sandbox's own agent) makes
transitions that reach ftrace and no BPF program at all, with recursion_misses 0. A case into which one falls cannot be
held against the stream; it is played again. Nothing else is a reason to.
"""
import os
import time
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
EVENT = "events/sock/inet_sock_set_state"


class HiddenTransitions:
    """Counts TCP transitions made while a thread of pid 1 was running. Counts nothing where there is no tracefs.

    One for the whole run, also where cases are played side by side: each asks for what was seen in its own time.
    """

    def __init__(self):
        self.instance = None
        if not (TRACEFS / "instances").is_dir():
            os.system(f"mount -t tracefs none {TRACEFS} 2>/dev/null")
        try:
            instance = TRACEFS / f"instances/cw-test-{os.getpid()}"
            instance.mkdir()
        except OSError:
            return
        self.instance = instance
        (instance / "trace_clock").write_text("mono")  # time.monotonic()
        self.begin()
        (instance / EVENT / "enable").write_text("1")

    def begin(self):
        """The time from which on it will be asked; threads of pid 1 may have come since the last."""
        if self.instance:
            threads = " || ".join(f"common_pid == {thread}" for thread in os.listdir("/proc/1/task"))
            (self.instance / EVENT / "filter").write_text(f"protocol == 6 && ({threads})")
        return time.monotonic()

    def count(self, began):
        if not self.instance:
            return 0
        lines = (self.instance / "trace").read_text(errors="replace").splitlines()
        seen = (line.partition(": inet_sock_set_state:") for line in lines)
        # "  task-pid  [cpu] flags  seconds: inet_sock_set_state: …"
        return sum(bool(event) and float(head.split()[-1]) >= began for head, event, _ in seen)

    def end(self):
        if self.instance:
            (self.instance / EVENT / "enable").write_text("0")
            self.instance.rmdir()
            self.instance = None
