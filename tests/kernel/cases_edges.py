# SPDX-License-Identifier: BSD-2-Clause
"""Where things went wrong once: aborts between states, walks that meet a close, outputs that stall or are not there."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time
import tty
from collections import Counter
from pathlib import Path

import compare
import steps
from case import USED, Case, finish, half_closed, orphan, passive
from cases_run import EXPECTED, ONE, demand, flood
from cases_tun import CONNECTED
from harness import Failure, parse_line, poll
from ledgerlib import wait_still

CLIENT, SERVER = "cli.c connect", "srv.a accept"
SHUT_DOWN = "ESTABLISHED>FIN_WAIT1 shutdown:cli closer:cli"
SIMULTANEOUS = CONNECTED + """
    cli: fork kid
    cli: shutdown c wr
    tun: expect F
    tun: send FA ack=-1
    -- wait cli.c CLOSING
"""
# The kernel keeps no record of who shut a socket down: the last call counts, whoever makes it.
HANDED_ON = """
    kid: show c
    cli: close c
    kid: close c
"""

# -- aborts and second calls between the states

ABORTS = [
    Case("disconnected_in_closing", SIMULTANEOUS.replace("cli: fork kid", "") + """
        cli: disconnect c
        -- gone cli.c
        """, {CLIENT: [
            SHUT_DOWN, "FIN_WAIT1>CLOSING network closer:cli", "CLOSING>CLOSE disconnect:cli closer:cli",
            "closed disconnected closer=cli/shutdown first_fin=both bucket=none closer:cli",
        ]}),
    Case("disconnected_in_last_ack", CONNECTED + """
        tun: send FA
        -- wait cli.c CLOSE_WAIT
        cli: shutdown c wr
        -- wait cli.c LAST_ACK
        cli: disconnect c
        -- gone cli.c
        """, {CLIENT: [
            "ESTABLISHED>CLOSE_WAIT network opener:cli", "CLOSE_WAIT>LAST_ACK shutdown:cli closer:cli",
            "LAST_ACK>CLOSE disconnect:cli closer:cli",
            "closed disconnected closer=cli/shutdown first_fin=peer bucket=none closer:cli",
        ]}),
    Case("disconnected_in_fin_wait1", CONNECTED + """
        cli: shutdown c wr
        tun: expect F
        cli: disconnect c
        -- gone cli.c
        """, {CLIENT: [
            SHUT_DOWN, "FIN_WAIT1>CLOSE disconnect:cli closer:cli",
            "closed disconnected closer=cli/shutdown first_fin=local bucket=none closer:cli",
        ]}),
    Case("closed_by_another_in_closing", SIMULTANEOUS + HANDED_ON + """
        tun: send A
        -- wait cli.c TIME_WAIT
        """, {CLIENT: [
            SHUT_DOWN, "FIN_WAIT1>CLOSING network closer:cli", "CLOSING>CLOSING close:kid closer:kid",
            "CLOSING>TIME_WAIT network closer:kid",
            "closed fin closer=kid/close first_fin=both bucket=time_wait closer:kid",
        ]}),
    Case("closed_by_another_in_fin_wait1", CONNECTED + """
        cli: fork kid
        cli: shutdown c wr
        tun: expect F
        """ + HANDED_ON + """
        tun: send FA
        -- wait cli.c TIME_WAIT
        """, {CLIENT: [
            SHUT_DOWN, "FIN_WAIT1>FIN_WAIT1 close:kid closer:kid", "FIN_WAIT1>FIN_WAIT2 network closer:kid",
            "FIN_WAIT2>TIME_WAIT network closer:kid",
            "closed fin closer=kid/close first_fin=local bucket=time_wait closer:kid",
        ]}),
    Case("closed_by_another_in_last_ack", CONNECTED + """
        cli: fork kid
        tun: send FA
        -- wait cli.c CLOSE_WAIT
        cli: shutdown c wr
        tun: expect F
        """ + HANDED_ON + """
        tun: send A
        -- gone cli.c
        """, {CLIENT: [
            "ESTABLISHED>CLOSE_WAIT network opener:cli", "CLOSE_WAIT>LAST_ACK shutdown:cli closer:cli",
            "LAST_ACK>LAST_ACK close:kid closer:kid", "LAST_ACK>CLOSE network closer:kid",
            "closed fin closer=kid/close first_fin=peer bucket=none closer:kid",
        ]}),
]


# -- who

def another_program_after_exec(stage):
    """The same process, another program: the next line names that one, and its file."""
    other = stage.folder / "another"
    shutil.copy(stage.program("actor"), other)
    watch = stage.start_watch()
    steps.run(stage, USED + f"""
        srv: exec new {other}
        cli: send c 5
        srv: recv a 5
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        -- gone srv.a
        """)
    events = finish(stage, watch, {
        CLIENT: orphan("cli"),
        SERVER: [line.replace("srv", "srv(new)") for line in passive("opener:srv", "srv")]})
    named = {event["process"]["exe"] for event in events
             if event.get("process") and event["process"]["pid"] == stage.actors["srv"].pid}
    demand(named == {str(other)}, f"exe is {named}, and not {other}")


UNACCEPTED = """
    srv: listen l 127.0.0.1 8080
    cli: connect c 127.0.0.1 8080
    -- watch
    cli: close c
    -- told ~cli.c CLOSE_WAIT
    -- wait cli.c FIN_WAIT2
"""


def never_accepted(by):
    return {"cli.c any": [orphan("cli")[0] + " in_state=null", *orphan("cli")[1:]], "~cli.c any": [
        "ESTABLISHED>CLOSE_WAIT network listener:srv in_state=null",
        "CLOSE_WAIT>CLOSE listener_closed:srv closer:srv",
        f"closed never_accepted closer=srv/{by} first_fin=peer bucket=none closer:srv"]}


def never_itself(stage):
    """A walk that meets a close() is left with the last reference, and so with the close: it must not name itself, nor
    another that walks beside it.
    """
    watch, other = (stage.start_watch(wrapper=("taskset", "-c", stage.cpu)) for _ in range(2))
    script = Path(__file__).resolve().parent.parent / "programs" / "hoarder.py"
    stage.netns[""].run("/usr/bin/python3", str(script), stage.cpu, "12", "400")
    flood(stage, 3000)
    for one in (watch, other):
        demand(one.stop() == 0, f"status {one.process.returncode}")
        named = [(event["type"], event["conn"], mention) for event in one.events() if "conn" in event
                 for mention in (event.get("process"), event.get("actor"), event.get("closer"))
                 if mention and mention["pid"] in (watch.pid, other.pid)]
        demand(not named, f"{len(named)} times a walker, as {named[:1]}; {watch.pid} and {other.pid} walk")
    ends = sum(event["type"] == "closed" for event in watch.events())
    demand(ends > 2 * 3000, f"only {ends} ends were seen")


# -- how long

def fin_wait2_goes_on(stage):
    """close() after shutdown() is no new entry: the time in FIN_WAIT2 counts from the first."""
    watch = stage.start_watch()
    steps.run(stage, USED + "cli: shutdown c wr\n -- wait cli.c FIN_WAIT2")
    began = time.monotonic_ns()
    time.sleep(0.3)
    waited = time.monotonic_ns() - began
    steps.run(stage, "cli: close c\n srv: close a\n -- wait cli.c TIME_WAIT")
    bucket = stage.case.sysctls == ()
    lines = [*half_closed("cli")[:2], "FIN_WAIT2>FIN_WAIT2 close:cli closer:cli"]
    if bucket:
        lines.append("closed fin closer=cli/close first_fin=local bucket=fin_wait2 closer:cli")
    else:
        lines += ["FIN_WAIT2>TIME_WAIT network closer:cli",
                  "closed fin closer=cli/close first_fin=local bucket=time_wait closer:cli"]
    events = finish(stage, watch, {CLIENT: lines, SERVER: passive("opener:srv", "srv")})
    for event in events:
        if event["type"] == "transition" and event["from"] == "FIN_WAIT2":
            demand(event["in_state_ns"] >= waited, f"{waited} ns passed in FIN_WAIT2: {event}")
        if event["type"] == "closed" and event["conn"]["role"] == "connect":
            demand(event["states_ns"].get("FIN_WAIT2", 0) >= waited, f"{waited} ns passed in FIN_WAIT2: {event}")


# -- many from before the start

MANY = 60000
MANY_SYSCTLS = ("net.ipv4.tcp_max_tw_buckets=262144", "net.ipv4.tcp_tw_reuse=0",
                "net.ipv4.ip_local_port_range=1024 65535")


def time_wait_by_ss(stage):
    return len(stage.netns[""].run("ss", "-tanH", "state", "time-wait").splitlines())


def must_show_all(events, before, after):
    compare.check_stream(events)
    rows = [event for event in events if event["type"] == "snapshot"]
    ids = {row["conn"]["id"] for row in rows}
    demand(len(ids) == len(rows), f"{len(rows)} rows of {len(ids)} connections")
    states = Counter(row["state"] for row in rows)
    demand(after <= states["TIME_WAIT"] <= before, f"{before} to {after} by ss: {states}")


def many_at_the_start(stage):
    netns = stage.netns[""]
    netns.run(stage.program("flood"), str(MANY), stage.other_cpu, stage.cpu)
    wait_still(netns, patience=20)
    before = time_wait_by_ss(stage)
    # A FIN that was sent twice is answered for with a RST, which ends the bucket: how often is chance.
    demand(before > MANY * 0.5, f"only {before} buckets were made")
    file_watch = stage.start_watch()
    demand(file_watch.stop() == 0, f"status {file_watch.process.returncode}")
    pipe_lines, status = through_a_pipe(stage)
    after = time_wait_by_ss(stage)
    must_show_all(file_watch.events(), before, after)
    demand(status == 0, f"status {status}")
    must_show_all([parse_line(line) for line in pipe_lines], before, after)


def through_a_pipe(stage):
    """The lines that cat(1) gets of a run, from the first on."""
    taken, said = stage.folder / "taken", stage.folder / "said"
    with taken.open("wb") as out, said.open("wb") as errors:
        traced = stage.spawn(words_of(stage, "--json"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        reader = stage.spawn(["cat"], stdin=traced.stdout, stdout=out)
    traced.stdout.close()
    poll(lambda: b"watching" in said.read_bytes(), "closewatch to be watching", patience=20)
    poll(lambda: b'"snapshot_end"' in tail_of(taken), "the end of the snapshot")
    traced.send_signal(signal.SIGINT)
    status = wait_for(traced)
    reader.wait(10)
    return taken.read_bytes().splitlines(), status


def tail_of(path):
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 4000))
        return stream.read()


def words_of(stage, *options):
    return stage.closewatch("trace", "--netns", stage.netns[""].path, *options)


# With a ring that holds a flood: whether its reader keeps up says nothing of the output.
EVERYTHING = ("--json", "--all-states", "--ring", "64M")


def wait_for(process, patience=20.0):
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"closewatch does not end within {patience:g} s") from error


# -- outputs that stall

class Terminal:
    """A pseudo-terminal; nobody reads it until it is told to be read."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.data = bytearray()
        self.thread = None

    def start_reading(self):
        def read():
            while True:
                try:
                    block = os.read(self.master, 65536)
                except OSError:  # EIO: the last writer has gone
                    return
                self.data += block
        self.thread = threading.Thread(target=read, daemon=True)
        self.thread.start()

    def close(self):
        if self.thread:
            self.thread.join(10)
        os.close(self.master)


def stalled_terminal(same_for_messages):
    """600 connections of which the terminal shows nothing: SIGTERM is obeyed all the same."""
    def play(stage):
        terminal = Terminal()
        said = stage.folder / "said"
        try:
            with said.open("wb") as errors:
                traced = stage.spawn(words_of(stage), stdin=subprocess.DEVNULL, stdout=terminal.slave,
                                     stderr=terminal.slave if same_for_messages else errors)
            os.close(terminal.slave)
            wait_attached(stage, traced)
            flood(stage, 600)
            time.sleep(0.3)
            traced.send_signal(signal.SIGTERM)
            status = wait_for(traced)
            demand(status in (0, 1), f"status {status}")
        finally:
            terminal.close()
    return play


def wait_attached(stage, process):
    """Where no message can be seen: until it holds BPF links, and sleeps in poll()."""
    def attached():
        demand(process.poll() is None, f"closewatch ended with {process.returncode}")
        links, polls = 0, Path(f"/proc/{process.pid}/wchan").read_text()
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            try:
                links += "bpf_link" in os.readlink(f"/proc/{process.pid}/fd/{name}")
            except OSError:
                pass
        return links >= 5 and ("poll" in polls or polls in ("", "0"))
    poll(attached, "closewatch to be watching", patience=20)
    time.sleep(0.2)


def terminal_read_late(stage):
    """What did not fit while nobody read is counted, line for line."""
    terminal = Terminal()
    said = stage.folder / "said"
    try:
        with said.open("wb") as errors:
            traced = stage.spawn(words_of(stage, *EVERYTHING), stdin=subprocess.DEVNULL,
                                 stdout=terminal.slave, stderr=errors)
        os.close(terminal.slave)
        poll(lambda: b"watching" in said.read_bytes(), "closewatch to be watching", patience=20)
        flood(stage, 10000)
        time.sleep(0.3)
        terminal.start_reading()
        poll(lambda: b'"gap"' in terminal.data, "the gap")
        traced.send_signal(signal.SIGTERM)
        status = wait_for(traced)
        demand(status == 0, f"status {status}: {said.read_text()}")
    finally:
        terminal.close()
    must_be_counted(terminal.data)


def must_be_counted(data):
    """Lines without holes, nothing lost but by the output, and that told in full."""
    events = [parse_line(line) for line in bytes(data).splitlines()]
    compare.check_stream(events, gaps_allowed=True)
    gaps = [event for event in events if event["type"] == "gap"]
    demand(gaps and {gap["where"] for gap in gaps} == {"output"}, f"gaps: {gaps[:3]}")
    demand(events[-1]["lost"] == sum(gap["lost"] for gap in gaps), f"{events[-1]}, gaps {gaps[:5]}")


def shared_pipe(stage):
    """`2>&1 | READER`, closewatch's both outputs being one pipe; (process, reading end)."""
    reading, writing = os.pipe()
    traced = stage.spawn(words_of(stage, *EVERYTHING), stdin=subprocess.DEVNULL, stdout=writing,
                         stderr=writing)
    os.close(writing)
    return traced, reading


MESSAGE = re.compile(rb"closewatch: [^\n]*\n")


def read_until(reading, what, data, patience=20.0):
    deadline = time.monotonic() + patience
    while what not in data:
        demand(time.monotonic() < deadline, f"waited {patience:g} s in vain for {what!r}")
        read_some(reading, data)


def read_some(reading, data):
    if select.select([reading], [], [], 0.1)[0]:
        data += os.read(reading, 4096)


def messages_share_a_slow_pipe(stage):
    """A message for which the pipe has no room must not stop the draining of the ring."""
    traced, reading = shared_pipe(stage)
    data = bytearray()
    try:
        read_until(reading, b"watching", data)
        flooding = threading.Thread(target=flood, args=(stage, 20000), daemon=True)
        flooding.start()
        while flooding.is_alive():
            demand("pipe_write" not in Path(f"/proc/{traced.pid}/wchan").read_text(), "it waits for the pipe")
            read_some(reading, data)
            time.sleep(0.002)
        time.sleep(0.3)
        reader = threading.Thread(target=read_all, args=(reading, data), daemon=True)
        reader.start()
        poll(lambda: b'"gap"' in data, "the gap")
        traced.send_signal(signal.SIGTERM)
        status = wait_for(traced)
        reader.join(10)
    finally:
        os.close(reading)
    demand(status == 0, f"status {status}")
    must_be_counted(MESSAGE.sub(b"", bytes(data)))


def read_all(reading, data):
    while block := os.read(reading, 65536):
        data += block


def messages_share_a_stalled_pipe(stage):
    """Lines were dropped, and to say so there is no room: SIGTERM ends it, though nobody reads."""
    traced, reading = shared_pipe(stage)
    try:
        read_until(reading, b"watching", bytearray())
        flood(stage, 10000)
        time.sleep(0.3)
        traced.send_signal(signal.SIGTERM)
        status = wait_for(traced)
        demand(status in (0, 1), f"status {status}")
    finally:
        os.close(reading)


# -- outputs that are not there

def without_descriptors(redirection, to_file):
    """Closed standard descriptors go to nobody: not to the output file, nor JSON to what was opened in their place."""
    def play(stage):
        output, said = stage.folder / "events", stage.folder / "said"
        words = words_of(stage, "--json", "-v", *(("-o", str(output)) if to_file else ()))
        with said.open("wb") as errors:
            traced = stage.spawn(["sh", "-c", f'exec "$@" {redirection}', "sh", *words], stdin=subprocess.DEVNULL,
                                 stdout=errors, stderr=errors, cwd=stage.folder)
        if not to_file:
            # Results that go nowhere are not passed for written.
            demand(wait_for(traced) == 1, f"status {traced.returncode}")
            demand(b"standard output" in said.read_bytes(), f"{said.read_bytes()}")
            demand(b"{\"schema" not in said.read_bytes(), "JSON among the messages")
            return
        poll(lambda: output.exists() and b"snapshot_end" in output.read_bytes(), "the first lines", patience=20)
        steps.run(stage, ONE)
        poll(lambda: output.read_bytes().count(b'"closed"') >= 2, "the events")
        standard = [os.readlink(f"/proc/{traced.pid}/fd/{number}") for number in (0, 1, 2)]
        demand(not any("bpf" in target for target in standard), f"{redirection}: the descriptors are {standard}")
        traced.send_signal(signal.SIGINT)
        demand(wait_for(traced) == 0, f"status {traced.returncode}")
        demand(b"{\"schema" not in said.read_bytes(), "JSON among the messages")
        events = [parse_line(line) for line in output.read_bytes().splitlines()]
        compare.check_stream(events)
        compare.check_connections(stage, EXPECTED, events)
    return play


# -- signals

def hangup_ignored(stage):
    watch = stage.start_watch(wrapper=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
    os.kill(watch.pid, signal.SIGHUP)
    steps.run(stage, ONE)
    poll(lambda: compare.complete(stage, EXPECTED, watch.events()), "the events")
    os.kill(watch.pid, signal.SIGHUP)
    time.sleep(0.2)
    watch.must_run()
    finish(stage, watch, EXPECTED)


def hangup(stage):
    watch = stage.start_watch(wrapper=("env", "--default-signal=HUP"))
    steps.run(stage, ONE)
    poll(lambda: compare.complete(stage, EXPECTED, watch.events()), "the events")
    demand(watch.stop(signal.SIGHUP) == 0, f"status {watch.process.returncode}")
    compare.check_stream(watch.events())
    compare.check_connections(stage, EXPECTED, watch.events())


# -- names

def no_c1_bytes(json_lines, locale):
    """U+009B is CSI to a terminal in UTF-8: its bytes are in no output, JSON included."""
    def play(stage):
        watch = stage.start_watch(json_lines=json_lines, wrapper=("env", f"LC_ALL={locale}"))
        steps.run(stage, "srv: listen l 127.0.0.1 8080\n cli: comm " + "a\u009b31mb".encode().hex() + """
            cli: connect c 127.0.0.1 8080
            cli: close c
            -- wait cli.c FIN_WAIT2
            """)
        pid = str(stage.actors["cli"].pid).encode()
        poll(lambda: watch.file.exists() and watch.file.read_bytes().count(pid) >= 3, "the lines")
        demand(watch.stop() == 0, f"status {watch.process.returncode}")
        data = watch.file.read_bytes()
        demand(b"\xc2\x9b" not in data and b"\x9b" not in data, f"U+009B in {data!r}")
        demand(re.search(rb"a[^\n]{1,12}31mb", data), "the rest of the name has gone too")
    return play


# -- processes

def thread_as_pid(stage):
    """-p of a thread would watch nothing: refused, and its process named."""
    actor = stage.add_actor("srv")
    actor.call("@one show x")
    tids = [int(name) for name in os.listdir(f"/proc/{actor.pid}/task")]
    thread = next(tid for tid in tids if tid != actor.pid)
    result = subprocess.run(stage.closewatch("trace", "--json", "-p", str(thread)), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=10, check=False)
    demand(result.returncode == 2 and not result.stdout, f"status {result.returncode}: {result.stderr}")
    demand(re.search(rf"\b{thread}\b", result.stderr) and re.search(rf"\b{actor.pid}\b", result.stderr),
           f"thread {thread} of process {actor.pid}: {result.stderr}")



CASES = [
    *ABORTS,
    Case("another_program_after_exec", play=another_program_after_exec),
    Case("before_never_accepted_then_killed", UNACCEPTED + """
        -- kill srv
        -- gone ~cli.c
        """, never_accepted("exit")),
    Case("before_never_accepted_then_closed", UNACCEPTED + """
        srv: close l
        -- gone ~cli.c
        """, never_accepted("close")),
    # Never seen but by the walk at the start: not even a transition told of it before.
    Case("before_never_accepted_in_established", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        -- watch
        srv: close l
        -- gone cli.c
        """, {"~cli.c any": [
            "ESTABLISHED>CLOSE listener_closed:srv closer:srv in_state=null",
            "closed never_accepted closer=srv/close first_fin=none bucket=none closer:srv",
        ], "cli.c any": [
            "ESTABLISHED>CLOSE network holder:cli in_state=null",
            "closed rst_received closer=none first_fin=none errno=104 bucket=none holder:cli",
        ]}),
    Case("fin_wait2_goes_on_in_a_bucket", play=fin_wait2_goes_on),
    Case("fin_wait2_goes_on_in_a_full_orphan", play=fin_wait2_goes_on, sysctls=("net.ipv4.tcp_fin_timeout=120",)),
    Case("never_itself", play=never_itself),
    Case("many_at_the_start", play=many_at_the_start, sysctls=MANY_SYSCTLS, alone="it makes tens of thousands of sockets"),
    Case("stalled_terminal", play=stalled_terminal(False)),
    Case("stalled_terminal_with_messages", play=stalled_terminal(True)),
    Case("terminal_read_late", play=terminal_read_late),
    Case("messages_share_a_slow_pipe", play=messages_share_a_slow_pipe),
    Case("messages_share_a_stalled_pipe", play=messages_share_a_stalled_pipe),
    Case("stdout_closed_json_in_a_file", play=without_descriptors(">&-", True)),
    Case("stderr_closed_json_in_a_file", play=without_descriptors("2>&-", True)),
    Case("all_closed_json_in_a_file", play=without_descriptors("<&- >&- 2>&-", True)),
    Case("stdout_closed_json_to_nobody", play=without_descriptors(">&-", False)),
    Case("hangup_ignored", play=hangup_ignored),
    Case("hangup", play=hangup),
    Case("c1_control_json", play=no_c1_bytes(True, "C.UTF-8")),
    Case("c1_control_text", play=no_c1_bytes(False, "C.UTF-8")),
    Case("c1_control_text_without_a_locale", play=no_c1_bytes(False, "C")),
    Case("refuses_thread_as_pid", play=thread_as_pid),
]
