# SPDX-License-Identifier: BSD-2-Clause
"""The TIME_WAIT ledger: whose the buckets are, from their entry to their end, held against the kernel's own list."""
import errno
import os
import re
import subprocess
import sys
import time

import compare
import ledgerlib as lib
import steps
from case import OPEN, USED, Case, finish, half_closed, orphan, passive
from harness import poll
from ledgerlib import demand, must_have

SWEEP = ("--sweep", "500ms")
NO_OWN_TIME = "net.ipv4.tcp_fin_timeout=60"

# The client has shut down its side, the server has closed: a TIME_WAIT that the event itself tells.
WAITING = OPEN + """
    cli: shutdown c wr
    -- wait cli.c FIN_WAIT2
    srv: close a
    -- wait cli.c TIME_WAIT
    cli: close c
"""
TUN_WAITING = """
    tun: up 10.77.0.1 10.77.0.2
    cli: connect-start c 10.77.0.2 9000
    tun: answer 9000
    cli: connect-wait c
    cli: shutdown c wr
    tun: expect F
    tun: send FA
    -- wait cli.c TIME_WAIT
"""


def of_listener(owner):
    return passive(f"listener:{owner}", owner)


def promoted(owner):
    return f"FIN_WAIT2>TIME_WAIT network observed=sweep closer:{owner}"


def over(cause, owner, observed="sweep", was="TIME_WAIT"):
    return f"{was}>CLOSE {cause} observed={observed} closer:{owner}"


def wait_told(watch, condition, what, patience=8.0):
    poll(lambda: condition(watch.events()), what, patience, pause=0.05)


def wait_entries(watch, count, patience=8.0):
    wait_told(watch, lambda events: len(lib.entries(events)) >= count, f"{count} to be told in TIME_WAIT", patience)


# -- who closes first

def both_sides(stage):
    """Clients, a server, and both at once: each bucket is told of once, with its owner, and counted by its endpoint."""
    netns = stage.netns[""]
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch(*SWEEP)
    last = lib.start_visits(stage, "srv-last", "serve", "127.0.0.1", 8080)
    first = lib.start_visits(stage, "srv-first", "serve", "127.0.0.1", 8081, "first")
    client = lib.start_visits(stage, "cli-first", "visit", "127.0.0.1", 8080, 7).done()
    lib.start_visits(stage, "cli-last", "visit", "127.0.0.1", 8081, 5, "last").done()
    steps.run(stage, """
        tun: up 10.77.0.1 10.77.0.2
        both: connect-start c 10.77.0.2 9000
        tun: answer 9000
        both: connect-wait c
        both: close c
        tun: expect F
        tun: send FA ack=-1
        -- wait both.c CLOSING
        tun: send A
        -- wait both.c TIME_WAIT
        """)
    lib.wait_rest(netns)
    existing = lib.buckets(netns)
    demand(len(existing) == 13, f"by ss {len(existing)}")
    wait_entries(watch, len(existing))
    document = lib.interrupted(report)
    demand(watch.stop() == 0, "closewatch trace failed")
    check_both_sides(stage, watch.events(), existing)
    demand(lib.waiting(document) == len(existing), f"{lib.waiting(document)} reported, by ss {len(existing)}")
    row = must_have(document, client.process, {("connect", "127.0.0.1:*", "127.0.0.1:8080"): 7}, 7)
    seconds = lib.seconds_of(document["to"]) - lib.seconds_of(document["from"])
    rate = row["time_wait"]["per_second"]
    demand(abs(rate * seconds - 7) < 0.7, f"7 in {seconds:.2f} s are {rate} a second")
    must_have(document, first.process, {("accept", "*:8081", "*"): 5}, 5)
    must_have(document, stage.actors["both"].process, {("connect", "10.77.0.1:*", "10.77.0.2:9000"): 1}, 1)
    row = lib.row_of(document, last.process)
    demand(not row or row["time_wait"]["now"] == row["time_wait"]["entered"] == 0, f"it closed last: {row}")
    demand(lib.workload_of(document, "*:8081")["time_wait"]["now"] == 5, "the workload at *:8081")


def check_both_sides(stage, events, existing):
    compare.check_stream(events)
    lib.must_tell(stage, events, existing)
    found = lib.owners(stage, events)
    demand(found == {"cli-first": 7, "srv-first": 5, "both": 1}, f"owners: {found}")
    for event in lib.entries(events).values():
        demand(event["attribution"] == "closer" and event["actor"] is None, f"{event}")
        demand(event["in_state_ns"] is not None, f"its beginning was seen: {event}")
        demand(event["from"] == ("CLOSING" if event["process"]["comm"] == "both" else "FIN_WAIT2"), f"{event}")


# -- orphans in FIN_WAIT2

def orphan_promoted(stage):
    """Counted apart; in TIME_WAIT from the moment of the peer's FIN, which the sweep finds in the bucket's timer."""
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch("--sweep", "3s")
    steps.run(stage, USED + """
        cli: connect d 127.0.0.1 8080
        srv: accept b l
        cli: close c
        cli: close d
        -- wait cli.c FIN_WAIT2
        -- wait cli.d FIN_WAIT2
        """)
    entered = time.time()
    time.sleep(0.7)
    before = time.time()
    steps.run(stage, "srv: close a\n-- wait cli.c TIME_WAIT")
    after = time.time()
    wait_entries(watch, 1)
    demand(watch.stop() == 0, "closewatch trace failed")
    document = lib.interrupted(report)
    event = next(iter(lib.entries(watch.events()).values()))
    told = lib.nanoseconds(event) / 1e9
    demand(before - 0.1 <= told <= after + 0.1, f"it was {before:.3f} to {after:.3f}, told was {told:.3f}")
    waited = event["in_state_ns"] / 1e9
    demand(abs(waited - (told - entered)) < 0.3, f"{waited} s in FIN_WAIT2, in truth {told - entered:.3f}")
    compare.check_connections(stage, {
        "cli.c connect": [*orphan("cli"), promoted("cli")], "cli.d connect": orphan("cli"),
        "srv.a accept": passive("opener:srv", "srv"), "srv.b accept": ["ESTABLISHED>CLOSE_WAIT network listener:srv"],
    }, watch.events())
    row = must_have(document, stage.actors["cli"].process, {("connect", "127.0.0.1:*", "127.0.0.1:8080"): 1}, 1)
    demand(row["fin_wait2"] == {"orphaned": 1, "living": 0}, f"fin_wait2 {row['fin_wait2']}, of one orphan")
    demand(row["states"].get("FIN_WAIT2") == 1, f"states {row['states']}, by ss one in FIN_WAIT2")
    demand(document["states"].get("FIN_WAIT2") == 1, f"states {document['states']}")


def orphan_expires(stage):
    """TCP_LINGER2 bounds the orphan's FIN_WAIT2, in a bucket or as a full socket; one that lives is not bounded."""
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch(*SWEEP)
    steps.run(stage, OPEN + """
        cli: connect d 127.0.0.1 8080
        srv: accept b l
        cli: linger2 c 2
        cli: close c
        cli: shutdown d wr
        -- wait cli.d FIN_WAIT2
        -- wait cli.c FIN_WAIT2
        -- gone cli.c
        """)
    wait_told(watch, lambda events: lib.ends(events, "expired"), "the end to be told")
    document = lib.interrupted(report)
    events = finish(stage, watch, {
        "cli.c connect": [*orphan("cli"), over("expired", "cli", was="FIN_WAIT2")],
        "cli.d connect": half_closed("cli")[:2],
        "srv.a accept": ["ESTABLISHED>CLOSE_WAIT network listener:srv"],
        "srv.b accept": ["ESTABLISHED>CLOSE_WAIT network listener:srv"]})
    event = next(iter(lib.ends(events).values()))
    demand(1.9e9 < event["in_state_ns"] < 2.6e9, f"TCP_LINGER2 was 2 s: {event}")
    row = lib.row_of(document, stage.actors["cli"].process)
    demand(row["fin_wait2"] == {"orphaned": 0, "living": 1}, f"fin_wait2 {row['fin_wait2']}, of one that lives")
    demand(row["time_wait"]["entered"] == 0, f"none was in TIME_WAIT: {row['time_wait']}")


# -- a table that is full

def overflow(stage):
    """tcp_max_tw_buckets: what the kernel refused is told, and never counted as there."""
    netns, count = stage.netns[""], 80
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch(*SWEEP)
    lib.start_visits(stage, "srv", "serve", "127.0.0.1", 8080)
    client = lib.start_visits(stage, "cli", "visit", "127.0.0.1", 8080, count).done()
    lib.wait_rest(netns)
    existing = lib.buckets(netns)
    demand(0 < len(existing) < count, f"{len(existing)} buckets of {count}: nothing has overflowed")
    refused = count - len(existing)
    wait_told(watch, lambda events: len(lib.ends(events)) >= refused, f"{refused} ends by overflow")
    wait_entries(watch, len(existing))
    seen = lib.look(stage)
    document = lib.interrupted(report)
    demand(watch.stop() == 0, "closewatch trace failed")
    compare.check_stream(watch.events())
    lib.must_tell(stage, watch.events(), existing)
    causes = [event["cause"] for event in lib.ends(watch.events()).values()]
    demand(causes == ["overflow"] * refused, f"{refused} were refused: {causes}")
    demand(len(lib.buckets(netns)) == len(existing), "the buckets did not stay")
    demand(lib.waiting(seen) == len(existing), f"one look has {lib.waiting(seen)}, ss {len(existing)}")
    demand(lib.waiting(document) == len(existing), f"{lib.waiting(document)} reported, by ss {len(existing)}")
    must_have(document, client.process, {("connect", "127.0.0.1:*", "127.0.0.1:8080"): len(existing)}, len(existing))
    lib.must_be_found(document, "tcp_max_tw_buckets")


# -- the ends of buckets

def killed_by_ss(stage):
    steps.run(stage, WAITING)
    cli = stage.endpoint("cli.c")
    stage.netns[""].run("ss", "-K", "-tn", "state", "time-wait", "sport", "=", f":{cli.local[1]}")
    steps.run(stage, "-- gone cli.c")


def ends_gone(kill):
    def play(stage):
        watch = stage.start_watch(*SWEEP)
        kill(stage)
        wait_told(watch, lib.ends, "the end to be told")
        expect = {"cli.c connect": [*half_closed("cli"), over("gone", "cli")]}
        if "srv" in stage.actors:
            expect["srv.a accept"] = of_listener("srv")
        events = finish(stage, watch, expect)
        event = next(iter(lib.ends(events).values()))
        demand(event["in_state_ns"] < 30e9, f"it was there for some seconds: {event}")
    return play


def killed_by_reset(stage):
    steps.run(stage, TUN_WAITING + "tun: send RA\n-- gone cli.c")


def reset_ignored(stage):
    """tcp_rfc1337: the peer's RST does not end TIME_WAIT, and nothing is told."""
    watch = stage.start_watch(*SWEEP)
    steps.run(stage, TUN_WAITING + "tun: send RA\n")
    time.sleep(1.5)  # three sweeps
    steps.run(stage, "-- ss cli.c TIME_WAIT")
    finish(stage, watch, {"cli.c connect": half_closed("cli")})
    demand(not lib.ends(watch.events()), f"it is there yet: {lib.ends(watch.events())}")


def reused(script, expect, pause=0.0):
    """Another connection with the same ends: the bucket's end is told with its owner, the new one goes its own way."""
    def play(stage):
        watch = stage.start_watch(*SWEEP)
        first, second = script
        steps.run(stage, first)
        time.sleep(pause)  # of tcp_tw_reuse_delay (or the clock of the timestamps)
        steps.run(stage, second)
        wait_told(watch, lib.ends, "the end to be told")
        finish(stage, watch, expect)
    return play


BOUND = """
    srv: listen l 127.0.0.1 8080
    cli: bind c 127.0.0.1 45000
    cli: connect c 127.0.0.1 8080
    srv: accept a l
"""
BY_CONNECT = (BOUND + """
    cli: shutdown c wr
    -- wait cli.c FIN_WAIT2
    srv: close a
    -- wait cli.c TIME_WAIT
    cli: close c
    """, """
    new: bind d 127.0.0.1 45000
    new: connect d 127.0.0.1 8080
    srv: accept b l
    new: shutdown d wr
    -- wait new.d FIN_WAIT2
    """)
REUSED_BY_CONNECT = {
    "cli.c connect": [*half_closed("cli"), over("reused", "cli", "event|sweep")],
    "srv.a accept": of_listener("srv"), "new.d connect": half_closed("new")[:2],
    "srv.b accept": ["ESTABLISHED>CLOSE_WAIT network listener:srv"]}
BY_SYN = (BOUND + """
    srv: shutdown a wr
    -- wait srv.a FIN_WAIT2
    cli: close c
    -- wait srv.a TIME_WAIT
    srv: close a
    """, """
    new: bind d 127.0.0.1 45000
    new: connect d 127.0.0.1 8080
    srv: accept b l
    new: shutdown d wr
    -- wait new.d FIN_WAIT2
    """)
REUSED_BY_SYN = {
    "srv.a accept": [*half_closed("srv"), over("reused", "srv", "event|sweep")],
    "cli.c connect": passive("opener:cli", "cli"), "new.d connect": half_closed("new")[:2],
    "srv.b accept": ["ESTABLISHED>CLOSE_WAIT network listener:srv"]}
# A range of one port: connect() itself chooses the port that TIME_WAIT has.
BY_RANGE = tuple(text.replace("    cli: bind c 127.0.0.1 45000\n", "").replace("    new: bind d 127.0.0.1 45000\n", "")
                 for text in BY_CONNECT)


# -- the namespace goes

def namespace_deleted(stage):
    """Its buckets end with it, and closewatch does not keep it: what was on a link of its own goes with it."""
    inside, outside = stage.netns["b"], stage.netns[""]
    lib.link(inside, outside, 1)
    watch = stage.start_watch(*SWEEP, scope=None)
    lib.start_visits(stage, "srv", "serve", "127.0.0.1", 8080, label="b")
    lib.start_visits(stage, "cli", "visit", "127.0.0.1", 8080, 9, "exit", label="b").ended()
    lib.wait_rest(inside)
    existing = lib.buckets(inside)
    wait_entries(watch, 9)
    for program in stage.programs:
        program.end()
    time.sleep(1.5)  # sweeps, of which each has been inside
    demand(not lib.ends(watch.events()), f"there yet: {lib.ends(watch.events())}")
    demand(set(lib.buckets(inside)) == set(existing), "the buckets did not stay")
    demand("w1" in lib.devices(outside), "no link")
    inside.delete()
    poll(lambda: "w1" not in lib.devices(outside), "the namespace to go away while closewatch runs", pause=0.1)
    wait_told(watch, lambda events: len(lib.ends(events)) >= 9, "the ends to be told")
    demand(watch.stop() == 0, "closewatch trace failed")
    ended = lib.ends(watch.events())
    demand(set(ended) == set(existing), f"{set(ended) ^ set(existing)} in one and not in the other")
    for event in ended.values():
        demand(event["cause"] == "gone" and event["process"]["comm"] == "cli", f"{event}")


# -- the owner goes

def owner_exited(stage):
    """Named after its end, in the stream and in the report; the process that has its pid now is another."""
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch(*SWEEP)
    lib.start_visits(stage, "srv", "serve", "127.0.0.1", 8080)
    owner = lib.start_visits(stage, "owner", "visit", "127.0.0.1", 8080, 4, "exit").ended()
    wait_entries(watch, 4)
    demand(not os.path.exists(f"/proc/{owner.process.pid}"), "it has not gone")
    other = lib.start_visits(stage, "imposter", "visit", "127.0.0.1", 8080, 2, pid=owner.process.pid).done()
    demand(other.process.pid == owner.process.pid and other.process.ticks != owner.process.ticks, "not the same pid")
    lib.wait_rest(stage.netns[""])
    wait_entries(watch, 6)
    document = lib.interrupted(report)
    demand(watch.stop() == 0, "closewatch trace failed")
    demand(lib.owners(stage, watch.events()) == {"owner": 4, "imposter": 2}, f"{lib.owners(stage, watch.events())}")
    for visits, count, exited in ((owner, 4, True), (other, 2, False)):
        row = must_have(document, visits.process, {("connect", "127.0.0.1:*", "127.0.0.1:8080"): count}, count)
        demand(row["process"]["exited"] is exited, f"exited: {row['process']}")
        demand(f"{lib.VISITS} {visits.process.name} " in row["process"]["cmdline"], f"another's: {row['process']}")


# -- TIME_WAIT from before the start

def from_before(stage):
    """By the listener's process where there is one, unknown otherwise, never dropped."""
    netns = stage.netns[""]
    first = lib.start_visits(stage, "srv-first", "serve", "127.0.0.1", 8081, "first")
    left = lib.start_visits(stage, "srv-left", "serve", "127.0.0.1", 8082, "first")
    lib.start_visits(stage, "srv-last", "serve", "127.0.0.1", 8080)
    lib.start_visits(stage, "a", "visit", "127.0.0.1", 8080, 6).done()
    lib.start_visits(stage, "b", "visit", "127.0.0.1", 8081, 5, "last").done()
    lib.start_visits(stage, "c", "visit", "127.0.0.1", 8082, 4, "last").done()
    steps.run(stage, USED.replace("8080", "8083") + "cli: close c\n-- wait cli.c FIN_WAIT2")
    poll(lambda: len(lib.buckets(netns)) == 15, "15 buckets")
    left.program.end()
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    watch = stage.start_watch(*SWEEP)
    seen = lib.look(stage)
    steps.run(stage, "srv: close a\n-- wait cli.c TIME_WAIT")
    wait_entries(watch, 1)
    document = lib.interrupted(report)
    demand(watch.stop() == 0, "closewatch trace failed")
    for name, found, unknown in (("one look", seen, 10), ("watched", document, 11)):
        demand(lib.waiting(found) == unknown + 5, f"{name}: {lib.waiting(found)}, by ss {unknown + 5}")
        must_have(found, first.process, {("accept", "*:8081", "*"): 5}, 0)
        row = lib.nobody(found)
        demand(row and row["time_wait"]["now"] == unknown, f"{name}: of nobody known {row and row['time_wait']}")
        demand(sum(lib.endpoints(row).values()) == unknown, f"{name}: {lib.endpoints(row)}")
        demand(row["fin_wait2"]["orphaned"] == 11 - unknown, f"{name}: {row['fin_wait2']}")
    snapshot = [event for event in watch.events() if event["type"] == "snapshot"]
    ids = {event["conn"]["id"] for event in snapshot if event["state"] == "TIME_WAIT"}
    promoted_id = stage_id(watch.events(), stage.endpoint("cli.c"))
    demand(ids == set(lib.buckets(netns)) - {promoted_id}, "the snapshot and ss have other buckets")
    demand(all(event["age_ns"] is not None for event in snapshot if event["state"] == "TIME_WAIT"),
           "the bucket's timer tells its age")
    event = lib.entries(watch.events())[promoted_id]
    demand(event["process"] is None and event["attribution"] == "unknown", f"nobody knows whose that is: {event}")


def stage_id(events, endpoint):
    return next(key for key, group in compare.by_connection(events).items() if compare.is_of(group, endpoint))


# -- many

# On two CPUs the server's RST (for the ACK of a FIN that it has sent twice) ends up to a tenth of the buckets at once.
MADE, MANY = 120_000, 100_000
MANY_SYSCTLS = ("net.ipv4.tcp_max_tw_buckets=262144", "net.ipv4.tcp_tw_reuse=0",
                "net.ipv4.ip_local_port_range=1024 65535")


def many(stage):
    """The ledger equals the kernel's list; memory and time are told, not judged."""
    netns = stage.netns[""]
    report = lib.start_report(stage, "-d", "120s")
    empty = lib.memory_of(report.pid)
    began = time.monotonic()
    netns.run(stage.program("flood"), str(MADE), stage.other_cpu, stage.cpu)
    lib.wait_rest(netns, patience=30)
    flooded = time.monotonic()
    before = len(netns.run("ss", "-tanH", "state", "time-wait").splitlines())
    full = lib.memory_of(report.pid)
    document = lib.interrupted(report)
    ended = time.monotonic()
    after = len(netns.run("ss", "-tanH", "state", "time-wait").splitlines())
    took = time.monotonic() - began
    demand(took < 58 and before == after, f"the case took {took:.0f} s: some of {before} have ended")
    demand(before >= MANY, f"only {before} buckets were made")
    found = lib.waiting(document)
    demand(found == before, f"{found} reported, by ss {before}")
    mine = [row for row in document["processes"] if (row["process"] or {}).get("comm") == "flood-cli"]
    known = sum(row["time_wait"]["now"] for row in mine)
    unknown = lib.nobody(document)
    unknown = unknown["time_wait"]["now"] if unknown else 0
    # The kernel hides some transitions from BPF (hidden.py): a bucket without a name, and never with another's.
    demand(known + unknown == before, f"{known} named and {unknown} not, by ss {before}: {lib.names(document)}")
    demand(unknown <= document["lost"] + MADE // 100, f"{unknown} of {before} not named, {document['lost']} lost")
    demand(len(mine) == 1 and all(endpoint["side"] == "connect" for endpoint in mine[0]["time_wait"]["by_endpoint"]),
           f"{len(mine)} rows of one client")
    print(f"# {stage.case.name}: {before} buckets, {unknown} of them of nobody known, {document['lost']} lost; "
          f"{empty['VmRSS']:.0f} MiB before, {full['VmRSS']:.0f} MiB with them ({full['VmHWM']:.0f} at most); "
          f"flooded in {flooded - began:.1f} s, the report took {ended - flooded:.1f} s")


# -- filters

def filtered(stage):
    """Of TIME_WAIT that lies side by side only what was asked for is told, and counted."""
    ports = {8081: "srv-a", 8082: "srv-b"}
    servers = {port: lib.start_visits(stage, name, "serve", "127.0.0.1", port, "first") for port, name in ports.items()}
    lib.start_visits(stage, "srv-c", "serve", "127.0.0.1", 8083)
    lib.start_visits(stage, "srv-far", "serve", "127.0.0.1", 8081, "first", label="b")
    asked = {("-L", "8081"): {"srv-a": 3}, ("-p", str(servers[8082].process.pid)): {"srv-b": 4},
             ("-c", "cli"): {"cli": 5}, ("-D", "8083"): {"cli": 5}}
    runs = []
    for options, wanted in asked.items():
        runs.append((options, wanted, stage.start_watch(*SWEEP, *options),
                     lib.start_report(stage, "-d", "60s", *SWEEP, *options)))
    far = lib.start_report(stage, "-d", "60s", *SWEEP, scope="b")
    for name, port, count, *words in (("x", 8081, 3, "last"), ("y", 8082, 4, "last"), ("cli", 8083, 5)):
        lib.start_visits(stage, name, "visit", "127.0.0.1", port, count, *words).done()
    lib.start_visits(stage, "z", "visit", "127.0.0.1", 8081, 2, "last", label="b").done()
    lib.wait_rest(*stage.netns.values())
    for options, wanted, watch, report in runs:
        name = " ".join(options)
        wait_entries(watch, sum(wanted.values()))
        demand(watch.stop() == 0, f"{name}: trace failed")
        found = lib.owners(stage, watch.events())
        demand(found == wanted, f"trace {name}: {found}, and not {wanted}")
        counted = waiting_by_name(lib.interrupted(report))
        demand(counted == wanted, f"report {name}: {counted}, and not {wanted}")
    demand(waiting_by_name(lib.interrupted(far)) == {"srv-far": 2}, "--netns: not what is in there")
    seen = waiting_by_name(lib.look(stage, "-L", "8081"))
    demand(seen == {"srv-a": 3}, f"one look with -L 8081: {seen}")
    seen = waiting_by_name(lib.look(stage, "-D", "8083"))
    demand(seen == {None: 5}, f"one look with -D 8083: {seen}")


def waiting_by_name(document):
    lib.waiting(document)
    return {row["process"] and row["process"]["comm"]: row["time_wait"]["now"]
            for row in document["processes"] if row["time_wait"]["now"]}


# -- the forms

def with_all_states(stage):
    """--all-states has the bucket's life at the end of the connection's, in order."""
    watch = stage.start_watch("--all-states", *SWEEP)
    killed_by_ss(stage)
    wait_told(watch, lib.ends, "the end to be told")
    steps.run(stage, "srv: close l")
    finish(stage, watch, {
        "cli.c connect": ["CLOSE>SYN_SENT connect:cli opener:cli in_state=null",
                          "SYN_SENT>ESTABLISHED network opener:cli", *half_closed("cli"), over("gone", "cli")],
        "srv.a accept": ["LISTEN>SYN_RECV network listener:srv in_state=null",
                         "SYN_RECV>ESTABLISHED network listener:srv", *of_listener("srv")],
        "srv.l any": ["CLOSE>LISTEN listen:srv opener:srv|listener:srv in_state=null",
                      "LISTEN>CLOSE close:srv closer:srv"]})


def as_text(stage):
    """The lines a person reads: the entry, and the end with its cause."""
    watch = stage.start_watch(*SWEEP, json_lines=False)
    killed_by_ss(stage)
    cli = stage.endpoint("cli.c")
    poll(lambda: re.search(r"TW→CLOSE|TIME_WAIT→CLOSE", watch.file.read_text()), "the end to be told", pause=0.05)
    demand(watch.stop() == 0, "closewatch trace failed")
    lines = [line for line in watch.file.read_text().splitlines() if f":{cli.local[1]} " in line and "TIME_WAIT" in line
             or "TW→" in line]
    demand(len(lines) == 2, f"the entry and the end: {lines}")
    for line, words in zip(lines, ((r"FW2→TIME_WAIT", r"\bfin\b"), (r"TW→CLOSE", r"\bgone\b"))):
        for word in (*words, rf"\b{stage.actors['cli'].pid} cli\b"):
            demand(re.search(word, line), f"{word} is not in {line!r}")


# -- what the report says of TIME_WAIT to a server that has to start again

def address_in_use(stage):
    """The bucket that keeps a server from its port is named, and what would have helped."""
    report = lib.start_report(stage, "-d", "60s", *SWEEP)
    server = lib.start_visits(stage, "restarted", "serve", "127.0.0.1", 8081, "first")
    lib.start_visits(stage, "cli", "visit", "127.0.0.1", 8081, 3, "last").done()
    lib.wait_rest(stage.netns[""])
    server.program.end()
    script = ("import socket, sys\ntry: socket.socket().bind(('127.0.0.1', 8081))\n"
              "except OSError as error: sys.exit(error.errno)")
    refused = subprocess.run(stage.netns[""].command(sys.executable, "-c", script), check=False).returncode
    demand(refused == errno.EADDRINUSE, f"bind() ended with {refused}")
    finding = lib.must_be_found(lib.interrupted(report), r"\b8081\b", "SO_REUSEADDR")
    demand("restarted" in finding["text"] and str(server.process.pid) in finding["text"], f"not named: {finding}")


def listener_in_the_range(stage):
    """connect() may take its port while it is away: said of the namespace that has one, and of no other."""
    for label, port in (("", 40001), ("b", 8080)):
        lib.start_visits(stage, f"srv{label}", "serve", "127.0.0.1", port, label=label)
    inside, outside = lib.look(stage), lib.look(stage, scope="b")
    lib.must_be_found(inside, "ip_local_reserved_ports", r"\b40001\b")
    found = lib.finding_about(outside, "ip_local_reserved_ports")
    demand(not found, f"no listener is in the range: {found}")


CASES = [
    Case("time_wait_of_both_sides", play=both_sides, needs="/dev/net/tun"),
    Case("orphan_promoted", play=orphan_promoted, sysctls=(NO_OWN_TIME,)),
    Case("orphan_expires", play=orphan_expires, sysctls=(NO_OWN_TIME,)),
    Case("time_wait_overflow", play=overflow, sysctls=("net.ipv4.tcp_max_tw_buckets=50",)),
    Case("time_wait_killed_by_ss", play=ends_gone(killed_by_ss)),
    Case("time_wait_killed_by_reset", play=ends_gone(killed_by_reset), needs="/dev/net/tun",
         sysctls=("net.ipv4.tcp_rfc1337=0",)),
    Case("time_wait_reset_ignored", play=reset_ignored, needs="/dev/net/tun", sysctls=("net.ipv4.tcp_rfc1337=1",)),
    Case("time_wait_reused_by_connect", play=reused(BY_CONNECT, REUSED_BY_CONNECT),
         sysctls=("net.ipv4.tcp_tw_reuse=1",)),
    Case("time_wait_reused_by_the_range", play=reused(BY_RANGE, REUSED_BY_CONNECT, pause=2.5),
         sysctls=("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=45000 45000")),
    Case("time_wait_reused_by_syn", play=reused(BY_SYN, REUSED_BY_SYN)),
    Case("time_wait_namespace_deleted", play=namespace_deleted, netns=("", "b")),
    Case("time_wait_owner_exited", play=owner_exited),
    Case("time_wait_from_before", play=from_before),
    Case("time_wait_many", play=many, sysctls=MANY_SYSCTLS),
    Case("time_wait_filtered", play=filtered, netns=("", "b")),
    Case("time_wait_all_states", play=with_all_states),
    Case("time_wait_as_text", play=as_text),
    Case("time_wait_address_in_use", play=address_in_use),
    Case("listener_in_the_range", play=listener_in_the_range, netns=("", "b"),
         sysctls=("net.ipv4.ip_local_port_range=40000 40099",)),
]
