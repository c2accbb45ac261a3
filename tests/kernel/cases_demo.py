# SPDX-License-Identifier: BSD-2-Clause
"""`closewatch demo`: each of its programs is told by its name with the right verdict, and none of them is ever left."""
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from case import Case
from cases_privileges import other_user, sets_of, status_of
from cases_run import demand, refusal, without
from harness import Watch, alive, poll, sees_use
from leaklib import document
from screenlib import Screen

PROGRAMS = {"demo", "demo-peers", "demo-healthy", "demo-churner", "demo-forgets", "demo-unread", "demo-hangs",
            "demo-pool", "demo-inherits", "demo-heir", "demo-dead", "demo-in-flight", "demo-backlog", "demo-blocked",
            "demo-half-close", "demo-lingers", "demo-aborts", "demo-mptcp"}


@dataclass
class Told:
    kind: str
    verdict: str
    count: int = 0        # 0: at least two
    trend: str = ""


ACCUSED = {
    "demo-forgets": Told("eof_ignored", "leak", trend="growing"),
    "demo-unread": Told("eof_unread", "leak", trend="growing"),
    "demo-hangs": Told("eof_ignored", "stuck", 3),
    "demo-pool": Told("eof_unread", "stuck", 6),
    "demo-heir": Told("inherited", "leak", 1) if sees_use() else Told("eof_unread", "stuck", 1),
    "demo-dead": Told("dead_unclosed", "leak", 2),
    "demo-in-flight": Told("in_flight", "stuck", 1),
    "demo-backlog": Told("never_accepted", "stuck", 3),
    "demo-blocked": Told("write_blocked", "stuck", 1),
}


def start(stage, *options, wrapper=(), wait=True):
    """In the stage's namespace, so that all that is there is the demo's."""
    words = stage.netns[""].command(*wrapper, *stage.closewatch("demo", "--report", *options))
    folder = stage.folder / f"watch{len(stage.watches)}"
    folder.mkdir()
    watch = Watch(words, folder)
    stage.watches.append(watch)
    if wait:
        watch.wait_ready()
    return watch


def processes(stage):
    """{pid: name} of the processes that live in the stage's namespace, closewatch aside."""
    found = {}
    for pid in map(int, stage.netns[""].run("ip", "netns", "pids", stage.netns[""].name).split()):
        try:
            comm = Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
        except OSError:
            continue
        if comm.startswith("demo"):
            found[pid] = comm
    return found


def cast(stage):
    """All of them, once all are there."""
    def complete():
        found = processes(stage)
        return found if set(found.values()) == PROGRAMS else None
    return poll(complete, "the programs of the demo")


def nothing_left(stage, pids):
    """Of those that were seen, whatever they are called by now, of others, and of their listeners."""
    left = {pid: name for pid, name in pids.items() if alive(pid)} | processes(stage)
    demand(not left, f"left behind: {left}")
    states = [state for state, _, _ in stage.netns[""].ss()]
    demand(not {"LISTEN", "ESTABLISHED", "CLOSE_WAIT"} & set(states), f"sockets left behind: {states}")


# -- what it shows

def check_accused(report):
    by_name = {}
    for row in report["processes"]:
        for group in row["close_wait"]["groups"]:
            if group["verdict"] != "ok":
                by_name.setdefault(row["process"] and row["process"]["comm"], []).append(group)
    story = {name: [(g["kind"], g["verdict"], g["count"]) for g in groups] for name, groups in by_name.items()}
    demand(set(by_name) == set(ACCUSED), f"accused are {story}")
    for name, told in ACCUSED.items():
        [group] = by_name[name]
        demand((group["kind"], group["verdict"]) == (told.kind, told.verdict), f"{name} is told as {story[name]}")
        demand(group["count"] == told.count if told.count else group["count"] >= 2, f"{name}: {story[name]}")
        demand(not told.trend or group["trend"] == told.trend, f"{name} is {group['trend']}")


def check_innocent(rows):
    demand(rows["demo-churner"]["time_wait"]["entered"] > max(
        row["time_wait"]["entered"] for name, row in rows.items() if name != "demo-churner"), "no churn")
    replying = rows["demo-half-close"]["close_wait"]["groups"]
    demand([(g["kind"], g["verdict"]) for g in replying] == [("replying", "ok")], f"demo-half-close: {replying}")
    if Path("/proc/sys/net/mptcp").exists():
        subflow = rows["demo-mptcp"]["close_wait"]["groups"]
        demand([(g["kind"], g["verdict"]) for g in subflow] == [("mptcp", "ok")], f"demo-mptcp: {subflow}")
    closing = rows["demo-lingers"]["states"]
    demand([closing[state] for state in ("FIN_WAIT1", "LAST_ACK", "CLOSING")] == [1, 1, 1], f"demo-lingers: {closing}")
    endings = rows["demo-aborts"]["endings"]
    demand(set(endings) == {"rst_linger0", "rst_unread"}, f"demo-aborts: {endings}")
    demand(set(rows["demo-healthy"]["endings"]) == {"fin"}, f"demo-healthy: {rows['demo-healthy']['endings']}")
    halves = rows["demo-peers"]["fin_wait2"]
    # Of half_close, blocked and lingers; of those whom forgets, unread and others do not close in turn.
    demand(halves["living"] >= 2 and halves["orphaned"] > 0, f"demo-peers: {halves}")


def check_processes(rows):
    demand(set(rows) <= PROGRAMS, f"others in the report: {set(rows) - PROGRAMS}")
    silent = {"demo", "demo-inherits"} | (set() if Path("/proc/sys/net/mptcp").exists() else {"demo-mptcp"})
    demand(set(rows) >= PROGRAMS - silent, f"not in the report: {PROGRAMS - set(rows)}")
    for name, row in rows.items():
        demand(row["process"]["cmdline"] == name, f"{name} is {row['process']['cmdline']}")
        demand(row["fds"]["open"] is None or row["fds"]["open"] < 100, f"{name} has {row['fds']}")
    demand(rows["demo-forgets"]["fds"]["soft_limit"] == 256, f"{rows['demo-forgets']['fds']}")


def as_report(stage):
    """With what a user gets who gives no other option."""
    watch = start(stage, "--json")
    pids = cast(stage)
    for pid, name in pids.items():
        sets = sets_of(pid)
        no_new_privs = sets.pop("NoNewPrivs")
        demand(not any(sets.values()) and no_new_privs == 1, f"{name} has privileges: {sets}, {no_new_privs}")
        demand(os.getsid(pid) not in (os.getsid(watch.pid), 0), f"{name} is of closewatch's session")
        opened = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        # The manager sees when one of them is ended.
        known = {"/dev/null", "anon_inode:[pidfd]"} if name == "demo" else {"/dev/null"}
        strange = [path for path in opened if not path.startswith("socket:") and path not in known]
        demand(not strange, f"{name} has {strange} open")
    report = document(watch)
    nothing_left(stage, pids)
    demand(report["complete"], f"{report['incomplete_reasons']}")
    check_accused(report)
    rows = {row["process"]["comm"]: row for row in report["processes"] if row["process"]}
    check_processes(rows)
    check_innocent(rows)


def as_text(stage):
    """A row for each process, by its name; by workload they would all be closewatch."""
    watch = start(stage, "-d", "3s", "--leak-after", "500ms")
    pids = cast(stage)
    demand(watch.wait(20) == 0, f"status {watch.process.returncode}: {watch.stderr()}")
    nothing_left(stage, pids)
    text = watch.file.read_text()
    missing = [name for name in ACCUSED if not any(line.startswith(name) for line in text.splitlines())]
    demand(not missing, f"{missing} not in\n{text}")
    demand(all(len(line) <= 80 for line in text.splitlines()), f"wider than 80 columns:\n{text}")


# -- its end

def ended_by(number, gives_report=True):
    def play(stage):
        watch = start(stage, "-d", "1h", "--json")
        pids = cast(stage)
        status = watch.stop(number)
        if gives_report:
            demand(status == 0, f"status {status}: {watch.stderr()}")
            document(watch)
        else:
            # The kernel ends them: one after the other, each with its parent.
            demand(status == -number, f"status {status}")
            poll(lambda: not any(map(alive, pids)), "the end of all of them")
        nothing_left(stage, pids)
    return play


def stopped(stage):
    """One that has been stopped does not hear that it is over."""
    watch = start(stage, "-d", "1h")
    pids = cast(stage)
    for pid, name in pids.items():
        if name in ("demo", "demo-inherits", "demo-unread"):
            os.kill(pid, signal.SIGSTOP)
    demand(watch.stop() == 0, f"status {watch.process.returncode}: {watch.stderr()}")
    # The manager was stopped: the kernel ends the others with it.
    poll(lambda: not any(map(alive, pids)), "the end of all of them")
    nothing_left(stage, pids)


def manager_killed(stage):
    """Somebody ends the manager: what is watched is gone, the report is given all the same, and why is said."""
    watch = start(stage, "-d", "1h", "--json")
    pids = cast(stage)
    os.kill(next(pid for pid, name in pids.items() if name == "demo"), signal.SIGKILL)
    poll(lambda: not any(map(alive, pids)), "the end of all of them")
    demand(watch.stop() == 1, f"status {watch.process.returncode}: {watch.stderr()}")
    demand("the demo's first process was ended by somebody else" in watch.stderr(), watch.stderr())
    document(watch, status=1)
    nothing_left(stage, pids)


def program_killed(stage):
    """Or one of the programs: its row is gone, and what has become of it is said."""
    watch = start(stage, "-d", "1h", "--json")
    pids = cast(stage)
    pid = next(pid for pid, name in pids.items() if name == "demo-forgets")
    os.kill(pid, signal.SIGKILL)
    poll(lambda: not alive(pid), "its end")
    demand(watch.stop() == 1, f"status {watch.process.returncode}: {watch.stderr()}")
    demand("demo-forgets was ended by somebody else (signal 9)" in watch.stderr(), watch.stderr())
    demand("first process" not in watch.stderr(), watch.stderr())
    document(watch, status=1)
    nothing_left(stage, pids)


def closed_output(stage):
    """Nobody reads the report any more."""
    words = stage.netns[""].command(*stage.closewatch("demo", "--report", "-d", "1h"))
    process = stage.spawn(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pids = cast(stage)
    process.stdout.close()
    demand(process.wait(20) == 0, f"status {process.returncode}")
    nothing_left(stage, pids)


# -- on a screen

def screen_of(stage):
    """A terminal on which the demo runs."""
    screen = Screen(stage, columns=100, rows=34)
    screen.run(f"{shlex.join(stage.netns[''].command(*stage.closewatch('demo')))}; echo $? > status")
    return screen


def on_a_screen(stage):
    """Each program is a row that ends in its verdict, and q leaves nothing behind."""
    screen = screen_of(stage)
    pids = cast(stage)
    for name, told in ACCUSED.items():
        screen.wait(rf"^{name} .* {told.verdict}$", patience=30)
    for name in PROGRAMS - set(ACCUSED) - {"demo", "demo-mptcp"}:
        screen.wait(rf"^{name} .* ok$")
    screen.quit()
    nothing_left(stage, pids)
    screen.must_be_as_before("the demo")


def interrupted_on_a_screen(stage):
    """What the terminal's Ctrl-C is sent to is closewatch alone."""
    screen = screen_of(stage)
    pids = cast(stage)
    screen.press("C-c")
    demand(screen.status() == 0, f"status {screen.status()}")
    nothing_left(stage, pids)
    screen.must_be_as_before("the demo")


def terminal_goes(stage):
    screen = screen_of(stage)
    pids = cast(stage)
    screen.end()
    poll(lambda: not any(map(alive, pids)), "the end of all of them")
    nothing_left(stage, pids)


def as_tables(stage):
    """Where standard output is no terminal."""
    words = stage.netns[""].command(*stage.closewatch("demo", "-d", "3s", "--leak-after", "500ms"))
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    demand(result.returncode == 0, f"status {result.returncode}: {result.stderr}")
    missing = [name for name in ACCUSED if not any(line.startswith(name) for line in result.stdout.splitlines())]
    demand(not missing and "\x1b" not in result.stdout, f"{missing} not in\n{result.stdout}")
    nothing_left(stage, {})


# -- other users

def by_capabilities(way):
    """As nobody, with the capabilities that doctor names: they end with it all the same."""
    def play(stage):
        with other_user(stage, way) as wrapper:
            watch = start(stage, "-d", "1h", "--json", wrapper=wrapper)
            pids = cast(stage)
            uids = {status_of(pid)["Uid"].split()[0] for pid in pids}
            demand(uids == {status_of(watch.pid)["Uid"].split()[0]}, f"users {uids}")
            os.kill(watch.pid, signal.SIGKILL)
            poll(lambda: not any(map(alive, pids)), "the end of all of them")
            nothing_left(stage, pids)
    return play


# -- refusals, and what goes wrong

def refused(stage, status, *words, wrapper=()):
    watch = start(stage, wrapper=wrapper, wait=False)
    demand(watch.wait(20) == status, f"status {watch.process.returncode}: {watch.stderr()}")
    said = watch.stderr()
    demand(all(word in said for word in words) and "watching" not in said, f"it says {said}")
    nothing_left(stage, {})


def without_loopback(stage):
    stage.netns[""].run("ip", "link", "set", "lo", "down")
    refused(stage, 1, "cannot connect to 127.0.0.1: Connection timed out", "ip link set lo up")


def without_privileges(stage):
    """Said before anything is started: what comes after it, a look at loopback, would fail here."""
    stage.netns[""].run("ip", "link", "set", "lo", "down")
    refused(stage, 1, "CAP_BPF", wrapper=without("bpf", "sys_admin"))


def too_few_ports(stage):
    """A program that cannot do its part says so, by its name: what it should have shown is missing in the report."""
    stage.netns[""].run("sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50004")
    watch = start(stage, "-d", "1s")
    demand(watch.wait(20) == 1, f"status {watch.process.returncode}")
    said = watch.stderr()
    demand("cannot listen on 127.0.0.1: Address already in use" in said and "closewatch: demo-" in said, said)
    nothing_left(stage, {})


CASES = [
    Case("demo_report", play=as_report),
    Case("demo_report_as_text", play=as_text),
    Case("demo_ended_by_ctrl_c", play=ended_by(signal.SIGINT)),
    Case("demo_ended_by_sigterm", play=ended_by(signal.SIGTERM)),
    Case("demo_killed", play=ended_by(signal.SIGKILL, gives_report=False)),
    Case("demo_stopped_programs", play=stopped),
    Case("demo_manager_killed", play=manager_killed),
    Case("demo_program_killed", play=program_killed),
    Case("demo_closed_output", play=closed_output),
    Case("demo_on_a_screen", play=on_a_screen),
    Case("demo_interrupted_on_a_screen", play=interrupted_on_a_screen),
    Case("demo_terminal_goes", play=terminal_goes),
    Case("demo_as_tables", play=as_tables),
    Case("demo_killed_by_setpriv", play=by_capabilities("setpriv")),
    Case("demo_killed_by_setcap", play=by_capabilities("setcap")),
    Case("demo_without_loopback", play=without_loopback),
    Case("demo_too_few_ports", play=too_few_ports),
    Case("refuses_demo_without_cap_bpf", play=without_privileges),
    Case("refuses_demo_in_a_pid_namespace", play=refusal(
        ("demo", "--report"), 1, "initial pid namespace", wrapper=("unshare", "--pid", "--fork", "--mount-proc"))),
]
