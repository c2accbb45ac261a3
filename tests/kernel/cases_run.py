# SPDX-License-Identifier: BSD-2-Clause
"""How a run begins and ends: signals, outputs that break, hostile names, other pid namespaces, refusals."""
import json
import os
import re
import signal
import subprocess
import time

import compare
import steps
from case import USED, Case, finish, orphan, passive
from harness import Failure, poll

ONE = USED + """
    cli: close c
    -- wait cli.c FIN_WAIT2
    srv: close a
    -- gone srv.a
"""
EXPECTED = {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}


def demand(condition, text):
    if not condition:
        raise Failure(text)


# -- ends

def ended_by_sigterm(stage):
    watch = stage.start_watch()
    steps.run(stage, ONE)
    poll(lambda: compare.complete(stage, EXPECTED, watch.events()), "the events")
    demand(watch.stop(signal.SIGTERM) == 0, f"status {watch.process.returncode}")
    compare.check_stream(watch.events())
    compare.check_connections(stage, EXPECTED, watch.events())


def ended_by_duration(stage):
    watch = stage.start_watch("-d", "700ms")
    began = time.monotonic()
    steps.run(stage, ONE)
    demand(watch.wait() == 0, f"status {watch.process.returncode}")
    took = time.monotonic() - began
    demand(0.4 < took < 3, f"-d 700ms took {took:.2f} s")
    compare.check_stream(watch.events())
    compare.check_connections(stage, EXPECTED, watch.events())


def interrupted_at_once(stage):
    """Ctrl-C right after the start: hello and bye, and nothing between that is no snapshot."""
    watch = stage.start_watch()
    demand(watch.stop() == 0, f"status {watch.process.returncode}")
    compare.check_stream(watch.events())


def lines_are_flushed(stage):
    """At least every 100 ms; the rest of the time allowed here is the machine's."""
    watch = stage.start_watch()
    steps.run(stage, ONE)
    began = time.monotonic()
    poll(lambda: compare.complete(stage, EXPECTED, watch.events()), "the events")
    demand(time.monotonic() - began < 1, f"written after {time.monotonic() - began:.2f} s")


def quiet(stage):
    watch = stage.start_watch("-q", quiet=True)
    steps.run(stage, ONE)
    finish(stage, watch, EXPECTED)
    demand(not watch.stderr(), "not quiet")


def statistics(stage):
    watch = stage.start_watch("-d", "10500ms")
    steps.run(stage, ONE)
    demand(watch.wait(15) == 0, f"status {watch.process.returncode}")
    compare.check_stream(watch.events())
    said = [event for event in watch.events() if event["type"] == "stats"]
    demand(len(said) == 1 and said[0]["events"] > 0 and said[0]["rss_bytes"] > 1_000_000, f"stats of 10.5 s: {said}")


def flood(stage, count):
    stage.netns[""].run(stage.program("flood"), str(count), stage.cpu, stage.cpu)


def broken_pipe(stage):
    watch = stage.start_watch("--all-states", to_pipe=True)
    watch.process.stdout.close()
    flood(stage, 50)
    status = watch.wait()
    demand(status == 0, f"status {status}")
    demand(not re.search(r"(?i)error|pipe|fail", watch.stderr()), "not quiet")


def full_disk(stage):
    disk = stage.mount_tmpfs("64k")
    watch = stage.start_watch("--all-states", "-o", str(disk / "events"), to_pipe=True)
    flood(stage, 500)
    status = watch.wait()
    demand(status == 1, f"status {status}")
    demand("No space left" in watch.stderr(), "the reason is not told")


def full_device(stage):
    """Not even hello can be written."""
    result = subprocess.run(stage.closewatch("trace", "--json", "-o", "/dev/full"), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=10, check=False)
    demand(result.returncode == 1 and "No space left" in result.stderr, f"status {result.returncode}: {result.stderr}")
    for asked in (["--help"], ["--version"], ["trace", "--help"]):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([*stage.closewatch()[:1], *asked], stdin=subprocess.DEVNULL, stdout=full,
                                    stderr=subprocess.PIPE, text=True, timeout=10, check=False)
        demand(result.returncode == 1 and "No space left" in result.stderr,
               f"{asked}: status {result.returncode}: {result.stderr}")


def slow_reader(stage):
    """Nobody reads while a flood goes on: what doesn't fit the queue is dropped whole and counted."""
    # The whole flood fits into the ring, however slow this closewatch is (one with sanitizers is).
    watch = stage.start_watch("--all-states", "--ring", "64M", to_pipe=True)
    flood(stage, 20000)
    time.sleep(0.3)  # the ring is drained every 100 ms, the reader still asleep
    os.kill(watch.pid, signal.SIGINT)
    time.sleep(0.2)
    lines = watch.process.stdout.read().splitlines()
    demand(watch.wait() == 0, f"status {watch.process.returncode}")
    events = [json.loads(line) for line in lines]
    demand([event["seq"] for event in events] == list(range(len(events))), "seq has holes")
    gaps = [event for event in events if event["type"] == "gap"]
    demand(events[-1]["type"] == "bye", f"the last line is a {events[-1]['type']}")
    demand(gaps and {gap["where"] for gap in gaps} == {"output"}, f"gaps: {gaps[:3]}")
    demand(events[-1]["lost"] == sum(gap["lost"] for gap in gaps), f"{events[-1]}, gaps {gaps[:5]}")
    for number, event in enumerate(events):
        compare.check_form(event, number)


# -- hostile names

HOSTILE = {"escape": b"\x1b[2J\x1b]0;x\x07", "quotes": b"a\"b\\c'd", "newline": b"a\nb\tc\r",
           "no_utf8": b"\xff\xfe\xc3(\x80", "c1": "\u009b31mx".encode(), "cut": "éééééééé".encode()[:15]}


def hostile(name):
    def play_json(stage):
        comm = HOSTILE[name].decode("utf-8", "replace")
        watch = stage.start_watch()
        steps.run(stage, f"srv: listen l 127.0.0.1 8080\n cli: comm {HOSTILE[name].hex()}\n"
                         "cli: connect c 127.0.0.1 8080\n cli: close c\n -- wait cli.c FIN_WAIT2")
        poll(lambda: sum("conn" in e for e in watch.events()) >= 4, "the events")
        demand(watch.stop() == 0, f"status {watch.process.returncode}")
        compare.check_stream(watch.events())
        names = {e["process"]["comm"] for e in watch.events() if e.get("process") and e["conn"]["role"] == "connect"}
        demand(names == {comm}, f"comm is {names}, and not {comm!r}")

    def play_text(stage):
        watch = stage.start_watch(json_lines=False)
        steps.run(stage, f"srv: listen l 127.0.0.1 8080\n cli: comm {HOSTILE[name].hex()}\n"
                         "cli: connect c 127.0.0.1 8080\n cli: close c\n -- wait cli.c FIN_WAIT2")
        pid = str(stage.actors["cli"].pid)
        poll(lambda: watch.file.exists() and watch.file.read_bytes().count(pid.encode()) >= 3, "the lines")
        demand(watch.stop() == 0, f"status {watch.process.returncode}")
        text = watch.file.read_bytes().decode("utf-8", "strict")
        bad = [c for c in text if c != "\n" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0)]
        demand(not bad, f"control characters: {bad} in {text!r}")
        demand(all(len(line) <= 80 for line in text.splitlines()), f"wider than 80 columns:\n{text}")

    return [Case(f"hostile_name_{name}_json", play=play_json), Case(f"hostile_name_{name}_text", play=play_text)]


def text_output(stage):
    """What a person sees: a line an event, 80 columns, the process of each."""
    watch = stage.start_watch(json_lines=False)
    steps.run(stage, ONE)
    poll(lambda: watch.file.exists() and len(watch.file.read_text().splitlines()) >= 7, "the lines")
    demand(watch.stop() == 0, f"status {watch.process.returncode}")
    text = watch.file.read_text()
    demand(all(len(line) <= 80 for line in text.splitlines()), f"wider than 80 columns:\n{text}")
    for name in ("srv", "cli"):
        rows = [line for line in text.splitlines() if name in line.split()]
        demand(rows and all(str(stage.actors[name].pid) in row.split() for row in rows), f"{name} in\n{text}")
    demand("\x1b" not in text, "colour where there is no terminal")


# -- closewatch inside a pid namespace of its own

def inside_a_pid_namespace(stage):
    watch = stage.start_watch(wrapper=("unshare", "--pid", "--fork", "--mount-proc"))
    steps.run(stage, ONE)
    events = finish(stage, watch, EXPECTED)
    looked_up = [e for e in events if e.get("process") and (e["process"]["exe"] or e["process"]["cmdline"])]
    demand(not looked_up, f"looked up by a pid that is another's here: {looked_up[:1]}")
    demand("pid namespace" in watch.stderr(), "no warning that pids can't be looked up")


# -- refusals

def refusal(options, status, *words, wrapper=()):
    def play(stage):
        given = [option.replace("$DIR", str(stage.folder)).replace("$GONE", str(gone_pid())) for option in options]
        began = time.monotonic()
        result = subprocess.run([*wrapper, *stage.closewatch(*given)], stdin=subprocess.DEVNULL, capture_output=True,
                                timeout=10, check=False)
        said = result.stderr.decode()
        demand(result.returncode == status, f"status {result.returncode}, and not {status}: {said}")
        demand(not result.stdout, f"on stdout: {result.stdout[:200]}")
        demand(time.monotonic() - began < 5, "took long")
        missing = [word for word in words if not re.search(word, said)]
        demand(said.strip() and not missing, f"{missing} not in: {said}")
        demand("watching" not in said, f"started all the same: {said}")
        demand(len(said.strip().splitlines()) <= 4, f"not one message: {said}")
    return play


def gone_pid():
    """A pid that nobody has."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def without(*capabilities):
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")


CASES = [
    Case("ended_by_sigterm", play=ended_by_sigterm),
    Case("ended_by_duration", play=ended_by_duration),
    Case("interrupted_at_once", play=interrupted_at_once),
    Case("lines_are_flushed", play=lines_are_flushed),
    Case("quiet", play=quiet),
    Case("stats_every_10_s", play=statistics),
    Case("broken_pipe", play=broken_pipe),
    Case("full_disk", play=full_disk),
    Case("full_device", play=full_device),
    Case("slow_reader", play=slow_reader),
    Case("text_output", play=text_output),
    *[case for name in HOSTILE for case in hostile(name)],
    Case("inside_a_pid_namespace", play=inside_a_pid_namespace),
    Case("refuses_port_65536", play=refusal(("trace", "-L", "65536"), 2, "65536")),
    Case("refuses_remote_port_0", play=refusal(("trace", "-D", "0"), 2, "port")),
    Case("refuses_pid_abc", play=refusal(("trace", "-p", "abc"), 2, "abc")),
    Case("refuses_pid_that_is_gone", play=refusal(("trace", "-p", "$GONE"), 2, "pid|process")),
    Case("refuses_negative_duration", play=refusal(("trace", "--duration", "-1"), 2, "duration")),
    Case("refuses_unknown_option", play=refusal(("trace", "--locl-port", "80"), 2, "--local-port")),
    Case("refuses_unknown_command", play=refusal(("tracee",), 2, "trace")),
    Case("refuses_unknown_event_type", play=refusal(("trace", "--events", "closd"), 2, "closed")),
    Case("refuses_missing_netns", play=refusal(("trace", "--netns", "$DIR/none"), 2, "none")),
    Case("refuses_unwritable_output", play=refusal(
        ("trace", "-o", "$DIR/none/events"), 1, "none/events", "No such file")),
    Case("refuses_output_that_is_a_directory", play=refusal(("trace", "-o", "$DIR"), 1, "[Dd]irectory")),
    Case("refuses_without_cap_bpf", play=refusal(
        ("trace",), 1, "CAP_BPF", wrapper=without("bpf", "sys_admin"))),
    Case("refuses_without_cap_perfmon", play=refusal(
        ("trace",), 1, "CAP_PERFMON", wrapper=without("perfmon", "sys_admin"))),
    Case("refuses_without_any_capability", play=refusal(
        ("trace",), 1, "CAP_BPF", "CAP_PERFMON", wrapper=without("all"))),
]
