# SPDX-License-Identifier: BSD-2-Clause
"""Of the leaks and their innocent twins of tests/kernel those that an emulated processor can have side by side, with
the same demands. Left out is what has to grow at a pace of its own, and io_uring, which older kernels work off elsewhere.
"""
from dataclasses import replace

from case import Case
from cases_innocent import INNOCENTS
from cases_leak import LEAKS
from leaklib import Gathering

NAMES = {"leak_forgotten", "leak_forgotten_connecting", "leak_one_of_two_descriptors", "leak_inherited_fork",
         "leak_inherited_exec", "leak_dead_by_reset", "innocent_stale_pool", "innocent_full_accept_queue",
         "innocent_passed_on", "innocent_spliced", "innocent_copy_in_a_child", "innocent_refused", "innocent_in_flight",
         "innocent_peeking", "innocent_full_window", "innocent_peer_vanished"}
TOGETHER = Gathering([replace(workload) for workload in (*LEAKS, *INNOCENTS) if workload.name in NAMES], seconds=7)
CASES = [Case(f"few_{case.name}", play=case.play, netns=case.netns) for case in TOGETHER.cases()]
