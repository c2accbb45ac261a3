# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of the terminal of `closewatch top`: however it ends, and while it is held up."""
import os
import re
import signal
import time

from case import Case
from cases_top import JUDGING, begin, demand, leaker
from harness import alive, poll
from screenlib import PROMPT, Screen


def suspended(stage):
    """Ctrl-Z gives the terminal back, fg takes it again, twice; the program was stopped in between."""
    screen = begin(stage)
    for _ in range(2):
        screen.press("C-z")
        screen.wait(r"Stopped")
        screen.must_be_as_before("Ctrl-Z")
        screen.run("fg")
        screen.wait("q quit")
        demand(screen.flags() == "1 0 1", f"after fg: {screen.flags()}")
        screen.press("?")
        screen.wait("^Help")
        screen.press("Escape")
        screen.wait_gone("^Help")
    screen.quit_from_fg()
    screen.must_be_as_before("fg and q")


def in_the_background(stage):
    """Stopped, and ended there: the shell's terminal is left alone. Sent on there, it watches; fg brings it back."""
    screen = begin(stage)
    screen.press("C-z")
    screen.wait(r"Stopped")
    screen.run("bg")
    time.sleep(0.5)
    screen.must_be_as_before("bg")
    leaker(stage)
    screen.run("fg")
    screen.wait(r"\*:7001 ")
    screen.press("C-z")
    screen.wait(r"Stopped.*\n(?s:.*)Stopped|Stopped")
    screen.must_be_as_before("Ctrl-Z again")
    screen.run("kill %1")
    poll(lambda: screen.ask("jobs | grep -c closewatch") == "0", "its end in the background")
    screen.must_be_as_before("an end in the background")


def stopped_by_others(stage):
    """SIGSTOP cannot be caught: the shell mends the modes, and after fg all is as it was."""
    screen = begin(stage)
    os.kill(screen.top_pid(), signal.SIGSTOP)
    screen.wait(re.escape(PROMPT.strip()))
    screen.run("fg")
    screen.wait("q quit")
    screen.press("?")
    screen.wait("^Help")
    screen.press("Escape")
    screen.quit_from_fg()
    screen.must_be_as_before("SIGSTOP and fg")


def signals(stage):
    """However it ends, the terminal is as it was."""
    for number, wanted in ((signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 0),
                           (signal.SIGABRT, 128 + signal.SIGABRT), (signal.SIGSEGV, 128 + signal.SIGSEGV),
                           (signal.SIGQUIT, 128 + signal.SIGQUIT)):
        screen = begin(stage, **{"ASAN_OPTIONS": "handle_segv=0:handle_abort=0"})
        os.kill(screen.top_pid(), number)
        demand(screen.status() == wanted, f"{number.name}: status {screen.status()}, and not {wanted}")
        screen.must_be_as_before(number.name)
        screen.end()


def interrupted(stage):
    screen = begin(stage)
    screen.press("C-c")
    demand(screen.status() == 0, f"status {screen.status()}")
    screen.must_be_as_before("Ctrl-C")


def killed(stage):
    """Nobody can do anything about SIGKILL: the next one starts, and leaves the terminal as it should be."""
    screen = begin(stage)
    os.kill(screen.top_pid(), signal.SIGKILL)
    demand(screen.status() == 137, f"status {screen.status()}")
    screen.press("C-c")
    screen.ask(f"stty {screen.before[0]}; tput rmcup cnorm rmkx > /dev/tty")
    screen.start_top(*JUDGING)
    screen.quit()
    screen.must_be_as_before("another one")


def lost(stage):
    """The terminal goes: a quiet end, and nothing is left running, also where the signal of it is ignored."""
    for trap in ("", "trap '' HUP;"):
        screen = Screen(stage)
        screen.start_top(*JUDGING, before=trap)
        pid = screen.top_pid()
        screen.end()
        poll(lambda pid=pid: not alive(pid), "the end of closewatch without a terminal")


def held_up(stage):
    """Ctrl-S: the picture stands, and the ring is drained all the same."""
    # A few times as much as it holds comes meanwhile, half of it at a time: how fast it is drained is not asked.
    screen = begin(stage, "--ring", "1M")
    screen.press("C-s")
    for _ in range(10):
        time.sleep(0.4)
        stage.netns[""].run(stage.program("flood"), "200", stage.cpu, stage.other_cpu)
    screen.press("C-q")
    screen.wait(r"TIME_WAIT [1-9]\d{2,}")
    demand(re.search(r"\blost 0\b", screen.lines()[0]), f"something was lost:\n{screen.text()}")
    screen.quit()
    screen.must_be_as_before("Ctrl-S and Ctrl-Q")


def held_up_and_ended(stage):
    """Ctrl-S, and then an end: the terminal is given back all the same, and to no Ctrl-Q."""
    for end in ("q", signal.SIGTERM, signal.SIGSEGV):
        screen = begin(stage, **{"ASAN_OPTIONS": "handle_segv=0"})
        pid = screen.top_pid()
        screen.press("C-s")
        demand(screen.stands(0.7), f"Ctrl-S does not stop it:\n{screen.text()}")
        if end == "q":
            screen.press("q")
        else:
            os.kill(pid, end)
        demand(screen.status() == (0 if end != signal.SIGSEGV else 128 + end), f"{end}: status {screen.status()}")
        screen.must_be_as_before(f"Ctrl-S and {end}")
        screen.end()


def messages(stage):
    """What is said meanwhile waits for the end: the picture is not torn."""
    screen = begin(stage, "--ring", "4K")
    stage.netns[""].run(stage.program("flood"), "4000", stage.cpu, stage.cpu)
    screen.wait(r"events were lost")
    lines = screen.lines()
    demand(lines[0].startswith("closewatch  ") and "closewatch: " not in screen.text(), f"torn:\n{screen.text()}")
    demand(sum("events were lost" in line for line in lines) == 1 and "events were lost" in lines[-1],
           f"not at its foot:\n{screen.text()}")
    screen.quit()
    screen.wait(r"^closewatch: \d+ events were lost")
    screen.must_be_as_before("messages")
    screen.run("clear")
    screen.start_top("-v")
    screen.wait("watched [2-9]s")
    demand(" took " not in screen.text(), f"torn:\n{screen.text()}")
    screen.quit()
    screen.wait(r"^closewatch: a sweep took ")


CASES = [
    Case("top: suspended", play=suspended),
    Case("top: in the background", play=in_the_background),
    Case("top: stopped by others", play=stopped_by_others),
    Case("top: signals", play=signals),
    Case("top: Ctrl-C", play=interrupted),
    Case("top: killed", play=killed),
    Case("top: the terminal goes", play=lost),
    Case("top: held up by Ctrl-S", play=held_up, alone="a flood with a small ring"),
    Case("top: held up by Ctrl-S, and ended", play=held_up_and_ended),
    Case("top: messages", play=messages, alone="a flood with a small ring"),
]
