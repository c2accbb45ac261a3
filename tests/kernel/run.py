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
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from essential import ESSENTIAL  # noqa: E402
from harness import remove_stale_netns  # noqa: E402
from hidden import HiddenTransitions  # noqa: E402
from playing import play_all  # noqa: E402
import cases_before  # noqa: E402
import cases_bucket  # noqa: E402
import cases_chaos  # noqa: E402
import cases_close  # noqa: E402
import cases_command  # noqa: E402
import cases_demo  # noqa: E402
import cases_doctor  # noqa: E402
import cases_edges  # noqa: E402
import cases_filter  # noqa: E402
import cases_flood  # noqa: E402
import cases_leak  # noqa: E402
import cases_minute  # noqa: E402
import cases_owner  # noqa: E402
import cases_ports  # noqa: E402
import cases_privileges  # noqa: E402
import cases_record  # noqa: E402
import cases_replay  # noqa: E402
import cases_report  # noqa: E402
import cases_run  # noqa: E402
import cases_stranded  # noqa: E402
import cases_systemd  # noqa: E402
import cases_terminal  # noqa: E402
import cases_timewait  # noqa: E402
import cases_top  # noqa: E402
import cases_tun  # noqa: E402

MODULES = [cases_close, cases_tun, cases_owner, cases_before, cases_filter, cases_run, cases_edges,
           cases_flood, cases_leak, cases_report, cases_command, cases_doctor, cases_demo, cases_timewait,
           cases_bucket, cases_stranded, cases_ports, cases_privileges, cases_systemd, cases_record, cases_replay, cases_chaos,
           cases_minute, cases_top, cases_terminal]
ROOT = Path(__file__).resolve().parent.parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closewatch", type=Path, default=ROOT / "build/closewatch", metavar="PATH")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="default: tests/programs beside closewatch")
    parser.add_argument("--filter", default="", metavar="SUBSTR", help="only cases whose name has it")
    parser.add_argument("--essential", action="store_true", help="only those of essential.py: some of each area")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time, where they may (Case.alone)")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    parser.add_argument("--keep", action="store_true", help="keep the streams, under the temporary folder")
    parser.add_argument("--times", action="store_true", help="say how long each case took")
    parser.add_argument("--hardened", action="store_true", help="as on a kernel that refuses to walk socket storage")
    settings = parser.parse_args()
    settings.closewatch = settings.closewatch.resolve()
    settings.programs = (settings.programs or settings.closewatch.parent / "tests/programs").resolve()
    return settings


def why_not_traceable(settings):
    """Asked of another program than the one under test: a broken closewatch must not look like a poor machine."""
    words = [str(settings.programs / "transition-counter"), "0"]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "" if result.stdout.startswith("ready") else result.stderr.strip().splitlines()[-1]


def is_hardened(settings):
    """Else a run would go by the other walks, and nobody would know."""
    words = [str(settings.closewatch), "trace", "-v", "-d", "1s"]
    said = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60).stderr
    return "refuses to walk the socket storage" in said


def interrupted(signal_number, frame):
    raise KeyboardInterrupt


def chosen(settings):
    cases = [case for module in MODULES for case in module.CASES]
    if unknown := ESSENTIAL - {case.name for case in cases}:
        sys.exit(f"essential.py names cases that there are not: {', '.join(sorted(unknown))}")
    return [case for case in cases
            if settings.filter in case.name and (not settings.essential or case.name in ESSENTIAL)]


def main():
    settings = parse_arguments()
    cases = chosen(settings)
    if settings.list:
        print("\n".join(case.name for case in cases))
        return 0
    if os.geteuid() != 0:
        print("the kernel tests make network namespaces and load BPF programs: run them as root", file=sys.stderr)
        return 1
    programs = ("actor", "flood", "workload", "stackleak", "storage-walk", "transition-counter")
    needed = [settings.closewatch, *(settings.programs / name for name in programs)]
    needed += [settings.programs / "hardened.so"] if settings.hardened else []
    missing = [path for path in needed if not path.exists()]
    if missing:
        print(f"not built: {', '.join(map(str, missing))}: run scripts/build first", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, interrupted)
    # A shell's background job has the first ignored, nohup's the other, and so would all that is started from here: many
    # cases end by them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if settings.hardened:
        os.environ["LD_PRELOAD"] = str(settings.programs / "hardened.so")
    remove_stale_netns()
    obstacle = why_not_traceable(settings)
    if settings.hardened and not obstacle and not is_hardened(settings):
        print("hardened.so does not stand in front of bpf(): nothing would be played as it should", file=sys.stderr)
        return 1
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    hidden = HiddenTransitions()
    try:
        play_all(cases, settings, obstacle, hidden, counts)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        counts["failed"] += 1
    finally:
        hidden.end()
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["failed"] or not sum(counts.values()) else 0


sys.exit(main())
