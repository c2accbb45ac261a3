# SPDX-License-Identifier: BSD-2-Clause
"""What an emulated processor has time for: a loss of hundreds of events, and a recording of a few sockets."""
import os
import signal
import subprocess
import time

import compare
from case import Case
from cases_flood import kernel_transitions, name_is_wrong, read_counter, start_counter, story
from harness import Failure, poll
from leaklib import JUDGING, Workload, document, groups_of, start_program, start_report, summary

COUNT = 400


def demand(condition, text):
    if not condition:
        raise Failure(text)


def lossy_ring(stage):
    """Stopped while the ring overflows: what was told and what was lost are what was made, and the tables agree with
    the kernel's afterwards.
    """
    netns = stage.netns[""]
    watch = stage.start_watch("--all-states", "--ring", "16K", "--sweep", "500ms")
    counter = start_counter(stage)
    os.kill(watch.pid, signal.SIGSTOP)
    try:
        netns.run(stage.program("flood"), str(COUNT), stage.other_cpu, stage.cpu)
    finally:
        os.kill(watch.pid, signal.SIGCONT)
    poll(lambda: [e for e in watch.events() if e["type"] == "gap"], "a gap", patience=20)
    poll(lambda: watch.events()[-1]["type"] == "snapshot_end", "the walk behind the gap", patience=20)
    counted, misses = read_counter(counter)
    demand(watch.stop(patience=20) == 0, f"closewatch ended with {watch.process.returncode}")
    events = watch.events()
    compare.check_stream(events, gaps_allowed=True)
    gaps, lost = [event for event in events if event["type"] == "gap"], events[-1]["lost"]
    demand(lost and sum(gap["lost"] for gap in gaps) == lost and {gap["where"] for gap in gaps} == {"ring"},
           f"lost {lost}, by the gaps {gaps}")
    # Up to 6.12 a child's first step is not told: it has the cookie of its listener and no peer.
    made = kernel_transitions(events) + lost
    demand(made in range(counted, counted + misses + 1) or made + COUNT in range(counted, counted + misses + 1),
           f"{made} told and lost, {counted} counted and {misses} missed by the counter")
    wrong = [event for event in events if "conn" in event and name_is_wrong(event)]
    demand(not wrong, f"{len(wrong)} wrongly named, as\n{story(wrong[:3])}")
    behind = events[max(i for i, event in enumerate(events) if event["type"] == "gap"):]
    told = {compare.side(e["conn"], "local") for e in behind if e["type"] == "snapshot" and e["state"] == "TIME_WAIT"}
    truth = {local for state, local, _ in netns.ss() if state == "TIME_WAIT"}
    demand(told == truth, f"behind the gap {len(told)} in TIME_WAIT, by ss {len(truth)}")


def recording_replays(stage):
    """A recording made here gives the report and the stream again, byte for byte."""
    folder = stage.folder
    report = start_report(stage, "--json", "-d", "1h", "--record", str(folder / "report.cwr"))
    trace = stage.start_watch(*JUDGING, "--record", str(folder / "trace.cwr"))
    start_program(stage, "forgot", "forgot", 7001)
    poll(lambda: sum(e["type"] == "finding" and e["verdict"] == "leak" for e in trace.events()) == 3, "three leaks",
         patience=60)
    time.sleep(1)  # the report sweeps at a moment of its own
    os.kill(report.pid, signal.SIGINT)
    groups = groups_of(document(report)["processes"], Workload("forgot", "forgot", port=7001))
    demand([(g["kind"], g["verdict"], g["count"]) for _, g in groups] == [("eof_ignored", "leak", 3)], summary(groups))
    demand(trace.stop() == 0, "closewatch trace failed")
    demand(any(event["type"] == "closed" for event in trace.events()), "nothing was traced")
    for watch, name in ((report, "report"), (trace, "trace")):
        done = subprocess.run(stage.closewatch("replay", str(folder / f"{name}.cwr"), "--", name, "--json"), check=False,
                              capture_output=True, timeout=60)
        demand(done.returncode == 0, f"replay ended with {done.returncode}: {done.stderr}")
        demand(done.stdout == watch.file.read_bytes(), f"the {name} that was replayed is another one")


CASES = [
    Case("lossy_ring", play=lossy_ring),
    Case("recording_replays", play=recording_replays),
]
