# SPDX-License-Identifier: BSD-2-Clause
"""Tens of thousands of short connections: events + lost against a count made by another program (counter.bpf.c)."""
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import compare
from case import Case
from harness import Failure, poll, storage_walk_is_refused

COUNT = 20000
HELD = 15_000                                 # sockets of crowd.py, a quarter of its connections half closed
CROWD = Path(__file__).resolve().parent.parent / "programs" / "crowd.py"
# Holds all of it: whether its reader keeps up is a question of the machine, which scripts/bench answers.
ROOMY = ("--ring", "128M")
LISTENERS = 4                                 # of flood.c
TRANSITIONS = 10 * COUNT + 2 * LISTENERS      # five for each end of a connection

# And while another program is attached or detached, this kernel skips transitions for everybody.
LOAD = "both CPUs are busy with it, and it counts to the last transition"

# What another connection tells of a bucket is no transition of the kernel's.
ENDS_OF_BUCKETS = ("expired", "reused", "overflow", "gone")


def start_counter(stage):
    counter = stage.spawn([stage.program("transition-counter"), str(stage.netns[""].inum)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
    if counter.stdout.readline() != "ready\n":
        raise Failure("transition-counter does not start")
    return counter


def read_counter(counter):
    counter.stdin.close()
    counted = json.loads(counter.stdout.read())
    return counted["transitions"], counted["recursion_misses"]


def kernel_transitions(events):
    """How many of the kernel's own transitions the stream tells: the change to a FIN_WAIT2 bucket, or to one of which
    it is not known that there is one, is but a closed; no kernel's transition ends a bucket.
    """
    ends = compare.OF_BUCKETS["FIN_WAIT2", "CLOSE"]
    return sum(e["type"] == "transition" and e["observed"] == "event" and e["cause"] not in ends
               or e["type"] == "closed" and e["bucket"] in ("fin_wait2", None) for e in events)


def at_rest(stage, watch):
    """True once the kernel has nothing left but buckets (what was lost is sent again), and the stream has stopped."""
    if any(state not in ("TIME_WAIT", "FIN_WAIT2") for state, _, _ in stage.netns[""].ss()):
        return False
    size = watch.file.stat().st_size
    time.sleep(0.4)
    return watch.file.stat().st_size == size


def flooded(stage, *options, **how):
    """(events, transitions counted, the counter's misses)"""
    watch = stage.start_watch("--all-states", "-v", *options, **how)
    counter = start_counter(stage)
    stage.netns[""].run(stage.program("flood"), str(COUNT), stage.other_cpu, stage.cpu)
    poll(lambda: at_rest(stage, watch), "the flood to come to rest", patience=20, pause=0.1)
    counted, misses = read_counter(counter)
    if watch.stop(patience=20) != 0:
        raise Failure(f"closewatch ended with {watch.process.returncode}")
    # The kernel skips a program where it would nest; how often is chance, and so it is only told.
    nested = re.search(r"(\d+) transitions were caught by the second copy", watch.stderr())
    print(f"# {stage.case.name}: {nested[1] if nested else 'not told how many'} transitions caught by the second copy")
    return watch.events(), counted, misses


def must_agree(told, counted, misses):
    if not counted <= told <= counted + misses:
        raise Failure(f"{told} told and lost, {counted} counted (and {misses} missed by the counter)")


def story(group):
    return "\n".join(f"{event['seq']} {compare.render(*compare.describe(event, []))}" for event in group)


def must_be_closed_once(events, counted):
    """Each end of each connection. While another program is attached to the tracepoint, or detached, this kernel skips
    some transitions for everybody and has no count of it: as many ends as it has skipped may be missing then.
    """
    skipped = max(0, TRANSITIONS - counted)
    groups = [group for group in compare.by_connection(events).values() if group[-1]["conn"]["role"]]
    ends = [(sum(event["type"] == "closed" for event in group), group) for group in groups]
    odd = [group for times, group in ends if times != 1]
    if len(odd) > skipped or abs(len(groups) - 2 * COUNT) > skipped:
        last = Counter((g[-1]["conn"]["role"], g[-1].get("from"), g[-1].get("to")) for g in odd)
        raise Failure(f"{len(groups)} ends of {COUNT} connections, {len(odd)} not closed once, last seen: {last}\n"
                      + "\n".join(story(group) for group in odd[:2]))


def what_is_short(events):
    """Of each change of state there are as many as there are connections: those of which there are fewer."""
    changes = Counter((e["from"], e["to"]) for e in events if e["type"] == "transition")
    changes["FIN_WAIT2", "TIME_WAIT"] += sum(e["type"] == "closed" and e["bucket"] == "fin_wait2" for e in events)
    return [f"{COUNT - n} fewer {a}>{b}" for (a, b), n in changes.items() if LISTENERS < n < COUNT]


def told_in_full(stage):
    events, counted, misses = flooded(stage, *ROOMY)
    try:
        compare.check_stream(events)
    except Failure as failure:
        raise Failure(f"{failure}\n{what_is_short(events)}") from failure
    must_agree(kernel_transitions(events), counted, misses)
    must_be_closed_once(events, counted)
    wrong = [e for e in events if e["type"] == "closed" and owner_is_wrong(e)]
    if wrong:
        raise Failure(f"{len(wrong)} of {2 * COUNT} ends wrongly attributed, as\n"
                      + story(compare.by_connection(events)[wrong[0]["conn"]["id"]]))


def owner_is_wrong(event):
    closer = event["closer"]
    return name_is_wrong(event) or not event["process"] or not closer or closer["by"] != "close"


def name_is_wrong(event):
    """A loss may leave a connection without a name: never with another's, least of all that of the tracer who walks."""
    name = "flood-cli" if event["conn"]["role"] == "connect" else "flood-srv"
    return event["conn"]["role"] and any(event.get(key) and event[key]["comm"] != name
                                         for key in ("process", "actor", "closer"))


def tiny_ring(stage):
    events, counted, misses = flooded(stage, "--ring", "64K")
    compare.check_stream(events, gaps_allowed=True)
    lost = events[-1]["lost"]
    gaps = [event for event in events if event["type"] == "gap"]
    if lost == 0 or sum(gap["lost"] for gap in gaps) != lost or {gap["where"] for gap in gaps} != {"ring"}:
        raise Failure(f"lost {lost}, by the gaps {sum(gap['lost'] for gap in gaps)}: {gaps[:5]}")
    must_agree(kernel_transitions(events) + lost, counted, misses)
    after = events[events.index(gaps[0]):]
    if not any(event["type"] == "snapshot_end" for event in after):
        raise Failure("no snapshot after a gap")
    wrong = [event for event in events if "conn" in event and name_is_wrong(event)]
    if wrong:
        raise Failure(f"{len(wrong)} of {len(events)} wrongly named, as\n{story(wrong[:3])}")


def listeners_come_and_go(stage):
    """A listener is freed behind a grace period, and walked until then with no reference left: nothing is lost."""
    watch = stage.start_watch("--sweep", "50ms", "--leak-after", "1s")
    script = ("import socket, time\nend = time.time() + 2\nwhile time.time() < end:\n"
              "  s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1); s.close()\n")
    stage.spawn(stage.netns[""].command(sys.executable, "-c", script)).wait()
    watch.stop()
    compare.check_stream(watch.events())


def beside_sweeps(stage):
    """Nothing is lost while 15,000 sockets are swept four times a second, 2,000 of them judged each time."""
    words = [sys.executable, "-B", str(CROWD), str(HELD // 2), str(HELD // 2 // 4)]
    crowd = stage.spawn(stage.netns["crowd"].command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if crowd.stdout.readline() != "ready\n":
        raise Failure("the sockets to be swept could not be opened")
    events, counted, misses = flooded(stage, *ROOMY, "--sweep", "250ms", "--leak-after", "1s", scope=None)
    crowd.stdin.close()
    crowd.wait(20)
    compare.check_stream(events)
    netns = stage.netns[""].inum
    events = [event for event in events if "conn" in event and event["conn"]["netns"] == netns]
    must_agree(kernel_transitions(events), counted, misses)
    must_be_closed_once(events, counted)
    sweeps = re.findall(r"a sweep took ([\d.]+) ms, (\d+) rows", stage.watches[-1].stderr())
    # What comes meanwhile is read in between, so that one sweep may take a third of the flood; where it goes by tables
    # it is followed by ten times its length without another.
    if len(sweeps) < (1 if storage_walk_is_refused(stage) else 2) or any(int(rows) < HELD // 4 for _, rows in sweeps):
        raise Failure(f"sweeps: {sweeps}")
    print(f"# {stage.case.name}: {len(sweeps)} sweeps, the longest {max(float(took) for took, _ in sweeps):.0f} ms")


CASES = [
    Case("flood_told_in_full", play=told_in_full, alone=LOAD),
    Case("flood_tiny_ring", play=tiny_ring, alone=LOAD),
    Case("flood_of_listeners", play=listeners_come_and_go, alone=LOAD),
    Case("flood_beside_sweeps", play=beside_sweeps, netns=("", "crowd"), alone=LOAD),
]
