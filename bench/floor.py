"""What a connection costs more with each thing that a tracer of the close path does, down to a program that does nothing.

Load and tracer share one CPU, so that all that the tracer uses, in the kernel or outside, is time that the load has
not; on one CPU two equal runs differ by less than one part in a hundred, where over two they differ by five and more.
The rungs below closewatch are programs of their own (bench/floor.bpf.c), which keep as much of a socket as closewatch
and tell nobody.
"""
import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import Failure, all_tools, machine, pause, play, run_load

ROOT = Path(__file__).resolve().parent.parent
UNTRACED, UNTRACED_AGAIN = "untraced", "untraced, again"
USED = ("received", "sent", "destroyed")
RUNGS = {
    "a program that returns at once": ("called",),
    "two (the second for what the kernel skips)": ("called", "called_again"),
    "two, and one on reads, on writes, on the end": ("called", "called_again", *USED),
    "one, with 8 bytes of storage a socket": ("keep_small",),
    "one, with 440 bytes of storage a socket": ("keep",),
    "one, with 440 bytes in a hash table": ("keep_in_table", "forget"),
    "two, 440 bytes of storage, reads, writes, end": ("keep", "called", *USED),
}
STOPPED = "closewatch report, nobody reads the ring"
CLOSEWATCH = {STOPPED: "closewatch report", "closewatch report": "closewatch report",
              "closewatch trace --json to a file": "closewatch --json"}


class Rung:
    """One of floor.bpf.c's sets of programs."""

    def __init__(self, binary, programs):
        self.command = [str(binary), *programs]

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            raise Failure(f"{' '.join(self.command)}: {self.child.communicate()[1].strip()[-1000:]}")

    def __exit__(self, *_):
        self.child.terminate()
        self.child.communicate(timeout=10)


class Watching:
    """closewatch; `stopped`: its programs go on, and what they tell is thrown away once the ring is full."""

    def __init__(self, make, stopped):
        self.make, self.stopped = make, stopped

    def __enter__(self):
        self.tool = self.make()
        self.tool.start()
        if self.stopped:
            self.tool.process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_):
        self.tool.process.send_signal(signal.SIGCONT)
        self.tool.stop()
        self.tool.output.unlink()


def variants(options, directory):
    """Name -> a function that makes what is to run meanwhile."""
    tools = all_tools(options.binary, directory)
    yield UNTRACED, contextlib.nullcontext
    for name, programs in RUNGS.items():
        yield name, lambda programs=programs: Rung(options.floor, programs)
    for name, tool in CLOSEWATCH.items():
        yield name, lambda tool=tool, name=name: Watching(tools[tool], name == STOPPED)
    yield UNTRACED_AGAIN, contextlib.nullcontext


def measure(options, directory):
    """Per round: name -> microseconds a connection."""
    makers = dict(variants(options, directory))
    names, rounds = list(makers), []
    for number in range(options.rounds):
        turn = number % len(names)
        row = {}
        for name in names[turn:] + names[:turn]:
            pause()
            with makers[name]():
                row[name] = 1e6 / run_load(options.connections)["per_second"]
        rounds.append(row)
        print(f"round {number + 1} of {options.rounds}: {row[UNTRACED]:.1f} us a connection untraced", file=sys.stderr)
    return rounds


def summarise(rounds):
    table = {}
    for name in rounds[0]:
        untraced = [statistics.mean((row[UNTRACED], row[UNTRACED_AGAIN])) for row in rounds]
        more = sorted(row[name] - alone for row, alone in zip(rounds, untraced))
        table[name] = {"us": statistics.median(row[name] for row in rounds), "more_us": statistics.median(more),
                       "least_us": more[len(more) // 4], "most_us": more[3 * len(more) // 4],
                       "of_untraced": statistics.median(alone / row[name] for row, alone in zip(rounds, untraced))}
    return table


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench --floor", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="(11)")
    parser.add_argument("--connections", type=int, default=10000, help="a run (10000)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("--floor", type=Path, default=ROOT / "build/floor")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-floor.json")
    return parser.parse_args()


def main():
    options = parse()
    if os.geteuid() != 0:
        raise Failure("tracing and network namespaces take root: sudo scripts/bench --floor")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        rounds = measure(options, directory)
    table = summarise(rounds)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "rounds": rounds, "table": table}, indent=1) + "\n")
    print(f"\n{machine()}; one of the CPUs, {options.rounds} rounds of {options.connections} connections\n")
    print(f"{'':46} {'us a conn.':>10} {'more':>6} {'(half of the rounds)':>21} {'of untraced':>12}")
    for name, row in table.items():
        print(f"{name:46} {row['us']:10.1f} {row['more_us']:6.2f} {row['least_us']:10.2f} to {row['most_us']:7.2f}"
              f" {row['of_untraced']:12.1%}")
    return 0


play(main, "--floor")
