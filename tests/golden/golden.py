# SPDX-License-Identifier: BSD-2-Clause
"""The golden recordings, and how each is shown."""
import functools
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDINGS, EXPECTED = HERE / "recordings", HERE / "expected"
# Everybody's: text depends on them.
PLACE = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
VIEWS = {"trace.json": ("trace", "--json"), "report.json": ("report", "--json"), "report.txt": ("report",)}


class Failure(Exception):
    """The recording does not give what it has to; the text says where."""


def names():
    return sorted(path.stem for path in RECORDINGS.glob("*.cwr"))


def recording(name):
    return RECORDINGS / f"{name}.cwr"


def expected(name, view):
    return EXPECTED / f"{name}.{view}"


@functools.cache
def replayed(closewatch, path, view):
    """What closewatch gives, a byte string; a replay that says anything but of losses fails."""
    words = [str(closewatch), "replay", str(path), "--", *VIEWS[view]]
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
                         env={**os.environ, **PLACE})
    said = ran.stderr.decode("utf-8", "replace")
    strange = [line for line in said.splitlines() if "events were lost" not in line]
    if ran.returncode != 0 or strange:
        raise Failure(f"{' '.join(VIEWS[view])}: exit status {ran.returncode}\n{said.rstrip()}")
    return ran.stdout
