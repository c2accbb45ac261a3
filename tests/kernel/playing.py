# SPDX-License-Identifier: BSD-2-Clause
"""Plays cases, several at a time: each group of cases in a process of its own, so that nothing is shared but the kernel.

Most of a case's time is waiting. Each has its own network namespaces and looks at these alone; what concerns the whole
machine, or takes all of it, (Case.alone says why) is played when nothing else is.
"""
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from case import play
from harness import Failure, Skip

PLAYS_AT_MOST = 4
# What fails is played again alone, and that counts: a case may have come too late because of others, or of a compiler at
# work beside them. Where more than this fail it is not because of that.
AGAIN_AT_MOST = 8


@dataclass
class Group:
    """Cases that share a run are played one after the other in the same process."""
    alone: bool
    cases: list = field(default_factory=list)   # (number, case)


@dataclass
class Played:
    """A process at work, and what it says."""
    pid: int
    group: Group
    said: object      # a file: what the cases print
    verdicts: object  # a file: a line a case that was played to its end


def grouped(cases):
    groups = {}
    for number, case in enumerate(cases, 1):
        groups.setdefault(case.group or number, Group(bool(case.alone))).cases.append((number, case))
    return list(groups.values())


def indented(text):
    return "".join(f"  {line}\n" for line in text.splitlines())


def play_in_sight(case, settings, hidden):
    """Plays it again only where the kernel's event tracing saw a transition that no BPF program was shown."""
    for number in range(1, PLAYS_AT_MOST + 1):
        began = hidden.begin()
        try:
            return play(case, settings)
        except Failure as failure:
            unseen = hidden.count(began)
            if not unseen or number == PLAYS_AT_MOST:
                raise
            print(f"# {case.name}: the kernel hid {unseen} transitions from BPF (softirq on a thread of pid 1); again, "
                  f"after: {str(failure).splitlines()[0]}", flush=True)


class SanitizerMessages:
    """What sanitizers say, whoever they say it to: a closewatch that was built with them writes it below a folder."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="cw-sanitizer-"))
        self.folder.chmod(0o1777)  # some cases take root's rights away
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            given = [os.environ[name]] if os.environ.get(name) else []
            os.environ[name] = ":".join([*given, f"log_path={self.folder}/said"])

    def take(self):
        said = []
        for file in sorted(self.folder.iterdir()):
            said.append(file.read_text(errors="replace"))
            file.unlink()
        return said

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def play_cleanly(case, settings, hidden, messages):
    try:
        play_in_sight(case, settings, hidden)
    except Failure as failure:
        raise Failure("\n".join([str(failure), *messages.take()])) from failure
    if said := messages.take():
        raise Failure("\n".join(said))


def run_case(number, case, settings, obstacle, hidden, messages):
    """'passed', 'failed' or 'skipped'."""
    began = time.monotonic()
    try:
        if obstacle:
            raise Skip(f"nothing can be traced here: {obstacle}")
        play_cleanly(case, settings, hidden, messages)
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


def start(group, settings, obstacle, hidden):
    said, verdicts = tempfile.TemporaryFile(), tempfile.TemporaryFile("w+")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Played(pid, group, said, verdicts)
    messages = SanitizerMessages()
    try:
        os.setpgid(0, 0)  # a Ctrl-C is the runner's: it ends each of us once
        os.dup2(said.fileno(), 1)
        for number, case in group.cases:
            verdict = run_case(number, case, settings, obstacle, hidden, messages)
            verdicts.write(json.dumps([number, verdict]) + "\n")
            verdicts.flush()
    except KeyboardInterrupt:
        pass
    finally:
        messages.end()
        os._exit(0)  # verdicts alone count


def finish(played):
    """{number: verdict}, and what was said. A case without a verdict has failed: its process ended over it."""
    played.said.seek(0)
    said = played.said.read().decode("utf-8", "replace")
    played.verdicts.seek(0)
    verdicts = dict(json.loads(line) for line in played.verdicts)
    for number, case in played.group.cases:
        if number not in verdicts:
            said += f"not ok {number} {case.name}\n  the process that played it ended without a verdict\n"
            verdicts[number] = "failed"
    played.said.close()
    played.verdicts.close()
    return verdicts, said


def tell(verdicts, said, counts):
    print(said, end="", flush=True)
    for verdict in verdicts.values():
        counts[verdict] += 1


def play_groups(groups, jobs, settings, obstacle, hidden):
    """At most `jobs` at a time; yields (group, verdicts, what was said) as they end."""
    at_work = {}
    waiting = list(groups)
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                played = start(waiting.pop(0), settings, obstacle, hidden)
                at_work[played.pid] = played
            pid, _ = os.wait()
            if pid in at_work:
                played = at_work.pop(pid)
                yield played.group, *finish(played)
    except (KeyboardInterrupt, GeneratorExit):
        # Each puts away what it has made.
        for pid in at_work:
            os.kill(pid, signal.SIGTERM)
        for pid in at_work:
            os.waitpid(pid, 0)
        raise


def play_all(cases, settings, obstacle, hidden, counts):
    """counts: {'passed': n, 'failed': n, 'skipped': n}, added to"""
    groups = grouped(cases)
    together = [] if settings.jobs == 1 else [group for group in groups if not group.alone]
    together.sort(key=lambda group: -len(group.cases))  # a run that cases share takes a minute: not to begin last
    alone = [group for group in groups if group not in together]
    failed = []
    for those, jobs in ((together, settings.jobs), (alone, 1)):
        for group, verdicts, said in play_groups(those, jobs, settings, obstacle, hidden):
            if "failed" in verdicts.values():
                failed.append((group, verdicts, said))
            else:
                tell(verdicts, said, counts)
    if len(failed) > AGAIN_AT_MOST:
        for _, verdicts, said in failed:
            tell(verdicts, said, counts)
        return
    for _, _, said in failed:
        print("".join(f"# at first: {line}\n" for line in said.splitlines() if not line.startswith("ok")), end="")
    again = [group for group, _, _ in failed]
    for _, verdicts, said in play_groups(again, 1, settings, obstacle, hidden):
        tell(verdicts, said, counts)
    if again:
        names = [case.name for group in again for _, case in group.cases[:1]]
        print(f"# failed at first, and played again alone: {', '.join(names)}")
