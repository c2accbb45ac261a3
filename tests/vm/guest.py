# SPDX-License-Identifier: BSD-2-Clause
"""Inside the guest: plays the cases of tests/kernel that are asked for, and those of its own for this kernel.

What is asked for are the words of /tests/vm/wanted: the names of cases, or `*text` for every case with that text in its
name. Prints what tests/kernel/run.py prints, with the number of cases first, so that nothing can get lost on the way.
"""
import importlib
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = ["/tests/kernel", "/tests/vm"]

from case import play  # noqa: E402
from harness import Failure, Skip  # noqa: E402

MODULES = sorted(path.stem for folder in ("kernel", "vm") for path in Path(f"/tests/{folder}").glob("cases_*.py"))


@dataclass
class Settings:
    closewatch: Path = Path("/build/closewatch")
    programs: Path = Path("/build/tests/programs")
    keep: bool = False


def wanted_cases(words):
    known = {case.name: case for name in MODULES for case in getattr(importlib.import_module(name), "CASES", [])}
    cases = []
    for word in words:
        found = [case for name, case in known.items() if word[1:] in name] if word[0] == "*" else [known.get(word)]
        if not found or found == [None]:
            raise SystemExit(f"there is no case {word}")
        cases += [case for case in found if case not in cases]
    return cases


def outcome(case):
    """('ok' or 'not ok', what more there is to say)."""
    try:
        play(case, Settings())
    except Skip as skip:
        return "ok", f" # SKIP {skip}"
    except Failure as failure:
        return "not ok", "\n" + indented(str(failure))
    except Exception:  # a fault of the test's own fails the case and not the run
        return "not ok", "\n" + indented(traceback.format_exc())
    return "ok", ""


def indented(text):
    return "\n".join(f"  {line}" for line in text.splitlines())


def main():
    cases = wanted_cases(Path("/tests/vm/wanted").read_text().split())
    print(f"1..{len(cases)}")
    for number, case in enumerate(cases, 1):
        began = time.monotonic()
        verdict, more = outcome(case)
        if verdict != "ok":
            # As tests/kernel does: an emulated processor beside other work can be late by seconds.
            print("\n".join(f"# at first: {line}" for line in f"{verdict} {number} {case.name}{more}".splitlines()))
            print(f"# failed at first, and played again: {case.name}")
            verdict, more = outcome(case)
        print(f"# {case.name}: {time.monotonic() - began:.1f} s")
        print(f"{verdict} {number} {case.name}{more}", flush=True)


main()
