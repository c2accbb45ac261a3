# SPDX-License-Identifier: BSD-2-Clause
"""Transitions that the kernel hides from BPF, as its own event tracing tells them.

Seen on a hardened 6.18: a softirq that happens to run on a thread of pid 1 (there the sandbox's own agent) makes
transitions that reach ftrace and no BPF program at all, with recursion_misses 0. A case into which one falls cannot be
held against the stream; it is played again. Nothing else is a reason to.
"""
import os
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
EVENT = "events/sock/inet_sock_set_state"


class HiddenTransitions:
    """Counts TCP transitions made while a thread of pid 1 was running. Counts nothing where there is no tracefs."""

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

    def begin(self):
        if not self.instance:
            return
        threads = " || ".join(f"common_pid == {thread}" for thread in os.listdir("/proc/1/task"))
        (self.instance / EVENT / "enable").write_text("0")
        (self.instance / EVENT / "filter").write_text(f"protocol == 6 && ({threads})")
        (self.instance / "trace").write_text("")
        (self.instance / EVENT / "enable").write_text("1")

    def count(self):
        if not self.instance:
            return 0
        return (self.instance / "trace").read_text(errors="replace").count("inet_sock_set_state:")

    def end(self):
        if self.instance:
            (self.instance / EVENT / "enable").write_text("0")
            self.instance.rmdir()
            self.instance = None
