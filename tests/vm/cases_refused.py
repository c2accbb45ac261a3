# SPDX-License-Identifier: BSD-2-Clause
"""A kernel older than the floor: refused before anything starts, in one message that names the floor."""
import json
import os
import subprocess

import report_form
from case import Case
from harness import Failure

FLOOR = "5.15"


def demand(condition, text):
    if not condition:
        raise Failure(text)


def refused(stage, *words):
    """Exit status 1, nothing on stdout, one line that says which kernel this is and which is needed."""
    done = subprocess.run(stage.closewatch(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)
    said = done.stderr.splitlines()
    demand(done.returncode == 1, f"status {done.returncode}: {done.stderr}")
    demand(not done.stdout, f"on stdout: {done.stdout}")
    demand(len(said) == 1 and f"needs Linux {FLOOR}" in said[0] and os.uname().release in said[0], f"said: {said}")


def trace(stage):
    refused(stage, "trace")
    refused(stage, "trace", "--json")


def report(stage):
    refused(stage, "report", "-d", "0")
    refused(stage, "report", "--json", "-d", "1s")


def run(stage):
    """COMMAND is not begun."""
    made = stage.folder / "made"
    refused(stage, "run", "--", "/bin/sh", "-c", f": > {made}")
    demand(not made.exists(), "COMMAND was run all the same")


def no_file(stage):
    """What would have been written to is left as it is, or was not made."""
    target = stage.folder / "results"
    refused(stage, "trace", "-o", str(target))
    demand(not target.exists() or not target.stat().st_size, f"{target} has been written to")


def doctor(stage):
    """It tells the same of the kernel, and all that needs no tracing."""
    done = subprocess.run(stage.closewatch("doctor", "--json"), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)
    demand(done.returncode == 0, f"status {done.returncode}: {done.stderr}")
    document = json.loads(done.stdout)
    report_form.validate(document, "doctor.schema.json")
    demand(document["can_trace"] is False, "it is said that this kernel can be traced")
    check = next(check for check in document["checks"] if check["id"] == "kernel")
    demand(check["status"] == "missing" and FLOOR in check["text"] and check["remedy"], f"of the kernel: {check}")
    demand(document["namespaces"], "nothing is told of TCP on this machine")


CASES = [
    Case("refused_trace", play=trace, netns=()),
    Case("refused_report", play=report, netns=()),
    Case("refused_run", play=run, netns=()),
    Case("refused_without_a_file", play=no_file, netns=()),
    Case("refused_by_doctor", play=doctor, netns=()),
]
