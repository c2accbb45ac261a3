# SPDX-License-Identifier: BSD-2-Clause
"""What takes the minute that TIME_WAIT lasts: all of it in one namespace and one run, which its cases share."""
import time
from dataclasses import dataclass

import compare
import ledgerlib as lib
import steps
from case import OPEN, half_closed, orphan
from harness import Failure, poll
from ledgerlib import demand

MINUTE = 60.0
SYSCTLS = ("net.ipv4.tcp_fin_timeout=60",)
LATE = 5.0     # after which the peer of one of the orphans closes
LATEST = MINUTE / 8    # the kernel's timers are that late at most: a wheel of eighths (kernel/time/timer.c)


@dataclass
class Found:
    stage: object
    events: list
    report: dict
    looks: list           # (TIME_WAIT by ss, by a report of that moment)


def gather(stage):
    netns = stage.add_netns("", SYSCTLS)
    steps.run(stage, OPEN + """
        srv: shutdown a wr
        -- wait srv.a FIN_WAIT2
        cli: close c
        -- wait srv.a TIME_WAIT
        srv: close a
        """)
    report, overdue = lib.start_report(stage, "-d", "300s"), lib.start_report(stage, "-d", "300s")
    watch = stage.start_watch()
    steps.run(stage, """
        cli: connect promoted 127.0.0.1 8080
        srv: accept b l
        cli: connect late 127.0.0.1 8080
        srv: accept d l
        cli: connect orphan 127.0.0.1 8080
        srv: accept e l
        gone: connect half 127.0.0.1 8080
        srv: accept f l
        cli: close promoted
        -- wait cli.promoted FIN_WAIT2
        srv: close b
        cli: close late
        cli: close orphan
        gone: shutdown half wr
        -- wait gone.half FIN_WAIT2
        srv: close f
        -- wait gone.half TIME_WAIT
        -- kill gone
        """)
    entered = time.monotonic()
    time.sleep(LATE)
    steps.run(stage, "srv: close d\n-- wait cli.late TIME_WAIT")
    time.sleep(max(0.0, entered + MINUTE - 1.0 - time.monotonic()))
    looks = looks_until_gone(stage, netns, overdue, entered)
    poll(lambda: len(lib.ends(watch.events())) >= 5, "five ends to be told", patience=15, pause=0.1)
    document = lib.interrupted(report)
    demand(watch.stop() == 0, "closewatch trace failed")
    compare.check_stream(watch.events())
    return Found(stage, watch.events(), document, looks)


def looks_until_gone(stage, netns, overdue, entered):
    """Reports of moments at which timers are due (the kernel's are late by up to an eighth), with ss on both sides."""
    looks = []
    while lib.buckets(netns) or lib.buckets(netns, "FIN_WAIT2"):
        passed = time.monotonic() - entered
        demand(passed < MINUTE + LATE + LATEST, f"there yet: {netns.ss()}")
        before = set(lib.buckets(netns))
        if passed > MINUTE + 0.1 and overdue:
            document, overdue = lib.interrupted(overdue), None  # it has watched them all their life
        else:
            document = lib.look(stage)
        if set(lib.buckets(netns)) == before:
            looks.append((len(before), lib.waiting(document)))
        time.sleep(0.2)
    return looks


def group_of(found, name):
    endpoint = found.stage.endpoint(name)
    return next(group for group in compare.by_connection(found.events).values() if compare.is_of(group, endpoint))


def must_last(event, seconds):
    """A walk may have met a bucket whose timer was late: then it has been there for as long as that."""
    spent = event["in_state_ns"] / 1e9
    most = seconds + (LATEST if seconds == MINUTE else 3.0)  # a busy machine is late with the last step
    demand(seconds - 0.15 < spent < most, f"{spent} s, and not {seconds}: {event}")


def expires(name, lines, *lasts):
    """The lines of this connection, and how long its last states were; at the end the sum of the times agrees."""
    def check(found):
        problems = compare.check_group(found.stage, name, "connect", group_of(found, name), lines)
        if problems:
            raise Failure("\n".join(problems))
        told = [event for event in group_of(found, name) if event["type"] == "transition"][-len(lasts):]
        for event, seconds in zip(told, lasts):
            must_last(event, seconds)
        for before, after in zip(told, told[1:]):
            passed = lib.nanoseconds(after) - lib.nanoseconds(before)
            demand(abs(passed - after["in_state_ns"]) < 50_000_000, f"{passed} ns between the lines: {after}")
    return check


def owner_gone(found):
    expires("gone.half", [*half_closed("gone"), "TIME_WAIT>CLOSE expired observed=sweep closer:gone"], MINUTE)(found)
    end = group_of(found, "gone.half")[-1]
    demand(end["process"]["exited"] is True, f"it was killed a minute ago: {end['process']}")


def of_before(found):
    """Its beginning is in the bucket's timer, or not told; its owner is the listener's."""
    snapshot, end = group_of(found, "srv.a")
    demand(snapshot["type"] == "snapshot" and snapshot["state"] == "TIME_WAIT", f"{snapshot}")
    demand(end["cause"] == "expired" and end["process"]["comm"] == "srv", f"{end}")
    demand(end["attribution"] == "listener", f"{end}")
    if end["in_state_ns"] is not None:
        must_last(end, MINUTE)
    age = snapshot["age_ns"]
    demand(age is not None and 0 <= age < 10e9, f"the timer tells its age: {age}")


def none_is_left(found):
    """The report counts what entered, and what is there: nothing any more."""
    demand(lib.waiting(found.report) == 0, f"states {found.report['states']}")
    demand("FIN_WAIT2" not in found.report["states"], f"states {found.report['states']}")
    entered = {row["process"]["comm"]: row["time_wait"]["entered"] for row in found.report["processes"]
               if row["process"] and row["time_wait"]["entered"]}
    demand(entered == {"cli": 2, "gone": 1}, f"entered: {entered}")
    row = next(row for row in found.report["processes"] if row["process"] and row["process"]["comm"] == "cli")
    demand(row["fin_wait2"] == {"orphaned": 0, "living": 0}, f"{row['fin_wait2']}")


def late_timers(found):
    """A bucket whose time is over and whose timer is late is there: the report says so as ss does."""
    wrong = [pair for pair in found.looks if pair[0] != pair[1]]
    demand(found.looks, "no look at all")
    demand(not wrong, f"(by ss, reported): {wrong}")
    print(f"# minute_late_timers: {len(found.looks)} looks, (ss, report): {found.looks}")


EXPIRED = "TIME_WAIT>CLOSE expired observed=sweep closer:cli"
PROMOTED = "FIN_WAIT2>TIME_WAIT network observed=sweep closer:cli"
CHECKS = {
    "minute_time_wait_expires": expires("cli.promoted", [*orphan("cli"), PROMOTED, EXPIRED], MINUTE),
    "minute_promoted_late": expires("cli.late", [*orphan("cli"), PROMOTED, EXPIRED], LATE, MINUTE),
    "minute_orphan_expires": expires("cli.orphan", [
        *orphan("cli"), "FIN_WAIT2>CLOSE expired observed=sweep closer:cli"], MINUTE),
    "minute_owner_gone": owner_gone,
    "minute_from_before": of_before,
    "minute_none_is_left": none_is_left,
    "minute_late_timers": late_timers,
}
RUN = lib.Shared(gather)
CASES = [RUN.case(name, check) for name, check in CHECKS.items()]
