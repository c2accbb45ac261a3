# SPDX-License-Identifier: BSD-2-Clause
"""Innocents: what only looks like a leak. They run beside the leaks of cases_leak.py, of the same age, and are found as
the kind that they are; no finding on the way to the end ever calls one a leak.
"""
from leaklib import Group, Workload

STUCK_IGNORED, STUCK_UNREAD = ("eof_ignored", "stuck"), ("eof_unread", "stuck")
YOUNG = (("eof_ignored", "ok"), ("eof_unread", "ok"))

INNOCENTS = [
    Workload("innocent_stale_pool", "pool", side="connect", must={STUCK_UNREAD: Group(10, "unread")}),
    Workload("innocent_slow_server", "slow", may=(*YOUNG, STUCK_IGNORED, ("never_accepted", "ok")), owner=None),
    Workload("innocent_slow_server_under_load", "slow", (1,),
             may=(*YOUNG, STUCK_IGNORED, ("never_accepted", "ok")), owner=None),
    Workload("innocent_reply_goes_on", "replying", must={("replying", "ok"): Group(1, "read")}),
    Workload("innocent_busy_worker", "busy", (60000,), must={STUCK_UNREAD: Group(1, "unread")}),
    Workload("innocent_busy_worker_closes", "busy", (5000,), resolved="closed"),
    Workload("innocent_stalled_upstream", "stalled", must={STUCK_UNREAD: Group(3, "unread")}),
    Workload("innocent_full_accept_queue", "full-queue", owner="innocent_full_accept_queue", holders=False,
             must={("never_accepted", "stuck"): Group(4, "unread")}),
    Workload("innocent_postmaster", "postmaster", owner=None,
             may=(*YOUNG, STUCK_IGNORED, ("never_accepted", "ok"))),
    Workload("innocent_inetd_service", "inetd", ("inetd_service",), must={STUCK_IGNORED: Group(1, "read")}),
    Workload("innocent_privilege_separation", "privsep", owner="unprivileged",
             must={STUCK_IGNORED: Group(1, "read")}),
    Workload("innocent_passed_on", "passed", must={STUCK_IGNORED: Group(1, "read")}),
    Workload("innocent_spliced", "spliced", must={STUCK_IGNORED: Group(1)}),
    Workload("innocent_copy_in_a_child", "copied", owner="innocent_copy_in_a_child",
             must={STUCK_UNREAD: Group(1, "unread")}),
    Workload("innocent_late_accept", "late-accept", (5000,), resolved="accepted closed"),
    Workload("innocent_reset_and_closed", "dead-closed", silent=True),
    Workload("innocent_refused", "refused", side="connect", silent=True),
    Workload("innocent_in_flight", "in-flight", must={("in_flight", "stuck"): Group(1, "unread")}, owner=None),
    Workload("innocent_io_uring", "uring", must={STUCK_IGNORED: Group(1, "read")}),
    Workload("innocent_io_uring_registered", "uring-fixed", owner=None,
             must={("in_flight", "stuck"): Group(1, "read")}),
    Workload("innocent_io_uring_registered_closes", "uring-closes", (4500,), resolved="closed"),
    Workload("innocent_peeking", "peeking", must={STUCK_UNREAD: Group(1, "peeked")}),
    Workload("innocent_full_window", "write-blocked", must={("write_blocked", "stuck"): Group(1, "read")}),
    Workload("innocent_peer_vanished", "vanished", ("$PEER", "10.77.0.1"),
             must={("write_blocked", "stuck"): Group(1, "read")}),
]
