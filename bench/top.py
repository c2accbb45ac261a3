# SPDX-License-Identifier: BSD-2-Clause
"""How late `closewatch top` is: from frame to frame and from key to answer, idle, under a flood, with 20,000 processes.

It runs on a terminal of 40 rows and 132 columns, by process, in a network namespace that it watches alone: with ten
processes that hold a connection each (idle) and with 20,000, both without more, beside a flood of short connections
that has one CPU, and beside one that has all. A frame is there when the head of the screen or its first row has changed
(how long it has watched, events a second, how old the oldest CLOSE_WAIT is, to a tenth of a second); a key (j, End,
Home) is answered when the chosen row is another. Times are taken by a process that the scheduler prefers to all
others, and are printed, never judged.

It fails (exit 1) where top ends by itself or with an error, does not answer, or shows another number of processes or
sockets than there are. What it lost is told, as its head says it.
"""
import argparse
import contextlib
import fcntl
import json
import math
import os
import pty
import random
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from screen import Screen
from tools import LOAD, Failure, Tool, enter_own_network, machine, pause, play, wait_until

ROOT = Path(__file__).resolve().parent.parent
ROWS, COLUMNS = 40, 132
HEAD = re.compile(r"watched (\S+)  ([\d.]+) events/s  lost (\d+)")
FIRST_ROW = 4  # below the head and the titles
ONE_FRAME = 0.05  # its pieces come within that time
HALF_CLOSED = 10  # one in so many is in CLOSE_WAIT
FEW = 10  # processes, where there is no crowd
SPARE = 4096  # pids that are left to others
# Key, and whether it chooses the first row. Of k that is not known: a refresh may have moved the row that was chosen.
PRESSES = ((b"j", False), (b"\x1bOH", True), (b"\x1bOF", False), (b"\x1bOH", True))
PATIENCE = 30


class Top(Tool):
    """`closewatch top` on a terminal of its own, whose screen is read here."""

    def __init__(self, command, directory):
        super().__init__("top", command, directory)
        self.screen = Screen(ROWS, COLUMNS)
        self.frames = []  # (when it came, events a second, lost)
        self.pressed = False
        self.terminal = None

    def start(self):
        self.terminal, display = pty.openpty()
        fcntl.ioctl(display, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.began = time.monotonic()
        with open(self.messages, "wb") as err:
            self.process = subprocess.Popen(self.command, stdin=display, stdout=display, stderr=err,
                                            start_new_session=True,
                                            env=os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"})
        os.close(display)
        try:
            if not self.read_until(lambda: self.frames, PATIENCE):
                raise Failure(f"top shows nothing within {PATIENCE} s")
        except BaseException:
            self.stop()
            raise

    def stop(self):
        try:
            super().stop()
        finally:
            os.close(self.terminal)

    def must_run(self):
        if self.process.poll() is not None:
            text = self.messages.read_text(errors="replace").strip()[-1000:]
            raise Failure(f"top ended by itself with {self.process.returncode}: {text}")

    def read_until(self, condition, seconds):
        """When what has come made it true; None: it did not within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.terminal], [], [], left)[0]:
                continue
            now = time.monotonic()
            self.take(now)
            if condition():
                return now
        self.must_run()
        return None

    def take(self, now):
        try:
            piece = os.read(self.terminal, 1 << 16)
        except OSError:  # nobody has the other end
            self.process.wait(PATIENCE)
            self.must_run()
        before = self.clocks()
        self.screen.feed(piece)
        found = HEAD.search(self.screen.text(0))
        if self.clocks() == before or not found:
            return
        frame = now, float(found[2]), int(found[3])
        if self.frames and now - self.frames[-1][0] < ONE_FRAME:
            self.frames[-1] = self.frames[-1][0], *frame[1:]
        else:
            self.frames.append(frame)

    def clocks(self):
        """What each frame changes; once keys are pressed the first row is whichever they bring there."""
        return self.screen.text(0), "" if self.pressed else self.screen.text(FIRST_ROW)

    def press(self, key):
        self.pressed = True
        os.write(self.terminal, key)

    def chosen_row(self):
        """On the screen; None: there is none."""
        return next((row for row in range(FIRST_ROW, ROWS - 1) if self.screen.reversed[row][0]), None)

    def answer_times(self, presses):
        """Seconds from each key to the row that it chooses."""
        times = []
        for number in range(presses):
            key, first = PRESSES[number % len(PRESSES)]
            self.read_until(lambda: False, random.uniform(0.05, 0.25))
            if (self.chosen_row() == FIRST_ROW) == first:
                continue  # a refresh has brought it there already
            began = time.monotonic()
            self.press(key)
            came = self.read_until(lambda: (self.chosen_row() == FIRST_ROW) == first, PATIENCE)
            if came is None:
                raise Failure(f"key {key!r} is not answered within {PATIENCE} s")
            times.append(came - began)
        return times

    def rows_named(self, name):
        """As the foot counts them."""
        foot = re.compile(rf"^/{name}: (\d+) of \d+")
        self.press(b"/" + name.encode() + b"\r")
        if self.read_until(lambda: foot.match(self.screen.text(ROWS - 1)), PATIENCE) is None:
            raise Failure(f"the filter is not answered within {PATIENCE} s")
        return int(foot.match(self.screen.text(ROWS - 1))[1])

    def waited_ns(self):
        """For a CPU that others had, by the scheduler's own clock."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1])

    def states(self):
        """As the head counts them."""
        return {name: int(count) for name, count in re.findall(r"([A-Z_0-9]+) (\d+)", self.screen.text(1))}

    def anonymous_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^RssAnon:\s*(\d+)", status, re.M)[1]) * 1024


def preferred():
    """The clock of this bench is not to wait for a CPU behind what it measures; what it starts is as anybody."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError as error:
        print(f"scripts/bench --top: this process is not preferred ({error}): it may take itself for a late top",
              file=sys.stderr)


def possible_processes(wanted):
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    there = sum(1 for _ in Path("/proc").glob("[0-9]*/task/*"))
    return max(min(wanted, most - there - SPARE), FEW)


@contextlib.contextmanager
def holders(options, wanted):
    """So many processes that hold a connection each, until the end of the block: how many there are."""
    half_closed = wanted // HALF_CLOSED
    child = subprocess.Popen([str(options.holders), str(wanted), str(half_closed)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        made = child.stdout.readline()
        if not made:
            raise Failure("the connections to be held could not be made")
        yield {"processes": int(made), "CLOSE_WAIT": min(half_closed, int(made))}
    finally:
        child.stdin.close()
        child.wait(60)


def opened():
    """Connections that were opened in this network namespace."""
    names, values = (line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()
                     if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


@contextlib.contextmanager
def flood(options, cpus):
    """Short connections without end, by two clients and two servers that have these CPUs."""
    if not cpus:
        yield
        return
    words = ["taskset", "-c", ",".join(map(str, cpus)), str(options.load), "--connections", "100000000", "--servers",
             "2", "--clients", "2"]
    before = opened()
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: opened() > before + 1000, PATIENCE, "the flood has begun")
        yield
        if child.poll() is not None:
            raise Failure(f"the load ended with {child.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(10)


def measure(options, directory, held, cpus):
    netns = os.stat("/proc/self/ns/net").st_ino
    command = [str(options.binary), "top", "--by", "process", "--netns", str(netns), "--leak-after", "5s"]
    with flood(options, cpus), Top(command, directory).running() as top:
        top.read_until(lambda: len(top.frames) > 2, PATIENCE)
        begin, cpu, waited, connections = len(top.frames) - 1, top.on_cpu_ns(), top.waited_ns(), opened()
        began, most = time.monotonic(), 0
        while (left := began + options.seconds - time.monotonic()) > 0:
            top.read_until(lambda: False, min(left, 0.5))
            most = max(most, top.anonymous_bytes())
        frames = top.frames[begin:]
        connections = (opened() - connections) / (time.monotonic() - began)
        answers = top.answer_times(options.presses)
        seconds = time.monotonic() - began
        cpu, waited = top.on_cpu_ns() - cpu, top.waited_ns() - waited
        most = max(most, top.anonymous_bytes())
        lost = top.frames[-1][2]
        rows, states = top.rows_named("crowded"), top.states()
        top.must_run()
    if top.process.returncode != 0:
        raise Failure(f"top ended with {top.process.returncode}: {top.messages.read_text(errors='replace')[-1000:]}")
    gaps = [later[0] - earlier[0] for earlier, later in zip(frames, frames[1:])]
    if not gaps:
        raise Failure(f"no frame within {options.seconds} s")
    counted = sum(frame[1] * gap for frame, gap in zip(frames[1:], gaps))
    return {"first_s": top.frames[0][0] - top.began, "gaps_s": gaps, "answers_s": answers,
            "events_per_s": counted / sum(gaps), "connections_per_s": connections,
            "cpu_s_per_s": cpu / 1e9 / seconds, "waited_s_per_s": waited / 1e9 / seconds, "anonymous_bytes": most,
            "lost": lost, "lost_at_start": frames[0][2], "held": held, "flood": bool(cpus), "rows": rows,
            "states": states}


def wrong(row):
    """What top shows that is not so."""
    half = row["held"]["CLOSE_WAIT"]
    whole = 2 * (row["held"]["processes"] - half)
    if row["rows"] != row["held"]["processes"]:
        yield f"{row['held']['processes']} processes hold sockets, top has rows for {row['rows']}"
    for state, there in (("ESTABLISHED", whole), ("CLOSE_WAIT", half), ("FIN_WAIT2", half)):
        shown = row["states"].get(state, 0)
        if shown < there if row["flood"] else shown != there:
            yield f"{there} sockets are held in {state}, top shows {shown}"


def situations(options, directory):
    """Name -> what was measured. Each flood has a namespace in which no other's sockets are in TIME_WAIT."""
    cpus = sorted(os.sched_getaffinity(0))
    many = possible_processes(options.processes)
    nothing, beside, everywhere = ([], ""), (cpus[:1], "flood, one CPU"), (cpus, "flood, all CPUs")
    for wanted, who in ((FEW, ""), (many, f"{many} processes")):
        for floods in ((nothing, beside), (everywhere,)):
            enter_own_network()
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("10000 65535")
            with holders(options, wanted) as held:
                for has, what in floods:
                    name = "; ".join(filter(None, (who, what))) or "idle"
                    print(name, file=sys.stderr)
                    yield name, measure(options, directory, held, has)
            pause()


def percentile(values, share):
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def print_table(rows):
    print(f"{'':32} {'events/s':>9} {'conn/s':>7} {'frame to frame, ms':>22} {'key to answer, ms':>18} {'first':>6}"
          f" {'lost':>9} {'of it at':>9} {'CPU':>6} {'waits':>6} {'RssAnon':>8}")
    print(f"{'':32} {'as shown':>9} {'made':>7} {'median':>8} {'p99':>6} {'worst':>6} {'median':>9} {'worst':>8}"
          f" {'ms':>6} {'as shown':>9} {'start':>9} {'s/s':>6} {'s/s':>6} {'MiB':>8}")
    for name, row in rows.items():
        gaps, answers = ([1e3 * value for value in row[key]] for key in ("gaps_s", "answers_s"))
        print(f"{name:32} {row['events_per_s']:9.0f} {row['connections_per_s']:7.0f} {statistics.median(gaps):8.0f}"
              f" {percentile(gaps, 0.99):6.0f} {max(gaps):6.0f} {statistics.median(answers):9.1f} {max(answers):8.1f}"
              f" {1e3 * row['first_s']:6.0f} {row['lost']:9} {row['lost_at_start']:9} {row['cpu_s_per_s']:6.3f}"
              f" {row['waited_s_per_s']:6.3f} {row['anonymous_bytes'] / 2**20:8.1f}")


def report(options, rows, problems, where):
    print(f"\n{where}; -i 1s, {options.seconds:g} s without keys and then {options.presses} of them each\n")
    print_table(rows)
    print()
    for problem in problems:
        print(f"MISSED  (i) {problem}")
    if not problems:
        print("ok      (i) top ran to its end, and showed the processes and the sockets that there are")


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench --top", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each situation, before the keys (10)")
    parser.add_argument("--presses", type=int, default=20, help="keys of each (20)")
    parser.add_argument("--processes", type=int, default=20_000, help="that hold a connection (20000, or by pid_max)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("--load", type=Path, default=LOAD)
    parser.add_argument("--holders", type=Path, default=ROOT / "build/holders")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-top.json")
    return parser.parse_args()


def main():
    options = parse()
    if os.geteuid() != 0:
        raise Failure("tracing and network namespaces take root: sudo scripts/bench --top")
    # So that `finally` ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    where = machine() + (", BUSY" if os.getloadavg()[0] > 0.5 else "")
    preferred()
    rows, problems = {}, []
    with tempfile.TemporaryDirectory() as directory:
        try:
            for name, row in situations(options, directory):
                rows[name] = row
                problems += [f"{name}: {text}" for text in wrong(row)]
        except Failure as failure:
            problems.append(f"after {', '.join(rows) or 'nothing'}: {failure}")
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({"machine": where, "situations": rows, "problems": problems}, indent=1) + "\n")
    report(options, rows, problems, where)
    return 1 if problems else 0


play(main, "--top")
