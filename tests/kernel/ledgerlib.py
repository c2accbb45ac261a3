# SPDX-License-Identifier: BSD-2-Clause
"""TIME_WAIT as the kernel has it, as the stream tells it and as the report counts it, each by the same names."""
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import compare
from case import Case
from compare import side
from harness import PATIENCE, SS_STATES, Failure, Process, Stage, Watch, parse_address, poll, start_ticks
from leaklib import Program, document

VISITS = Path(__file__).resolve().parent.parent / "programs" / "visits.py"


def demand(condition, text):
    if not condition:
        raise Failure(text)


# -- the kernel's list

@dataclass(frozen=True)
class Bucket:
    """id: as closewatch has it; the kernel keeps the socket's cookie in its bucket."""
    id: str
    state: str
    local: tuple
    peer: tuple


def buckets(netns, state="TIME_WAIT"):
    """Those in this state, from ss, by id."""
    found = {}
    for line in netns.run("ss", "-taneH").splitlines():
        columns = line.split()
        if SS_STATES.get(columns[0]) != state:
            continue
        cookie = int(re.search(r"\bsk:([0-9a-f]+)", line)[1], 16)
        bucket = Bucket(f"{netns.inum}:{cookie}", state, parse_address(columns[3]), parse_address(columns[4]))
        found[bucket.id] = bucket
    return found


def at_rest(netns):
    """Nothing changes any more: TIME_WAIT and listeners are left."""
    return {state for state, _, _ in netns.ss()} <= {"TIME_WAIT", "LISTEN"}


def wait_rest(*namespaces, patience=PATIENCE):
    for netns in namespaces:
        poll(lambda: at_rest(netns), f"{netns.name} to come to rest", patience, pause=0.1)


def wait_still(netns, patience):
    """After a flood. Where the server was reset before its FIN went out an orphan in FIN_WAIT2 stays for its minute."""
    def still():
        before = Counter(state for state, _, _ in netns.ss())
        if set(before) - {"TIME_WAIT", "FIN_WAIT2", "LISTEN"}:
            return False
        time.sleep(0.4)
        return Counter(state for state, _, _ in netns.ss()) == before
    poll(still, f"{netns.name} to come to rest", patience, pause=0.2)


# -- the programs

@dataclass
class Visits:
    """A run of tests/programs/visits.py."""
    program: Program
    process: Process

    def done(self, patience=20.0):
        self.program.wait_said("in_place", patience)
        return self

    def said(self, key):
        """None where it has not said that (yet)."""
        self.program.must_be_well()
        return next((line[key] for line in self.program.said() if key in line), None)

    def ended(self):
        self.program.process.wait(PATIENCE)
        return self


def start_visits(stage, name, *words, label="", pid=None):
    """visits.py with the words after NAME; a server is there when this returns. pid: of one that has gone."""
    command = [sys.executable, "-B", str(VISITS), name, *map(str, words)]
    if pid:
        command = [sys.executable, "-B", "-c", WITH_PID, str(pid), *command]
    folder = stage.folder / f"visits-{name}{label}-{len(stage.programs)}"
    program = Program(stage.netns[label].command(*command), folder)
    stage.programs.append(program)
    stage.others.append(program.process)
    visits = Visits(program, Process(name, pid or program.pid, None, [name]))
    if words[0] == "serve":
        visits.done()
    visits.process.ticks = poll(lambda: start_ticks(visits.process.pid), f"{name} to start")
    stage.processes.append(visits.process)
    return visits


# -- the report

def start_report(stage, *options, scope=""):
    """As its user starts it; scope: the label of the namespace it is confined to, None for the whole machine."""
    words = stage.closewatch("report", "--json", *(["--netns", stage.netns[scope].path] if scope is not None else []))
    folder = stage.folder / f"watch{len(stage.watches)}"
    folder.mkdir()
    watch = Watch([*words, *options], folder)
    stage.watches.append(watch)
    watch.wait_ready()
    return watch


def interrupted(watch, patience=30.0):
    """The report of a watch that is ended now."""
    watch.stop(patience=patience)
    return document(watch)


def look(stage, *options, scope=""):
    """report -d 0"""
    return document(start_report(stage, "-d", "0", *options, scope=scope))


def row_of(report, process):
    """The row of a process, None where it has none. Two would be one process under two names."""
    rows = [row for row in report["processes"] if row["process"]
            and process.is_same(row["process"]["pid"], row["process"]["start_ns"])]
    demand(len(rows) <= 1, f"{process.name} has {len(rows)} rows")
    return rows[0] if rows else None


def nobody(report):
    return next((row for row in report["processes"] if row["process"] is None), None)


def endpoints(row):
    """{(side, local, peer): now} of a row of the report."""
    return {(e["side"], e["local"], e["peer"]): e["now"] for e in row["time_wait"]["by_endpoint"] if e["now"]}


def must_have(report, process, wanted, entered=None):
    """Exactly these endpoints, and the sums that go with them."""
    row = row_of(report, process)
    demand(row, f"{process.name} has no row: {names(report)}")
    waits = row["time_wait"]
    demand(row["process"]["comm"] == process.name, f"{process.name} is called {row['process']['comm']}")
    demand(endpoints(row) == wanted, f"{process.name}: {endpoints(row)}, and not {wanted}")
    count = sum(wanted.values())
    demand(waits["now"] == count, f"{process.name}: now is {waits['now']}, of {wanted}")
    demand(row["states"].get("TIME_WAIT", 0) == count, f"{process.name}: states {row['states']}, of {wanted}")
    demand(entered in (None, waits["entered"]), f"{process.name}: {waits['entered']} entered, and not {entered}")
    for endpoint in waits["by_endpoint"]:
        demand(endpoint["side"] == "connect" or endpoint["ports"] is None, f"ports of the accepting side: {endpoint}")
    return row


def names(report):
    return [(row["process"] or {}).get("comm") for row in report["processes"]]


def waiting(report):
    """Sockets in TIME_WAIT in the whole report; all of its sums have to agree."""
    of_rows = {key: sum(row["time_wait"]["now"] for row in report[key]) for key in ("processes", "workloads")}
    total = report["states"].get("TIME_WAIT", 0)
    demand(set(of_rows.values()) == {total}, f"states has {total} in TIME_WAIT, the rows have {of_rows}")
    return total


def workload_of(report, endpoint):
    return next((row for row in report["workloads"] if row["endpoint"] == endpoint), None)


def finding_about(report, *words):
    """A host finding in which all of the words are."""
    for finding in report["host_findings"]:
        if all(re.search(word, f"{finding['id']} {finding['text']} {finding['remedy']}") for word in words):
            return finding
    return None


def must_be_found(report, *words):
    finding = finding_about(report, *words)
    demand(finding, f"no host finding about {' and '.join(words)}: {json.dumps(report['host_findings'], indent=1)}")
    return finding


# -- the stream

def entries(events):
    """{conn.id: the line that tells of TIME_WAIT}; each once."""
    found = {}
    for event in events:
        if event["type"] == "transition" and event["to"] == "TIME_WAIT":
            demand(event["conn"]["id"] not in found, f"told twice that it went into TIME_WAIT: {event}")
            found[event["conn"]["id"]] = event
    return found


def ends(events, cause=None):
    """{conn.id: the line that tells the end of a bucket}; each once."""
    found = {}
    for event in events:
        if event["type"] == "transition" and event["cause"] in compare.OF_BUCKETS["FIN_WAIT2", "CLOSE"]:
            demand(event["conn"]["id"] not in found, f"ended twice: {event}")
            found[event["conn"]["id"]] = event
    return {key: event for key, event in found.items() if cause in (None, event["cause"])}


def must_tell(stage, events, existing):
    """Every bucket of the kernel's list once, by its id and ends, and not one more but those whose end was told."""
    entered, ended = entries(events), ends(events)
    for bucket in existing.values():
        event = entered.get(bucket.id)
        demand(event, f"never told of: {bucket}")
        ends_of = side(event["conn"], "local"), side(event["conn"], "peer")
        demand(ends_of == (bucket.local, bucket.peer), f"{ends_of}, and by ss {bucket}")
        demand(bucket.id not in ended, f"there by ss, and told to have ended: {ended.get(bucket.id)}")
    inums = {netns.inum for netns in stage.netns.values()}
    strange = [event for key, event in entered.items()
               if event["conn"]["netns"] in inums and key not in existing and key not in ended]
    demand(not strange, f"{len(strange)} are not in the kernel's list, as {strange[:1]}")


def owners(stage, events):
    """{name of the owner: how many went into TIME_WAIT}"""
    return dict(Counter(compare.who(event["process"], stage.processes) for event in entries(events).values()))


def nanoseconds(event):
    """Its time, since 1970."""
    whole, _, fraction = event["time"].rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * 1_000_000_000 + int(fraction)


def seconds_of(text):
    return nanoseconds({"time": text}) / 1e9


# -- the lines of a case, and what it waits for in the stream

SWEEP = ("--sweep", "500ms")


def promoted(owner):
    return f"FIN_WAIT2>TIME_WAIT network observed=sweep closer:{owner}"


def over(cause, owner, observed="sweep", was="TIME_WAIT"):
    return f"{was}>CLOSE {cause} observed={observed} closer:{owner}"


def wait_told(watch, condition, what, patience=8.0):
    poll(lambda: condition(watch.events()), what, patience, pause=0.05)


def wait_entries(watch, count, patience=8.0):
    wait_told(watch, lambda events: len(entries(events)) >= count, f"{count} to be told in TIME_WAIT", patience)


# -- one run that several cases look at

class Shared:
    """Played when the first of its cases asks for it; each then looks at its own part."""

    def __init__(self, gather, alone=""):
        self.gather = gather                  # (stage) → what was found
        self.alone = alone                    # as Case.alone
        self.found = None
        self.player_name = ""                 # of the case that it was played for

    def run(self, settings):
        stage = Stage(settings)
        try:
            return self.gather(stage)
        except Failure as failure:
            said = [f"stderr: {watch.stderr().strip()}" for watch in stage.watches if watch.stderr().strip()]
            raise Failure("\n".join([str(failure), *said])) from failure
        finally:
            stage.close(settings.keep)

    def case(self, name, check):
        def play(stage):
            first = self.player_name in ("", name)  # the runner may have reason to play it again
            if first:
                self.player_name, self.found = name, None
                self.found = self.run(stage.settings)
            demand(self.found is not None, f"the run that it shares with {self.player_name} has failed")
            check(self.found)
        return Case(name, play=play, netns=(), alone=self.alone, group=self.gather.__module__)


# -- namespaces and pids

def link(here, there, number):
    """A link between two namespaces; here is 10.78.NUMBER.1, there .2."""
    here.run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}", "netns", there.name)
    for netns, device, last in ((here, f"v{number}", 1), (there, f"w{number}", 2)):
        netns.run("ip", "addr", "add", f"10.78.{number}.{last}/24", "dev", device)
        netns.run("ip", "link", "set", device, "up")


def devices(netns):
    return {line.split(":")[1].strip().split("@")[0] for line in netns.run("ip", "-o", "link").splitlines()}


# clone3() with set_tid, then the words in the child; the parent stays until it ends.
WITH_PID = """
import ctypes, os, signal, sys
tid = (ctypes.c_int * 1)(int(sys.argv[1]))
arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
pid = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, ctypes.sizeof(arguments))
if pid < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.waitpid(pid, 0)
"""


def memory_of(pid):
    """VmHWM and VmRSS as /proc has them, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024 for key in ("VmHWM", "VmRSS")}

