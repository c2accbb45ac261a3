# SPDX-License-Identifier: BSD-2-Clause
"""Loss of every kind: told in full, and what is said after it is right. The kernel's own lists are the judge.

What was lost is what a counter that shares nothing with the tracer counted, less what was told (cases_flood.py).
"""
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import compare
from case import Case
from cases_flood import (ROOMY, at_rest, kernel_transitions, must_agree, name_is_wrong, read_counter, start_counter,
                         story)
from cases_innocent import INNOCENTS
from cases_leak import LEAKS
from harness import SS_STATES, Failure, poll
from leaklib import (FIRST_PORT, JUDGING, Found, Workload, accept_queues, check_workload, document, end_settled,
                     make_peer_network, settled, start_program, start_report)
from recordlib import replay

COUNT = 4000
HEIRS = Path(__file__).resolve().parent.parent / "programs" / "heirs.py"
CLOSING = {"FIN_WAIT1", "FIN_WAIT2", "CLOSING", "TIME_WAIT", "CLOSE_WAIT", "LAST_ACK"}
SEEN_BY_WALKS = ("--sweep", "500ms", "--leak-after", "2s")


def demand(condition, text):
    if not condition:
        raise Failure(text)


# -- what the kernel has, and what the stream says that it has

def kernel_list(netns):
    """{id: state} of all on the close path; the kernel keeps the cookie in its buckets too."""
    found = {}
    for line in netns.run("ss", "-taneH").splitlines():
        columns = line.split()
        state = SS_STATES.get(columns[0])
        if state in CLOSING:
            found[f"{netns.inum}:{int(re.search(r'sk:([0-9a-f]+)', line)[1], 16)}"] = state
    return found


def told_list(events):
    """The same from the stream, by whoever reads it: a snapshot replaces what was known."""
    known, inside = {}, False
    for event in events:
        if event["type"] in ("snapshot", "snapshot_end") and not inside:
            known = {}
        inside = event["type"] == "snapshot"
        if event["type"] == "snapshot":
            known[event["conn"]["id"]] = event["state"]
        elif event["type"] == "transition":
            known.pop(event["conn"]["id"], None)
            if event["to"] in CLOSING:
                known[event["conn"]["id"]] = event["to"]
    return known


def must_be_as_the_kernel_has_it(stage, watch, patience=12.0):
    """By connection and state; sweeps come twice a second, and an absence is believed when two agree."""
    differences = []

    def agrees():
        watch.must_run()
        kernel, told = kernel_list(stage.netns[""]), told_list(watch.events())
        differences[:] = [(id, kernel.get(id), told.get(id)) for id in kernel.keys() | told.keys()
                          if kernel.get(id) != told.get(id)]
        return not differences
    try:
        poll(agrees, "", patience, pause=0.3)
    except Failure as failure:
        raise Failure(f"{len(differences)} connections are not as ss has them, as (id, ss, told) {differences[:5]}") \
            from failure


def others_lost(watch):
    found = re.search(r"of what was lost (\d+) were", watch.stderr())
    return int(found[1]) if found else 0


def must_add_up(events, where=("ring",)):
    """Sum of the gaps and the last line agree; a snapshot comes behind each gap but those in the last moment."""
    gaps = [event for event in events if event["type"] == "gap"]
    total = sum(gap["lost"] for gap in gaps)
    demand(gaps and total > 0, "nothing was lost, and the case proves nothing")
    demand({gap["where"] for gap in gaps} <= set(where), f"gaps by {Counter(gap['where'] for gap in gaps)}")
    demand(total == events[-1]["lost"], f"the gaps say {total}, bye says {events[-1]['lost']}")
    after = events[events.index(gaps[0]):]
    demand(any(event["type"] == "snapshot_end" for event in after), "no snapshot behind a gap")
    return total


def must_name_nobody_wrongly(events):
    wrong = [event for event in events if "conn" in event and name_is_wrong(event)]
    demand(not wrong, f"{len(wrong)} of {len(events)} wrongly named, as\n{story(wrong[:3])}")


# -- the load, and what is done to the tracer meanwhile

def flood(stage, count=COUNT):
    return stage.spawn(stage.netns[""].command(stage.program("flood"), str(count), stage.other_cpu, stage.cpu),
                       stdout=subprocess.DEVNULL)


def must_end_well(process, patience=60):
    demand(process.wait(patience) == 0, f"the load itself failed: {process.returncode}")


def counted_flood(stage, *options, meanwhile=lambda watch: None, count=COUNT, **how):
    """A flood whose every transition is accounted for. The events."""
    watch = stage.start_watch("--all-states", "-v", *SEEN_BY_WALKS, *options, **how)
    counter = start_counter(stage)
    load = flood(stage, count)
    meanwhile(watch)
    must_end_well(load)
    poll(lambda: at_rest(stage, watch), "the flood to come to rest", patience=30, pause=0.1)
    counted, misses = read_counter(counter)
    must_be_as_the_kernel_has_it(stage, watch)
    if watch.stop(patience=30) != 0:
        raise Failure(f"closewatch ended with {watch.process.returncode}")
    events = watch.events()
    compare.check_stream(events, gaps_allowed=True)
    lost = must_add_up(events) - others_lost(watch)
    must_agree(kernel_transitions(events) + lost, counted, misses)
    must_name_nobody_wrongly(events)
    print(f"# {stage.case.name}: {lost} of {counted} transitions lost, {others_lost(watch)} other records")
    return events


def tiny(size):
    return lambda stage: counted_flood(stage, "--ring", size)


def stopped_for(seconds, times=1, pause=0.5):
    def meanwhile(watch):
        for _ in range(times):
            time.sleep(pause)
            os.kill(watch.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(watch.pid, signal.SIGCONT)
    return meanwhile


def stopped(stage):
    counted_flood(stage, "--ring", "256K", meanwhile=stopped_for(2.0))


def repeated(stage):
    events = counted_flood(stage, "--ring", "64K", meanwhile=stopped_for(0.7, times=4, pause=0.8), count=3 * COUNT)
    gaps = [event for event in events if event["type"] == "gap"]
    # On a machine that is quick the flood is over before the fourth.
    demand(len(gaps) >= 2, f"{len(gaps)} gaps of up to four losses")


def during_first_walk(stage):
    """Connections come and go while the tracer looks for the first time, and its ring is too small for it."""
    load = flood(stage, 3 * COUNT)
    watch = stage.start_watch("-v", *SEEN_BY_WALKS, "--ring", "4K")
    must_end_well(load)
    poll(lambda: at_rest(stage, watch), "the flood to come to rest", patience=30, pause=0.1)
    must_be_as_the_kernel_has_it(stage, watch)
    demand(watch.stop(patience=30) == 0, f"closewatch ended with {watch.process.returncode}")
    compare.check_stream(watch.events(), gaps_allowed=True)
    must_add_up(watch.events())
    must_name_nobody_wrongly(watch.events())


def filtered(stage):
    """What a filter on processes lets through is lost by its own number: the client's five of each connection."""
    watch = stage.start_watch("--all-states", "-v", *SEEN_BY_WALKS, "--ring", "4K", "--comm", "flood-cli")
    must_end_well(flood(stage))
    poll(lambda: at_rest(stage, watch), "the flood to come to rest", patience=30, pause=0.1)
    demand(watch.stop(patience=30) == 0, f"closewatch ended with {watch.process.returncode}")
    events = watch.events()
    compare.check_stream(events, gaps_allowed=True)
    lost = must_add_up(events) - others_lost(watch)
    must_agree(kernel_transitions(events) + lost, 5 * COUNT, 0)
    wrong = [event for event in events if event.get("process") and event["process"]["comm"] != "flood-cli"]
    demand(not wrong, f"{len(wrong)} of others, as\n{story(wrong[:3])}")


# -- readers that are slow

class Reader(threading.Thread):
    """Reads a pipe, but for a pause; what it has read."""

    def __init__(self, stream, pause):
        super().__init__(daemon=True)
        self.stream, self.pause, self.data = stream, pause, bytearray()
        self.start()

    def run(self):
        while piece := os.read(self.stream.fileno(), 65536):
            self.data += piece
            self.pause()


LINE = re.compile(rb"^\d\d:\d\d:\d\d (?!.* lost )")


def slow_reader(stage, json_lines):
    """The reader stops for the flood, and reads on then. The run's recording has the same lines in full."""
    shown = ("--events", "transition,closed,gap,bye")
    whole = stage.start_watch(*shown, *ROOMY, json_lines=json_lines)  # tells when the flood has come to rest
    form, recording = ["--json"] if json_lines else [], stage.folder / "slow.cwr"
    words = stage.closewatch("trace", *form, "--netns", stage.netns[""].path, "--record", str(recording), *ROOMY,
                             *shown)
    errors = stage.folder / "slow.stderr"
    slow = stage.spawn(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors.open("wb"))
    poll(lambda: b"watching" in errors.read_bytes(), "the slow one to watch")
    go_on = threading.Event()
    reader = Reader(slow.stdout, go_on.wait)
    must_end_well(flood(stage, (5 if json_lines else 12) * COUNT), patience=120)
    poll(lambda: at_rest(stage, whole), "the flood to come to rest", patience=40, pause=0.1)
    go_on.set()
    poll(lambda: b"(output)" in errors.read_bytes(), "the loss to be told", patience=20)
    time.sleep(1)
    slow.send_signal(signal.SIGINT)
    demand(slow.wait(20) == 0, f"the slow one ended with {slow.returncode}")
    reader.join(10)
    demand(whole.stop(patience=30) == 0, "the other one failed")
    told = lines_told(reader.data, json_lines)
    lost = sum(int(number) for number in re.findall(rb"(\d+) events were lost \(output\)", errors.read_bytes()))
    demand(lost > 0, "nothing was lost, and the case proves nothing")
    again = replay(stage, recording, "trace", *form, *shown)
    again.must_end(0)
    wanted = lines_told(again.shown, json_lines)
    demand(told + lost == wanted, f"{told} told and {lost} lost of {wanted}")
    print(f"# {stage.case.name}: {lost} of {wanted} lines lost")
    if not json_lines:
        return
    events = [json.loads(line) for line in reader.data.splitlines()]
    gaps = [event for event in events if event["type"] == "gap"]
    demand([event["seq"] for event in events] == list(range(len(events))), "seq has holes")
    demand({event["where"] for event in gaps} == {"output"}, f"gaps of another kind: {gaps}")
    demand(sum(event["lost"] for event in gaps) == lost == events[-1]["lost"], f"{gaps}, {lost}, {events[-1]}")


def lines_told(data, json_lines):
    lines = bytes(data).splitlines()
    if json_lines:
        return sum(b'"type":"transition"' in line or b'"type":"closed"' in line for line in lines)
    return sum(bool(LINE.match(line)) for line in lines)


def slow_json(stage):
    slow_reader(stage, True)


def slow_text(stage):
    slow_reader(stage, False)


def stderr_blocked(stage):
    """Nobody reads standard error and its pipe is full: results come all the same."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(write_end, b"." * 4096)
    except BlockingIOError:
        pass
    fcntl.fcntl(write_end, fcntl.F_SETFL, 0)
    out = stage.folder / "events.ndjson"
    try:
        watch = stage.spawn(stage.closewatch("trace", "--json", "-v", "--netns", stage.netns[""].path, "--ring", "4K",
                                             *SEEN_BY_WALKS, "-o", str(out)), stdin=subprocess.DEVNULL,
                            stderr=write_end)
        poll(lambda: out.exists() and b"snapshot_end" in out.read_bytes(), "the stream to begin", patience=20)
        must_end_well(flood(stage))
        poll(lambda: b'"gap"' in out.read_bytes(), "a gap to be told")
        watch.send_signal(signal.SIGINT)
        demand(watch.wait(20) == 0, f"closewatch ended with {watch.returncode}")
    finally:
        os.close(read_end)
        os.close(write_end)
    events = [json.loads(line) for line in out.read_text().splitlines()]
    compare.check_stream(events, gaps_allowed=True)
    must_add_up(events)


# -- owners and verdicts after a loss

HEIRS_COUNT = 20


def exits_lost(stage):
    """Whoever opened them has ended, and the ring had no room to say so: its child has them, and is named."""
    watch = stage.start_watch("-v", "--ring", "64K", "--sweep", "1h", "--leak-after", "4h")
    heirs = stage.spawn(stage.netns[""].command(sys.executable, "-B", str(HEIRS), str(HEIRS_COUNT)),
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    truth = json.loads(heirs.stdout.readline())

    def order(word):
        heirs.stdin.write(word + "\n")
        heirs.stdin.flush()
        demand(json.loads(heirs.stdout.readline()) == {"done": word}, f"{word} was not done")
    os.kill(watch.pid, signal.SIGSTOP)
    must_end_well(flood(stage, 500))
    order("exit")
    os.kill(watch.pid, signal.SIGCONT)
    poll(lambda: any(event["type"] == "gap" for event in watch.events()), "a gap")
    time.sleep(1.5)  # another walk may come a second later
    order("close")
    poll(lambda: len(ends_at(watch, truth["port"])) >= HEIRS_COUNT, "the peers' ends to be told")
    owners = Counter((event["process"] or {}).get("pid") for event in ends_at(watch, truth["port"]))
    demand(set(owners) == {truth["heir"]}, f"owners are {owners}, the heir is {truth}")
    heirs.stdin.close()
    heirs.wait(5)
    watch.stop()


def ends_at(watch, port):
    return [event for event in watch.events() if event["type"] == "transition" and event["to"] == "CLOSE_WAIT"
            and event["conn"]["peer"] and event["conn"]["peer"]["port"] == port]


JUDGED = ("leak_forgotten", "leak_forgotten_connecting", "leak_inherited_fork", "leak_dead_by_reset",
          "innocent_stale_pool", "innocent_reply_goes_on", "innocent_busy_worker_closes", "innocent_reset_and_closed",
          "innocent_slow_server", "innocent_late_accept", "innocent_refused")


def verdicts(stage):
    """Leaks and their innocent twins while a flood has the ring overflow all the time: sweeps, ends and all."""
    make_peer_network(stage)
    report = start_report(stage, "--json", "--ring", "32K", "--fail-on-leak")
    trace = stage.start_watch(*JUDGING, "--ring", "32K", "--events", "finding,gap")
    workloads, programs, resolved = [], {}, {}
    for one in LEAKS + INNOCENTS:
        if one.name not in JUDGED:
            continue
        mine = Workload(**{**one.__dict__, "port": FIRST_PORT + 100 + len(workloads), "resolved": ""})
        workloads.append(mine)
        # Of a socket whose end was lost a sweep says that it is over, and not why.
        if one.resolved:
            resolved[mine.name] = {*one.resolved.split(), None}
        programs[mine.name] = start_program(stage, mine.mode, mine.name, mine.port, *mine.arguments)
        # How fast a program closes as a rule is known before: what is lost is no habit.
        if mine.mode in ("forgot", "connecting"):
            programs[mine.name].wait_said("in_place")
    demand(len(workloads) == len(JUDGED), "a workload is not there any more")
    loads = 0

    def load():
        nonlocal loads
        must_end_well(flood(stage, 1500))
        loads += 1

    def in_place():
        load()
        return all(program.has_said("in_place") for program in programs.values())
    poll(in_place, "the workloads to be in place", patience=60, pause=0.2)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        load()
        time.sleep(0.2)
    end_settled(report, seconds=0)
    doc = document(report, status=3)
    queues = accept_queues(stage.netns[""])
    held = {}
    for name, program in programs.items():
        program.must_be_well()
        held[name] = (program.pid, program.held(), program.said())
    demand(trace.stop() == 0, "trace failed")
    demand(doc["complete"] is False and doc["lost"] > 0, f"complete {doc['complete']}, lost {doc['lost']}")
    demand(any("lost" in reason for reason in doc["incomplete_reasons"]), f"{doc['incomplete_reasons']}")
    findings = [event for event in trace.events() if event["type"] == "finding"]
    found = Found(doc, findings, held, queues)
    wrong = []
    for workload in workloads:
        try:
            check_workload(workload, found)
        except Failure as failure:
            wrong.append(f"{workload.name}: {failure}")
        ends = {event["resolution"] for event in findings if workload.is_of(event["conn"])}
        if workload.name in resolved and not ends <= resolved[workload.name]:
            wrong.append(f"{workload.name}: resolved as {ends}")
    demand(not wrong, "\n".join(wrong))
    print(f"# {stage.case.name}: {doc['lost']} lost in {loads} floods, {len(findings)} findings")


def report_agrees(stage):
    """The report after a loss counts what ss counts, and says that it is incomplete."""
    watch = start_report(stage, "--json", "--ring", "4K")
    program = start_program(stage, "forgot", "forgot", 9001)
    program.wait_said("in_place")
    must_end_well(flood(stage))
    poll(lambda: not {state for state in kernel_list(stage.netns[""]).values()} & {"FIN_WAIT1", "LAST_ACK", "CLOSING"},
         "the flood to come to rest", patience=20, pause=0.1)
    before = Counter(kernel_list(stage.netns[""]).values())
    doc = settled(watch)
    demand(doc["complete"] is False and doc["lost"] > 0, f"complete {doc['complete']}, lost {doc['lost']}")
    demand(Counter(kernel_list(stage.netns[""]).values()) == before, "the load has moved, and nothing can be compared")
    told = {state: doc["states"].get(state, 0) for state in CLOSING}
    demand(told == {state: before[state] for state in CLOSING}, f"{told}, ss has {before}")


CASES = [
    Case("chaos_ring_4k", play=tiny("4K")),
    Case("chaos_ring_16k", play=tiny("16K")),
    Case("chaos_stopped", play=stopped),
    Case("chaos_repeated", play=repeated),
    Case("chaos_first_walk", play=during_first_walk),
    Case("chaos_filtered", play=filtered),
    Case("chaos_slow_reader", play=slow_json),
    Case("chaos_slow_reader_of_text", play=slow_text),
    Case("chaos_stderr_blocked", play=stderr_blocked),
    Case("chaos_exits_lost", play=exits_lost),
    Case("chaos_report", play=report_agrees),
    Case("chaos_verdicts", play=verdicts, netns=("", "b")),
]
