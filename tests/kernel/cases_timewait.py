# SPDX-License-Identifier: BSD-2-Clause
"""The TIME_WAIT ledger: whose the buckets are, in the stream and in the report, held against the kernel's own list."""
import errno
import os
import subprocess
import sys
import time

import compare
import ledgerlib as lib
import steps
from case import USED, Case
from harness import poll
from ledgerlib import SWEEP, demand, must_have, wait_entries


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
    lib.wait_still(netns, patience=30)
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
    Case("time_wait_owner_exited", play=owner_exited),
    Case("time_wait_from_before", play=from_before),
    Case("time_wait_many", play=many, sysctls=MANY_SYSCTLS, alone="it makes a hundred thousand sockets"),
    Case("time_wait_filtered", play=filtered, netns=("", "b")),
    Case("time_wait_address_in_use", play=address_in_use),
    Case("listener_in_the_range", play=listener_in_the_range, netns=("", "b"),
         sysctls=("net.ipv4.ip_local_port_range=40000 40099",)),
]
