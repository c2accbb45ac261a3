#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The kernel tests: the built binary against real sockets, each case in a network namespace of its own.

Needs root. Prints a line a case (ok, not ok, # SKIP why) and `N passed, N failed, N skipped` last.
"""
import argparse
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from case import play  # noqa: E402
from harness import Failure, Skip, remove_stale_netns  # noqa: E402
from hidden import HiddenTransitions  # noqa: E402
import cases_before  # noqa: E402
import cases_bucket  # noqa: E402
import cases_chaos  # noqa: E402
import cases_close  # noqa: E402
import cases_command  # noqa: E402
import cases_doctor  # noqa: E402
import cases_edges  # noqa: E402
import cases_filter  # noqa: E402
import cases_flood  # noqa: E402
import cases_leak  # noqa: E402
import cases_minute  # noqa: E402
import cases_owner  # noqa: E402
import cases_ports  # noqa: E402
import cases_report  # noqa: E402
import cases_run  # noqa: E402
import cases_timewait  # noqa: E402
import cases_tun  # noqa: E402

MODULES = [cases_close, cases_tun, cases_owner, cases_before, cases_filter, cases_run, cases_edges,
           cases_flood, cases_leak, cases_report, cases_command, cases_doctor, cases_timewait,
           cases_bucket, cases_ports, cases_chaos, cases_minute]
ROOT = Path(__file__).resolve().parent.parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closewatch", type=Path, default=ROOT / "build/closewatch", metavar="PATH")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="default: tests/programs beside closewatch")
    parser.add_argument("--filter", default="", metavar="SUBSTR", help="only cases whose name has it")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    parser.add_argument("--keep", action="store_true", help="keep the streams, under the temporary folder")
    parser.add_argument("--times", action="store_true", help="say how long each case took")
    settings = parser.parse_args()
    settings.closewatch = settings.closewatch.resolve()
    settings.programs = (settings.programs or settings.closewatch.parent / "tests/programs").resolve()
    return settings


def why_not_traceable(settings):
    """Asked of another program than the one under test: a broken closewatch must not look like a poor machine."""
    words = [str(settings.programs / "transition-counter"), "0"]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "" if result.stdout.startswith("ready") else result.stderr.strip().splitlines()[-1]


def indented(text):
    return "".join(f"  {line}\n" for line in text.splitlines())


PLAYS_AT_MOST = 4


def play_in_sight(case, settings, hidden):
    """Plays it again only where the kernel's event tracing saw a transition that no BPF program was shown."""
    for number in range(1, PLAYS_AT_MOST + 1):
        hidden.begin()
        try:
            return play(case, settings)
        except Failure:
            unseen = hidden.count()
            if not unseen or number == PLAYS_AT_MOST:
                raise
            print(f"# {case.name}: the kernel hid {unseen} transitions from BPF (softirq on a thread of pid 1); again",
                  flush=True)


def run_case(number, case, settings, obstacle, hidden):
    """'passed', 'failed' or 'skipped'."""
    began = time.monotonic()
    try:
        if obstacle:
            raise Skip(f"nothing can be traced here: {obstacle}")
        play_in_sight(case, settings, hidden)
        verdict, said = "passed", f"ok {number} {case.name}"
    except Skip as skip:
        verdict, said = "skipped", f"ok {number} {case.name} # SKIP {skip}"
    except Failure as failure:
        verdict, said = "failed", f"not ok {number} {case.name}\n{indented(str(failure)).rstrip()}"
    except Exception:  # a fault of the runner's own fails the case and not the run
        verdict, said = "failed", f"not ok {number} {case.name}\n{indented(traceback.format_exc()).rstrip()}"
    if settings.times:
        said += f"  # {time.monotonic() - began:.2f} s"
    print(said, flush=True)
    return verdict


def interrupted(signal_number, frame):
    raise KeyboardInterrupt


def main():
    settings = parse_arguments()
    cases = [case for module in MODULES for case in module.CASES if settings.filter in case.name]
    if settings.list:
        print("\n".join(case.name for case in cases))
        return 0
    if os.geteuid() != 0:
        print("the kernel tests make network namespaces and load BPF programs: run them as root", file=sys.stderr)
        return 1
    programs = ("actor", "flood", "workload", "stackleak", "transition-counter")
    needed = [settings.closewatch, *(settings.programs / name for name in programs)]
    missing = [path for path in needed if not path.exists()]
    if missing:
        print(f"not built: {', '.join(map(str, missing))}: run scripts/build first", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, interrupted)
    remove_stale_netns()
    obstacle = why_not_traceable(settings)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    hidden = HiddenTransitions()
    try:
        for number, case in enumerate(cases, 1):
            counts[run_case(number, case, settings, obstacle, hidden)] += 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        counts["failed"] += 1
    finally:
        hidden.end()
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["failed"] or not sum(counts.values()) else 0


sys.exit(main())
