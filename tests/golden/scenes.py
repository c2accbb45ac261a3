# SPDX-License-Identifier: BSD-2-Clause
"""What the recordings are of. Each scene plays in network namespaces of its own, watched by one closewatch that is
confined to the first of them, so that nothing of the machine is inside.
"""
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cases_bucket
import cases_close
import cases_tun
import leaklib
import recordlib
import steps
from case import USED
from harness import poll

VISITS = Path(__file__).resolve().parent.parent / "programs" / "visits.py"
JUDGING = ("--leak-after", "1s", "--sweep", "250ms")
PAST = 1.8  # seconds: the limit, and sweeps behind it


@dataclass
class Scene:
    name: str
    play: Callable            # (stage, start) → the recording, ended; start() begins to watch
    words: tuple = ("report", *JUDGING)
    sysctls: tuple = ()
    netns: tuple = ("",)
    needs: str = ""


def watched(play):
    """Watched from the beginning to the end of what is played."""
    def whole(stage, start):
        recording = start().started()
        play(stage)
        return recording.stopped()
    return whole


def workloads(*lists, seconds=PAST):
    """Programs of tests/programs/workload.c side by side: (mode, argument…), on ports from 7001 on."""
    def play(stage):
        if any("$PEER" in words for words in lists):
            leaklib.make_peer_network(stage)
        programs = []
        for number, (mode, *arguments) in enumerate(lists):
            arguments = [stage.netns["b"].path if word == "$PEER" else word for word in arguments]
            programs.append(leaklib.start_program(stage, mode, mode, 7001 + number, *arguments))
        for program in programs:
            program.wait_said("in_place")
        time.sleep(seconds)
    return watched(play)


def script(*parts):
    """Steps (see tests/kernel/steps.py), and numbers: seconds to wait."""
    def play(stage):
        for part in parts:
            if isinstance(part, str):
                steps.run(stage, part)
            else:
                time.sleep(part)
    return watched(play)


def visits(stage, name, *words, label=""):
    words = [sys.executable, "-B", str(VISITS), name, *map(str, words)]
    return stage.netns[label].command(*words)


# -- CLOSE_WAIT

def connections(count, port=8080):
    return f"srv: listen l 127.0.0.1 {port}\n" + "".join(
        f"cli: connect c{n} 127.0.0.1 {port}\nsrv: accept a{n} l\ncli: send c{n} 10\nsrv: recv a{n} 10\n"
        for n in range(1, count + 1))


IGNORED = connections(1) + "cli: close c1\nsrv: recv-eof a1\n"

# Each way in which a finding ends: the program closes it, its process ends, ss -K, the peer resets it; and accepted.
RESOLUTIONS = (connections(4) + """
    dies: listen l 127.0.0.1 8081
    cli: connect c5 127.0.0.1 8081
    dies: accept a5 l
    cli: send c5 10
    dies: recv a5 10
    lazy: listen l 127.0.0.1 8082
    cli: connect c6 127.0.0.1 8082
    cli: linger2 c4 1
    cli: close c1
    cli: close c2
    cli: close c3
    cli: close c4
    cli: close c5
    cli: close c6
    srv: recv-eof a1
    srv: recv-eof a2
    srv: recv-eof a3
    srv: recv-eof a4
    dies: recv-eof a5
    """, PAST, """
    srv: close a1
    -- ss-kill srv.a2
    srv: send a4 1
    -- kill dies
    lazy: accept a6 l
    """, 1.0, "lazy: recv-eof a6\nlazy: close a6\nsrv: close a4\n", 0.5)

YOUNG = connections(2) + """
    lazy: listen l 127.0.0.1 8082
    cli: connect c6 127.0.0.1 8082
    cli: close c1
    cli: close c2
    cli: close c6
    srv: recv-eof a1
    -- wait srv.a2 CLOSE_WAIT
    """

BEFORE = connections(2) + "cli: close c1\ncli: shutdown c2 wr\nsrv: recv-eof a1\n"


def from_before(stage, start):
    """One look at what was there: nobody has seen it begin, and nobody has seen it used."""
    steps.run(stage, BEFORE)
    time.sleep(PAST)
    return start().started().ended()


# The client speaks MPTCP and the server does not: TCP, in a subflow that has no descriptor of its own.
MPTCP = """
    srv: listen l 127.0.0.1 8080
    cli: connect c 127.0.0.1 8080 mptcp
    srv: accept a l
    cli: send c 100
    srv: recv a 100
    srv: close a
    cli: recv-eof c
    """


# -- endings

def numbered(name, number):
    """The steps of a case of the kernel tests with actors, ports and addresses of their own."""
    case = next(case for case in (*cases_close.CASES, *cases_tun.CASES) if case.name == name)
    text = case.steps.replace("8080", str(8100 + number)).replace("9000", str(9000 + number))
    text = text.replace("10.77.0.", f"10.77.{number}.").replace("40001", str(40000 + number))
    for actor in ("cli", "srv", "tun"):
        text = text.replace(f"{actor}:", f"{actor}{number}:").replace(f"{actor}.", f"{actor}{number}.")
    return text


ENDINGS = ("active_close", "linger_0", "unread_data", "linger2_negative", "connect_refused", "connect_abandoned",
           "connect_to_unspec_disconnects", "listener_closed_with_children", "ss_kill_established", "user_timeout",
           "connect_unreachable")
LATE_DATA = "late_data_for_a_full_orphan"


def endings(stage):
    for number, name in enumerate(ENDINGS, 1):
        steps.run(stage, numbered(name, number))
        if f"tun{number}" in stage.actors:
            steps.run(stage, f"-- kill tun{number}")  # its link has the same name as the next one's
    stage.netns[""].run("sysctl", "-qw", "net.ipv4.tcp_fin_timeout=120")  # the orphan is a full socket then
    steps.run(stage, numbered(LATE_DATA, len(ENDINGS) + 1))
    time.sleep(0.6)


# -- TIME_WAIT

def promoted_and_expired(stage):
    """The peer's FIN turns an orphan's bucket into TIME_WAIT, silently, and a minute later it is over."""
    steps.run(stage, USED + "cli: close c\n-- wait cli.c FIN_WAIT2\nsrv: close a\n-- wait cli.c TIME_WAIT\n")
    poll(lambda: not any(row[0] == "TIME_WAIT" for row in stage.netns[""].ss()), "the end", patience=75, pause=0.2)
    time.sleep(2.5)  # sweeps


def orphan_expired(stage):
    steps.run(stage, USED + "cli: linger2 c 2\ncli: close c\n-- wait cli.c FIN_WAIT2\n-- gone cli.c\n")
    time.sleep(0.6)


def overflow(stage):
    """Two buckets fit, three are refused; the kernel counts them."""
    server = stage.spawn(visits(stage, "srv", "serve", "127.0.0.1", 8080), stdout=-3)
    time.sleep(0.4)
    stage.netns[""].run(*visits(stage, "cli", "visit", "127.0.0.1", 8080, 5, "exit")[4:])
    time.sleep(0.6)
    return server


def namespace_gone(stage, start):
    recording = start().started()
    server = overflow(stage)
    server.kill()
    server.wait()
    stage.netns[""].delete()
    time.sleep(1.0)
    return recording.stopped()


# -- losses, ports, run

def flood(stage):
    stage.netns[""].run(stage.program("flood"), "40", stage.cpu, stage.cpu)
    time.sleep(1.3)  # so often are losses told at most
    stage.netns[""].run(stage.program("flood"), "1", stage.cpu, stage.cpu)
    time.sleep(0.5)


def ports(stage):
    """Thirty ports, of which one and a half go a second; a minute's worth would be ninety."""
    stage.spawn(visits(stage, "srv", "serve", "127.0.0.1", 8080), stdout=-3)
    time.sleep(0.4)
    stage.spawn(visits(stage, "cli", "visit", "127.0.0.1", 8080, 1000, "rate=1.5"), stdout=-3)
    time.sleep(13)


def command(stage, start):
    return start().ended(status=3)


def run(mode, *options):
    """`run`: COMMAND plays this, and ends."""
    return ("run", *options, "--leak-after", "500ms", "--", "$PROGRAMS/workload", mode, "sloppy", "7001", "1500", "0")


TRACE = ("trace", "--sweep", "250ms")
SCENES = [
    Scene("eof_ignored_leak", workloads(("forgot", 22)), words=("trace", "-L", "7001", *JUDGING)),
    Scene("eof_ignored_grows", workloads(("growing-ignored", 250), seconds=4.6)),
    Scene("eof_ignored_stuck", script(IGNORED, PAST)),
    Scene("eof_unread_grows", workloads(("growing-unread", 250), seconds=4.6)),
    Scene("eof_unread_stuck", workloads(("pool",), ("peeking",))),
    Scene("never_accepted", workloads(("full-queue",))),
    Scene("dead_unclosed", workloads(("dead-reset",), ("dead-written",), ("dead-keepalive",), seconds=4.0)),
    Scene("write_blocked", workloads(("write-blocked",), ("vanished", "$PEER", "10.77.0.1"), seconds=3.0),
          netns=("", "b")),
    Scene("replying", workloads(("replying",))),
    Scene("inherited", workloads(("inherited-fork",), ("inherited-exec",), ("inherited-own-exec",))),
    Scene("in_flight", workloads(("in-flight",), ("uring-fixed",), seconds=2.5)),
    Scene("mptcp", script(MPTCP, PAST), needs="/proc/sys/net/mptcp"),
    Scene("within_the_limit", script(YOUNG, 1.0), words=("report", "--sweep", "250ms")),
    Scene("from_before", from_before, words=("report", "-d", "0", *JUDGING)),
    Scene("resolutions", script(*RESOLUTIONS)),
    Scene("stacks", workloads(("forgot", 1)), words=("report", "--stacks", "-L", "7001", *JUDGING)),
    Scene("endings", watched(endings), words=TRACE, sysctls=("net.ipv4.tcp_fin_timeout=60",)),
    Scene("time_wait_expired", watched(promoted_and_expired), words=("trace", "--sweep", "2s")),
    Scene("orphan_expired", watched(orphan_expired), words=TRACE),
    Scene("time_wait_reused", script(*cases_bucket.BY_CONNECT, 0.6), words=TRACE, sysctls=("net.ipv4.tcp_tw_reuse=1",)),
    Scene("time_wait_overflow", watched(overflow), words=("report", "--sweep", "250ms"),
          sysctls=("net.ipv4.tcp_max_tw_buckets=2",)),
    Scene("time_wait_killed", watched(lambda stage: (cases_bucket.killed_by_ss(stage), time.sleep(0.6))), words=TRACE),
    Scene("namespace_gone", namespace_gone, words=TRACE),
    Scene("flood_with_loss", watched(flood), words=(*TRACE, "--ring", "4K")),
    Scene("ports_nearly_exhausted", watched(ports), words=("report", "--sweep", "1s"),
          sysctls=("net.ipv4.tcp_tw_reuse=0", "net.ipv4.ip_local_port_range=40000 40029")),
    Scene("run_leak", command, words=run("ends")),
    Scene("run_dead", command, words=run("ends-dead")),
    Scene("run_strict_unread", command, words=run("ends-unread", "--strict")),
]


def record(scene, stage):
    """Plays it; the recording's bytes."""
    for label in scene.netns:
        stage.add_netns(label, scene.sysctls)
    words = tuple(word.replace("$PROGRAMS", str(stage.settings.programs)) for word in scene.words)

    def start():
        before = stage.netns[""].command() if words[0] == "run" else ()
        return recordlib.start(stage, *words, before=before)
    return scene.play(stage, start).recording

