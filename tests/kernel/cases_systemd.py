# SPDX-License-Identifier: BSD-2-Clause
"""The systemd unit, on a machine whose process 1 need not be systemd: read, judged by systemd-analyze, and its sandbox
made by hand.
"""
import re
import shutil
import subprocess
from pathlib import Path

from case import Case
from cases_doctor import demand
from cases_privileges import by_setpriv, check_sets, difference, judged, other_user, status_of, story, told
from harness import Watch, poll
from leaklib import JUDGING, start_program


def unit_file(stage):
    return stage.settings.closewatch.parent / "packaging/systemd/closewatch.service"


def values_of(text, key):
    return [value for name, _, value in (line.partition("=") for line in text.splitlines()) if name == key]


def unit_is_good(stage):
    """Its capabilities are doctor's, systemd understands it, and it is as tight as it can be."""
    text = unit_file(stage).read_text()
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        demand(values_of(text, key) == [" ".join(told(stage)["start"])], f"{key}: {values_of(text, key)}")
    for key in ("ProtectProc", "ProcSubset", "PrivateUsers", "PrivatePIDs", "PrivateNetwork"):
        demand(not values_of(text, key), f"{key} would blind it")
    copied = stage.folder / "closewatch.service"
    copied.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={stage.settings.closewatch}", text))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copied)], capture_output=True, text=True,
                              check=False)
    demand(verified.returncode == 0 and not verified.stderr.strip(), verified.stderr)
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=27", str(copied)],
                            capture_output=True, text=True, check=False)
    demand(judged.returncode == 0, judged.stdout[-2000:])


# Mounts of its own, as ProtectSystem=strict and the rest of the unit make them: the flags of its own mounts, and never
# of a file system, are changed.
SANDBOX = """
set -e
mount --bind "$1" /mnt
mount -t tmpfs -o size=1m tmpfs /tmp
for place in /home /root; do mount -t tmpfs -o size=4k,mode=000 tmpfs "$place"; done
for place in /proc/sys /sys; do mount --bind "$place" "$place"; mount -o remount,bind,ro "$place"; done
mount -o remount,bind,ro /
shift
exec "$@"
"""


def in_the_units_sandbox(stage):
    """What systemd makes of the unit, made without it: user, capabilities, mounts, system calls."""
    unit = unit_file(stage)
    names = values_of(unit.read_text(), "AmbientCapabilities")[0].split()
    with other_user(stage, "setpriv"):
        script = Path(__file__).resolve().parent.parent / "programs/sandboxed.py"
        for source in (unit, script):
            shutil.copy(source, stage.folder / source.name)
        logs = stage.folder / "watch"
        logs.mkdir()
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SANDBOX, "sh", str(stage.folder),
                 *by_setpriv(names), "/usr/bin/python3", "-B", "/mnt/sandboxed.py", "/mnt/closewatch.service",
                 "/mnt/closewatch", "trace", "--json", *JUDGING, "-o", "/mnt/watch/events.ndjson"]
        watch = Watch(words, logs, to_pipe=True)
        stage.watches.append(watch)
        watch.wait_ready()
        check_sets(watch.pid, told(stage)["watching"])
        demand(status_of(watch.pid)["Seccomp"] == "2", "no filter is in force")
        of_root = stage.start_watch(*JUDGING)
        programs = [start_program(stage, "forgot", "forgot", 7001), start_program(stage, "full-queue", "queue", 7004)]
        for program in programs:
            program.wait_said("in_place")
        for one in (watch, of_root):
            poll(lambda one=one: judged(one) >= {7001, 7004}, "all to be judged", patience=15)
        demand(watch.stop() == 0 and of_root.stop() == 0, watch.stderr())
        inside = {conn: told_of for conn, told_of in story(watch.events()).items()
                  if conn.startswith(f"{stage.netns[''].inum}:")}
        demand(inside == story(of_root.events()), difference(sorted(inside.items(), key=repr),
                                                             sorted(story(of_root.events()).items(), key=repr)))


CASES = [
    Case("systemd_unit", play=unit_is_good, needs="/usr/bin/systemd-analyze"),
    Case("systemd_sandbox", play=in_the_units_sandbox, needs="/usr/bin/systemd-analyze"),
]
