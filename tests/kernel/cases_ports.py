# SPDX-License-Identifier: BSD-2-Clause
"""How near connect() is to EADDRNOTAVAIL: ranges of a hundred ports, used at a steady pace under tcp_tw_reuse 0, 1, 2.

All share a run: one report of the whole machine that ends half-way, and clients that go on until they are refused.
"""
from dataclasses import dataclass

import ledgerlib as lib
from harness import poll
from ledgerlib import demand, must_have

PORTS, FAST, SLOW = 100, 3.3, 1.0       # a second; in the steady state 198 and 60 are in TIME_WAIT
WATCHED = 16                            # seconds; refused after 30
RANGE = f"net.ipv4.ip_local_port_range=40000 {40000 + PORTS - 1}"


@dataclass
class Client:
    """One that closes first, in a namespace of a tcp_tw_reuse."""
    name: str
    reuse: int
    host: str
    port: int
    rate: float
    ends: bool            # connect() will be refused
    usable: int = PORTS
    visits: lib.Visits | None = None

    @property
    def is_reused(self):
        return self.reuse != 0 and not self.ends

    @property
    def endpoint(self):
        return f"{self.host}:{self.port}"


CLIENTS = {client.name: client for client in (
    Client("never_reused", 0, "127.0.0.1", 7001, FAST, ends=True),
    Client("sustained", 0, "127.0.0.1", 7002, SLOW, ends=False),
    Client("reused", 1, "10.78.1.2", 7001, FAST, ends=False, usable=PORTS - 11),  # ten reserved, one has a listener
    Client("loop_reused", 2, "127.0.0.1", 7001, FAST, ends=False),
    Client("far_unused", 2, "10.78.2.2", 7001, FAST, ends=True),
)}


@dataclass
class Found:
    report: dict
    to: float             # when it ended, since 1970
    refused: dict         # name: when, None where it was not
    waiting: dict         # name: sockets that ss had in TIME_WAIT when the report ended


def gather(stage):
    stage.add_netns("far")
    for reuse in (0, 1, 2):
        netns = stage.add_netns(str(reuse), (f"net.ipv4.tcp_tw_reuse={reuse}", RANGE))
        if reuse:
            lib.link(netns, stage.netns["far"], reuse)
            lib.start_visits(stage, "far-srv", "serve", f"10.78.{reuse}.2", 7001, label="far")
    for reuse, port in ((0, 7001), (0, 7002), (2, 7001)):
        lib.start_visits(stage, f"srv-{port}", "serve", "127.0.0.1", port, label=str(reuse))
    stage.netns["1"].run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000-40009")
    lib.start_visits(stage, "in-the-range", "serve", "127.0.0.1", 40050, label="1")
    report = lib.start_report(stage, "-d", str(WATCHED), scope=None)
    for client in CLIENTS.values():
        client.visits = lib.start_visits(stage, client.name, "visit", client.host, client.port, 100_000,
                                         f"rate={client.rate}", label=str(client.reuse))
    report.wait(WATCHED + 20)
    waiting = {name: len(waiting_of(stage, client)) for name, client in CLIENTS.items()}
    document = lib.document(report)
    for client in CLIENTS.values():
        if client.ends:
            poll(lambda: client.visits.said("refused"), f"{client.name} to be refused", patience=40, pause=0.1)
    refused = {name: client.visits.said("refused") for name, client in CLIENTS.items()}
    for name, client in CLIENTS.items():
        demand(client.ends or refused[name] is None, f"{name} was refused after {client.visits.said('made')}")
    return Found(document, lib.seconds_of(document["to"]), refused, waiting)


def waiting_of(stage, client):
    return [bucket for bucket in lib.buckets(stage.netns[str(client.reuse)]).values()
            if bucket.peer == (client.host, client.port)]


def ports_of(found, client):
    """What the report says of its route, with all else that it has to say of it."""
    row = lib.row_of(found.report, client.visits.process)
    demand(row, f"{client.name} has no row: {lib.names(found.report)}")
    listed = row["time_wait"]["by_endpoint"]
    demand(len(listed) == 1 and listed[0]["peer"] == client.endpoint and listed[0]["side"] == "connect", f"{listed}")
    now = listed[0]["now"]
    # ss came some milliseconds later: a connection or two more.
    demand(found.waiting[client.name] - 4 <= now <= found.waiting[client.name],
           f"{now} in TIME_WAIT, by ss {found.waiting[client.name]}")
    # connect() looks from a random port on, and takes what may be reused before others that are free.
    made = client.rate * (WATCHED - 3) * (0.2 if client.is_reused else 0.8)
    demand(now > made, f"only {now} in TIME_WAIT")
    must_have(found.report, client.visits.process, {("connect", f"{source(client)}:*", client.endpoint): now})
    ports = listed[0]["ports"]
    demand(ports and list(ports) == ["range", "in_use", "seconds_left"], f"ports: {ports}")
    demand(ports["range"] == client.usable, f"{ports['range']} ports can be used, in truth {client.usable}")
    return ports, now


def source(client):
    return client.host.rpartition(".")[0] + ".1"


def check(name):
    client = CLIENTS[name]

    def look(found):
        ports, now = ports_of(found, client)
        if not client.is_reused:
            demand(now <= ports["in_use"] <= now + 2, f"{now} in TIME_WAIT, in_use {ports['in_use']}")
        else:
            # Younger than the second after which connect() may take them.
            demand(ports["in_use"] <= 3 * client.rate, f"in_use {ports['in_use']}: most of {now} may be reused")
        left = ports["seconds_left"]
        if not client.ends:
            demand(left is None, f"{client.rate} a second can go on for good, and {left} s are said to be left")
            return
        truth = found.refused[name] - found.to
        print(f"# ports_{client.name}: {left} s left were told, {truth:.1f} in truth")
        demand(left is not None, "no forecast")
        demand(abs(left - truth) <= 0.2 * truth, f"{left:.1f} s are said to be left, in truth {truth:.1f}")
    return look


RUN = lib.Shared(gather, alone="connections are made at a rate, and the report and ss are asked one after the other")
CASES = [RUN.case(f"ports_{name}", check(name)) for name in CLIENTS]
