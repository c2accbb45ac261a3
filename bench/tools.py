"""The tools that are measured: how each is started, known to be ready, stopped, and what it says it saw."""
import calendar
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """The measurement can't be made; the text says why."""


def programs():
    """What the kernel has loaded: id -> the row of bpftool."""
    out = subprocess.run(["bpftool", "-j", "prog", "show"], check=True, capture_output=True, text=True).stdout
    return {row["id"]: row for row in json.loads(out)}


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Tool:
    """One run of a tool that watches the whole machine and writes to a file on tmpfs."""

    def __init__(self, name, command, directory):
        self.name = name
        self.command = command
        self.output = Path(directory) / f"{name}.out"
        self.messages = Path(directory) / f"{name}.err"
        self.process = None

    def start(self):
        with open(self.output, "wb") as out, open(self.messages, "wb") as err:
            self.process = subprocess.Popen(self.command(self.output), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            wait_until(lambda: self.process.poll() is not None or self.ready(), 30, f"{self.name} is ready")
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended at once: {self.messages.read_text(errors='replace').strip()}")
        except Failure:
            self.stop()
            raise

    def ready(self):
        raise NotImplementedError

    def own_programs(self):
        """The rows of the programs that the process has descriptors of."""
        own = set()
        for info in Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                own |= set(map(int, re.findall(r"^prog_id:\s*(\d+)", info.read_text(), re.M)))
        return {key: row for key, row in programs().items() if key in own}

    def usage(self):
        """User and system seconds used so far, and the resident bytes now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {"user_s": int(fields[11]) / TICKS, "system_s": int(fields[12]) / TICKS,
                "rss_bytes": int(re.search(r"^VmRSS:\s*(\d+)", status, re.M).group(1)) * 1024}

    def settle(self):
        """Waits until nothing more is written."""
        size, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < 0.4:
            if (now := self.output.stat().st_size) != size:
                size, quiet_since = now, time.monotonic()
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failure(f"{self.name} did not end within 30 s of SIGINT") from None

    def seen(self, netns):
        """What the tool says of the load's namespace, once stopped."""
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()


class Closewatch(Tool):
    def ready(self):
        return b"closewatch: watching" in self.messages.read_bytes()


class ClosewatchText(Closewatch):
    def seen(self, netns):
        return {"lines": sum(1 for _ in open(self.output, "rb"))}


class ClosewatchJson(Closewatch):
    def ready(self):
        return super().ready() and b'"type":"hello"' in self.output.open("rb").read(4096)

    def seen(self, netns):
        """Counts of the stream: of the load's namespace, and of all others, which nothing hides."""
        kind = re.compile(rb'"type":"([a-z_]+)"')
        load = {"transition": 0, "closed": 0, "unattributed": 0, "orphaned_fin_wait2": 0, "attribution": {}}
        others = {"closed": 0, "unattributed": 0, "opened_before": 0}
        lost, started, bye, lines = 0, None, None, 0
        mark = f'"netns":{netns},'.encode()
        for line in open(self.output, "rb"):
            lines += 1
            what = kind.search(line).group(1)
            if what == b"transition":
                load["transition"] += mark in line and b'"observed":"event"' in line
                continue
            if what == b"hello":
                started = json.loads(line)["time"]
            elif what == b"gap":
                lost += json.loads(line)["lost"]
            elif what == b"bye":
                bye = json.loads(line)
            elif what == b"closed":
                event = json.loads(line)
                unattributed = event["process"] is None or event["attribution"] == "unknown"
                if event["conn"]["netns"] == netns:
                    load["closed"] += 1
                    load["unattributed"] += unattributed
                    load["orphaned_fin_wait2"] += event["bucket"] == "fin_wait2"
                    known = event["attribution"]
                    load["attribution"][known] = load["attribution"].get(known, 0) + 1
                elif opened_before(event, started):
                    others["opened_before"] += 1
                else:
                    others["closed"] += 1
                    others["unattributed"] += unattributed
        if bye is None:
            raise Failure(f"{self.name}: the stream has no bye")
        return {"lines": lines, "lost": max(lost, bye.get("lost", 0)), "load": load, "others": others}


def nanoseconds(stamp):
    """RFC 3339 in UTC -> nanoseconds since 1970."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def opened_before(event, started):
    """Whether a connection is older than the hello. Where its age is not known it counts as opened after it."""
    if event["duration_ns"] is None:
        return False
    return nanoseconds(event["time"]) - event["duration_ns"] < nanoseconds(started)


class Tcpstates(Tool):
    def __init__(self, name, command, directory):
        super().__init__(name, command, directory)
        self.loaded_at = None

    def ready(self):
        # It says nothing when it is ready: one second after its program is in the kernel it is.
        if self.loaded_at is None and self.own_programs():
            self.loaded_at = time.monotonic()
        return self.loaded_at is not None and time.monotonic() - self.loaded_at > 1

    def seen(self, netns):
        lost = re.findall(r"[Ll]ost (\d+) event", self.messages.read_text(errors="replace"))
        # The first line is the header.
        return {"lines": sum(1 for _ in open(self.output, "rb")) - 1, "lost": sum(map(int, lost))}


def with_tracefs(command):
    """tcpstates reads tracefs, which a container may not have mounted: it is, for that process alone."""
    script = "[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\""
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


def all_tools(binary, directory):
    """Name -> a function that makes a new run of that tool."""
    trace = [str(binary), "trace"]
    return {
        "closewatch --json": lambda: ClosewatchJson(
            "closewatch-json", lambda out: [*trace, "--json", "-o", str(out)], directory),
        "closewatch": lambda: ClosewatchText(
            "closewatch-text", lambda out: [*trace, "-o", str(out)], directory),
        "closewatch --all-states": lambda: ClosewatchJson(
            "closewatch-all", lambda out: [*trace, "--json", "--all-states", "-o", str(out)], directory),
        "tcpstates": lambda: Tcpstates("tcpstates", lambda out: with_tracefs(["tcpstates"]), directory),
    }
