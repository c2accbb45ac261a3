# SPDX-License-Identifier: BSD-2-Clause
"""`closewatch run -- COMMAND`: a leak sanitizer that leaves COMMAND as it is, but for its status where it leaks."""
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

from case import Case
from harness import Failure, poll
from leaklib import end_session, read_document


def demand(condition, text):
    if not condition:
        raise Failure(text)


class Run:
    """One `closewatch run` in the namespace of the stage."""

    def __init__(self, stage, options, command, **how):
        words = stage.netns[""].command(*stage.closewatch("run", *options, "--", *command))
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                        **{"stdin": subprocess.DEVNULL, **how})
        stage.others.append(self.process)
        stage.programs.append(self)
        self.stdout = self.stderr = b""

    def wait(self, given=None, patience=30):
        """Its status. Descendants that live on may keep stdout open: it is read up to what is there."""
        try:
            self.stdout, self.stderr = self.process.communicate(given, timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"closewatch run does not end within {patience} s: {error.stderr}") from error
        return self.process.returncode

    def said(self):
        return self.stderr.decode("utf-8", "replace")

    def end(self):
        end_session(self.process.pid)


def run(stage, options, command, status, given=None, **how):
    ran = Run(stage, options, command, **({"stdin": subprocess.PIPE} if given is not None else {}), **how)
    found = ran.wait(given)
    demand(found == status, f"status {found}, and not {status}: {ran.said()}")
    return ran


def workload(stage, mode, *arguments):
    return [stage.program("workload"), mode, "under_test", "7001", *map(str, arguments)]


# -- COMMAND is left as it is

def status_of(command, status):
    def play(stage):
        run(stage, (), command, status)
    return play


def unrunnable(stage):
    path = stage.folder / "no_program"
    path.write_text("no program\n")
    path.chmod(0o644)
    ran = run(stage, (), [str(path)], 126)
    demand("no_program" in ran.said(), ran.said())


def missing(stage):
    ran = run(stage, (), ["no-such-command-anywhere"], 127)
    demand("no-such-command-anywhere" in ran.said(), ran.said())


def stdout_is_commands(stage):
    """Byte for byte; the report is on stderr."""
    data = bytes(range(256)) * 500
    (stage.folder / "data").write_bytes(data)
    ran = run(stage, (), ["cat", str(stage.folder / "data")], 0)
    demand(ran.stdout == data, f"{len(ran.stdout)} bytes, and not {len(data)}")
    demand(ran.said().strip(), "no report on stderr")


def stderr_is_commands_too(stage):
    """With -o and -q nothing of closewatch's is between COMMAND's own words."""
    file = stage.folder / "report"
    ran = run(stage, ("-q", "-o", str(file)), ["sh", "-c", "echo out; echo err >&2"], 0)
    demand((ran.stdout, ran.stderr) == (b"out\n", b"err\n"), f"{ran.stdout!r} {ran.stderr!r}")
    demand(file.read_text().strip(), "no report in the file")


def nobody_reads_stderr(stage):
    """Whoever read it has gone: COMMAND's status and the report in a file are what they would have been."""
    file = stage.folder / "report"
    reader, writer = os.pipe()
    os.close(reader)
    words = stage.netns[""].command(*stage.closewatch("run", "-o", str(file), "--", "sh", "-c", "sleep 1; exit 0"))
    status = subprocess.run(words, stdin=subprocess.DEVNULL, stderr=writer, check=False, timeout=30).returncode
    os.close(writer)
    demand(status == 0, f"status {status}, and not 0")
    demand(file.read_text().strip(), "no report in the file")


def stdin_is_commands(stage):
    ran = run(stage, (), ["cat"], 0, given=b"hi\n")
    demand(ran.stdout == b"hi\n", f"{ran.stdout!r}")


def arguments_are_commands(stage):
    """Options behind -- are COMMAND's; the environment and the folder stay."""
    ran = run(stage, (), ["sh", "-c", 'printf "%s|" "$@" "$CW_TEST" "$PWD"', "-", "-d", "--json", "a b", "--", "-h"], 0,
              cwd="/usr", env={**os.environ, "CW_TEST": "kept"})
    demand(ran.stdout == b"-d|--json|a b|--|-h|kept|/usr|", f"{ran.stdout!r}")


def no_descriptor_leaks_in(stage):
    """COMMAND has what it would have without closewatch."""
    # Each asks about itself: a shell blocks signals while it starts a child.
    for listing in (["ls", "/proc/self/fd"], ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]):
        plain = subprocess.run(listing, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
        ran = run(stage, (), listing, 0)
        demand(ran.stdout == plain, f"{ran.stdout.decode()} in place of {plain.decode()}")


def signal_is_passed_on(number):
    def play(stage):
        script = f"trap 'echo got; exit 9' {number.value}; echo ready; while :; do sleep 0.05; done"
        ran = Run(stage, (), ["sh", "-c", script])
        first = ran.process.stdout.readline()
        demand(first == b"ready\n", f"{first!r}")
        os.kill(ran.process.pid, number)
        status = ran.wait()
        demand(status == 9 and ran.stdout == b"got\n", f"status {status}, {ran.stdout!r}: {ran.said()}")
    return play


ON_A_TERMINAL = """
    tty -s && echo tty
    read line; echo "line=$line"
    count=0; trap 'count=$((count+1))' INT
    echo ready
    for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done
    echo "count=$count done"; exit 9
"""


def on_a_terminal(stage):
    """COMMAND reads from the terminal, and its Ctrl-C reaches COMMAND, once."""
    words = stage.netns[""].command(*stage.closewatch("run", "--", "sh", "-c", ON_A_TERMINAL))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    said = b""

    def wait_for(text):
        nonlocal said
        deadline = time.monotonic() + 15
        while text not in said:
            readable = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]
            demand(readable, f"{text!r} does not come: {said!r}")
            said += os.read(terminal, 4096)
    try:
        wait_for(b"tty\r\n")
        os.write(terminal, b"hello\n")
        wait_for(b"line=hello")
        wait_for(b"ready")
        time.sleep(0.2)
        os.write(terminal, b"\x03")
        wait_for(b"done")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        demand(b"count=1" in said, f"Ctrl-C came another number of times: {said!r}")
        demand(status == 9, f"status {status}: {said!r}")
    except OSError as error:
        raise Failure(f"the terminal was left: {error}: {said!r}") from error
    finally:
        end_session(pid)
        os.close(terminal)


def as_nobody(stage):
    ran = run(stage, ("--user", "nobody"), ["sh", "-c", "id -un; grep CapEff /proc/self/status"], 0)
    lines = ran.stdout.decode().split()
    demand(lines[0] == "nobody", f"{ran.stdout!r}")
    demand(int(lines[-1], 16) == 0, f"with capabilities: {ran.stdout!r}")


def as_nobody_leaks(stage):
    run(stage, ("--user", "nobody"), workload(stage, "ends", 1800, 0), 3)


def no_such_user(stage):
    ran = run(stage, ("--user", "no-such-user"), ["echo", "started"], 2)
    demand("no-such-user" in ran.said() and not ran.stdout, f"{ran.stdout!r} {ran.said()}")


def without_command(stage):
    words = stage.closewatch("run")
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    demand(result.returncode == 2 and b"COMMAND" in result.stderr, f"{result.returncode}: {result.stderr.decode()}")


# -- what is a leak

def leaks(mode, status, *arguments, options=(), own=0, milliseconds=1800, words=()):
    """A workload that goes on for so long, and then ends with the status `own`."""
    def play(stage):
        file = stage.folder / "report.json"
        ran = run(stage, ("--json", "-o", str(file), *options), workload(stage, mode, milliseconds, own, *arguments),
                  status)
        report = read_document(file)
        found = sorted({(g["kind"], g["verdict"]) for row in report["processes"] for g in row["close_wait"]["groups"]
                        if g["verdict"] != "ok"})
        demand(found == sorted(words), f"found {found}, and not {words}: {ran.said()}")
        pids = {row["process"]["pid"] for row in report["processes"] for g in row["close_wait"]["groups"]
                if g["verdict"] != "ok"}
        truth = {pid_told(line) for line in ran.stdout.splitlines() if b'"fd"' in line}
        demand(not words or pids == truth, f"{pids} are named, and in truth it is {truth}")
    return play


def pid_told(line):
    return int(line.split(b'"pid":')[1].split(b",")[0])


def named_in_text(stage):
    """What a person reads on stderr: the process and its descriptor."""
    ran = run(stage, (), workload(stage, "ends", 1800, 0), 3)
    held = [line for line in ran.stdout.splitlines() if b'"fd"' in line][0]
    pid, descriptor = pid_told(held), int(held.split(b'"fd":')[1].split(b",")[0])
    demand(str(pid) in ran.said() and str(descriptor) in ran.said(), f"{pid}, {descriptor} in\n{ran.said()}")
    demand("under_test" in ran.said(), ran.said())


def descendant_alive(stage):
    """COMMAND ends, its daemon lives on with a leak: it is named, and not waited for. stdout is a file, since the
    daemon keeps it open.
    """
    out = stage.folder / "out"
    report = stage.folder / "report.json"
    began = time.monotonic()
    with out.open("wb") as stdout:
        words = stage.netns[""].command(*stage.closewatch("run", "--json", "-o", str(report), "--",
                                                          *workload(stage, "ends-before", 1800, 0)))
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        stage.others.append(process)
    try:
        status = process.wait(30)
        demand(status == 3, f"status {status}")
        demand(time.monotonic() - began < 20, "the daemon was waited for")
        daemon = pid_told(out.read_bytes().splitlines()[0])
        demand(Path(f"/proc/{daemon}").exists(), "the daemon was ended")
        found = {(row["process"]["pid"], row["process"]["comm"]) for row in read_document(report)["processes"]
                 if row["close_wait"]["leaked"]}
        demand(found == {(daemon, "daemon")}, f"found {found}, and not daemon {daemon}")
    except subprocess.TimeoutExpired as error:
        raise Failure("closewatch run does not end: the daemon was waited for") from error
    finally:
        end_session(process.pid)
        for line in out.read_bytes().splitlines():
            os.kill(pid_told(line), signal.SIGKILL)  # in a session of its own


def others_are_not_watched(stage):
    """A leaker beside COMMAND is none of its business."""
    words = stage.netns[""].command(*[stage.program("workload"), "forgot", "bystander", "7002"])
    bystander = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    stage.others.append(bystander)
    try:
        poll(lambda: b"in_place" in bystander.stdout.readline(), "the bystander")
        run(stage, (), ["sleep", "2"], 0)
    finally:
        end_session(bystander.pid)


IGNORED, UNREAD = ("eof_ignored", "leak"), ("eof_unread", "stuck")

CASES = [
    Case("run_status_0", play=status_of(["true"], 0)),
    Case("run_status_7", play=status_of(["sh", "-c", "exit 7"], 7)),
    Case("run_status_of_a_signal", play=status_of(["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL)),
    Case("run_status_126", play=unrunnable),
    Case("run_status_127", play=missing),
    Case("run_stdout_is_commands", play=stdout_is_commands),
    Case("run_stderr_is_commands", play=stderr_is_commands_too),
    Case("run_nobody_reads_stderr", play=nobody_reads_stderr),
    Case("run_stdin_is_commands", play=stdin_is_commands),
    Case("run_arguments_are_commands", play=arguments_are_commands),
    Case("run_no_descriptor_leaks_in", play=no_descriptor_leaks_in),
    Case("run_passes_on_sigterm", play=signal_is_passed_on(signal.SIGTERM)),
    Case("run_passes_on_sighup", play=signal_is_passed_on(signal.SIGHUP)),
    Case("run_on_a_terminal", play=on_a_terminal),
    Case("run_user", play=as_nobody),
    Case("run_user_leaks", play=as_nobody_leaks),
    Case("run_user_unknown", play=no_such_user),
    Case("run_without_command", play=without_command),
    Case("run_leak", play=leaks("ends", 3, words=[IGNORED])),
    Case("run_leak_named_in_text", play=named_in_text),
    Case("run_leak_keeps_commands_status", play=leaks("ends", 5, own=5, words=[IGNORED])),
    Case("run_leak_exit_code", play=leaks("ends", 42, options=("--leak-exit-code", "42"), words=[IGNORED])),
    Case("run_leak_in_a_descendant", play=descendant_alive),
    Case("run_leak_dead", play=leaks("ends-dead", 3, words=[("dead_unclosed", "leak")])),
    Case("run_leak_of_an_ended_child", play=leaks("ends-child", 3, words=[IGNORED])),
    Case("run_stuck_is_no_leak", play=leaks("ends-unread", 0, words=[UNREAD])),
    Case("run_strict", play=leaks("ends-unread", 3, options=("--strict",), words=[UNREAD])),
    Case("run_slow_closer", play=leaks("ends-closing", 0)),
    Case("run_younger_than_the_limit", play=leaks("ends", 0, milliseconds=200)),
    Case("run_limit_of_ones_own", play=leaks("ends", 0, options=("--leak-after", "10s"))),
    Case("run_others_are_not_watched", play=others_are_not_watched),
]
