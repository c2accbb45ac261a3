# SPDX-License-Identifier: BSD-2-Clause
"""Least privilege: what is kept while it watches is what doctor says, and with that it sees what root sees. As another
user, by setpriv and by the file's own capabilities (such a process is not dumpable: its own /proc/self is root's).
"""
import copy
import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from case import Case
from cases_doctor import demand, doctor, for_everybody
from harness import Skip, Watch, poll
from leaklib import JUDGING, Program, Workload, document, groups_of, start_program, start_report

NOBODY = "65534"
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
NUMBERS = {"CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7,
           "CAP_SETPCAP": 8, "CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38,
           "CAP_BPF": 39}


def told(stage):
    return doctor(stage)["privileges"]


def mask(names):
    return sum(1 << NUMBERS[name] for name in names)


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def sets_of(pid):
    status = status_of(pid)
    return {key: int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} | {
        "NoNewPrivs": int(status["NoNewPrivs"])}


def check_sets(pid, names):
    wanted = {"CapInh": 0, "CapPrm": mask(names), "CapEff": mask(names), "CapBnd": mask(names), "CapAmb": 0,
              "NoNewPrivs": 1}
    found = sets_of(pid)
    show = {key: f"{value:#x}" for key, value in found.items()}
    demand(found == wanted, f"{show}, and not those of {names} ({mask(names):#x})")


def by_setpriv(names):
    """What doctor's line does."""
    listed = ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
    return (*AS_NOBODY, f"--inh-caps=-all,{listed}", f"--ambient-caps=-all,{listed}", f"--bounding-set=-all,{listed}")


@contextmanager
def other_user(stage, way, without=()):
    """The stage's closewatch is one that nobody may run, with the start set; yields what to run it by."""
    privileges = told(stage)
    names = [name for name in privileges["start"] if name not in without]
    before, stage.settings = stage.settings, copy.copy(stage.settings)
    stage.settings.closewatch = for_everybody(stage)
    mode = os.umask(0)  # the folders of what is watched are to be his to write to
    try:
        if way == "setpriv":
            listed = re.search(r"c=(\S+);", privileges["setpriv"])[1].split(",")
            demand([f"CAP_{one[1:].upper()}" for one in listed] == privileges["start"], f"{privileges['setpriv']}")
            yield by_setpriv(names)
        else:
            line = re.search(r"setcap '(.*)' FILE", privileges["setcap"])[1]
            for name in without:
                line = re.sub(rf",?\b{name.lower()}\b", "", line)
            done = subprocess.run(["setcap", line, str(stage.settings.closewatch)], capture_output=True, text=True,
                                  check=False)
            if "not supported" in done.stderr:
                raise Skip(f"{stage.folder} is on a file system without extended attributes")
            demand(done.returncode == 0, done.stderr)
            yield AS_NOBODY
    finally:
        os.umask(mode)
        stage.settings = before


# -- what is kept

def kept(options, extra=(), but=()):
    def play(stage):
        wanted = [*[name for name in told(stage)["watching"] if name not in but], *extra]
        folder = stage.folder / "watch"
        folder.mkdir()
        watch = Watch(stage.closewatch(*options), folder)
        stage.watches.append(watch)
        watch.wait_ready()
        check_sets(watch.pid, wanted)
        demand(watch.stop() == 0, watch.stderr())
    return play


def kept_by_run(stage):
    """COMMAND is as without us, and closewatch itself has what doctor says."""
    keys = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid", "Gid", "Groups", "Seccomp",
            "SigIgn", "SigBlk")
    for wrapper in ((), ("setpriv", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--bounding-set=-sys_time")):
        read = ["cat", "/proc/self/status"]
        plain = subprocess.run([*wrapper, *read], capture_output=True, text=True, check=True).stdout
        ran = subprocess.run([*wrapper, *stage.closewatch("run", "--", *read)], capture_output=True, text=True,
                             check=False)
        demand(ran.returncode == 0, ran.stderr)
        for key in keys:
            lines = [next(line for line in text.splitlines() if line.startswith(key + ":"))
                     for text in (plain, ran.stdout)]
            demand(lines[0] == lines[1], f"COMMAND has {lines[1]}, and without closewatch {lines[0]}")
    process = stage.spawn(stage.closewatch("run", "--", "sleep", "60"), stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    demand(b"watching" in process.stderr.readline(), "not watching")
    check_sets(process.pid, [*told(stage)["watching"], "CAP_KILL"])
    process.terminate()
    process.wait(10)


def worker(stage):
    """Names are read by nobody, without any capability, when root watches."""
    watch = start_report(stage, "--json", "--stacks", "-d", "60s")
    program = start_program(stage, "forgot", "leaker", 7001)
    program.wait_said("in_place")

    def child():
        found = Path(f"/proc/{watch.pid}/task/{watch.pid}/children").read_text().split()
        return found and status_of(found[0])["Uid"].split()[1] == NOBODY and found[0]
    pid = poll(child, "the worker that reads debugging information", patience=15)
    status = status_of(pid)
    demand(status["Uid"].split() == [NOBODY] * 4 and status["Gid"].split() == [NOBODY] * 4, f"{status['Uid']}")
    demand(not status["Groups"], f"groups {status['Groups']}")
    demand(sets_of(pid)["CapPrm"] == 0 and sets_of(pid)["CapEff"] == 0, f"{sets_of(pid)}")
    watch.stop()


# -- with exactly that, as somebody else

def of_process(process):
    return process and tuple(process[key] for key in ("pid", "start_ns", "comm", "exe", "cmdline", "uid", "cgroup"))


def essence(report):
    """All that does not depend on when it was looked at."""
    rows = []
    for row in report["processes"]:
        groups = sorted((g["kind"], g["verdict"], g["count"], g["local"], g["peer"],
                         sorted((h["pid"], h["fd"]) for h in g["holders"])) for g in row["close_wait"]["groups"])
        waits = sorted((e["side"], e["local"], e["peer"], e["now"]) for e in row["time_wait"]["by_endpoint"])
        fds = row["fds"] and (row["fds"]["open"], row["fds"]["soft_limit"], row["fds"]["sockets"])
        rows.append((of_process(row["process"]), sorted(row["states"].items()), fds, groups, waits))
    return sorted(rows, key=repr)


def story(events):
    """What is told of each connection, with whose it is."""
    told_of = {}
    for event in events:
        if event["type"] not in ("transition", "closed", "finding"):
            continue
        who = of_process(event["process"]), event["attribution"]
        what = {"transition": lambda e: (e["from"], e["to"], e["cause"]),
                "closed": lambda e: (e["ending"], e["bucket"], e["closer"] and e["closer"]["pid"]),
                "finding": lambda e: (e["status"], e["kind"], e["verdict"],
                                      tuple((h["pid"], h["fd"]) for h in e["holders"]))}[event["type"]](event)
        told_of.setdefault(event["conn"]["id"], []).append((event["type"], who, what))
    return told_of


def difference(ours, theirs):
    pairs = [(a, b) for a, b in zip(ours, theirs) if a != b]
    return f"{len(ours)} and {len(theirs)}; first: {pairs[:1] or 'one is longer'}"


BUCKETS = """
import socket, time
listener = socket.create_server(("127.0.0.1", 7300))
for number in range(5):
    client = socket.create_connection(("127.0.0.1", 7300))
    accepted = listener.accept()[0]
    client.shutdown(socket.SHUT_WR)
    accepted.recv(1)
    accepted.close()
    client.recv(1)
    client.close()
print("made", flush=True)
time.sleep(60)
"""


def check_known(report, pids):
    """Root that has given up too much is no judge: all of it is there."""
    rows = {row["process"]["pid"]: row for row in report["processes"] if row["process"]}
    demand(pids <= set(rows), f"{pids - set(rows)} are not in the report")
    for pid in pids:
        process, fds = rows[pid]["process"], rows[pid]["fds"]
        demand(process["exe"] == os.readlink(f"/proc/{pid}/exe") and process["cmdline"], f"{process}")
        truth = os.listdir(f"/proc/{pid}/fd")
        sockets = [name for name in truth if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")]
        demand(fds and (fds["open"], fds["sockets"]) == (len(truth), len(sockets)), f"{pid}: {fds}, in truth {truth}")


def judged(watch):
    """The local ports of what is past the limit."""
    return {event["conn"]["local"]["port"] for event in watch.events()
            if event["type"] == "finding" and event["verdict"] in ("leak", "stuck")}


def as_root_sees_it(way):
    def play(stage):
        with other_user(stage, way) as wrapper:
            lasting = ("--json", "-d", "60s")
            reports = start_report(stage, *lasting), start_report(stage, *lasting, wrapper=wrapper)
            traces = stage.start_watch(*JUDGING), stage.start_watch(*JUDGING, wrapper=wrapper)
            for watch in (reports[1], traces[1]):
                demand(status_of(watch.pid)["Uid"].split() == [NOBODY] * 4, "it is root")
                check_sets(watch.pid, told(stage)["watching"])
            programs = [start_program(stage, "forgot", "of_root", 7001),
                        start_program(stage, "forgot", "of_daemon", 7002,
                                      wrapper=("setpriv", "--reuid=1", "--regid=1", "--clear-groups")),
                        start_program(stage, "inherited-fork", "inherited", 7003),
                        start_program(stage, "full-queue", "queue", 7004)]
            buckets = stage.spawn(stage.netns[""].command("/usr/bin/python3", "-c", BUCKETS), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE)
            demand(buckets.stdout.readline() == b"made\n", "no TIME_WAIT was made")
            for program in programs:
                program.wait_said("in_place")
            for watch in traces:
                poll(lambda watch=watch: judged(watch) >= {7001, 7002, 7003, 7004}, "all to be judged", patience=15)
            time.sleep(1.5)  # three sweeps more: the reports have begun before the traces, and judge by their own
            for watch in reports:
                demand(watch.stop() == 0, watch.stderr())
            of_root, of_user = (document(watch) for watch in reports)
            for watch in traces:
                demand(watch.stop() == 0, watch.stderr())
            demand(essence(of_root) == essence(of_user), difference(essence(of_root), essence(of_user)))
            check_known(of_user, {program.pid for program in programs} | {buckets.pid})
            kinds = {(g["kind"], g["verdict"]) for row in of_user["processes"] for g in row["close_wait"]["groups"]}
            demand({("eof_ignored", "leak"), ("inherited", "leak"), ("never_accepted", "stuck")} <= kinds, f"{kinds}")
            waiting = [(row["process"] and row["process"]["comm"], row["time_wait"]["now"]) for row in of_user["processes"]]
            demand(dict(waiting).get("python3") == 5, f"TIME_WAIT: {waiting}")
            demand(of_user["complete"] == of_root["complete"], f"{of_user['incomplete_reasons']}")
            demand(not any("CAP_" in reason for reason in of_user["incomplete_reasons"]),
                   f"{of_user['incomplete_reasons']}")
            stories = [story(watch.events()) for watch in traces]
            demand(stories[0] == stories[1], difference(sorted(stories[0].items(), key=repr),
                                                        sorted(stories[1].items(), key=repr)))
            demand(len(stories[1]) > 10, f"{len(stories[1])} connections")
            bye = traces[1].events()[-1]
            demand(bye["type"] == "bye" and bye["rss_bytes"] > 1 << 20, f"{bye}")
            check_private(traces[1].file)
    return play


def check_private(file):
    """Nobody but its owner may write the results."""
    demand(file.stat().st_mode & 0o777 == 0o644, f"results with mode {file.stat().st_mode & 0o777:o}")


# A connection of two ends, and then nothing but a descriptor of one of them keeps its namespace.
ALONE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
home, there = (os.open(path, os.O_RDONLY) for path in ("/proc/self/ns/net", sys.argv[1]))
assert libc.setns(there, 0x40000000) == 0
listener = socket.create_server(("127.0.0.1", 7400))
client = socket.create_connection(("127.0.0.1", 7400))
accepted = listener.accept()[0]
listener.close()
client.close()
assert libc.setns(home, 0x40000000) == 0
os.close(there)
os.close(home)
os.setgroups([]), os.setresgid(1, 1, 1), os.setresuid(1, 1, 1)
print("alone", flush=True)
sys.stdin.readline()
accepted.shutdown(socket.SHUT_WR)
print("shut", flush=True)
sys.stdin.readline()
"""


def kept_by_a_socket(way, without=()):
    """The silent promotion of an orphan, in a namespace to which only a socket of somebody else's leads: each of the
    four capabilities has its part in seeing it.
    """
    def play(stage):
        with other_user(stage, way, without) as wrapper:
            netns = stage.netns["b"]
            watch = stage.start_watch("--sweep", "500ms", scope=None, wrapper=wrapper)
            report = start_report(stage, "--json", "-d", "60s", scope=None, wrapper=wrapper, sweep="500ms")
            inode = netns.inum
            holder = stage.spawn(["/usr/bin/python3", "-c", ALONE, netns.path], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
            demand(holder.stdout.readline() == b"alone\n", "the socket is not there")
            stage.netns.pop("b").delete()
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            demand(holder.stdout.readline() == b"shut\n", "it was not shut down")

            def promotions():
                return [event for event in watch.events() if event["type"] == "transition"
                        and event["conn"]["netns"] == inode and event["to"] == "TIME_WAIT"]
            if not without:
                event = poll(promotions, "the promotion, by a walk", patience=10)[0]
                demand(event["observed"] == "sweep", f"{event}")
            demand(watch.stop() == 0, watch.stderr())
            demand(report.stop() == 0, report.stderr())
            reasons = " ".join(document(report)["incomplete_reasons"])
            for name in without:
                demand(name in reasons and name in report.stderr(), f"{name} is not in: {reasons}; {report.stderr()}")
            demand(bool(without) == ("CAP_" in reasons), f"incomplete: {reasons}")
    return play


def to_standard_output(way, options, to_pipe):
    """A pipe, and a name for it, are written as ever; a pipe of root's too, which nobody may not open anew."""
    def play(stage):
        with other_user(stage, way) as wrapper:
            folder = stage.folder / "watch"
            folder.mkdir()
            words = stage.closewatch("trace", "--json", "--netns", stage.netns[""].path, "-d", "2s", *options)
            watch = Watch(words, folder, to_pipe=to_pipe, wrapper=wrapper)
            stage.watches.append(watch)
            out, _ = watch.process.communicate(timeout=20)
            demand(watch.process.returncode == 0, watch.stderr())
            types = [json.loads(line)["type"] for line in out.splitlines()]
            demand(types[0] == "hello" and types[-1] == "bye", f"{types}")
    return play


def stacks(way):
    """Files that only root may read have no names for nobody; those of the program under test are everybody's."""
    def play(stage):
        with other_user(stage, way) as wrapper:
            watch = start_report(stage, "--json", "-d", "60s", "--stacks", wrapper=wrapper)
            program = Program(stage.netns[""].command(stage.program("stackleak"), "7001"), stage.folder / "stackleak")
            stage.others.append(program.process)
            stage.programs.append(program)
            program.wait_said("in_place")
            demand(watch.stop() == 0, watch.stderr())
            groups = groups_of(document(watch)["processes"], Workload("stackleak", "", port=7001))
            found = json.dumps([group["stacks"] for _, group in groups])
            for function in ("handler", "serve", "main"):
                demand(f'"{function}"' in found, f"{function} is not in {found}")
    return play


# -- files

def replay_reads_as_whoever_asks(stage):
    """The file's capabilities are for watching: they show nobody the recording that is root's alone."""
    recording = stage.folder / "of-root"
    subprocess.run(stage.closewatch("trace", "-d", "0", "--record", str(recording)), capture_output=True, check=True,
                   timeout=30)
    with other_user(stage, "file") as wrapper:
        words = [*wrapper, *stage.closewatch("replay", str(recording), "--", "report")]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        demand(ran.returncode == 1 and "Permission denied" in ran.stderr and not ran.stdout, f"{ran}")
        recording.chmod(0o644)
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        demand(ran.returncode == 0 and ran.stdout, f"{ran}")


def behind_a_link(stage):
    """Whatever the sysctls say: nobody makes root write to a file of nobody's choosing."""
    place = stage.folder / "open"
    place.mkdir()
    place.chmod(0o1777)
    stage.folder.chmod(0o755)
    target = stage.folder / "target"
    target.write_text("what was there")
    link = place / "results"
    link.symlink_to(target)
    os.lchown(link, int(NOBODY), int(NOBODY))
    theirs = place / "theirs"
    theirs.touch()
    os.chown(theirs, int(NOBODY), int(NOBODY))
    for options in (("doctor", "-o"), ("trace", "-d", "1s", "-o"), ("trace", "-d", "1s", "--record")):
        for path in (link, theirs):
            result = subprocess.run(stage.closewatch(*options, str(path)), capture_output=True, text=True, check=False,
                                    timeout=30)
            demand(result.returncode == 1 and "somebody else's (uid 65534)" in result.stderr, f"{result}")
            demand("watching" not in result.stderr, f"it had begun: {result}")
    demand(target.read_text() == "what was there" and not theirs.stat().st_size, "it was written to")


KEPT_HERE = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN")

CASES = [
    Case("privileges_of_trace", play=kept(("trace",))),
    Case("privileges_of_report", play=kept(("report",))),
    Case("privileges_with_filters", play=kept(("trace", "-p", "1", "--children", "-L", "80"))),
    Case("privileges_in_its_own_namespace", play=kept(("report", "--netns", "/proc/self/ns/net"), but=KEPT_HERE)),
    Case("privileges_of_trace_in_its_own_namespace",
         play=kept(("trace", "--netns", "/proc/self/ns/net"), but=(*KEPT_HERE, "CAP_DAC_READ_SEARCH"))),
    Case("privileges_with_stacks", play=kept(("report", "--stacks"), extra=("CAP_SETUID", "CAP_SETGID", "CAP_KILL"))),
    Case("privileges_of_run", play=kept_by_run),
    Case("privileges_of_the_symbol_worker", play=worker),
    Case("privileges_by_setpriv", play=as_root_sees_it("setpriv")),
    Case("privileges_by_file", play=as_root_sees_it("file"), needs="/usr/sbin/setcap"),
    Case("privileges_by_setpriv_behind_a_socket", play=kept_by_a_socket("setpriv"), netns=("", "b")),
    Case("privileges_by_file_behind_a_socket", play=kept_by_a_socket("file"), netns=("", "b"),
         needs="/usr/sbin/setcap"),
    *[Case(f"privileges_without_{name.lower()}", play=kept_by_a_socket("setpriv", (name,)), netns=("", "b"))
      for name in ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN")],
    Case("privileges_by_file_to_a_pipe", play=to_standard_output("file", (), True), needs="/usr/sbin/setcap"),
    Case("privileges_of_replay_by_file", play=replay_reads_as_whoever_asks, needs="/usr/sbin/setcap"),
    Case("privileges_by_setpriv_with_stacks", play=stacks("setpriv")),
    Case("privileges_by_file_with_stacks", play=stacks("file"), needs="/usr/sbin/setcap"),
    Case("output_behind_a_strangers_link", play=behind_a_link, netns=()),
    Case("privileges_by_setpriv_to_a_pipe", play=to_standard_output("setpriv", (), True)),
]
