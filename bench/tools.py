"""The tools that are measured: how each is started, known to be ready, stopped, and what it says it saw."""
import calendar
import contextlib
import ctypes
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
TICKS = os.sysconf("SC_CLK_TCK")
LOAD = Path(os.environ.get("CONNECT_LOAD", ROOT / "build/connect_load"))
CLONE_NEWNET = 0x40000000  # linux/sched.h; os.unshare() is Python 3.12's


IN_NAMESPACE = """
ip link set lo up
echo '10000 65535' >/proc/sys/net/ipv4/ip_local_port_range
echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
echo 1000000 >/proc/sys/net/ipv4/tcp_max_tw_buckets
exec "$@"
"""


class Failure(Exception):
    """The measurement can't be made; the text says why."""


def play(main, option):
    """The whole of a program whose `main` gives the exit status; `option` is the one of scripts/bench that it is behind."""
    # A shell's background job has it ignored, and so would all that is started from here: they are ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except (Failure, subprocess.CalledProcessError) as failure:
        print(f"scripts/bench {option}: {failure}", file=sys.stderr)
        sys.exit(1)


def programs():
    """What the kernel has loaded: id -> the row of bpftool."""
    out = subprocess.run(["bpftool", "-j", "prog", "show"], check=True, capture_output=True, text=True).stdout
    return {row["id"]: row for row in json.loads(out)}


def run_load(connections):
    command = [str(LOAD), "--connections", str(connections), "--servers", "2", "--clients", "2"]
    done = subprocess.run(["unshare", "--net", "sh", "-ec", IN_NAMESPACE, "sh", *command], capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise Failure(f"the load failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def pause():
    """The last namespace's buckets are torn down in the background: not beside the next run."""
    time.sleep(0.7)


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def enter_own_network():
    """This process, and what it starts from now on, is in a fresh network namespace with lo up."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Failure(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def process(*command):
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(10)


@contextlib.contextmanager
def crowd(connections, half_closed):
    """So many connections are held open by processes of their own, until the end of the block."""
    words = [sys.executable, "-B", str(ROOT / "tests/programs/crowd.py"), str(connections), str(half_closed)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if child.stdout.readline() != "ready\n":
            raise Failure("the connections to be held could not be made")
        yield
    finally:
        child.stdin.close()
        child.wait(30)


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine():
    """For the head of what is printed: what it was measured on, and how busy that was."""
    return f"{processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}"


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

    def on_cpu_ns(self):
        """What all its threads have run, by the scheduler's own clock."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)

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
                # A port that is taken again tells the end of the bucket that had it, which is no transition of the kernel's.
                of_bucket = b'"from":"TIME_WAIT"' in line or b'"to":"TIME_WAIT","in_state_ns":null' in line
                load["transition"] += mark in line and b'"observed":"event"' in line and not of_bucket
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


class ClosewatchReport(Closewatch):
    def seen(self, netns):
        """What ended, by the load's own processes: nobody else is named so."""
        report = json.loads(self.output.read_text())
        ended = sum(sum(row["endings"].values()) for row in report["processes"]
                    if row["process"] and row["process"]["comm"] in ("load-client", "load-server"))
        return {"lines": ended, "lost": report["lost"]}


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
    """tcplife is of the same make."""

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
    """tcpstates and tcplife read tracefs, which a container may not have mounted: it is, for that process alone."""
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
        "closewatch --stacks": lambda: ClosewatchJson(
            "closewatch-stacks", lambda out: [*trace, "--json", "--stacks", "-o", str(out)], directory),
        "closewatch --all-states": lambda: ClosewatchJson(
            "closewatch-all", lambda out: [*trace, "--json", "--all-states", "-o", str(out)], directory),
        "closewatch report": lambda: ClosewatchReport(
            "closewatch-report", lambda out: [str(binary), "report", "--json", "-v", "-d", "1h", "-o", str(out)],
            directory),
        "tcplife": lambda: Tcpstates("tcplife", lambda out: with_tracefs(["tcplife"]), directory),
        "tcpstates": lambda: Tcpstates("tcpstates", lambda out: with_tracefs(["tcpstates"]), directory),
    }
