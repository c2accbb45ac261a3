# SPDX-License-Identifier: BSD-2-Clause
"""Who is responsible: processes that fork, exec, pass descriptors on, die, or live in namespaces of their own."""
import os
from pathlib import Path

import steps
from case import USED, Case, half_closed, orphan, passive, waiting
from compare import describe, render
from harness import Failure, poll

MPTCP = "/proc/sys/net/mptcp"


def only_right_names(stage, events):
    """MPTCP: the kernel's subflows; whoever is named has to be the right one, nobody has to be named."""
    right = {"connect": stage.actors["cli"].process, "accept": stage.actors["srv"].process}
    problems, states = [], set()
    for event in (event for event in events if "conn" in event):
        states.add(event.get("to"))
        for mention in (event.get("process"), event.get("actor"), event.get("closer")):
            owner = right.get(event["conn"]["role"])
            if mention and (not owner or not owner.is_same(mention["pid"], mention["start_ns"])):
                problems.append(f"{event['conn']['role']}: {render(*describe(event, stage.processes))}")
    if problems:
        raise Failure("wrongly named:\n" + "\n".join(problems))
    if not {"FIN_WAIT1", "CLOSE_WAIT"} <= states:
        raise Failure(f"the subflows' close path was not seen: {sorted(map(str, states))}")


def known_in_full(stage, events):
    """The long form of a process, against /proc while the process lives."""
    for event in events:
        process = event.get("process")
        if process is None:
            continue
        root = Path(f"/proc/{process['pid']}")
        exe, cmdline = os.readlink(root / "exe"), (root / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        if process["exe"] != exe or process["uid"] != 0 or process["exited"] is not False:
            raise Failure(f"{process}: exe is {exe}, uid 0, not exited")
        if process["cmdline"] != cmdline.decode():
            raise Failure(f"cmdline is {process['cmdline']!r}, and not {cmdline.decode()!r}")


def only_pids_of_the_host(stage, events):
    """The actor's own pid in its namespace is small; the host's is what /proc has here."""
    for event in events:
        for mention in (event.get("process"), event.get("actor"), event.get("closer")):
            if mention and mention["pid"] not in {process.pid for process in stage.processes}:
                raise Failure(f"pid {mention['pid']} is nobody's here")


CASES = [
    Case("process_in_full", USED + """
        cli: shutdown c wr
        -- wait cli.c FIN_WAIT2
        """, {"cli.c connect": half_closed("cli")[:2], "srv.a accept": waiting("opener:srv")}, check=known_in_full),
    Case("killed_with_open_connections", """
        srv: listen l 127.0.0.1 8080
        cli: connect c1 127.0.0.1 8080
        srv: accept a1 l
        cli: connect c2 127.0.0.1 8080
        srv: accept a2 l
        cli: send c1 10
        srv: recv a1 10
        -- kill cli
        -- wait cli.c1 FIN_WAIT2
        -- wait cli.c2 FIN_WAIT2
        srv: close a1
        srv: close a2
        """, {"cli.c1 connect": orphan("cli", "exit"), "cli.c2 connect": orphan("cli", "exit"),
              "srv.a1 accept": passive("opener:srv", "srv"), "srv.a2 accept": passive("listener:srv", "srv")}),
    Case("killed_with_unread_data", USED + """
        srv: send a 5
        -- kill cli
        -- gone srv.a
        """, {"cli.c connect": [
            "ESTABLISHED>CLOSE exit:cli closer:cli",
            "closed rst_unread closer=cli/exit first_fin=none bucket=none closer:cli",
        ], "srv.a accept": ["ESTABLISHED>CLOSE network opener:srv",
                            "closed rst_received closer=none first_fin=none errno=104 bucket=none opener:srv"]}),
    Case("exit_in_close_wait", USED + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: exit 0
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv", "exit")}),
    Case("prefork_server", """
        srv: listen l 127.0.0.1 8080
        srv: fork w1
        srv: fork w2
        cli: connect c1 127.0.0.1 8080
        w1: accept a l
        cli: connect c2 127.0.0.1 8080
        w2: accept a l
        cli: send c1 5
        cli: send c2 6
        w1: recv a 5
        w2: recv a 6
        cli: close c1
        -- wait cli.c1 FIN_WAIT2
        cli: close c2
        -- wait cli.c2 FIN_WAIT2
        w2: close a
        w1: close a
        """, {"w1.a accept": passive("opener:w1", "w1"), "w2.a accept": passive("opener:w2", "w2"),
              "cli.c1 connect": orphan("cli"), "cli.c2 connect": orphan("cli")}),
    # Nobody has used the connection yet: the listener's, whose holder last accepted it may know.
    Case("prefork_server_unread", """
        srv: listen l 127.0.0.1 8080
        srv: fork w1
        cli: connect c1 127.0.0.1 8080
        w1: accept a l
        cli: shutdown c1 wr
        -- wait cli.c1 FIN_WAIT2
        w1: close a
        -- wait cli.c1 TIME_WAIT
        """, {"w1.a accept": passive("listener:srv|listener:w1", "w1"), "cli.c1 connect": half_closed("cli")}),
    Case("fork_per_connection_server", """
        srv: listen l 127.0.0.1 8080
        cli: connect c1 127.0.0.1 8080
        srv: accept a l
        srv: fork k1
        srv: close a
        cli: connect c2 127.0.0.1 8080
        srv: accept a2 l
        srv: fork k2
        srv: close a2
        cli: send c1 5
        k1: recv a 5
        cli: send c2 5
        k2: recv a2 5
        k1: close a
        -- wait k1.a FIN_WAIT2
        cli: recv-eof c1
        cli: close c1
        -- wait k1.a TIME_WAIT
        cli: close c2
        -- wait cli.c2 FIN_WAIT2
        k2: exit 0
        """, {"k1.a accept": orphan("k1"), "cli.c1 connect": passive("opener:cli", "cli"),
              "k2.a2 accept": passive("holder:k2", "k2", "exit"), "cli.c2 connect": orphan("cli")}),
    Case("accepted_in_one_thread_closed_in_another", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080
        srv: @one accept a l
        cli: send c 100
        srv: @one recv a 100
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: @two close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}),
    Case("connected_in_a_thread", """
        srv: listen l 127.0.0.1 8080
        cli: @one connect c 127.0.0.1 8080
        srv: @acc accept a l
        srv: close l
        cli: @two close c
        -- wait cli.c FIN_WAIT2
        srv: @clo close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("listener:srv", "srv")}),
    Case("descriptor_passed_and_used", USED + """
        hlp: unix-listen u $DIR/pass
        srv: pass a $DIR/pass
        hlp: take a u
        srv: close a
        cli: send c 5
        hlp: recv a 5
        cli: close c
        -- wait cli.c FIN_WAIT2
        hlp: close a
        """, {"cli.c connect": orphan("cli"), "hlp.a accept": [
            *passive("holder:hlp", "hlp")[:3], passive("", "hlp")[3] + " sent=30"]}),
    Case("descriptor_passed_and_closed", USED + """
        hlp: unix-listen u $DIR/pass
        srv: pass a $DIR/pass
        hlp: take a u
        srv: close a
        hlp: close a
        -- wait srv.a FIN_WAIT2
        """, {"srv.a accept": orphan("hlp"), "cli.c connect": waiting("opener:cli")}),
    Case("passed_by_a_broker_that_accepts", """
        brk: listen l 127.0.0.1 8080
        hlp: unix-listen u $DIR/pass
        cli: connect c 127.0.0.1 8080
        brk: accept a l
        brk: pass a $DIR/pass
        hlp: take a u
        brk: close a
        cli: send c 5
        hlp: recv a 5
        hlp: close a
        -- wait hlp.a FIN_WAIT2
        """, {"hlp.a accept": orphan("hlp"), "cli.c connect": waiting("opener:cli")}),
    Case("exec_after_accept", USED + """
        srv: exec new
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": [
            "ESTABLISHED>CLOSE_WAIT network opener:srv|opener:srv(new)",
            "CLOSE_WAIT>LAST_ACK close:srv(new) closer:srv(new)",
            "LAST_ACK>CLOSE network closer:srv(new)",
            "closed fin closer=srv(new)/close first_fin=peer bucket=none closer:srv(new)"]}),
    # exec has given the process the name of the file (exe) before it closes, on newer kernels; on older ones after.
    Case("exec_closes", USED + """
        srv: cloexec a
        srv: exec new
        -- wait srv.a FIN_WAIT2
        """, {"srv.a accept": [
            "ESTABLISHED>FIN_WAIT1 close:srv|close:srv(exe) closer:srv|closer:srv(exe)",
            "FIN_WAIT1>FIN_WAIT2 network closer:srv|closer:srv(exe)",
            "closed fin closer=srv/close|srv(exe)/close first_fin=local bucket=fin_wait2 closer:srv|closer:srv(exe)",
        ], "cli.c connect": waiting("opener:cli")}),
    Case("inherited_after_the_opener_exited", USED + """
        cli: fork kid
        cli: exit 0
        srv: close a
        -- wait srv.a FIN_WAIT2
        kid: show c
        -- told kid.c CLOSE_WAIT
        kid: recv-eof c
        kid: close c
        """, {"srv.a accept": orphan("srv"), "kid.c connect": [
            *passive("holder:kid", "kid")[:3], passive("", "kid")[3] + " sent=100"]}),
    # No walk need be as quick as this child. Before it calls close() it may be unknown; another's it must not become.
    Case("inherited_and_closed_at_once", USED + """
        cli: fork kid
        cli: exit 0
        srv: close a
        -- wait srv.a FIN_WAIT2
        kid: close c
        """, {"srv.a accept": orphan("srv"), "kid.c connect": [
            *passive("opener:cli|holder:kid|unknown:none", "kid")[:3], passive("", "kid")[3] + " sent=100"]}),
    Case("inherited_and_used_after_the_opener_exited", USED + """
        cli: fork kid
        cli: exit 0
        kid: send c 5
        srv: recv a 5
        srv: close a
        -- wait srv.a FIN_WAIT2
        kid: recv-eof c
        kid: exit 0
        """, {"srv.a accept": [*orphan("srv")[:2], orphan("srv")[2] + " received=105"], "kid.c connect": [
            *passive("holder:kid", "kid", "exit")[:3], passive("", "kid", "exit")[3] + " sent=105"]}),
    Case("mptcp_listener_plain_client", USED.replace("8080\n    cli", "8080 mptcp\n    cli", 1) + """
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: recv-eof a
        srv: close a
        -- wait cli.c TIME_WAIT
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv")}, needs=MPTCP),
    Case("mptcp_client_plain_listener", """
        srv: listen l 127.0.0.1 8080
        cli: connect c 127.0.0.1 8080 mptcp
        srv: accept a l
        cli: send c 100
        srv: recv a 100
        srv: close a
        -- wait srv.a FIN_WAIT2
        cli: recv-eof c
        cli: close c
        -- wait srv.a TIME_WAIT
        """, {"srv.a accept": orphan("srv"), "cli.c connect": passive("opener:cli", "cli")}, needs=MPTCP),
    Case("two_namespaces_same_addresses", """
        srv: listen l 127.0.0.1 8080
        srv2@b: listen l 127.0.0.1 8080
        cli: bind c 127.0.0.1 40000
        cli2@b: bind c 127.0.0.1 40000
        cli: connect c 127.0.0.1 8080
        cli2@b: connect c 127.0.0.1 8080
        srv: accept a l
        srv2: accept a l
        cli: send c 100
        srv: recv a 100
        cli2: send c 10
        srv2: recv a 10
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv2: close a
        -- wait srv2.a FIN_WAIT2
        srv: close a
        cli2: close c
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "srv"),
              "srv2.a accept": orphan("srv2"), "cli2.c connect": passive("opener:cli2", "cli2")},
         netns=("", "b"), watch={"scope": None}),
    Case("moved_to_another_namespace", """
        srv: listen l 127.0.0.1 8080
        srv2@b: listen l 127.0.0.1 8080
        cli: connect c1 127.0.0.1 8080
        srv: accept a l
        cli: setns $NETNS[b]
        cli: connect c2 127.0.0.1 8080
        srv2: accept a l
        cli: close c1
        -- wait srv.a CLOSE_WAIT
        cli: close c2
        -- wait srv2.a CLOSE_WAIT
        """, {"cli.c1 connect": orphan("cli"), "srv.a accept": waiting("listener:srv"),
              "cli.c2 connect": orphan("cli"), "srv2.a accept": waiting("listener:srv2")},
         netns=("", "b"), watch={"scope": None}),
    Case("traced_in_a_pid_namespace", """
        -- pidns srv
        -- pidns cli
        """ + USED + """
        srv: fork kid
        cli: close c
        -- wait cli.c FIN_WAIT2
        srv: close a
        kid: close a
        """, {"cli.c connect": orphan("cli"), "srv.a accept": passive("opener:srv", "kid")},
         check=only_pids_of_the_host),
]

MPTCP_OPEN = """
    srv: listen l 127.0.0.1 8080 mptcp
    cli: connect c 127.0.0.1 8080 mptcp
    srv: accept a l
    cli: send c 100
    srv: recv a 100
"""


def mptcp_both(last):
    def play(stage):
        watch = stage.start_watch()
        steps.run(stage, MPTCP_OPEN + last)
        poll(lambda: any(e["type"] == "closed" and e["conn"]["role"] == "accept" for e in watch.events()),
             "the end of the accepted subflow")
        if watch.stop() != 0:
            raise Failure("closewatch failed")
        only_right_names(stage, watch.events())
    return play


CASES += [
    Case("mptcp_both_sides_client_first", play=mptcp_both("""
        cli: close c
        srv: recv-eof a
        srv: close a
        """), needs=MPTCP),
    Case("mptcp_both_sides_server_first", play=mptcp_both("""
        srv: close a
        cli: recv-eof c
        cli: close c
        """), needs=MPTCP),
]
