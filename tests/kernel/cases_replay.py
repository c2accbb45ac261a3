# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of a recording that is not whole, that cannot be written, or that is none; and how --record makes its
file.
"""
import json
import os
import re
import signal
import socket
import subprocess
import time

import compare
import recordlib as lib
import steps
from case import USED, Case
from harness import poll
from recordlib import demand, replay

ALL = ("trace", "--json", "--all-states")
ONE = USED + """
    cli: close c
    -- wait cli.c FIN_WAIT2
    srv: close a
    -- gone srv.a
"""


def flood(stage, count):
    stage.netns[""].run(stage.program("flood"), str(count), stage.cpu, stage.cpu)


def flood_slowly(stage):
    """Over some seconds: a second's worth of it is far from filling 64 KiB, and all of it is more."""
    for _ in range(9):
        flood(stage, 60)
        time.sleep(0.3)


def told(line):
    """A line but for its number."""
    return re.sub(rb'"seq":\d+,', b"", line, count=1)


def is_cut(recorded, replayed, status, *words):
    """The replay shows the beginning of what was shown live, as it was, and says why it ends there."""
    replayed.must_end(status)
    live, shown = recorded.splitlines(), replayed.lines()
    # At the end of a recording that is not whole the engine lets go what it held back: the last lines may differ.
    same = next((n for n, pair in enumerate(zip(live, shown)) if pair[0] != pair[1]), min(len(live), len(shown)))
    demand(same >= len(shown) - 3 and same > 10, f"only {same} of {len(shown)} lines are the live ones")
    types = [json.loads(line)["type"] for line in shown]
    demand("bye" not in types and types[0] == "hello", f"{types[0]} to {types[-1]}")
    missing = [word for word in words if not re.search(word, replayed.said)]
    demand(not missing, f"{missing} not in: {replayed.said}")
    demand(len(replayed.said.strip().splitlines()) == (1 if words else 0), f"not one message: {replayed.said}")
    return shown


def report_is_cut(replayed, status, word):
    document = replayed.must_end(status).document()
    demand(not document["complete"], "complete")
    demand(any(re.search(word, reason) for reason in document["incomplete_reasons"]),
           f"{word} not in {document['incomplete_reasons']}")
    return document


# -- a run that does not come to its end

def killed(stage):
    """SIGKILL: what was a second old is in it."""
    run = lib.start(stage, *ALL).started()
    flood(stage, 50)
    time.sleep(1.3)
    size = poll(lambda: run.file.stat().st_size, "the recording")
    flood(stage, 50)
    os.kill(run.watch.pid, signal.SIGKILL)
    run.watch.wait()
    recording, live = run.file.read_bytes(), run.output.read_bytes()
    live = live[:live.rfind(b"\n") + 1]
    demand(len(recording) >= size, "it has shrunk")
    shown = is_cut(live, replay(stage, recording, "trace", "--json"), 1,
                   f"ends before the run did, at byte {len(recording)}|ends at byte {len(recording)}, within")
    demand(sum(json.loads(line)["type"] == "closed" for line in shown) >= 100, "the first fifty are not in it")
    report_is_cut(replay(stage, recording, "report", "--json"), 1, "does not reach to the end")
    replay(stage, recording, "report", "--json", "--fail-on-leak").must_end(1)


def damaged(stage):
    """Cut, or with a byte turned, in the middle or in its last block: what comes before is shown, and the byte told."""
    run = lib.start(stage, *ALL).started()
    for _ in range(3):
        flood(stage, 30)
        time.sleep(1.1)
    recorded = run.stopped()
    whole = recorded.recording
    live = recorded.live
    for at in (len(whole) - 40, len(whole) * 2 // 3):
        shown = is_cut(live, replay(stage, whole[:at], "trace", "--json"), 1,
                       f"ends at byte {at}, within|ends before the run did, at byte {at}$")
        turned = bytearray(whole)
        turned[at] ^= 0x10
        again = replay(stage, bytes(turned), "trace", "--json")
        is_cut(live, again, 1, "damaged", "at byte [0-9]+")
        offset = int(re.search(r"at byte (\d+)", again.said)[1])
        demand(0 < offset <= at, f"byte {offset} is told, byte {at} was turned")
        demand(again.lines() == shown, "what comes before is not the same as of the one that was cut there")
        report_is_cut(replay(stage, bytes(turned), "report", "--json"), 1, "does not reach to the end .*damaged")
    longer = replay(stage, whole + whole[-100:], "trace", "--json")
    demand(longer.status == 1 and "goes on behind its end" in longer.said, f"{longer.status}: {longer.said}")


def limited(stage):
    """--record-max: the run goes on, the file does not."""
    run = lib.start(stage, *ALL, "--record-max", "64K").started()
    flood_slowly(stage)
    recorded = run.stopped()
    demand(20_000 < len(recorded.recording) <= 65536, f"it has grown to {len(recorded.recording)}")
    demand("--record-max" in recorded.said, f"not said: {recorded.said}")
    compare.check_stream([json.loads(line) for line in recorded.live.splitlines()])
    shown = is_cut(recorded.live, replay(stage, recorded.recording, "trace", "--json"), 0)
    demand(len(shown) < len(recorded.live.splitlines()) - 100, "so much cannot be in it")
    report_is_cut(replay(stage, recorded.recording, "report", "--json"), 0, "grown to its limit")
    replay(stage, recorded.recording, "report", "--fail-on-leak").must_end(4)


def slow_reader(stage):
    """Lines that were dropped live are in the replay, and those that were not are as they were."""
    run = lib.start(stage, *ALL, "--ring", "64M", to_pipe=True, record=stage.folder / "slow").started()
    flood(stage, 3000)
    time.sleep(0.3)
    os.kill(run.watch.pid, signal.SIGINT)
    time.sleep(0.2)
    live = run.watch.process.stdout.read().splitlines()
    demand(run.watch.wait() == 0, f"status {run.watch.process.returncode}")
    dropped = sum(json.loads(line)["lost"] for line in live if b'"type":"gap"' in line)
    demand(dropped > 0, "nothing was dropped")
    replayed = replay(stage, run.file, "trace", "--json").must_end(0)
    events = replayed.events()
    compare.check_stream(events)
    kept = [line for line in live if b'"type":"gap"' not in line]
    demand(len(events) == len(kept) + dropped, f"{len(events)} lines, live {len(kept)} and {dropped} dropped")
    rest = iter([told(line) for line in replayed.lines()])
    for line in kept[:-1]:  # bye counts what was dropped
        demand(told(line) in rest, f"shown live, and not in the replay in this order: {line[:300]}")


# -- a recording that cannot be written

def to_full_device(stage):
    """The error is told, the report is given all the same, and the status says that something was wrong."""
    run = lib.start(stage, "report", "--json", "--leak-after", "1s", record="/dev/full")
    run.started()
    steps.run(stage, ONE)
    run.watch.stop()
    demand(run.watch.wait() == 1, f"status {run.watch.process.returncode}")
    demand(re.search("cannot write the recording /dev/full: No space left", run.watch.stderr()), run.watch.stderr())
    report = json.loads(run.output.read_bytes())
    demand(report["complete"] and report["processes"], "no whole report")


def to_full_disk(stage):
    disk = stage.mount_tmpfs("64k")
    run = lib.start(stage, *ALL, record=disk / "recording").started()
    flood_slowly(stage)
    run.watch.stop()
    demand(run.watch.wait() == 1, f"status {run.watch.process.returncode}")
    demand(run.watch.stderr().count("No space left") == 1, f"not said once: {run.watch.stderr()}")
    live = run.output.read_bytes()
    compare.check_stream([json.loads(line) for line in live.splitlines()])
    is_cut(live, replay(stage, run.file, "trace", "--json"), 1, "ends (before|at byte)", "at byte [0-9]+")


def to_a_pipe_that_nobody_reads(stage):
    """A reader who has stopped costs the recording, and neither the results nor Ctrl-C."""
    fifo = stage.folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run = lib.start(stage, *ALL, record=fifo).started()
        flood(stage, 2000)  # some four times what a pipe takes
        poll(lambda: "its reader does not read" in run.watch.stderr(), "the end of the recording to be told")
        steps.run(stage, ONE)
        run.watch.stop()
    finally:
        os.close(reader)
    demand(run.watch.wait() == 1, f"status {run.watch.process.returncode}")
    demand(run.watch.stderr().count("cannot write the recording") == 1, f"not said once: {run.watch.stderr()}")
    events = [json.loads(line) for line in run.output.read_bytes().splitlines()]
    compare.check_stream(events, gaps_allowed=True)
    lost_for_good = [event for event in events if event["type"] == "gap" and event["where"] != "ring"]
    demand(not lost_for_good, f"{lost_for_good}")
    demand(any(event["type"] == "closed" and event["process"]["comm"] == "cli" for event in events), "it has not gone on")


def run_to_full_device(stage):
    """COMMAND's own status goes first."""
    for command, status in (("exit 0", 1), ("exit 7", 7)):
        run = lib.start(stage, "run", "--json", "--", "sh", "-c", f"sleep 0.3; {command}", record="/dev/full",
                        before=stage.netns[""].command())
        found = run.watch.wait(20)
        demand(found == status, f"status {found}, and not {status}: {run.watch.stderr()}")
        json.loads(run.output.read_bytes())


def refused_start(stage, *options, before=()):
    words = [*before, *stage.closewatch("trace", "-d", "0", *options)]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)


def mode_of_the_file(stage):
    """Command lines of other people are in it: its owner's alone, also where it was there and was not."""
    old = stage.folder / "old"
    old.write_bytes(b"x" * 100_000)
    old.chmod(0o666)
    for path in (stage.folder / "new", old):
        ran = refused_start(stage, "--record", str(path), before=("sh", "-c", 'umask 0; exec "$@"', "sh"))
        demand(ran.returncode == 0, ran.stderr)
        mode = path.stat().st_mode & 0o7777
        demand(mode == 0o600, f"{path.name}: mode {mode:o}")
        replay(stage, path, "report").must_end(0)  # nothing of the old content is behind it


def refused_leaves_the_file(stage):
    """A run that does not start leaves an old recording as it was."""
    path = stage.folder / "old"
    path.write_bytes(b"precious")
    ran = refused_start(stage, "--record", str(path), before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    demand(ran.returncode == 1 and path.read_bytes() == b"precious", f"{ran.returncode}: {path.read_bytes()}")


def link_of_a_stranger(stage):
    """Whoever may put names into /tmp does not choose which file root writes to."""
    target, sticky = stage.folder / "precious", stage.folder / "sticky"
    target.write_text("precious")
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "recording").symlink_to(target)
    os.lchown(sticky / "recording", 65534, 65534)
    ran = refused_start(stage, "--record", str(sticky / "recording"))
    demand(ran.returncode == 1 and "record" in ran.stderr, f"{ran.returncode}: {ran.stderr}")
    demand(target.read_text() == "precious", "the file that it leads to was written")


def same_file_twice(stage):
    """--record and --output, by whatever names."""
    there = stage.folder / "there"
    there.write_text("precious")
    (stage.folder / "link").symlink_to(there)
    for record, output in ((there, there), (stage.folder / "link", there), (f"{stage.folder}/./there", there)):
        ran = refused_start(stage, "--record", str(record), "-o", str(output))
        refused = ran.returncode == 2 and "same file" in ran.stderr
        demand(refused, f"{record} and {output}: {ran.returncode} {ran.stderr}")
        demand(there.read_text() == "precious", "it was emptied")
    with there.open("ab") as stdout:
        words = stage.closewatch("trace", "-d", "0", "--record", str(there))
        ran = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False)
    demand(ran.returncode == 2 and b"same file" in ran.stderr, f"standard output: {ran.returncode} {ran.stderr}")
    words = stage.closewatch("trace", "-d", "0", "--record", "/dev/stdout")
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20)
    refused = ran.returncode == 2 and b"same file" in ran.stderr and not ran.stdout
    demand(refused, f"a pipe: {ran.returncode} {ran.stderr}")
    recording = a_recording(stage)
    there.write_bytes(recording)
    for output in (there, stage.folder / "link"):
        ran = replay(stage, there, "trace", "-o", str(output)).must_end(2)
        demand(there.read_bytes() == recording, "a replay has overwritten its own recording")


# -- what is no recording, and what does not fit one

def a_recording(stage):
    run = lib.start(stage, "trace", "--json").started()
    steps.run(stage, ONE)
    return run.stopped().recording


def no_recordings(stage):
    """A message with the name of the file, exit 1, nothing on standard output; and it does not take long."""
    good = a_recording(stage)
    future = bytearray(good)
    future[24] += 1
    socket_file = socket.socket(socket.AF_UNIX)
    socket_file.bind(str(stage.folder / "a-socket"))
    strange = {"empty": b"", "text": b"GIF89a no recording, but long enough to be one\n" * 9, "future": bytes(future),
               "newer-abi": good[:28] + b"\x09" + good[29:], "first-words": good[:20], "no-head": good[:32],
               "head-cut": good[:50], "zeros": bytes(4096), "a-zstd-frame": good[32:]}
    wanted = {"empty": "ends within its first words", "text": "at byte 0.*no recording of closewatch",
              "zeros": "no recording",
              "future": r"its format is 2\.1 \(at byte 24\), and this closewatch reads 1\.1.*use the closewatch",
              "newer-abi": r"its format is 1\.9", "first-words": "ends within its first words at byte 20",
              "no-head": "at byte 32", "head-cut": "at byte (32|50)", "a-zstd-frame": "no recording",
              "missing": "No such file", "a-socket": "No such device", ".": "directory"}
    for name, data in strange.items():
        (stage.folder / name).write_bytes(data)
    for name, words in wanted.items():
        for command in (("trace", "--json"), ("report",)):
            ran = replay(stage, stage.folder / name, *command).must_end(1)
            demand(not ran.shown, f"{name}: {ran.shown[:200]}")
            demand(re.search(words, ran.said) and str(stage.folder / name) in ran.said, f"{name}: {ran.said}")
            demand(len(ran.said.strip().splitlines()) == 1, f"{name}: not one message: {ran.said}")


def broken_pipe(stage):
    """`replay … | head -1` ends quietly."""
    run = lib.start(stage, *ALL).started()
    flood(stage, 300)
    recorded = run.stopped()
    (stage.folder / "recording").write_bytes(recorded.recording)
    for command in (("trace", "--json"), ("trace",), ("report", "--json")):
        words = stage.closewatch("replay", str(stage.folder / "recording"), "--", *command)
        ran = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stage.others.append(ran)
        if command[0] == "trace":
            demand(ran.stdout.read(10), "nothing")
        ran.stdout.close()
        said = ran.stderr.read()
        demand(ran.wait(20) == 0 and not said, f"{command}: {ran.returncode} {said}")
    ran = replay(stage, recorded.recording, "trace", "--json", "-o", "/dev/full").must_end(1)
    demand("No space left" in ran.said, ran.said)


def options_that_do_not_fit(stage):
    """Exit 2, one message, and nothing is read."""
    path = stage.folder / "recording"
    path.write_bytes(a_recording(stage))
    for words in ("trace -L 80", "trace -p 1", "trace -c x", "trace -d 5", "trace --netns 1", "trace --all-states",
                  "trace --stacks", "trace --ring 1M", "trace --sweep 1s", "trace --record x", "report -d 5",
                  "report --stacks", "report --cgroup /", "report --leak-after 1ms", "report --leak-after 101ms",
                  "run -- true", "doctor", "demo", "top --json", "top -i 1ms", "replay x", "", "report --by thread", "trace --by workload",
                  "report --events closed", "trace --fail-on-leak", "report extra"):
        ran = replay(stage, path, *words.split()).must_end(2)
        demand(not ran.shown and ran.said.strip(), f"{words}: {ran.shown[:100]} {ran.said}")
        demand(len(ran.said.strip().splitlines()) == 1, f"{words}: not one message: {ran.said}")
    for words in ("replay", f"replay --json {path}", "replay -- report", "trace --record", "trace --record=",
                  f"trace --record-max 1M", f"trace --record {path}x --record-max 1K"):
        ran = subprocess.run(stage.closewatch(*words.split()), capture_output=True, check=False, timeout=20)
        demand(ran.returncode == 2 and not ran.stdout, f"{words}: {ran.returncode} {ran.stderr}")
    replay(stage, path, "report", "--by", "process", "-w", "-v", "--leak-after", "40s", "--fail-on-leak").must_end(0)
    only = replay(stage, path, "trace", "-j", "--events", "closed,bye").must_end(0).events()
    compare.check_stream(only, only=("closed", "bye"))
    demand(len(only) == 3, f"{len(only)} lines")


CASES = [Case(f"record_{play.__name__}", play=play) for play in (
    killed, damaged, limited, slow_reader, to_full_device, to_full_disk, to_a_pipe_that_nobody_reads, run_to_full_device,
    mode_of_the_file, refused_leaves_the_file, link_of_a_stranger, same_file_twice, no_recordings, broken_pipe, options_that_do_not_fit)]
