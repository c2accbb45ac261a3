# SPDX-License-Identifier: BSD-2-Clause
"""What a case is, and how it is played."""
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import compare
import steps
from harness import Failure, Skip, Stage, poll


@dataclass
class Case:
    """Declared as data (steps, expect), or a function of the stage (play) where there is more to it."""
    name: str
    steps: str = ""
    expect: dict = field(default_factory=dict)   # {"ACTOR.SLOT role": [line…]}, see compare.py
    options: tuple = ()                          # of closewatch trace
    sysctls: tuple = ()                          # of the namespace
    netns: tuple = ("",)                         # labels of the namespaces to make
    watch: dict = field(default_factory=dict)    # how the tracer is started, see Stage.start_watch
    check: Callable | None = None                # (stage, events) → None, after the comparison
    play: Callable | None = None                 # (stage) → None, in place of all of it
    needs: str = ""                              # a path of the machine's without which there is nothing to test
    alone: str = ""                              # why no other case may be played beside it
    group: str = ""                              # cases of one group share a run, and are played one after the other


def play(case, settings):
    needs = case.needs or ("/dev/net/tun" if "tun: up" in case.steps else "")
    if needs and not Path(needs).exists():
        raise Skip(f"this kernel has no {needs}")
    stage = Stage(settings)
    stage.case = case
    try:
        for label in case.netns:
            stage.add_netns(label, case.sysctls)
        if case.play:
            case.play(stage)
        else:
            play_script(stage, case)
    except Failure as failure:
        words = [watch.stderr().strip() for watch in stage.watches]
        raise Failure("\n".join([str(failure), *(f"stderr: {text}" for text in words if text)])) from failure
    finally:
        stage.close(settings.keep)


def play_script(stage, case):
    if "-- watch" not in case.steps:
        stage.start_watch(*case.options, **case.watch)
    steps.run(stage, case.steps)
    events = finish(stage, stage.watches[-1], case.expect)
    if case.check:
        case.check(stage, events)


def finish(stage, watch, expect, only=()):
    """Waits for what is expected, ends the tracer before the actors' own ends can be seen, and compares."""
    try:
        poll(lambda: compare.complete(stage, expect, watch.events()), "the expected events", patience=3.0)
    except Failure:
        pass  # the comparison says what is missing
    status = watch.stop()
    events = watch.events()
    if status != 0:
        raise Failure(f"closewatch ended with {status}")
    compare.check_stream(events, only=only)
    compare.check_connections(stage, expect, events)
    return events


# -- scripts and expectations that many cases share

OPEN = """
    srv: listen l 127.0.0.1 8080
    cli: connect c 127.0.0.1 8080
    srv: accept a l
"""
# Both sides have read and written: the accepting process is known by its use.
USED = OPEN + """
    cli: send c 100
    srv: recv a 100
    srv: send a 30
    cli: recv c 30
"""


def orphan(owner, by="close"):
    """Closed first, by a call that gives the descriptor away, before the peer has closed."""
    return [f"ESTABLISHED>FIN_WAIT1 {by}:{owner} closer:{owner}",
            f"FIN_WAIT1>FIN_WAIT2 network closer:{owner}",
            f"closed fin closer={owner}/{by} first_fin=local bucket=fin_wait2 closer:{owner}"]


def half_closed(owner):
    """Shut down, the descriptor kept, and the peer has closed: a real TIME_WAIT at once."""
    return [f"ESTABLISHED>FIN_WAIT1 shutdown:{owner} closer:{owner}",
            f"FIN_WAIT1>FIN_WAIT2 network closer:{owner}",
            f"FIN_WAIT2>TIME_WAIT network closer:{owner}",
            f"closed fin closer={owner}/shutdown first_fin=local bucket=time_wait closer:{owner}"]


def passive(before, owner, by="close"):
    """Closed second; before: attribution and process until then."""
    return [f"ESTABLISHED>CLOSE_WAIT network {before}",
            f"CLOSE_WAIT>LAST_ACK {by}:{owner} closer:{owner}",
            f"LAST_ACK>CLOSE network closer:{owner}",
            f"closed fin closer={owner}/{by} first_fin=peer bucket=none closer:{owner}"]


def reset(owner):
    """The peer's RST in ESTABLISHED, the descriptor still open."""
    return [f"ESTABLISHED>CLOSE network {owner}",
            f"closed rst_received closer=none first_fin=none errno=104 bucket=none {owner}"]


def waiting(owner):
    return [f"ESTABLISHED>CLOSE_WAIT network {owner}"]
