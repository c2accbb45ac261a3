# SPDX-License-Identifier: BSD-2-Clause
"""What a case is played with: network namespaces, actors, the traced binary. All are ended on every path."""
import errno
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0  # seconds for anything that has to happen: a slow machine is no failure
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
STATES = {1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
          8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING"}
SS_STATES = {"ESTAB": "ESTABLISHED", "SYN-SENT": "SYN_SENT", "SYN-RECV": "SYN_RECV", "FIN-WAIT-1": "FIN_WAIT1",
             "FIN-WAIT-2": "FIN_WAIT2", "TIME-WAIT": "TIME_WAIT", "CLOSE-WAIT": "CLOSE_WAIT", "LAST-ACK": "LAST_ACK",
             "LISTEN": "LISTEN", "CLOSING": "CLOSING", "UNCONN": "CLOSE"}


class Failure(Exception):
    """The case fails; the text says why."""


class Skip(Exception):
    """The case can't be played on this machine; the text says why."""


def poll(condition, what, patience=PATIENCE, pause=0.005):
    """Asks again until the condition holds; its value."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {patience:g} s in vain for {what}")
        time.sleep(pause)


def parse_address(text):
    """'[::1]:80', '127.0.0.1:80', '*:*' as (address, port); a v4-mapped address is IPv4."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.strip("[]").split("%")[0]
    if host.lower().startswith("::ffff:") and "." in host:
        host = host[7:]
    return host, int(port) if port != "*" else 0


@functools.cache
def sees_use():
    """Does this kernel tell of reads and writes (sock_recv_length, Linux 6.3)? Asked of its own BTF."""
    return b"\0btf_trace_sock_recv_length\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()


def storage_walk_is_refused(stage):
    """Does this kernel refuse iterators over socket storage? Asked of it by another program than the one under test."""
    said = subprocess.run([stage.program("storage-walk")], capture_output=True, text=True, check=True).stdout.strip()
    if said not in ("allowed", "refused"):
        raise Failure(f"storage-walk says {said!r}")
    return said == "refused"


def start_ticks(pid):
    """Field 22 of /proc/PID/stat, None where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(text.rpartition(b")")[2].split()[19])


def alive(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return text.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


@dataclass
class Endpoint:
    """What an actor has told of one of its sockets."""
    local: tuple
    peer: tuple
    netns: int
    sent: int = 0
    cookie: int = 0


@dataclass
class Process:
    """A process that may appear in events, under the name the case gives it."""
    name: str
    pid: int
    ticks: int            # None where it could not be asked in time
    comms: list = field(default_factory=list)

    def is_same(self, pid, start_ns):
        if pid != self.pid:
            return False
        return self.ticks is None or start_ns is None or abs(start_ns // TICK_NS - self.ticks) <= 1


class Netns:
    def __init__(self, name, sysctls=()):
        self.name = name
        self.path = f"/run/netns/{name}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.inum = os.stat(self.path).st_ino
        self.run("ip", "link", "set", "lo", "up")
        for setting in sysctls:
            self.run("sysctl", "-qw", setting)

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words):
        return subprocess.run(self.command(*words), check=True, capture_output=True, text=True).stdout

    def ss(self):
        """(state, local, peer) of each TCP socket as ss has it."""
        rows = []
        for line in self.run("ss", "-tanH").splitlines():
            columns = line.split()
            rows.append((SS_STATES.get(columns[0], columns[0]), parse_address(columns[3]), parse_address(columns[4])))
        return rows

    def delete(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


def remove_stale_netns():
    """Those of a runner that was killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        name = line.split()[0]
        if name.startswith("cw-test-") and not Path(f"/proc/{name.split('-')[2]}").exists():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


class Actor:
    """One process on the other end of a unix socket; see tests/programs/actor.c."""

    def __init__(self, name, connection, netns, popen=None):
        self.netns, self.popen = netns, popen
        self.connection = connection
        self.lines = connection.makefile("rb")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", credentials)[0]  # as this pid namespace has it
        self.process = Process(name, pid, start_ticks(pid))
        self.process.comms.append(self.receive()["comm"])

    @property
    def pid(self):
        return self.process.pid

    def receive(self):
        line = self.lines.readline()
        if not line:
            raise Failure(f"an actor has gone: {self.process.name}")
        truth = json.loads(line)
        comm = truth["comm"].encode("latin-1").decode("utf-8", "replace")
        if truth["comm"] != comm:
            truth["comm"] = comm
        if comm not in self.process.comms:
            self.process.comms.append(comm)
        return truth

    def send(self, command):
        self.connection.sendall(command.encode() + b"\n")

    def call(self, command):
        self.send(command)
        return self.receive()

    def wait_end(self):
        if self.popen:
            try:
                self.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired as error:
                raise Failure(f"{self.process.name} does not end") from error
        poll(lambda: not alive(self.pid), f"the end of {self.process.name}")

    def end(self):
        if alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        if self.popen:
            if self.popen.poll() is None:
                self.popen.kill()
            self.popen.wait()
        self.lines.close()
        self.connection.close()


class Watch:
    """The traced binary, its stream read as it grows."""

    def __init__(self, words, folder, to_pipe=False, wrapper=()):
        self.file = folder / "events.ndjson"
        self.stderr_file = folder / "stderr.txt"
        command = [*wrapper, *words] + ([] if to_pipe else ["-o", str(self.file)])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                                        stdout=subprocess.PIPE if to_pipe else subprocess.DEVNULL,
                                        stderr=self.stderr_file.open("wb"))
        self.pid = self.process.pid
        self.wrapped = bool(wrapper)
        self.parsed, self.offset = [], 0

    def stderr(self):
        return self.stderr_file.read_bytes().decode("utf-8", "replace")

    def must_run(self):
        if self.process.poll() is not None:
            raise Failure(f"closewatch ended with {self.process.returncode}: {self.stderr().strip()}")

    def wait_ready(self, quiet=False, patience=20.0):
        def ready():
            # One look may be over before we have looked.
            if self.file.exists() and self.file.stat().st_size if quiet else "closewatch: watching" in self.stderr():
                return True
            self.must_run()
            return False
        poll(ready, "closewatch to be watching", patience)
        if self.wrapped:
            self.pid = self.innermost()

    def innermost(self):
        """closewatch itself, below what has wrapped it."""
        pid = self.process.pid
        while True:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children:
                return pid
            pid = int(children[0])

    def events(self):
        """All whole lines so far, parsed; bytes that are no JSON in UTF-8 fail the case."""
        if self.file.exists():
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read()
            whole = data[:data.rfind(b"\n") + 1]
            self.offset += len(whole)
            self.parsed += [parse_line(line) for line in whole.splitlines()]
        return self.parsed

    def stop(self, signal_number=signal.SIGINT, patience=PATIENCE):
        if self.process.poll() is None:
            os.kill(self.pid, signal_number)
        return self.wait(patience)

    def wait(self, patience=PATIENCE):
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired as error:
            raise Failure("closewatch does not end") from error

    def end(self):
        if self.process.poll() is None:
            if self.wrapped:
                try:
                    os.kill(self.innermost(), signal.SIGKILL)
                except OSError:
                    pass
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def parse_line(line):
    try:
        return json.loads(line.decode("utf-8", "strict"))
    except ValueError as error:
        raise Failure(f"no JSON in UTF-8: {line[:300]!r}: {error}") from error


class Stage:
    """Everything of one case, and its end."""
    number = 0

    def __init__(self, settings):
        Stage.number += 1
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="cw-test-"))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(self.folder / "control"))
        self.control.listen(64)
        self.control.settimeout(PATIENCE)
        self.cpu = str(max(os.sched_getaffinity(0)))  # one for all: softirqs then run over the peer
        self.other_cpu = str(min(os.sched_getaffinity(0)))
        self.netns, self.actors, self.processes, self.truth, self.watches = {}, {}, [], {}, []
        self.listeners = {}  # (namespace, port): name of the actor that called listen() there
        self.mounts, self.others, self.cgroups = [], [], []
        self.programs = []  # of leaklib

    # -- making

    def add_netns(self, label="", sysctls=()):
        name = f"cw-test-{os.getpid()}-{Stage.number}{label}"
        self.netns[label] = Netns(name, sysctls)
        return self.netns[label]

    def program(self, name):
        return str(self.settings.programs / name)

    def add_actor(self, name, label="", wrapper=()):
        netns = self.netns[label]
        if name.startswith("tun"):
            script = Path(__file__).resolve().parent.parent / "programs" / "tunpeer.py"
            words = ["/usr/bin/python3", str(script), self.cpu, str(self.folder / "control")]
        else:
            words = [self.program("actor"), name, self.cpu, str(self.folder / "control")]
        popen = subprocess.Popen(netns.command(*wrapper, *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.others.append(popen)
        return self.accept_actor(name, netns, popen)

    def accept_actor(self, name, netns, popen=None):
        try:
            connection, _ = self.control.accept()
        except TimeoutError as error:
            raise Failure(f"{name} does not start") from error
        connection.settimeout(15)
        actor = Actor(name, connection, netns, popen)
        self.actors[name] = actor
        self.processes.append(actor.process)
        return actor

    def closewatch(self, *options):
        return [str(self.settings.closewatch), *options]

    def start_watch(self, *options, json_lines=True, scope="", quiet=False, **how):
        """scope: the label of the namespace it is confined to, None for the whole machine."""
        words = self.closewatch("trace", *(["--json"] if json_lines else []))
        if scope is not None:
            words += ["--netns", self.netns[scope].path]
        folder = self.folder / f"watch{len(self.watches)}"
        folder.mkdir()
        watch = Watch([*words, *options], folder, **how)
        self.watches.append(watch)
        watch.wait_ready(quiet)
        return watch

    def mount_tmpfs(self, size):
        path = self.folder / f"tmpfs{len(self.mounts)}"
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
        self.mounts.append(path)
        return path

    def add_cgroup(self, root, name):
        path = Path(root) / f"cw-test-{os.getpid()}-{Stage.number}-{name}"
        path.mkdir()
        self.cgroups.append(path)
        return path

    def spawn(self, words, **how):
        process = subprocess.Popen(words, **how)
        self.others.append(process)
        return process

    # -- the kernel's own view

    def tcp_table(self, netns):
        """(state, local, peer) rows of /proc/PID/net/tcp and tcp6, through an actor that lives in that namespace."""
        pid = next((a.pid for a in self.actors.values() if a.netns is netns and alive(a.pid)), None)
        if pid is None:
            return netns.ss()
        rows = []
        for name in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                columns = line.split()
                rows.append((STATES[int(columns[3], 16)], hex_address(columns[1]), hex_address(columns[2])))
        return rows

    def state_of(self, endpoint, table):
        """The state of an endpoint, None where the table does not have it."""
        for state, local, peer in table:
            if local == endpoint.local and (peer == endpoint.peer or endpoint.peer is None and state == "LISTEN"):
                return state
        return None

    def endpoint(self, name):
        """'cli.c', or '~cli.c' for the other end of it."""
        turned = name.startswith("~")
        found = self.truth.get(name.lstrip("~"))
        if not found:
            raise Failure(f"no actor has told of {name}")
        return Endpoint(found.peer, found.local, found.netns) if turned else found

    # -- the end

    def close(self, keep):
        for watch in self.watches:
            watch.end()
        for program in self.programs:
            program.end()
        for actor in self.actors.values():
            actor.end()
        for process in self.others:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.control.close()
        for path in self.mounts:
            subprocess.run(["umount", "-l", str(path)], check=False)
        for netns in self.netns.values():
            netns.delete()
        for path in self.cgroups:
            path.rmdir()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def hex_address(text):
    host, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(host[i:i + 8])[::-1] for i in range(0, len(host), 8))
    name = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
    return parse_address(f"[{name}]:{int(port, 16)}")


def errno_named(name):
    return getattr(errno, name)
