# SPDX-License-Identifier: BSD-2-Clause
"""Runs that are recorded, and what a replay of their recordings gives."""
import difflib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import report_form
from harness import Failure, Watch

# Not of whoever runs the tests.
PLACE = {"TZ": "America/St_Johns", "LC_ALL": "C.UTF-8"}
SMALL_RING = ("--ring", "1M")  # many watch at once


def demand(condition, text):
    if not condition:
        raise Failure(text)


@dataclass
class Recorded:
    """A run that has ended: its options, what it wrote and recorded, and its status."""
    words: tuple          # trace, report or run, and its options
    live: bytes
    recording: bytes
    status: int
    said: str             # on standard error

    def shown_as(self):
        """The command and the options that show a replay of it as it was shown."""
        command = "report" if self.words[0] == "run" else self.words[0]
        kept = [word for word in self.words[1:] if word in SHOWING]
        if "--by" in self.words:
            kept += ["--by", self.words[self.words.index("--by") + 1]]
        return (command, *kept)


SHOWING = ("--json", "--wide", "--verbose")


class Recording:
    """A run of closewatch that records, while it goes on."""

    def __init__(self, stage, *words, record=None, before=(), **how):
        self.words = words
        self.folder = stage.folder / f"record{len(stage.watches)}"
        self.folder.mkdir()
        self.file = Path(record or self.folder / "recording")
        self.output = self.folder / "events.ndjson"  # of Watch
        command, *options = words
        if command == "run":  # what comes last is COMMAND's
            options, how = ["-o", str(self.output), *options], {"to_pipe": True, **how}
        place = ["env", *(f"{key}={value}" for key, value in PLACE.items()), *before]
        words = stage.closewatch(command, "--record", str(self.file), *options)
        self.watch = Watch([*place, *words], self.folder, **how)
        stage.watches.append(self.watch)

    def started(self, **how):
        self.watch.wait_ready(**how)
        return self

    def ended(self, status=0, patience=30.0):
        found = self.watch.wait(patience)
        demand(found == status, f"{' '.join(self.words)} ended with {found}, and not {status}: {self.watch.stderr()}")
        return Recorded(self.words, self.output.read_bytes() if self.output.exists() else b"", self.file.read_bytes(),
                        found, self.watch.stderr())

    def stopped(self, **how):
        self.watch.stop(patience=30.0)
        return self.ended(**how)


def start(stage, *words, scope="", **how):
    """Confined to a namespace of the stage, of this label; not ready yet."""
    command, *options = words
    netns = () if command == "run" else ("--netns", stage.netns[scope].path)
    ring = () if "--ring" in options else SMALL_RING
    return Recording(stage, command, *netns, *ring, *options, **how)


@dataclass
class Replayed:
    status: int
    shown: bytes
    said: str

    def must_end(self, status):
        demand(self.status == status, f"replay ended with {self.status}, and not {status}: {self.said}")
        return self

    def lines(self):
        return self.shown.splitlines()

    def events(self):
        return [json.loads(line) for line in self.lines()]

    def document(self):
        text = self.shown.decode()
        document = json.loads(text)
        report_form.check(document, text)
        return document


def replay(stage, recording, *words, wrapper=(), program=None):
    """recording: its bytes, or a path. The words are of the command."""
    path = recording
    if isinstance(recording, bytes):
        path = stage.folder / "replayed"
        path.write_bytes(recording)
    command = [*wrapper, str(program or stage.settings.closewatch), "replay", str(path), "--", *words]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
                         env={**os.environ, **PLACE})
    return Replayed(ran.returncode, ran.stdout, ran.stderr.decode("utf-8", "replace"))


def must_be_same(live, replayed, what):
    if live == replayed:
        return
    ours, theirs = (text.decode("utf-8", "replace").splitlines() for text in (live, replayed))
    differences = list(difflib.unified_diff(ours, theirs, "live", "replayed", lineterm="", n=0))
    raise Failure("\n".join([f"{what}: {len(live)} bytes live, {len(replayed)} replayed",
                             *(line[:600] for line in differences[:12])]))


def must_replay(stage, recorded, says=None):
    """Byte for byte; each line that it says has this in it, and there is none where nothing is to be said."""
    replayed = replay(stage, recorded.recording, *recorded.shown_as()).must_end(0)
    demand(recorded.live, f"{recorded.words}: nothing was written")
    must_be_same(recorded.live, replayed.shown, " ".join(recorded.words))
    lines = replayed.said.splitlines()
    demand(bool(lines) == bool(says) and all(says in line for line in lines), f"it says: {replayed.said}")


def program_for_others(stage):
    """closewatch and its folder as anybody may read them."""
    stage.folder.chmod(0o711)
    copy = stage.folder / "closewatch"
    shutil.copyfile(stage.settings.closewatch, copy)
    copy.chmod(0o755)
    return copy
