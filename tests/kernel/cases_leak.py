# SPDX-License-Identifier: BSD-2-Clause
"""Leaks: each is found, with the descriptors that hold it, as the kind that it is. Their innocent twins, of the same
age and in the same run, are in cases_innocent.py.
"""
import json
import os
import signal

import compare
from case import Case
from cases_innocent import INNOCENTS
from harness import Failure, poll
from leaklib import (JUDGING, LEAK_AFTER, Gathering, Group, Workload, groups_of, settled, start_program, start_report,
                     summary)

IGNORED, UNREAD, DEAD = ("eof_ignored", "leak"), ("eof_unread", "leak"), ("dead_unclosed", "leak")
INHERITED = ("inherited", "leak")

LEAKS = [
    Workload("leak_forgotten", "forgot", must={IGNORED: Group(3, "read")}),
    Workload("leak_forgotten_connecting", "connecting", side="connect", must={IGNORED: Group(3, "read")}),
    Workload("leak_by_fork_server", "forkserver", must={IGNORED: Group(3, "read")}),
    Workload("leak_beside_reply", "mixed",
             must={IGNORED: Group(2, "read"), ("replying", "ok"): Group(1, "read")}),
    Workload("leak_one_of_two_descriptors", "dup", must={IGNORED: Group(1, "read")}),
    Workload("leak_inherited_fork", "inherited-fork", must={INHERITED: Group(1, "unread")}, never=()),
    Workload("leak_inherited_exec", "inherited-exec", must={INHERITED: Group(1, "unread")}, never=()),
    Workload("leak_inherited_own_exec", "inherited-own-exec", must={INHERITED: Group(1, "unread")}, never=()),
    Workload("leak_inherited_pid_reused", "reused-pid", must={INHERITED: Group(1, "unread")}, never=()),
    Workload("leak_dead_by_write", "dead-written", must={DEAD: Group(1)}),
    Workload("leak_dead_by_reset", "dead-reset", must={DEAD: Group(1)}),
    Workload("leak_dead_by_keepalive", "dead-keepalive", must={DEAD: Group(1)}),
    Workload("leak_grows_unread", "growing-unread", (500,), trend="growing",
             must={UNREAD: Group(3, "unread", at_least=True)}, may=(("eof_unread", "ok"),)),
    Workload("leak_grows_ignored", "growing-ignored", (500,), trend="growing",
             must={IGNORED: Group(3, "read", at_least=True)}, may=(("eof_ignored", "ok"),)),
    Workload("leak_of_ended_process", "died", (5000,), must={IGNORED: Group(3)}, resolved="exit"),
]


# -- alone in their namespace

def mended(stage):
    """Raised, and resolved as soon as the program closes after all."""
    watch = stage.start_watch(*JUDGING)
    program = start_program(stage, "mended", "mended", 7001)
    program.wait_said("in_place")

    def of(status):
        return [e for e in watch.events() if e["type"] == "finding" and e["status"] == status]

    def leaks():
        return {e["conn"]["id"] for e in of("raised") + of("changed") if e["verdict"] == "leak"}
    poll(lambda: len(leaks()) == 3, "three leaks to be raised", patience=LEAK_AFTER + 6)
    os.kill(program.pid, signal.SIGUSR1)
    program.wait_said("mended")
    poll(lambda: len(of("resolved")) == 3, "three to be resolved", patience=4)
    if watch.stop() != 0:
        raise Failure(f"closewatch ended with {watch.process.returncode}")
    compare.check_stream(watch.events())
    if watch.events()[-1]["findings"] != 3:
        raise Failure(f"bye has {watch.events()[-1]['findings']} findings")
    raised = {(e["holders"][0]["pid"], e["holders"][0]["fd"], e["process"]["pid"]) for e in of("raised")}
    truth = {(line["pid"], line["fd"], line["pid"]) for line in program.held()}
    if raised != truth:
        raise Failure(f"held by {raised}, and in truth by {truth}")
    for event in of("resolved"):
        if event["resolution"] != "closed" or event["kind"] != "eof_ignored":
            raise Failure(f"resolved as {event['resolution']}: {json.dumps(event)}")
        if not LEAK_AFTER * 1e9 <= event["age_ns"] < 20e9:
            raise Failure(f"how long it took is said to be {event['age_ns']}")


MANY = 2000


def thousands(stage):
    """The count is right, the list is short, and the state counts are those of ss."""
    watch = start_report(stage, "--json")
    workload = Workload("many", "many", (MANY,), port=7001)
    program = start_program(stage, "many", "many", 7001, MANY)
    program.wait_said("in_place", patience=20)
    states = [state for state, _, _ in stage.netns[""].ss()]
    report = settled(watch)
    groups = groups_of(report["processes"], workload)
    if [(g["kind"], g["verdict"], g["count"]) for _, g in groups] != [("eof_ignored", "leak", MANY)]:
        raise Failure(f"found {summary(groups)}")
    for _, group in groups:
        if {h["pid"] for s in group["sockets"] for h in s["holders"]} != {program.pid}:
            raise Failure("held by another")
    for state in ("CLOSE_WAIT", "LISTEN", "ESTABLISHED"):
        if report["states"].get(state, 0) != states.count(state):
            raise Failure(f"{state}: {report['states'].get(state)}, ss has {states.count(state)}")
    row = groups[0][0]
    if row["close_wait"]["now"] != MANY or row["fds"]["sockets"] < MANY or row["fds"]["open"] < MANY:
        raise Failure(f"now {row['close_wait']['now']}, fds {row['fds']}")


def two_namespaces(stage):
    """The same addresses in two namespaces: a leak in one, and in the other a pool of the same age."""
    watch = start_report(stage, "--json", scope=None)
    leaker = start_program(stage, "forgot", "leaker", 7001)
    innocent = start_program(stage, "busy", "innocent", 7001, 60000, label="b")
    leaker.wait_said("in_place")
    innocent.wait_said("in_place")
    report = settled(watch)
    for label, program, wanted in (("", leaker, [("eof_ignored", "leak", 3)]),
                                   ("b", innocent, [("eof_unread", "stuck", 1)])):
        inum = stage.netns[label].inum
        groups = [(row, group) for row in report["processes"] for group in row["close_wait"]["groups"]
                  if any(socket["conn"]["netns"] == inum for socket in group["sockets"])]
        if [(g["kind"], g["verdict"], g["count"]) for _, g in groups] != wanted:
            raise Failure(f"namespace {label or 'a'}: {summary(groups)}")
        pids = {h["pid"] for _, group in groups for s in group["sockets"] for h in s["holders"]}
        if pids != {program.pid}:
            raise Failure(f"namespace {label or 'a'}: held by {pids}, and not {program.pid}")


def dies_during_the_sweep(stage):
    """Processes end with their connections all the time; the leak beside them is told exactly."""
    watch = start_report(stage, "--json", sweep="100ms")
    churn = Workload("churn", "churn", port=7001)
    leak = Workload("forgot", "forgot", port=7002)
    start_program(stage, "churn", "churn", 7001).wait_said("in_place")
    program = start_program(stage, "forgot", "forgot", 7002)
    program.wait_said("in_place")
    report = settled(watch)
    groups = groups_of(report["processes"], leak)
    held = {(h["pid"], h["fd"]) for _, g in groups for s in g["sockets"] for h in s["holders"]}
    if [(g["kind"], g["verdict"], g["count"]) for _, g in groups] != [("eof_ignored", "leak", 3)]:
        raise Failure(f"found {summary(groups)}")
    if held != {(line["pid"], line["fd"]) for line in program.held()}:
        raise Failure(f"held by {held}")
    wrong = [(r, g) for r, g in groups_of(report["processes"], churn) if g["verdict"] != "ok"]
    if wrong:
        raise Failure(f"of those that end: {summary(wrong)}")


def pid_namespace(stage):
    """Inside a pid namespace nothing may rest on who holds a socket, and it is said so."""
    watch = start_report(stage, "--json", wrapper=("unshare", "--pid", "--fork", "--mount-proc"))
    programs = [start_program(stage, mode, mode, 7001 + number)
                for number, mode in enumerate(("inherited-fork", "in-flight", "forgot"))]
    for program in programs:
        program.wait_said("in_place")
    report = settled(watch)
    if report["complete"] or not any("pid namespace" in reason for reason in report["incomplete_reasons"]):
        raise Failure(f"complete is {report['complete']}: {report['incomplete_reasons']}")
    groups = [(row, group) for row in report["processes"] for group in row["close_wait"]["groups"]]
    if not groups:
        raise Failure("nothing was found at all")
    if any(group["kind"] in ("inherited", "in_flight") for _, group in groups):
        raise Failure(f"rests on what can't be seen: {summary(groups)}")
    looked_up = [row["process"] for row in report["processes"] if row["process"] and row["process"]["exe"]]
    if looked_up:
        raise Failure(f"looked up by a pid that is another's here: {looked_up}")


TOGETHER = Gathering([*LEAKS, *INNOCENTS], seconds=8)
CASES = [
    *TOGETHER.cases(),
    Case("leak_mended", play=mended),
    Case("leak_thousands", play=thousands),
    Case("leak_two_namespaces", play=two_namespaces, netns=("", "b")),
    Case("leak_beside_processes_that_end", play=dies_during_the_sweep),
    Case("leak_seen_from_a_pid_namespace", play=pid_namespace),
]
