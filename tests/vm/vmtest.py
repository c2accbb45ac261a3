#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The kernel tests that are essential, on other kernels than this machine's: Debian's, emulated by qemu.

A KERNEL is a series that Debian has as a cloud kernel (6.1, 6.12, 5.10), or `newest`. Kernels are fetched from Debian's
mirror once and kept in ~/.cache/closewatch; where the mirror can't be reached, a kernel that is not there is skipped.
"""
import argparse
import os
import re
import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import image  # noqa: E402
import kernels  # noqa: E402
import machine  # noqa: E402
from chosen import cases_for  # noqa: E402

LTS = ["6.1", "6.12"]
DEFAULT = [*LTS, "newest"]
RESULT = re.compile(r"(ok|not ok) \d+ (\S+)( # SKIP .*)?")
PLAN = re.compile(r"1\.\.(\d+)")
PATIENCE = 1500  # seconds, of a guest that has booted

printing = threading.Lock()


def say(text):
    with printing:
        print(text, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/vmtest", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"default: {' '.join(DEFAULT)}")
    parser.add_argument("--lts", action="store_true", help=f"the ones that scripts/test asks for: {' '.join(LTS)}")
    parser.add_argument("--fetch", action="store_true", help="what the mirror has today, in place of what is kept")
    parser.add_argument("--filter", metavar="SUBSTR", action="append",
                        help="all cases with this in their name, in place of the essential ones; '' is every case")
    parser.add_argument("--list", action="store_true", help="what would be played on each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="guests at a time")
    parser.add_argument("--build", type=Path, default=image.ROOT / "build", metavar="DIR", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    for series in settings.kernels:
        if series != "newest" and not re.fullmatch(r"\d+\.\d+", series):
            parser.error(f"no series of kernels: {series} (like 6.1, or newest)")
    settings.kernels = list(dict.fromkeys(settings.kernels or (LTS if settings.lts else DEFAULT)))
    return settings


def wanted(settings, series):
    return [f"*{text}" for text in settings.filter] if settings.filter else cases_for(series)


class Sum:
    """What became of the cases of one kernel."""

    def __init__(self, series):
        self.series = series
        self.passed = self.failed = self.skipped = 0
        self.planned = None

    def take(self, line):
        """A line of the guest's."""
        plan, result = PLAN.fullmatch(line), RESULT.fullmatch(line)
        if plan:
            self.planned = int(plan[1])
        elif result and result[1] == "not ok":
            self.failed += 1
        elif result and result[3]:
            self.skipped += 1
        elif result:
            self.passed += 1
        say(f"{self.series}: {line}")

    def fail(self, why):
        self.failed += 1
        say(f"not ok {self.series}: {why}")

    def skip(self, why):
        self.skipped += 1
        say(f"ok {self.series} # SKIP {why}")

    def text(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def why_unreachable():
    """Asked without apt, so that what apt does not like of a mirror that answers is no reason to skip anything."""
    try:
        with urllib.request.urlopen(f"{kernels.MIRROR}/debian/dists/stable/InRelease", timeout=20) as answer:
            answer.read(64)
    except (urllib.error.URLError, OSError) as error:
        return f"{kernels.MIRROR} can't be reached: {getattr(error, 'reason', error)}"
    return ""


def fetched(series, settings, sums):
    """The kernel, None where there is none; it has been said why."""
    if settings.fetch or not kernels.is_kept(series):
        why = why_unreachable()
        if why:
            sums.skip(why)
            return None
        try:
            kernels.fetch(series)
        except kernels.Refused as refusal:
            sums.fail(str(refusal))
            return None
    return kernels.kept(series)


def play(kernel, common, settings, sums, folder):
    place = folder / kernel.series
    initrd = place / "initrd"
    own = image.make_own(kernel.modules, wanted(settings, kernel.series), place / "tree")
    initrd.write_bytes(common + own)
    began = time.monotonic()
    told = machine.run(kernel, initrd, place / "console", sums.take, PATIENCE)
    initrd.unlink()
    shutil.rmtree(place / "tree")
    if told.why:
        sums.fail(f"{told.why}; its console is in {place / 'console'}")
    elif sums.planned != sums.passed + sums.failed + sums.skipped:
        sums.fail(f"{sums.planned} cases were announced, and {sums.text()}")
    say(f"# {kernel.series}: Linux {told.release or '?'} ({kernel.package}), boot number {told.boots}, "
        f"{time.monotonic() - began:.0f} s: {sums.text()}")


def interrupted(signal_number, frame):
    machine.end_all()
    print("interrupted", file=sys.stderr)
    os._exit(1)


def main():
    settings = parse_arguments()
    if settings.list:
        for series in settings.kernels:
            print("\n".join(f"{series}: {word}" for word in wanted(settings, series)))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    programs = settings.build / "tests/programs"
    needed = [settings.build / "closewatch", *(programs / name for name in image.PROGRAMS)]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        print(f"not built: {', '.join(missing)}", file=sys.stderr)
        return 1
    folder = settings.build / "vm"
    everything = {series: Sum(series) for series in settings.kernels}
    found = [kernel for series in settings.kernels if (kernel := fetched(series, settings, everything[series]))]
    if found:
        common = image.make_common(settings.build / "closewatch", programs, folder / "tree")
        say(f"# load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; {len(common) >> 20} MiB of initramfs")
        with ThreadPoolExecutor(settings.jobs) as pool:
            runs = [pool.submit(play, kernel, common, settings, everything[kernel.series], folder) for kernel in found]
            for run in runs:
                run.result()
    shutil.rmtree(folder / "tree", ignore_errors=True)
    total = [sum(getattr(one, name) for one in everything.values()) for name in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
