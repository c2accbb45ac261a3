# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of a bucket: an orphan's promotion, and each end that it can have before its time."""
import re
import time

import compare
import ledgerlib as lib
import steps
from case import OPEN, USED, Case, finish, half_closed, orphan, passive
from harness import poll
from ledgerlib import SWEEP, demand, must_have, over, promoted, wait_entries, wait_told

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

def overflows_of(netns):
    """TCPTimeWaitOverflow of its /proc/net/netstat."""
    names, values = [line.split() for line in netns.run("cat", "/proc/net/netstat").splitlines()
                     if line.startswith("TcpExt:")][:2]
    return int(values[names.index("TCPTimeWaitOverflow")])


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
    counted = overflows_of(netns)  # a bucket may also have been made, and ended at once by a RST
    demand(causes.count("overflow") == counted and causes.count("gone") == refused - counted,
           f"{refused} are not there, {counted} were refused by the kernel's count: {causes}")
    demand(len(lib.buckets(netns)) == len(existing), "the buckets did not stay")
    demand(lib.waiting(seen) == len(existing), f"one look has {lib.waiting(seen)}, ss {len(existing)}")
    demand(lib.waiting(document) == len(existing), f"{lib.waiting(document)} reported, by ss {len(existing)}")
    must_have(document, client.process, {("connect", "127.0.0.1:*", "127.0.0.1:8080"): len(existing)}, count - counted)
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


CASES = [
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
    Case("time_wait_namespace_deleted", play=namespace_deleted, netns=("", "b"),
         alone="it asks for the ends of all that the machine has"),
    Case("time_wait_all_states", play=with_all_states),
    Case("time_wait_as_text", play=as_text),
]
