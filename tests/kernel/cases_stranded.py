# SPDX-License-Identifier: BSD-2-Clause
"""Sockets of a network namespace that no process is in and that has no name any more: no walk leads into it."""
import subprocess
import sys
import time
from pathlib import Path

import ledgerlib as lib
from case import Case
from harness import Failure, poll
from leaklib import JUDGING, settled, start_report

PROGRAM = Path(__file__).resolve().parent.parent / "programs" / "stranded.py"


def strand(stage, what):
    """Its process, and the port over there."""
    here, there = stage.netns[""], stage.netns["b"]
    lib.link(here, there, 1)
    words = here.command(sys.executable, "-B", str(PROGRAM), what, there.path, "10.78.1.1")
    process = stage.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline() or 0)
    if not port:
        raise Failure("stranded.py does not start")
    there.delete()
    return process, port


def of_port(events, port):
    return [event for event in events if event["type"] in ("transition", "closed")
            and event["conn"]["local"]["port"] == port and event["conn"]["local"]["address"] == "10.78.1.2"]


def orphan(stage):
    """In FIN_WAIT1, and nobody's: it has not ended because nobody can go and look."""
    watch = stage.start_watch(*JUDGING, scope=None)
    process, port = strand(stage, "orphan")
    time.sleep(3)  # six sweeps
    told = of_port(watch.events(), port)
    if [(event["type"], event.get("to")) for event in told] != [("transition", "FIN_WAIT1")]:
        raise Failure(f"it is in FIN_WAIT1, and told was: {told}")
    process.stdin.write("\n")
    process.stdin.flush()
    poll(lambda: any(event["type"] == "closed" for event in of_port(watch.events(), port)), "its end")
    if watch.stop() != 0:
        raise Failure(watch.stderr())
    # Then its namespace goes, and a bucket that it has left there.
    left = of_port(watch.events(), port)[1]
    if (left["type"], left["from"], left["observed"]) != ("transition", "FIN_WAIT1", "event"):
        raise Failure(f"not as the kernel told it: {left}")


def held(stage):
    """In CLOSE_WAIT from before the start, a descriptor of a process elsewhere: judged as any other."""
    process, port = strand(stage, "held")
    report = settled(start_report(stage, "--json", scope=None))
    groups = [group for row in report["processes"] for group in row["close_wait"]["groups"]
              if any(one["conn"]["local"]["port"] == port for one in group["sockets"])]
    if [(group["verdict"], group["count"]) for group in groups] != [("stuck", 1)]:
        raise Failure(f"one is stuck, and told is: {groups}")
    holders = [holder["pid"] for group in groups for one in group["sockets"] for holder in one["holders"]]
    if holders != [process.pid]:
        raise Failure(f"{process.pid} has it, and not {holders}")


CASES = [
    Case("stranded_orphan", play=orphan, netns=("", "b")),
    Case("stranded_and_held", play=held, netns=("", "b")),
]
