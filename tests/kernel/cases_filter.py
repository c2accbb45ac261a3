# SPDX-License-Identifier: BSD-2-Clause
"""The options of trace that choose: processes, names, ports, families, namespaces, types of event."""
from pathlib import Path

import steps
from case import OPEN, USED, Case, finish, orphan, passive, waiting
from harness import Failure

CLOSED = """
    cli: close c
    -- wait cli.c FIN_WAIT2
    srv: close a
    -- gone srv.a
"""
CGROUPS = next((path for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
                if Path(path, "cgroup.controllers").exists()), "/sys/fs/cgroup")
CLIENT = {"cli.c connect": orphan("cli")}
SERVER = {"srv.a accept": passive("listener:srv|opener:srv", "srv")}


def by_pid(name, expect, *more, script=CLOSED, first=OPEN):
    """-p with the pid of an actor that lives already, its sockets not yet."""
    def play(stage):
        actor = stage.add_actor(name)
        watch = stage.start_watch("-p", str(actor.pid), *more)
        steps.run(stage, first + script)
        finish(stage, watch, expect)
    return play


def by_cgroup(stage):
    cgroup = stage.add_cgroup(CGROUPS, "inside")
    (cgroup / "below").mkdir()
    stage.cgroups.insert(0, cgroup / "below")
    (cgroup / "below" / "cgroup.procs").write_text(str(stage.add_actor("cli").pid))
    watch = stage.start_watch("--cgroup", str(cgroup))
    steps.run(stage, OPEN + CLOSED)
    events = finish(stage, watch, CLIENT)
    if not all(f"{cgroup.name}/below" in event["process"]["cgroup"] for event in events if event.get("process")):
        raise Failure(f"the cgroup of the process is {events[2]['process']['cgroup']}")


def of_before(stage):
    """Sockets from before the start match by their holder."""
    steps.run(stage, USED + """
        cli: connect d 127.0.0.1 8080
        srv: accept b l
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        """)
    watch = stage.start_watch("-p", str(stage.actors["srv"].pid))
    steps.run(stage, """
        cli: close d
        -- wait srv.b CLOSE_WAIT
        srv: close a
        -- gone srv.a
        """)
    finish(stage, watch, {
        "srv.a any": ["snapshot CLOSE_WAIT holder:srv",
                      passive("", "srv")[1] + " in_state=null", *passive("", "srv")[2:]],
        "srv.b any": ["ESTABLISHED>CLOSE_WAIT network holder:srv in_state=null"]})


def queue_of_before(stage):
    """What waits to be accepted matches by its listener: nobody holds it. From then on all of it is shown."""
    steps.run(stage, """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        cli: close c
        -- wait cli.c FIN_WAIT2
        cli: connect d 127.0.0.1 8080
        other: listen m 127.0.0.1 8081
        cli: connect e 127.0.0.1 8081
        """)
    theirs = stage.start_watch("-p", str(stage.actors["other"].pid))
    watch = stage.start_watch("-p", str(stage.actors["srv"].pid))
    steps.run(stage, """
        cli: close d
        -- wait cli.d FIN_WAIT2
        srv: accept a l
        srv: close a
        -- wait cli.c TIME_WAIT
        srv: close l
        cli: close e
        -- wait cli.e FIN_WAIT2
        """)
    finish(stage, watch, {
        "~cli.c any": ["snapshot CLOSE_WAIT listener:srv",
                       passive("", "srv")[1] + " in_state=null", *passive("", "srv")[2:]],
        "~cli.d any": ["ESTABLISHED>CLOSE_WAIT network in_state=null listener:srv",
                       "CLOSE_WAIT>CLOSE listener_closed:srv closer:srv",
                       "closed never_accepted closer=srv/close first_fin=peer bucket=none errno=0 sent=0 received=0 "
                       "closer:srv"]})
    finish(stage, theirs, {"~cli.e any": ["ESTABLISHED>CLOSE_WAIT network in_state=null listener:other"]})


def by_inum(stage):
    other = stage.netns["b"]
    watch = stage.start_watch("--netns", str(other.inum), scope=None)
    for label, name in (("", ""), ("b", "2")):
        steps.run(stage, f"""
            srv{name}@{label}: listen l 127.0.0.1 8080
            cli{name}@{label}: connect c 127.0.0.1 8080
            srv{name}: accept a l
            cli{name}: close c
            -- wait cli{name}.c FIN_WAIT2
            """)
    finish(stage, watch, {"cli2.c connect": orphan("cli2"), "srv2.a accept": waiting("listener:srv2")})


def only_closed(stage):
    watch = stage.start_watch("--events", "closed")
    steps.run(stage, USED + CLOSED)
    finish(stage, watch, {"cli.c connect": orphan("cli")[-1:], "srv.a accept": passive("", "srv")[-1:]},
           only=("closed",))


def kinds_of_events(stage):
    watch = stage.start_watch("--events", "transition,snapshot")
    steps.run(stage, USED + CLOSED)
    finish(stage, watch, {"cli.c connect": orphan("cli")[:-1], "srv.a accept": passive("opener:srv", "srv")[:-1]},
           only=("transition", "snapshot", "snapshot_end"))


def two_pids(stage):
    one, two = stage.add_actor("cli"), stage.add_actor("cl2")
    watch = stage.start_watch("-p", f"{one.pid},{two.pid}")
    steps.run(stage, OPEN + """
        cl2: connect c 127.0.0.1 8080
        cl3: connect c 127.0.0.1 8080
        cli: close c
        -- wait cli.c FIN_WAIT2
        cl2: close c
        -- wait cl2.c FIN_WAIT2
        cl3: close c
        -- wait cl3.c FIN_WAIT2
        """)
    finish(stage, watch, {"cli.c connect": orphan("cli"), "cl2.c connect": orphan("cl2")})


def one_worker_of_two(stage):
    """Both hold the listener; what the other accepts is none of its own."""
    for name in ("srv", "cli"):
        stage.add_actor(name)
    steps.run(stage, "srv: listen l 127.0.0.1 8080\n srv: fork w1\n srv: fork w2")
    watch = stage.start_watch("-p", str(stage.actors["w2"].pid))
    for worker in ("w1", "w2"):
        steps.run(stage, f"""
            cli: connect c{worker} 127.0.0.1 8080
            {worker}: accept a l
            cli: send c{worker} 5
            {worker}: recv a 5
            cli: close c{worker}
            -- wait cli.c{worker} FIN_WAIT2
            {worker}: close a
            """)
    finish(stage, watch, {"w2.a accept": passive("opener:w2", "w2")})


# Forked after the start, of a process given by pid: followed with --children alone.
FORKED = """
    cli: send c 5
    srv: fork kid
    srv: close a
    kid: recv a 5
    kid: close a
    -- wait kid.a FIN_WAIT2
    kid: listen own 127.0.0.1 8081
    cli: connect d 127.0.0.1 8081
    kid: accept b own
    cli: send d 5
    kid: recv b 5
    kid: close b
    -- wait kid.b FIN_WAIT2
"""

PORTS = """
    srv: listen l 127.0.0.1 8080
    srv: listen m 127.0.0.1 8081
    cli: connect c 127.0.0.1 8080
    srv: accept a l
    cli: connect d 127.0.0.1 8081
    srv: accept b m
    cli: close c
    -- wait cli.c FIN_WAIT2
    cli: close d
    -- wait cli.d FIN_WAIT2
"""
FAMILIES = """
    srv: listen l :: 8080
    cli: connect c ::1 8080
    srv: accept a l
    cli: connect d ::ffff:127.0.0.1 8080
    srv: accept b l
    cli: close c
    -- wait cli.c FIN_WAIT2
    cli: close d
    -- wait cli.d FIN_WAIT2
"""

CASES = [
    Case("filter_pid_of_the_client", play=by_pid("cli", CLIENT)),
    Case("filter_pid_of_the_server", play=by_pid("srv", SERVER)),
    Case("filter_two_pids", play=two_pids),
    Case("filter_pid_of_one_worker_of_two", play=one_worker_of_two),
    Case("filter_pid_without_children", play=by_pid(
        "srv", {"kid.a accept": orphan("kid")}, script=FORKED)),
    Case("filter_pid_with_children", play=by_pid(
        "srv", {"kid.a accept": orphan("kid"), "kid.b accept": orphan("kid")}, "--children", script=FORKED)),
    Case("filter_comm", OPEN + CLOSED, CLIENT, options=("-c", "cli")),
    Case("filter_comm_of_several", USED + CLOSED,
         {**CLIENT, "srv.a accept": passive("opener:srv", "srv")}, options=("-c", "nobody,srv,cli")),
    Case("filter_comm_and_port", OPEN + CLOSED, {}, options=("-c", "cli", "-L", "8080")),
    Case("filter_comm_cut_at_15_bytes", """
        srv: listen l 127.0.0.1 8080
        cli: comm 6162636465666768696a6b6c6d6e6f70
        cli: connect c 127.0.0.1 8080
        cli: close c
        -- wait cli.c FIN_WAIT2
        """, {"cli.c connect": [line.replace("cli", "cli(abcdefghijklmno)") for line in orphan("cli")]},
         options=("-c", "abcdefghijklmnop")),
    Case("filter_local_port", PORTS, {"srv.a accept": waiting("listener:srv")}, options=("-L", "8080")),
    Case("filter_remote_port", PORTS, {"cli.c connect": orphan("cli"), "cli.d connect": orphan("cli")},
         options=("-D", "8080,8081")),
    Case("filter_ports_are_and", PORTS, {}, options=("-L", "8080", "-D", "8081")),
    Case("filter_ipv4", FAMILIES, {"cli.d connect": orphan("cli"), "srv.b accept": waiting("listener:srv")},
         options=("-4",), needs="/proc/net/if_inet6"),
    Case("filter_ipv6", FAMILIES, {"cli.c connect": orphan("cli"), "srv.a accept": waiting("listener:srv")},
         options=("-6",), needs="/proc/net/if_inet6"),
    Case("filter_netns_by_inode", play=by_inum, netns=("", "b")),
    Case("filter_cgroup", play=by_cgroup, needs=f"{CGROUPS}/cgroup.controllers"),
    Case("filter_pid_of_sockets_from_before", play=of_before),
    Case("filter_pid_of_a_queue_from_before", play=queue_of_before),
    Case("filter_events_closed", play=only_closed),
    Case("filter_events_several", play=kinds_of_events),
]
