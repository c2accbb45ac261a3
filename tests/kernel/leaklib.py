# SPDX-License-Identifier: BSD-2-Clause
"""Workloads side by side in one namespace, watched by one `report` and one `trace`, and what is to be found of each.

A workload is a program of tests/programs (see workload.h) with a port and a name of its own; by them its sockets are
found in the report, and by what it has said of its descriptors their holders. Many share a run: a leak and its innocent
twins are then of the same age, and a suite of them takes as long as one.
"""
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import compare
import report_form
from case import Case
from harness import Failure, Stage, Watch, poll, sees_use

LEAK_AFTER, SWEEP = 2.0, "500ms"
SETTLED = LEAK_AFTER + 2.0    # seconds after which what is in place has been judged
JUDGING = ("--leak-after", f"{LEAK_AFTER:g}s", "--sweep", SWEEP)
FIRST_PORT = 7001


# What can be told where the kernel does not tell of reads and writes (before 6.3): that the end is consumed, not that
# it was read or looked at; and of a socket that only others than its users have, that it is not read.
END_WITHOUT_USE = {"read": "consumed", "peeked": "unread"}
WITHOUT_USE = {("inherited", "leak"): ("eof_unread", "stuck")}


@dataclass
class Group:
    """So many sockets of one kind and verdict; the end of each was read so far (None: not asked)."""
    count: int
    eof: str | None = None
    at_least: bool = False

    def fits(self, count):
        return count >= self.count if self.at_least else count == self.count


@dataclass
class Workload:
    name: str                                    # of the case, and (15 bytes of it) of the process
    mode: str
    arguments: tuple = ()
    side: str = "accept"
    must: dict = field(default_factory=dict)     # {(kind, verdict): Group} at the end
    may: tuple = ()                              # (kind, verdict) that may be there as well
    never: tuple = ("inherited",)                # kinds that no finding may ever have
    owner: str | None = "told"                   # comm of the responsible; "told": whoever said that it holds one
    holders: bool = True                         # exactly those that the program has told
    silent: bool = False                         # no finding ever
    resolved: str = ""                           # how its findings ended: the first word, and maybe the others
    trend: str = ""                              # of what must be there
    port: int = 0

    def __post_init__(self):
        if not sees_use():
            self.must = {WITHOUT_USE.get(pair, pair): Group(group.count, END_WITHOUT_USE.get(group.eof, group.eof),
                                                            group.at_least) for pair, group in self.must.items()}
            self.never = (*self.never, "inherited")

    def leaks(self):
        return any(verdict == "leak" for _, verdict in self.must)

    def is_of(self, conn):
        mine = conn["local"] if self.side == "accept" else conn["peer"]
        return bool(mine) and mine["port"] == self.port

    def is_other_end(self, conn):
        mine = conn["peer"] if self.side == "accept" else conn["local"]
        return bool(mine) and mine["port"] == self.port


class Program:
    """A workload that runs: what it says, and its end with all that it has started."""

    def __init__(self, words, folder):
        self.folder = folder
        folder.mkdir()
        self.said_file, self.stderr_file = folder / "said", folder / "stderr"
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.said_file.open("wb"),
                                        stderr=self.stderr_file.open("wb"), start_new_session=True)
        self.pid = self.process.pid

    def said(self):
        text = self.said_file.read_text()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def held(self):
        return [line for line in self.said() if "fd" in line]

    def must_be_well(self):
        complaint = self.stderr_file.read_text().strip()
        if complaint or self.process.poll():
            raise Failure(f"the workload itself failed ({self.process.poll()}): {complaint}")

    def has_said(self, key):
        self.must_be_well()
        return any(key in line for line in self.said())

    def wait_said(self, key, patience=20.0):
        poll(lambda: self.has_said(key), f"{key} of {self.folder.name}", patience, pause=0.02)

    def end(self):
        end_session(self.pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def end_session(leader):
    """Kills what the session of a process started by us still has."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            session = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[3])
            if session == leader:
                os.kill(int(entry.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue


def start_program(stage, mode, name, port, *arguments, label="", wrapper=()):
    words = [*wrapper, stage.program("workload"), mode, name, str(port), *map(str, arguments)]
    program = Program(stage.netns[label].command(*words), stage.folder / f"{name}-{port}{label}")
    stage.others.append(program.process)
    stage.programs.append(program)
    return program


def start_report(stage, *options, scope="", sweep=SWEEP, wrapper=(), wait=True):
    """scope: the label of the namespace it is confined to, None for the whole machine."""
    words = stage.closewatch("report", "--leak-after", f"{LEAK_AFTER:g}s", "--sweep", sweep)
    if scope is not None:
        words += ["--netns", stage.netns[scope].path]
    folder = stage.folder / f"watch{len(stage.watches)}"
    folder.mkdir()
    watch = Watch([*words, *options], folder, wrapper=wrapper)
    stage.watches.append(watch)
    if wait:
        watch.wait_ready()
    return watch


def end_settled(*watches, seconds=SETTLED):
    """However long a slow machine has taken to get there: the seconds begin now, and the reports are then ended."""
    time.sleep(seconds)
    for watch in watches:
        os.kill(watch.pid, signal.SIGINT)


def settled(watch, status=0, seconds=SETTLED):
    """Its report of what is in place now."""
    end_settled(watch, seconds=seconds)
    return document(watch, status)


def document(watch, status=0, patience=30.0):
    """The report that a watch has written, with its form checked."""
    found = watch.wait(patience)
    if found != status:
        raise Failure(f"closewatch ended with {found}, and not {status}: {watch.stderr().strip()}")
    return read_document(watch.file)


def read_document(path):
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Failure(f"no JSON: {text[:300]!r}: {error}") from error
    report_form.check(found, text)
    return found


# -- many side by side

class Gathering:
    """A run with all of its workloads, played when the first case asks for it."""

    def __init__(self, workloads, seconds):
        self.workloads, self.seconds = workloads, seconds
        self.found, self.fresh = None, False
        for number, workload in enumerate(workloads):
            workload.port = FIRST_PORT + number

    def cases(self):
        return [Case(workload.name, play=self.player(workload), netns=(), group="gathering") for workload in self.workloads]

    def player(self, workload):
        def play(stage):
            if self.found is None:
                self.found, self.fresh = gather(stage.settings, self.workloads, self.seconds), True
            try:
                check_workload(workload, self.found)
            except Failure:
                if self.fresh:
                    self.found = None  # the runner may have reason to play it again
                raise
            self.fresh = False
        return play


@dataclass
class Found:
    report: dict
    findings: list
    programs: dict    # name: (pid, what it held at the end, what it said)
    accept_queues: dict  # port: {"len", "max"} as ss has them


def make_peer_network(stage):
    """A second namespace, reached over a link that can go down."""
    here, there = stage.netns[""], stage.netns["b"]
    here.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", there.name)
    here.run("ip", "addr", "add", "10.77.0.1/24", "dev", "v0")
    here.run("ip", "link", "set", "v0", "up")
    there.run("ip", "addr", "add", "10.77.0.2/24", "dev", "v1")
    there.run("ip", "link", "set", "v1", "up")


def gather(settings, workloads, seconds):
    stage = Stage(settings)
    try:
        stage.add_netns()
        stage.add_netns("b")
        make_peer_network(stage)
        report = start_report(stage, "--json")
        trace = stage.start_watch(*JUDGING, "--events", "finding")
        programs = {}
        for workload in workloads:
            arguments = [str(word).replace("$PEER", stage.netns["b"].path) for word in workload.arguments]
            programs[workload.name] = start_program(stage, workload.mode, workload.name, workload.port, *arguments)
        for workload in workloads:
            programs[workload.name].wait_said("in_place", patience=60)
        end_settled(report, seconds=seconds)
        queues = accept_queues(stage.netns[""])
        doc = document(report)
        held = {}
        for name, program in programs.items():
            program.must_be_well()
            held[name] = (program.pid, program.held(), program.said())
        if trace.stop() != 0:
            raise Failure(f"closewatch trace ended with {trace.process.returncode}")
        findings = [event for event in trace.events() if event["type"] == "finding"]
        compare.check_stream(trace.events(), only=("finding",))
        return Found(doc, findings, held, queues)
    finally:
        stage.close(settings.keep)


def accept_queues(netns):
    queues = {}
    for line in netns.run("ss", "-ltnH").splitlines():
        columns = line.split()
        queues[int(columns[3].rpartition(":")[2])] = {"len": int(columns[1]), "max": int(columns[2])}
    return queues


# -- what was found of one

def groups_of(rows, workload):
    """(row, group) of each group with a socket of the workload's."""
    return [(row, group) for row in rows for group in row["close_wait"]["groups"]
            if any(workload.is_of(socket["conn"]) for socket in group["sockets"])]


def summary(groups):
    lines = [f"{g['kind']} {g['verdict']} {g['count']} of {(r.get('process') or {}).get('comm', r.get('endpoint'))}"
             for r, g in groups]
    return "; ".join(lines) or "nothing"


def check_workload(workload, found):
    by_process = groups_of(found.report["processes"], workload)
    check_counts(workload, by_process, "processes")
    by_workload = groups_of(found.report["workloads"], workload)
    check_counts(workload, by_workload, "workloads")
    trends = {group["trend"] for _, group in by_workload if (group["kind"], group["verdict"]) in workload.must}
    if workload.trend and trends != {workload.trend}:
        raise Failure(f"trend is {trends}, and not {workload.trend}")
    rows = {id(row) for row, group in by_workload if group["verdict"] != "ok"}
    if len(rows) > 1:
        raise Failure(f"{len(rows)} workloads: {summary(by_workload)}")
    check_sockets(workload, by_process, found)
    check_findings(workload, found)
    others = [group for row in found.report["processes"] for group in row["close_wait"]["groups"]
              if any(workload.is_other_end(socket["conn"]) for socket in group["sockets"])]
    if others:
        raise Failure(f"the other end is accused: {others}")


def check_counts(workload, groups, where):
    counts = {}
    for _, group in groups:
        pair = group["kind"], group["verdict"]
        counts[pair] = counts.get(pair, 0) + group["count"]
    accused = [pair for pair in counts if pair[1] == "leak" and pair not in workload.must]
    if accused:
        raise Failure(f"accused, and no leak: {summary(groups)} ({where})")
    for pair, wanted in workload.must.items():
        if not wanted.fits(counts.get(pair, 0)):
            raise Failure(f"{'at least ' if wanted.at_least else ''}{wanted.count} {' '.join(pair)} wanted, found "
                          f"{summary(groups)} ({where})")
    strange = set(counts) - set(workload.must) - set(workload.may)
    if strange:
        raise Failure(f"{sorted(strange)} not expected: {summary(groups)} ({where})")


def holders_of(socket):
    return {(holder["pid"], holder["fd"]) for holder in socket["holders"]}


def check_sockets(workload, groups, found):
    pid, held, _ = found.programs[workload.name]
    told = {(line["pid"], line["fd"]) for line in held}
    names = {line["pid"]: line["comm"] for line in held}
    met = set()
    for row, group in groups:
        wanted = workload.must.get((group["kind"], group["verdict"]))
        if not wanted:
            continue
        check_owner(workload, row["process"], names, pid)
        for socket in group["sockets"]:
            check_socket(workload, socket, wanted, group)
            met |= holders_of(socket)
        if group["kind"] == "never_accepted" and group["accept_queue"] != found.accept_queues[workload.port]:
            raise Failure(f"accept_queue {group['accept_queue']}, ss has {found.accept_queues[workload.port]}")
        for holder in [h for s in group["sockets"] for h in s["holders"]]:
            if names.get(holder["pid"], holder["comm"]) != holder["comm"]:
                raise Failure(f"{holder} is called {names[holder['pid']]}")
    exact = workload.holders and workload.must and not workload.may
    if exact and met != told or workload.holders and not met <= told:
        raise Failure(f"held by {sorted(met)}, and in truth by {sorted(told)}")


def check_owner(workload, process, names, pid):
    if workload.owner is None:
        return
    if process is None:
        raise Failure("nobody is named")
    if workload.owner == "told":
        good = names.get(process["pid"]) == process["comm"]
    else:
        good = process["comm"] == workload.owner[:15] and process["pid"] in {pid, *names}
    if not good:
        raise Failure(f"{process['comm']} ({process['pid']}) is named; the holders are {names}, the program is {pid}")


def check_socket(workload, socket, wanted, group):
    if wanted.eof is not None and socket["eof"] != wanted.eof:
        raise Failure(f"eof is {socket['eof']}, and not {wanted.eof}")
    age = socket["age_ns"] / 1e9
    if socket["age_is_lower_bound"]:
        raise Failure("it began under our eyes, and its age is called a lower bound")
    if group["verdict"] != "ok" and not LEAK_AFTER <= age < 30:
        raise Failure(f"judged {group['verdict']} at an age of {age:.2f} s")
    if group["kind"] == "write_blocked" and not socket["unsent_bytes"]:
        raise Failure("write_blocked without a byte unsent")
    if workload.mode == "vanished" and not socket["retransmits"]:
        raise Failure("the peer has vanished, and nothing was sent again")


def check_findings(workload, found):
    mine = [event for event in found.findings if workload.is_of(event["conn"])]
    story = [f"{e['status']} {e['kind']} {e['verdict']} {e['resolution'] or ''}".strip() for e in mine]
    if any(workload.is_other_end(event["conn"]) for event in found.findings):
        raise Failure("a finding about the other end")
    if workload.silent and mine:
        raise Failure(f"findings of what is none: {story}")
    leaks = [event for event in mine if event["verdict"] == "leak"]
    if leaks and not workload.leaks():
        raise Failure(f"called a leak on the way: {story}")
    if workload.leaks() and not leaks:
        raise Failure(f"no finding in the stream says leak: {story}")
    banned = [event["kind"] for event in mine if event["kind"] in workload.never]
    if banned and not any(kind in banned for kind, _ in workload.must):
        raise Failure(f"called {banned[0]} on the way: {story}")
    if workload.resolved:
        first, *others = workload.resolved.split()
        ends = {event["resolution"] for event in mine if event["status"] == "resolved"}
        if first not in ends or not ends <= {first, *others}:
            raise Failure(f"resolved as {ends}, and not {workload.resolved}: {story}")
    check_first(mine)


def check_first(findings):
    """Of each connection raised comes first, and again once it was resolved."""
    open_ones = set()
    for event in findings:
        known = event["conn"]["id"] in open_ones
        if (event["status"] == "raised") == known:
            raise Failure(f"{event['status']} is wrong here: {event}")
        (open_ones.discard if event["status"] == "resolved" else open_ones.add)(event["conn"]["id"])
