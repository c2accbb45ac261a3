# SPDX-License-Identifier: BSD-2-Clause
"""The report itself: one look at what was there before, exit statuses, what a person reads, stacks."""
import json
import re
import subprocess
import time

from case import Case
from harness import Failure
from leaklib import (LEAK_AFTER, Program, Workload, document, end_settled, groups_of, read_document, settled,
                     start_program, start_report, summary)


def demand(condition, text):
    if not condition:
        raise Failure(text)


def pairs(groups):
    return sorted((group["kind"], group["verdict"], group["count"]) for _, group in groups)


# -- sockets from before the start, one look

BEFORE = {"forgot": [("eof_ignored", "stuck", 3)], "pool": [("eof_unread", "stuck", 10)],
          "full-queue": [("never_accepted", "stuck", 4)], "dead-reset": [("dead_unclosed", "ok", 1)],
          "inherited-fork": [("eof_unread", "stuck", 1)]}


def one_look(stage):
    """-d 0: kinds by what can be seen, no use, no growth; the ages are lower bounds, and good ones, but for the dead:
    nothing tells since when they are.
    """
    began = time.monotonic()
    programs = {mode: start_program(stage, mode, mode, 7001 + number) for number, mode in enumerate(BEFORE)}
    for program in programs.values():
        program.wait_said("in_place")
    youngest = time.monotonic()
    time.sleep(LEAK_AFTER + 1.0)
    least = time.monotonic() - youngest
    report = document(start_report(stage, "--json", "-d", "0", wait=False))
    most = time.monotonic() - began
    for number, (mode, wanted) in enumerate(BEFORE.items()):
        workload = Workload(mode, mode, side="connect" if mode == "pool" else "accept", port=7001 + number)
        groups = groups_of(report["processes"], workload)
        demand(pairs(groups) == wanted, f"{mode}: {summary(groups)}, and not {wanted}")
        told = {(line["pid"], line["fd"]) for line in programs[mode].held()}
        for _, group in groups:
            demand({(h["pid"], h["fd"]) for s in group["sockets"] for h in s["holders"]} == told, f"{mode}: {group}")
            check_ages(mode, group, least, most)


def check_ages(mode, group, least, most):
    for socket in group["sockets"]:
        age = socket["age_ns"] / 1e9
        demand(socket["age_is_lower_bound"], f"{mode}: an age that nobody saw begin is told as exact")
        demand(mode == "dead-reset" or least - 0.5 <= age, f"{mode}: age {age:.2f} s; in truth {least:.2f} s and more")
        demand(age <= most + 0.5, f"{mode}: age {age:.2f} s; in truth {most:.2f} s at most")
        demand(socket["eof"] in ("consumed", "unread", "unknown"),
               f"{mode}: eof {socket['eof']} of a read that nobody saw")


def watched_from_before(stage):
    """A watch that begins when the sockets are there: growth is seen, their use is not."""
    forgotten = start_program(stage, "forgot", "old", 7001)
    growing = start_program(stage, "growing-ignored", "old_growing", 7002, 500)
    dead = start_program(stage, "dead-reset", "old_dead", 7003)
    forgotten.wait_said("in_place")
    dead.wait_said("in_place")
    growing.wait_said("in_place")
    time.sleep(0.7)
    report = settled(start_report(stage, "--json"), seconds=7)
    old = groups_of(report["processes"], Workload("old", "forgot", port=7001))
    demand(pairs(old) == [("eof_ignored", "stuck", 3)], f"{summary(old)}: no habit, no growth")
    died = groups_of(report["processes"], Workload("", "", port=7003))
    demand(pairs(died) == [("dead_unclosed", "leak", 1)], f"the dead one: {summary(died)}")
    grown = [g for _, g in groups_of(report["processes"], Workload("", "", port=7002)) if g["verdict"] == "leak"]
    demand(grown and grown[0]["kind"] == "eof_ignored" and grown[0]["count"] >= 3, f"the one that grows: {grown}")
    sockets = [s for _, group in old for s in group["sockets"]]
    demand(all(s["age_is_lower_bound"] for s in sockets), "an age that nobody saw begin is told as exact")


# -- one pair, reported in every form at once

def in_every_form(stage):
    watches = {name: start_report(stage, *options) for name, options in {
        "json": ("--json",), "verbose": ("--json", "-v"), "text": (), "process": ("--by", "process"), "wide": ("-w",),
    }.items()}
    leaker = start_program(stage, "forgot", "leaker", 7001)
    pool = start_program(stage, "pool", "stale_pool", 7002)
    leaker.wait_said("in_place")
    pool.wait_said("in_place")
    end_settled(*watches.values())
    documents = {name: document(watches[name]) for name in ("json", "verbose")}
    texts = {}
    for name in ("text", "process", "wide"):
        demand(watches[name].wait(30) == 0, f"status {watches[name].process.returncode}")
        texts[name] = watches[name].file.read_text()
    for name in documents:
        groups = groups_of(documents[name]["processes"], Workload("leaker", "forgot", port=7001))
        demand(pairs(groups) == [("eof_ignored", "leak", 3)], f"{name}: {summary(groups)}")
    check_by(texts, leaker, pool)
    group = groups_of(documents["json"]["processes"], Workload("leaker", "forgot", port=7001))[0][1]
    check_text(texts, leaker, pool, group)


def check_text(texts, leaker, pool, group):
    for name, text in texts.items():
        demand("\x1b" not in text, f"{name}: colour where there is no terminal")
        widest = max(map(len, text.splitlines()))
        demand(name == "wide" or widest <= 80, f"{name}: wider than 80 columns:\n{text}")
        for program in (leaker, pool):
            demand(re.search(rf"\b{program.pid}\b", text), f"{name}: pid {program.pid} is not in\n{text}")
        descriptors = [str(line["fd"]) for line in leaker.held()]
        demand(any(re.search(rf"\b{fd}\b", text) for fd in descriptors), f"{name}: none of {descriptors} in\n{text}")
        words = " ".join(text.split())
        demand("close()" in words, f"{name}: what to do about eof_ignored is not in\n{text}")
        first = [re.search(rf"\b{program.pid}\b", text).start() for program in (leaker, pool)]
        demand(first == sorted(first), f"{name}: the worst is not first:\n{text}")
        demand(re.search(r"(?i)leak", text) and re.search(r"(?i)stuck", text), f"{name}: no verdict in\n{text}")
        demand("CLOSE" in text.upper(), f"{name}: no states in\n{text}")
    sentence = group["advice"].split(". ")[0].split(":")[0]
    demand(" ".join(sentence.split()) in " ".join(texts["wide"].split()), f"{sentence!r} is not in\n{texts['wide']}")


def check_by(texts, leaker, pool):
    demand(texts["process"] != texts["text"], "--by process makes no difference")
    demand("leaker" in texts["process"], f"--by process without the name:\n{texts['process']}")


def healthy(stage):
    """Short, friendly, and it says what was looked at."""
    text_watch, json_watch = start_report(stage), start_report(stage, "--json")
    program = start_program(stage, "busy", "fine", 7001, 50)
    program.wait_said("closed")
    end_settled(text_watch, json_watch, seconds=0)
    report = document(json_watch)
    demand(text_watch.wait(20) == 0, f"status {text_watch.process.returncode}")
    text = text_watch.file.read_text()
    demand(3 <= len(text.splitlines()) + text.count(". ") and len(text.splitlines()) <= 25, f"not short:\n{text}")
    demand(re.search(r"(?i)\bno\b|\bnone\b|nothing", text), f"does not say that all is well:\n{text}")
    demand(re.search(r"(?i)listen", text), f"does not say what was looked at:\n{text}")
    accused = [group for row in report["processes"] for group in row["close_wait"]["groups"]]
    demand(not accused, f"something was found: {accused}")
    demand(report["complete"], f"incomplete: {report['incomplete_reasons']}")
    demand(report["states"].get("LISTEN") == 1, f"states {report['states']}")


# -- filters

def filtered(stage):
    """Of three that leak alike only those that were asked for."""
    programs = {port: start_program(stage, "forgot", f"leaker{port}", port) for port in (7001, 7002, 7003)}
    for program in programs.values():
        program.wait_said("in_place")
    second = {7002}
    for options, wanted in {("-p", str(programs[7002].pid)): second, ("-c", "leaker7002"): second,
                            ("-L", "7002"): second, ("-L", "7001,7003"): {7001, 7003}, ("-6",): set(),
                            (): {7001, 7002, 7003}}.items():
        report = document(start_report(stage, "--json", "-d", "0", *options, wait=False))
        found = {socket["conn"]["local"]["port"] for row in report["processes"]
                 for group in row["close_wait"]["groups"] for socket in group["sockets"]}
        demand(found == wanted, f"{' '.join(options)}: {found}, and not {wanted}")


# -- exit statuses

def fail_on_leak(mode, status, wrapper=(), words=()):
    def play(stage):
        watch = start_report(stage, "--json", "--fail-on-leak", wrapper=wrapper)
        program = start_program(stage, mode, mode, 7001)
        program.wait_said("in_place")
        report = settled(watch, status)
        leaked = sum(row["close_wait"]["leaked"] for row in report["processes"])
        demand((leaked > 0) == (status == 3), f"{leaked} leaked, and status {status}")
        for word in words:
            demand(any(word in reason for reason in report["incomplete_reasons"]), f"{report['incomplete_reasons']}")
    return play


def interrupted(stage):
    """Ctrl-C ends the watching and still gives the report."""
    watch = start_report(stage, "--json")
    program = start_program(stage, "forgot", "leaker", 7001)
    program.wait_said("in_place")
    time.sleep(LEAK_AFTER + 2)
    status = watch.stop()
    demand(status == 0, f"status {status}")
    report = read_document(watch.file)
    groups = groups_of(report["processes"], Workload("leaker", "forgot", port=7001))
    demand(pairs(groups) == [("eof_ignored", "leak", 3)], summary(groups))


def on_stdout(stage):
    """Nothing but the document on stdout, all else on stderr."""
    words = stage.closewatch("report", "--json", "-d", "500ms", "--netns", stage.netns[""].path)
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    demand(result.returncode == 0, f"status {result.returncode}: {result.stderr.decode()}")
    demand(json.loads(result.stdout)["schema"] == "closewatch/report/1", result.stdout[:200])
    demand(result.stdout.count(b"\n") == 1 and result.stdout.endswith(b"\n"), "not one line")
    demand(b"closewatch: watching" in result.stderr, result.stderr.decode())


# -- stacks

def stacks(stage):
    """The function that called recv() is named, and the one that opened the connection."""
    watch = start_report(stage, "--json", "--stacks")
    text_watch = start_report(stage, "--stacks")
    program = Program(stage.netns[""].command(stage.program("stackleak"), "7001"), stage.folder / "stackleak")
    stage.others.append(program.process)
    stage.programs.append(program)
    program.wait_said("in_place")
    end_settled(watch, text_watch)
    report = document(watch)
    groups = groups_of(report["processes"], Workload("stackleak", "", port=7001))
    demand(pairs(groups) == [("eof_ignored", "stuck", 3)], summary(groups))
    found = json.dumps([group["stacks"] for _, group in groups])
    for function in ("handler", "serve", "main"):
        demand(f'"{function}"' in found, f"{function} is not in {found}")
    demand("stackleak.c" in found, f"no source file in {found}")
    demand(text_watch.wait(30) == 0, f"status {text_watch.process.returncode}")
    text = text_watch.file.read_text()
    demand("handler" in text, f"handler is not in\n{text}")


# -- more processes than are looked up in a second

CROWD = 5000


def of_thousands(stage):
    """None of them is left without its program."""
    holders = stage.settings.closewatch.parent / "holders"
    crowd = stage.spawn(stage.netns[""].command(str(holders), str(CROWD), "1"), stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, start_new_session=True)
    try:
        made = int(crowd.stdout.readline())
        demand(made == CROWD, f"{made} processes could be made")
        report = document(start_report(stage, "--json", "-d", "0", wait=False))
    finally:
        crowd.stdin.close()
        crowd.wait(60)
    rows = [row["process"] for row in report["processes"] if row["process"]]
    demand(len(rows) == CROWD + 1, f"{len(rows)} processes")
    nameless = sum(not process["exe"] for process in rows)
    demand(nameless == 0, f"{nameless} without their program")


CASES = [
    Case("report_one_look", play=one_look),
    Case("report_of_thousands", play=of_thousands),
    Case("report_watched_from_before", play=watched_from_before),
    Case("report_in_every_form", play=in_every_form),
    Case("report_healthy", play=healthy),
    Case("report_filtered", play=filtered),
    Case("report_fail_on_leak", play=fail_on_leak("forgot", 3)),
    Case("report_fail_on_leak_stuck", play=fail_on_leak("in-flight", 0)),
    Case("report_fail_on_leak_blind", play=fail_on_leak(
        "inherited-fork", 4, ("unshare", "--pid", "--fork", "--mount-proc"), ("pid namespace",))),
    Case("report_interrupted", play=interrupted),
    Case("report_on_stdout", play=on_stdout),
    Case("report_stacks", play=stacks),
]
