#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The golden tests: each recording is replayed, has to give the same bytes as ever, and what verdicts.py says of it.

Needs no privileges. Prints a line a test (ok, not ok) and `N passed, N failed, N skipped` last. --told NAME prints the
lines that verdicts.py has to have.
"""
import argparse
import datetime
import difflib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import golden  # noqa: E402
import told  # noqa: E402
from golden import Failure  # noqa: E402
from verdicts import STACKS, VERDICTS  # noqa: E402

ROOT = golden.HERE.parent.parent
LARGEST, LARGEST_TOGETHER = 40_000, 500_000
OF_A_MAKER = (r"/work\b", r"/tmp/h-", r"/tmp/cw-test", r"/root\b", r"/home/", r"/process_api")
KINDS = {"mptcp", "never_accepted", "kernel", "dead_unclosed", "write_blocked", "replying", "inherited", "in_flight",
         "eof_unread", "eof_ignored"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closewatch", type=Path, default=ROOT / "build/closewatch", metavar="PATH")
    parser.add_argument("--rewrite", type=Path, metavar="PATH", help="default: tests/golden/rewrite beside closewatch")
    parser.add_argument("--filter", default="", metavar="SUBSTR", help="only recordings whose name has it")
    parser.add_argument("--told", metavar="NAME", help="what the replay of this one tells, in lines")
    settings = parser.parse_args()
    settings.closewatch = settings.closewatch.resolve()
    settings.rewrite = (settings.rewrite or settings.closewatch.parent / "tests/golden/rewrite").resolve()
    return settings


def demand(condition, text):
    if not condition:
        raise Failure(text)


# -- the same bytes

def must_be_expected(name, view, shown):
    file = golden.expected(name, view)
    wanted = file.read_bytes()
    if wanted == shown:
        return
    lines = [text.decode("utf-8", "replace").replace(',"', ',\n"').splitlines() for text in (wanted, shown)]
    differences = list(difflib.unified_diff(*lines, str(file.relative_to(golden.HERE)), "replayed", lineterm="", n=2))
    raise Failure("\n".join([f"{view} differs", *(line[:300] for line in differences[:40])]))


# -- the right ones

def must_tell(name, view, lines):
    wanted = VERDICTS[name][view]
    if sorted(lines) != sorted(wanted):
        raise Failure("\n".join([f"{view} does not tell what verdicts.py says",
                                 *difflib.unified_diff(sorted(wanted), sorted(lines), "verdicts.py", "replayed",
                                                       lineterm="", n=0)]))


def leak_after(hello):
    """In nanoseconds, as the run was judged."""
    text = hello["options"].get("leak-after", "30s")
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) * {"ms": 10**6, "s": 10**9}[unit]


def check_events(name, events):
    """What holds of every stream, whatever was recorded."""
    demand([event["seq"] for event in events] == list(range(len(events))), "seq has holes")
    demand(events[0]["type"] == "hello" and events[-1]["type"] == "bye", "no whole stream")
    hello = events[0]
    demand((hello["host"], hello["kernel"]) == ("golden", "6.18.0"), f"it names a machine: {hello}")
    demand(hello["boot_id"].startswith("00000000-"), f"it names a machine: {hello}")
    findings = [event for event in events if event["type"] == "finding"]
    raised = sum(event["status"] == "raised" for event in findings)
    demand(raised == events[-1]["findings"], f"bye counts other findings than {raised}")
    for finding in findings:
        check_judged(finding, finding["kind"], finding["verdict"], leak_after(hello))
        demand(finding["advice"], f"no advice: {finding}")
        demand((finding["status"] == "raised") <= (finding["resolution"] is None), f"{finding}")
        demand((finding["stacks"] is not None) <= (name in STACKS), f"stacks that nobody asked for: {finding}")


def check_judged(socket_, kind, verdict, limit_ns):
    demand(kind in KINDS, f"no such kind: {kind}")
    demand(socket_["age_ns"] >= limit_ns or verdict == "ok", f"{verdict} at {socket_['age_ns']} ns")
    for holder in socket_["holders"]:
        demand(holder["pid"] > 0 and holder["start_ns"] > 0 and holder["comm"] and holder["fd"] >= 0, f"{holder}")


def check_report(name, report, limit_ns):
    demand(report["complete"] == (not report["incomplete_reasons"]), "complete, and reasons why not")
    demand((report["host"], report["kernel"]) == ("golden", "6.18.0"), "it names a machine")
    for row in report["processes"]:
        for group in row["close_wait"]["groups"]:
            demand(group["advice"], f"no advice for {group['kind']}")
            demand((group["stacks"] is not None) <= (name in STACKS), "stacks that nobody asked for")
            for one in group["sockets"]:
                check_judged(one, group["kind"], group["verdict"], limit_ns)
        process = row["process"]
        known = not process or process["exited"] or process["exe"] and process["cgroup"] == "/golden.slice"
        demand(known, f"not looked up: {process}")


def check_text(name, text, report):
    """The verdicts are in it, and it is as wide as it may be."""
    lines = text.decode("utf-8").splitlines()
    wide = [line for line in lines if len(line) > 80]
    demand(not wide, f"wider than 80 columns: {wide[:1]}")
    demand("golden, Linux 6.18.0" in lines[0], f"the first line is {lines[0]}")
    leaked = sum(row["close_wait"]["leaked"] for row in report["processes"])
    told_of = re.search(r"^(\d+) sockets? leaked", text.decode("utf-8"), re.M)
    demand(int(told_of[1] if told_of else 0) == leaked, f"{leaked} are leaked, the text says {told_of and told_of[0]}")
    flat = " ".join(text.decode("utf-8").split())
    silent = [reason for reason in report["incomplete_reasons"] if f"Incomplete: {reason}" not in flat]
    demand(not silent, f"it does not say that it is incomplete: {silent}")


def check_stacks(name, report):
    """The functions that are named, the innermost first."""
    found = [[frame["function"] for frame in group["stacks"][part]] for row in report["processes"]
             for group in row["close_wait"]["groups"] if group["stacks"] for part in ("opened", "end_read")]
    for functions in STACKS.get(name, ()):
        demand(any(set(functions) <= set(stack) for stack in found), f"{functions} are not in {found}")


# -- of each recording

def replay(settings, name):
    shown = {view: golden.replayed(settings.closewatch, golden.recording(name), view) for view in golden.VIEWS}
    events = [json.loads(line) for line in shown["trace.json"].splitlines()]
    return shown, events, json.loads(shown["report.json"])


def same_bytes(settings, name):
    for view in golden.VIEWS:
        must_be_expected(name, view, golden.replayed(settings.closewatch, golden.recording(name), view))


def right_verdicts(settings, name):
    demand(name in VERDICTS, "verdicts.py says nothing of it")
    shown, events, report = replay(settings, name)
    check_events(name, events)
    check_report(name, report, leak_after(events[0]))
    check_text(name, shown["report.txt"], report)
    check_stacks(name, report)
    must_tell(name, "trace", told.of_trace(events))
    must_tell(name, "report", told.of_report(report))


def small_enough(settings, name):
    demand(golden.recording(name).stat().st_size <= LARGEST, f"{golden.recording(name).stat().st_size} bytes")


def names_no_machine(settings, name):
    """Neither whose it was made on, nor of whoever runs this."""
    ran = subprocess.run([settings.rewrite, "--print", golden.recording(name)], capture_output=True, check=False)
    demand(ran.returncode == 0, f"{settings.rewrite}: {ran.stderr.decode()}")
    texts = [ran.stdout.decode("utf-8", "replace"), *(golden.expected(name, view).read_text() for view in golden.VIEWS)]
    # A release such as 6.18.0 itself, or a short name that is a word as well, proves nothing.
    own = [re.escape(text) for text in (os.uname().release, boot_id(), socket.gethostname())
           if len(text) > 6 and text not in ("6.18.0", "localhost")]
    own.append(rf'"host":"{re.escape(socket.gethostname())}"')
    for text in texts:
        for pattern in (*OF_A_MAKER, *own):
            found = re.search(rf".{{0,60}}{pattern}.{{0,60}}", text)
            demand(not found, f"{pattern} in {found and found[0]!r}")


def boot_id():
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


# -- of all together

def nothing_is_left_over(settings):
    """Each recording has its files and its verdicts, and there are no others."""
    there = set(golden.names())
    demand(there == set(VERDICTS), f"recordings, and verdicts.py: {sorted(there ^ set(VERDICTS))}")
    wanted = {golden.expected(name, view) for name in there for view in golden.VIEWS}
    found = set(golden.EXPECTED.iterdir())
    demand(found == wanted, f"expected/: {sorted(path.name for path in found ^ wanted)}")
    total = sum(golden.recording(name).stat().st_size for name in there)
    demand(total <= LARGEST_TOGETHER, f"{total} bytes of recordings")


def every_kind_is_there(settings):
    """Of each kind and verdict that can be had; a socket of the kernel's own is made by no program of ours."""
    text = "\n".join(line for views in VERDICTS.values() for line in views["report"])
    pairs = {(kind, verdict) for kind in KINDS for verdict in ("ok", "stuck", "leak") if f" {kind} {verdict} " in text}
    wanted = {("mptcp", "ok"), ("never_accepted", "ok"), ("never_accepted", "stuck"), ("dead_unclosed", "leak"),
              ("write_blocked", "stuck"), ("replying", "ok"), ("inherited", "leak"), ("in_flight", "stuck"),
              *((kind, verdict) for kind in ("eof_unread", "eof_ignored") for verdict in ("ok", "stuck", "leak"))}
    demand(wanted <= pairs, f"nobody shows {sorted(wanted - pairs)}")
    stream = "\n".join(line for views in VERDICTS.values() for line in views["trace"])
    resolutions = ("closed", "accepted", "exit", "reset_still_open", "killed")
    missing = [word for word in resolutions if f"|{word} " not in stream]
    demand(not missing, f"no finding is resolved as {missing}")


def the_version_is_the_recordings(settings):
    """hello says which closewatch has watched, so that a new version changes no expected file."""
    recording = golden.recording(golden.names()[0])
    shown = json.loads(golden.replayed(settings.closewatch, recording, "trace.json").splitlines()[0])
    older = subprocess.run([settings.rewrite, recording, "/dev/stdout", "--version", "0.0.1-older"],
                           capture_output=True, check=True).stdout
    words = [str(settings.closewatch), "replay", "-", "--", "trace", "--json"]
    said = json.loads(subprocess.run(words, input=older, capture_output=True, check=True).stdout.splitlines()[0])
    demand(said == {**shown, "version": "0.0.1-older"}, f"{said}, and not {shown} but for the version")


def the_hour_is_the_recordings(settings):
    """Local time is that of the place where it is replayed, at the time of the recording: not as the clocks are today."""
    recording = golden.recording(golden.names()[0])
    words = [str(settings.closewatch), "replay", str(recording), "--", "trace"]
    hello = json.loads(subprocess.run([*words, "--json"], capture_output=True, check=True).stdout.splitlines()[0])
    month, day, hour = int(hello["time"][5:7]), int(hello["time"][8:10]), int(hello["time"][11:13])
    number = datetime.date(2026, month, min(day, 28) if month == 2 else day).timetuple().tm_yday  # no February 29
    summer = f"XXX0YYY-1,J{number}/0,J{number}/{hour + 3}"  # that day, to an hour after it began
    times = []
    for zone in ("UTC", summer):
        ran = subprocess.run(words, capture_output=True, check=True, env={**os.environ, **golden.PLACE, "TZ": zone})
        times.append(int(ran.stdout.decode().splitlines()[1][:2]))
    demand(times[1] == (times[0] + 1) % 24, f"{times[1]} h where it is {times[0]} h UTC, by {summer}")


def main():
    settings = parse_arguments()
    if settings.told:
        _, events, report = replay(settings, settings.told)
        print(json.dumps({"trace": told.of_trace(events), "report": told.of_report(report)}, indent=1))
        return 0
    names = [name for name in golden.names() if settings.filter in name]
    tests = [(f"{name}_{check.__name__}", check, (name,)) for name in names
             for check in (same_bytes, right_verdicts, small_enough, names_no_machine)]
    if not settings.filter:
        tests += [(check.__name__, check, ()) for check in (
            nothing_is_left_over, every_kind_is_there, the_version_is_the_recordings,
            the_hour_is_the_recordings)]
    failed = 0
    for number, (name, check, arguments) in enumerate(tests, 1):
        try:
            check(settings, *arguments)
            print(f"ok {number} {name}", flush=True)
        except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
            failed += 1
            said = "\n".join(f"  {line}" for line in f"{type(failure).__name__}: {failure}".splitlines())
            print(f"not ok {number} {name}\n{said}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not tests else 0


sys.exit(main())
