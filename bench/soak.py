#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""closewatch under all that makes its tables grow, for as long as is wanted.

Floods of short connections, processes with odd names and a remote end each, programs by other names in network
namespaces that are made and deleted, listeners that come and go by the thousand, leakers and innocents that come and go,
and a reader that now and then does not read for seconds. Watched by one `trace`, whose stream is read as a user's program
would read it, by one `report`, and by one `top` on a terminal of its own, in which somebody moves, looks into rows and
comes back.

A line every ten seconds: what closewatch takes and what it has told. Twice a minute all load rests, and the stream's
picture of the close path is held against ss: DIFF is by how many connections the two differ.

It fails (exit 1) where
- memory still grows when the tables are full: the anonymous memory of `trace`, or of `top`, at its highest in the last
  quarter of the time is above that of the third quarter by more than 5 % and 4 MiB (of a run of eight minutes or more: what is in
  TIME_WAIT needs one, the tables of processes and workloads more, and each quarter has to have a slow reader, for
  whom up to 16 MiB wait),
- the picture differs from ss at a quiet point, a leak is not found, or an innocent is called a leak,
- the losses told do not add up, or closewatch ends early or with an error.
"""
import argparse
import json
import fcntl
import os
import pty
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import Counter
from pathlib import Path

from tools import Failure, enter_own_network, wait_until

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
LEAK_AFTER, SWEEP = 4, 1
LINE_EVERY, REST_EVERY = 10, 30
SLOW_FOR, SLOW_AT = 4, 4  # seconds, at every fourth rest
OUTPUT_OWED = 75  # for so long after lines were lost the next snapshot may not have come yet (once a minute)
STATES = {"FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2", "TIME-WAIT": "TIME_WAIT", "CLOSE-WAIT": "CLOSE_WAIT",
          "LAST-ACK": "LAST_ACK", "CLOSING": "CLOSING"}
# Mode of tests/programs/workload.c, and whether its sockets leak.
LEAKERS, INNOCENTS = ("forgot", "connecting", "inherited-fork", "dead-reset"), ("pool", "replying", "dead-closed")
WORKLOAD_LASTS = 20
GROWTH_SHARE, GROWTH_BYTES = 0.05, 4 * MIB


class Stream(threading.Thread):
    """Reads what `trace --json` writes: what is on the close path, findings, losses."""

    def __init__(self, descriptor):
        super().__init__(daemon=True)
        self.descriptor = descriptor
        self.may_read = threading.Event()
        self.may_read.set()
        self.known, self.inside, self.output_lost = {}, False, -1000.0
        self.findings, self.gaps, self.lost = [], Counter(), 0
        self.last, self.bye, self.error, self.next_seq = {}, None, None, 0
        self.read_at = 0.0
        self.start()

    def run(self):
        rest = b""
        try:
            while piece := os.read(self.descriptor, 1 << 16):
                self.read_at = time.monotonic()
                lines = (rest + piece).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    self.take(line)
                self.may_read.wait()
        except Exception as error:  # told at the end: a thread's own end is nobody's to see
            self.error = f"{error}"

    def take(self, line):
        kind = line[33:46]
        seq = int(re.search(rb'"seq":(\d+)', line)[1])
        if seq != self.next_seq:
            raise Failure(f"seq {seq} behind {self.next_seq - 1}")
        self.next_seq += 1
        if kind.startswith(b"transition"):
            self.inside = False
            self.move(line)
            return
        event = json.loads(line)
        kind = event["type"]
        if kind in ("snapshot", "snapshot_end") and not self.inside:
            self.known = {}
        self.inside = kind == "snapshot"
        if kind == "snapshot":
            self.known[event["conn"]["id"].encode()] = event["state"].encode()
        elif kind == "finding":
            self.findings.append(event)
        elif kind == "gap":
            self.gaps[event["where"]] += 1
            if event["where"] == "output":
                self.output_lost = time.monotonic()
            self.lost += event["lost"]
        elif kind == "stats":
            self.last = event
        elif kind == "bye":
            self.bye = event

    def move(self, line):
        found = re.search(rb'"id":"([^"]+)".*?"to":"([A-Z_0-9]+)"', line)
        if found[2] == b"CLOSE" or found[2] not in OF_THE_PATH:
            self.known.pop(found[1], None)
        else:
            self.known[found[1]] = found[2]

    def wait_idle(self, seconds=1.5, patience=60):
        """Everything that has been written has been read: what is at the end of a long queue tells of what is lost."""
        deadline = time.monotonic() + patience
        while time.monotonic() < min(self.read_at + seconds, deadline):
            time.sleep(0.2)

    def of(self, netns):
        return {id: state for id, state in self.known.copy().items() if id.startswith(netns)}


OF_THE_PATH = {state.encode() for state in STATES.values()}


def listed_by_ss(inum):
    found = {}
    for line in subprocess.run(["ss", "-taneH"], check=True, capture_output=True, text=True).stdout.splitlines():
        state = STATES.get(line.split()[0])
        if state:
            found[b"%d:%d" % (inum, int(re.search(r"sk:([0-9a-f]+)", line)[1], 16))] = state.encode()
    return found


class Watched:
    """A closewatch, and what it takes."""

    def __init__(self, words, folder, name):
        self.errors = folder / f"{name}.stderr"
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors.open("wb"))
        self.must_begin(name, lambda: b"closewatch: watching" in self.errors.read_bytes())

    def must_begin(self, name, has_begun):
        wait_until(lambda: has_begun() or self.process.poll() is not None, 30, f"{name} to watch")
        self.must_run()

    def must_run(self):
        if self.process.poll() is not None:
            raise Failure(f"closewatch ended with {self.process.returncode}: {self.errors.read_text()[-2000:]}")

    def memory(self):
        """Resident and anonymous bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) * 1024 for key in ("VmRSS", "RssAnon"))

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class OnScreen(Watched):
    """`top` on a terminal of its own, and somebody at its keys."""

    KEYS = (b"j", b"j", b"\r", b"\x1b[6~", b"\x1b", b"k", b"p", b">", b"/a\r", b"\x1b", b"\x1bOF", b"\x1bOH")

    def __init__(self, words, folder):
        self.errors = folder / "top.stderr"
        self.terminal, display = pty.openpty()
        fcntl.ioctl(display, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
        self.process = subprocess.Popen(words, stdin=display, stdout=display, stderr=self.errors.open("wb"),
                                        start_new_session=True, env=os.environ | {"TERM": "xterm-256color"})
        os.close(display)
        self.shown = 0
        threading.Thread(target=self.read, daemon=True).start()
        self.must_begin("top", lambda: self.shown > 1000)
        threading.Thread(target=self.type, daemon=True).start()

    def read(self):
        try:
            while piece := os.read(self.terminal, 1 << 16):
                self.shown += len(piece)
        except OSError:
            pass  # it has ended: whether it should have is must_run()'s to say

    def type(self):
        for number in range(1 << 30):
            time.sleep(1)
            if self.process.poll() is not None:
                return
            os.write(self.terminal, self.KEYS[number % len(self.KEYS)])


class Load:
    """All that goes on, in threads of its own; rests when it is told to."""

    def __init__(self, programs, folder, seconds):
        self.programs, self.folder = programs, folder
        self.end = time.monotonic() + seconds
        self.goes_on, self.over = threading.Event(), threading.Event()
        self.goes_on.set()
        self.busy, self.lock = 0, threading.Lock()
        self.failed, self.counts = [], Counter()
        self.strangers = subprocess.Popen([sys.executable, "-B", str(ROOT / "tests/programs/strangers.py"), str(seconds),
                                           "250"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                          start_new_session=True)
        self.threads = [threading.Thread(target=self.repeat, args=(what, pause), daemon=True)
                        for what, pause in ((self.flood, 2), (self.namespaces, 0.5), (self.listeners, 5))]
        for thread in self.threads:
            thread.start()

    def repeat(self, what, pause):
        while not self.over.is_set():
            self.goes_on.wait()
            if self.over.is_set():
                return
            with self.lock:
                self.busy += 1
            try:
                what()
                self.counts[what.__name__] += 1
            except Exception as error:
                self.failed.append(f"{what.__name__}: {error}")
                return
            finally:
                with self.lock:
                    self.busy -= 1
            self.over.wait(pause)

    def flood(self):
        subprocess.run([str(self.programs / "flood"), "2500", "0", str((os.cpu_count() or 1) - 1)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def namespaces(self):
        """A program by a name that was never there before, in a namespace that ends with it."""
        name = self.folder / ("odd-" + "".join(random.choice("aé\n\x01\u202e \"\\") for _ in range(random.randrange(40)))
                              + str(random.randrange(1 << 40)))
        shutil.copy(self.programs / "flood", name)
        try:
            subprocess.run(["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" 5 0 0', str(name)], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finally:
            name.unlink()

    def listeners(self):
        script = ("import resource, socket, time\nresource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)\n"
                  "kept = [socket.create_server(('127.0.0.1', 0)) for _ in range(2000)]\ntime.sleep(2)\n")
        subprocess.run([sys.executable, "-c", script], check=True)

    def rest(self):
        self.goes_on.clear()
        self.strangers.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.1)

    def resume(self):
        self.strangers.send_signal(signal.SIGCONT)
        self.goes_on.set()

    def stop(self):
        self.over.set()
        self.resume()
        for thread in self.threads:
            thread.join(60)
        end_session(self.strangers)


def end_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Judged:
    """Workloads that come and go; what the stream has to say of their ports."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        self.running, self.done, self.port, self.unjudged = [], [], 20000, 0

    def begin(self):
        for mode in (*LEAKERS, *INNOCENTS):
            self.port += 1
            said = self.folder / f"said-{self.port}"
            process = subprocess.Popen([str(self.programs / "workload"), mode, mode[:10], str(self.port)],
                                       stdin=subprocess.DEVNULL, stdout=said.open("wb"), stderr=subprocess.DEVNULL,
                                       start_new_session=True)
            self.running.append((mode, self.port, process, time.monotonic()))

    def end(self, stream):
        """Of one during which lines were lost on their way to a slow reader nothing can be demanded, but innocence."""
        for mode, port, process, began in self.running:
            end_session(process)
            if mode in INNOCENTS or stream.output_lost < began - SLOW_FOR - 2:
                self.done.append((mode, port))
            else:
                self.unjudged += 1
            (self.folder / f"said-{port}").unlink()
        self.running = []

    def wrong(self, findings):
        accused, seen = set(), set()
        for finding in findings:
            ports = {finding["conn"][end]["port"] for end in ("local", "peer")}
            seen |= ports
            if finding["verdict"] == "leak":
                accused |= ports
        return ([f"{mode} on port {port} was not found" for mode, port in self.done
                 if mode in LEAKERS and port not in accused] +
                [f"{mode} on port {port} is called a leak" for mode, port in self.done
                 if mode in INNOCENTS and port in accused])


def difference(stream, inum):
    """By how many connections the stream and ss differ, the least of some seconds: sweeps come each second."""
    least, sample = None, []
    for _ in range(24):
        kernel, told = listed_by_ss(inum), stream.of(b"%d:" % inum)
        wrong = [(id.decode(), (kernel.get(id) or b"-").decode(), (told.get(id) or b"-").decode())
                 for id in kernel.keys() | told.keys() if kernel.get(id) != told.get(id)]
        if least is None or len(wrong) < least:
            least, sample = len(wrong), wrong[:3]
        if not wrong:
            break
        time.sleep(0.5)
    return least, len(kernel), sample


def soak(settings, folder):
    programs = settings.closewatch.parent / "tests/programs"
    inum = os.stat("/proc/self/ns/net").st_ino
    common = ["--leak-after", f"{LEAK_AFTER}s", "--sweep", f"{SWEEP}s", "--ring", settings.ring]
    trace = Watched([str(settings.closewatch), "trace", "--json", "-v", *common, "--events",
                     "hello,snapshot,snapshot_end,transition,finding,gap,stats,bye"], folder, "trace")
    report = Watched([str(settings.closewatch), "report", "--json", "-d",
                      f"{int(settings.seconds) + 600}s", *common], folder, "report")
    top = OnScreen([str(settings.closewatch), "top", *common], folder)
    stream = Stream(trace.process.stdout.fileno())
    load, judged = Load(programs, folder, settings.seconds + 3600), Judged(programs, folder)
    began, problems, anonymous, of_top = time.monotonic(), [], [], []
    print(f"{'time':>6} {'RSS':>9} {'anon':>9} {'report':>9} {'top':>9} {'CPU':>6} {'events':>10} {'lost':>9} {'gaps':>5} "
          f"{'path':>7} {'DIFF':>5}", flush=True)
    cpu = trace.cpu_seconds()
    next_line, next_rest, judged_until = began + LINE_EVERY, began + REST_EVERY, 0
    rests, quiet = 0, None  # since the last line
    try:
        while time.monotonic() < began + settings.seconds:
            now = time.monotonic()
            trace.must_run()
            report.must_run()
            top.must_run()
            if stream.error or load.failed:
                raise Failure(stream.error or load.failed[0])
            if now > judged_until:
                stream.wait_idle(patience=3)
                judged.end(stream)
                judged.begin()
                judged_until = now + WORKLOAD_LASTS
            if now > next_rest:
                load.rest()
                rests += 1
                stream.wait_idle()
                if time.monotonic() > stream.output_lost + OUTPUT_OWED:
                    quiet = difference(stream, inum)
                if quiet and quiet[0]:
                    problems.append(f"at {now - began:.0f} s the stream and ss differ by {quiet[0]} connections, as "
                                    f"(id, ss, told) {quiet[2]}")
                load.resume()
                if rests % SLOW_AT == 0:
                    stream.may_read.clear()  # and floods go on meanwhile
                    time.sleep(SLOW_FOR)
                    stream.may_read.set()
                next_rest = time.monotonic() + REST_EVERY
            if now > next_line:
                resident, anon = trace.memory()
                anonymous.append((now - began, anon))
                of_top.append((now - began, top.memory()[1]))
                used = trace.cpu_seconds()
                last = stream.last
                print(f"{now - began:5.0f}s {resident / MIB:7.1f} M {anon / MIB:7.1f} M {report.memory()[1] / MIB:7.1f} M "
                      f"{of_top[-1][1] / MIB:7.1f} M "
                      f"{100 * (used - cpu) / (now - next_line + LINE_EVERY):5.1f}% {last.get('events', 0):>10} "
                      f"{stream.lost:>9} {sum(stream.gaps.values()):>5} {len(stream.known):>7} "
                      f"{'' if quiet is None else quiet[0]:>5}", flush=True)
                cpu, next_line, quiet = used, now + LINE_EVERY, None
            time.sleep(0.2)
        time.sleep(max(0, judged_until - time.monotonic()))
        judged.end(stream)
        load.rest()
        stream.wait_idle()
        time.sleep(max(3 * SWEEP, stream.output_lost + OUTPUT_OWED - time.monotonic()))
        quiet = difference(stream, inum)
        if quiet[0]:
            problems.append(f"at the end the stream and ss differ by {quiet[0]} connections, as {quiet[2]}")
    finally:
        judged.end(stream)
        load.stop()
        for watched in (trace, report, top):
            if watched.process.poll() is None:
                watched.process.send_signal(signal.SIGINT)
    document = json.loads(report.process.communicate(timeout=60)[0])
    for watched, name in ((trace, "trace"), (report, "report"), (top, "top")):
        if watched.process.wait(30) != 0:
            problems.append(f"{name} ended with {watched.process.returncode}")
    stream.join(30)
    problems += [stream.error] if stream.error else []
    if not stream.bye or stream.bye["lost"] != stream.lost:
        problems.append(f"the gaps say that {stream.lost} were lost, bye says {stream.bye}")
    if document["lost"] > 0 and document["complete"]:
        problems.append("the report lost events and calls itself complete")
    problems += judged.wrong(stream.findings)
    for name, values in (("trace", anonymous), ("top", of_top)):
        growth, allowed = growth_of(values, settings.seconds)
        if growth is None:
            print(f"memory of {name}: the run was too short to tell growth from filling (eight minutes at least)")
            continue
        print(f"memory of {name}: in the last quarter {growth / MIB:+.1f} MiB against the third, {allowed / MIB:.1f} MiB"
              " allowed")
        if growth > allowed:
            problems.append(f"memory of {name} grows by {growth / MIB:.1f} MiB from the third quarter to the last")
    told = {key: (stream.bye or {}).get(key) for key in ("events", "lost", "findings", "cpu_ms")}
    print(f"sum: {settings.seconds:.0f} s, {dict(load.counts)}, {len(judged.done)} workloads judged, {judged.unjudged} not for lost lines; {told}; gaps "
          f"{dict(stream.gaps)}; report: {document['incomplete_reasons'] or 'complete'}; peak "
          f"{max((value for _, value in anonymous), default=0) / MIB:.1f} MiB anonymous; "
          f"{'FAILED' if problems else 'ok'}")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def growth_of(anonymous, seconds):
    if seconds < 480:
        return None, None
    third = max(value for at, value in anonymous if seconds / 2 <= at < seconds * 3 / 4)
    last = max(value for at, value in anonymous if at >= seconds * 3 / 4)
    return last - third, GROWTH_SHARE * third + GROWTH_BYTES


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=600)
    parser.add_argument("--closewatch", type=Path, default=ROOT / "build/closewatch", metavar="PATH")
    parser.add_argument("--ring", default="256K", help="small, so that something is lost (256K)")
    settings = parser.parse_args()
    settings.closewatch = settings.closewatch.resolve()
    if os.geteuid() != 0:
        print("soak: load and network namespaces take root", file=sys.stderr)
        return 1
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    enter_own_network()
    folder = Path(tempfile.mkdtemp(prefix="closewatch-soak-"))
    try:
        return soak(settings, folder)
    except Failure as failure:
        print(f"soak: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


sys.exit(main())
