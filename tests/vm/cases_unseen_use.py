# SPDX-License-Identifier: BSD-2-Clause
"""A kernel that does not tell of reads and writes (before 6.3): it is said so, and no verdict rests on use."""
import os
import signal
import time

from case import Case
from harness import Failure, poll, sees_use
from leaklib import JUDGING, Workload, document, groups_of, start_program, start_report, summary

# The port of each.
MODES = {mode: 7001 + number for number, mode in enumerate(
    ("forgot", "inherited-fork", "inherited-exec", "inherited-own-exec", "peeking", "spliced", "dead-reset", "uring"))}


def demand(condition, text):
    if not condition:
        raise Failure(text)


def judged(trace):
    """The ports of which something was found."""
    return {event["conn"]["local"]["port"] for event in trace.events() if event["type"] == "finding"}


def nothing_rests_on_use(stage):
    demand(not sees_use(), "this kernel tells of reads and writes")
    watch = start_report(stage, "--json", "-v", "-d", "1h")
    trace = stage.start_watch(*JUDGING, "--events", "finding")
    for program in [start_program(stage, mode, mode, port) for mode, port in MODES.items()]:
        program.wait_said("in_place", patience=60)
    poll(lambda: judged(trace) == set(MODES.values()), "a finding about each", patience=60)
    time.sleep(2)  # what is inherited would have become a leak by now
    os.kill(watch.pid, signal.SIGINT)
    report = document(watch)
    demand(trace.stop() == 0, "closewatch trace failed")
    groups = [(row, group) for row in report["processes"] for group in row["close_wait"]["groups"]]
    findings = [event for event in trace.events() if event["type"] == "finding"]
    ends = {socket["eof"] for _, group in groups for socket in group["sockets"]} | {event["eof"] for event in findings}
    kinds = {group["kind"] for _, group in groups} | {event["kind"] for event in findings}
    demand("consumed" in ends and ends <= {"consumed", "unread", "unknown"}, f"the end is said to be {ends}")
    demand("inherited" not in kinds and {"eof_ignored", "eof_unread", "dead_unclosed"} <= kinds, f"found {kinds}")
    for mode, port in MODES.items():
        found = groups_of(report["processes"], Workload(mode, mode, port=port))
        demand(found, f"nothing was found of {mode}")
        accused = {group["kind"] for _, group in found if group["verdict"] == "leak"}
        # Whether what is forgotten is past the workload's habit by now is a matter of how fast this machine is.
        demand(accused <= {"eof_ignored" if mode == "forgot" else "dead_unclosed"}, f"{mode}: {summary(found)}")
    said = watch.stderr()
    demand(said.count("sock_recv_length") == 1 and "6.3" in said, f"of what is missing it says: {said}")


CASES = [Case("nothing_rests_on_use", play=nothing_rests_on_use)]
