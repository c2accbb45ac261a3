# SPDX-License-Identifier: BSD-2-Clause
"""--record and replay on real traffic: what was shown live is shown again, byte for byte, whoever replays it where."""
import json
import subprocess
import sys
import time
from pathlib import Path

import compare
import recordlib as lib
import report_form
from case import Case
from harness import Failure, Stage, poll
from leaklib import start_program
from recordlib import demand, must_replay, replay

LEAK_AFTER = 1.0
JUDGING = ("--leak-after", "1s", "--sweep", "250ms")
VISITS = Path(__file__).resolve().parent.parent / "programs" / "visits.py"

# What each is, and the label of the namespace that it watches. They all watch at once.
RUNS = {
    "trace_json": (("trace", "--json", *JUDGING), ""),
    "trace_text": (("trace", *JUDGING), ""),
    "trace_all_states_wide": (("trace", "--all-states", "--wide", *JUDGING), ""),
    "trace_stacks": (("trace", "--json", "--stacks", *JUDGING), ""),
    "trace_of_one_port": (("trace", "--json", "-4", "-L", "7001", *JUDGING), ""),
    "trace_of_one_comm": (("trace", "--json", "-c", "forgot", *JUDGING), ""),
    "report_json": (("report", "--json", *JUDGING), ""),
    "report_text": (("report", *JUDGING), ""),
    "report_wide": (("report", "--wide", *JUDGING), ""),
    "report_by_process": (("report", "--by", "process", *JUDGING), ""),
    "report_stacks": (("report", "--json", "--stacks", *JUDGING), ""),
    "report_of_one_comm": (("report", "--json", "-c", "forgot,kid", *JUDGING), ""),
    "trace_loss": (("trace", "--json", "--ring", "4K", "--sweep", "250ms"), "loss"),
    "report_loss": (("report", "--json", "--ring", "4K", "--sweep", "250ms"), "loss"),
    "trace_netns_gone": (("trace", "--json", "--sweep", "250ms"), "gone"),
    "report_netns_gone": (("report", "--json", "--sweep", "250ms"), "gone"),
}


def gather(stage):
    """Leaks, processes that end, exec, a reply that goes on, TIME_WAIT, a flood with loss, a namespace that goes."""
    for label in ("", "loss", "gone"):
        stage.add_netns(label)
    going_on = {name: lib.start(stage, *words, scope=scope) for name, (words, scope) in RUNS.items()}
    for run in going_on.values():
        run.started()
    for number, words in enumerate((("forgot",), ("died", 2000), ("inherited-exec",), ("replying",))):
        start_program(stage, words[0], words[0], 7001 + number, *words[1:])
    visits = [sys.executable, "-B", str(VISITS)]
    server = stage.spawn(stage.netns["gone"].command(*visits, "srv", "serve", "127.0.0.1", "8080"),
                         stdout=subprocess.DEVNULL)
    flood = stage.spawn(stage.netns["loss"].command(stage.program("flood"), "1500", stage.cpu, stage.cpu),
                        stdout=subprocess.DEVNULL)
    poll(lambda: any(state == "LISTEN" for state, _, _ in stage.netns["gone"].ss()), "the server to listen", pause=0.05)
    stage.netns["gone"].run(*visits, "cli", "visit", "127.0.0.1", "8080", "5", "exit")
    commands = [start_command(stage, *options) for options in (("--json",), ())]
    flood.wait(20)
    poll(lambda: leaks(going_on["trace_json"].watch.events()) >= 7, "seven leaks", patience=15, pause=0.05)
    server.kill()
    server.wait()
    stage.netns["gone"].delete()
    time.sleep(0.6)  # two sweeps
    found = {name: run.stopped() for name, run in going_on.items()}
    found["run_json"], found["run_text"] = (command.ended(status=3) for command in commands)
    return found


def leaks(events):
    """forgot's three, died's three, and the one that sleep has inherited."""
    return len({event["conn"]["id"] for event in events if event["type"] == "finding" and event["verdict"] == "leak"})


def start_command(stage, *options):
    command = [stage.program("workload"), "ends", "under_test", str(7021 + len(options)), "2500", "0"]
    words = ("run", *options, "--leak-after", "500ms", "--", *command)
    return lib.start(stage, *words, before=stage.netns[""].command())


class Together:
    """Played when the first of its cases asks for it."""
    found, why_not = None, ""


def runs(settings):
    if Together.why_not:
        raise Failure(Together.why_not)
    if Together.found is None:
        stage = Stage(settings)
        try:
            Together.found = gather(stage)
        except Exception as failure:
            Together.why_not = f"the run that they share has failed: {failure}"
            raise
        finally:
            stage.close(settings.keep)
    return Together.found


def of_run(name, check):
    def play(stage):
        check(stage, runs(stage.settings)[name])
    called = f"same_{name}" if check is same else check.__name__
    return Case(f"record_{called}", play=play, netns=(), group="recorded")


# -- byte for byte

def must_tell(name, recorded):
    """What the run is there for has come about."""
    if name.startswith("trace") and "--json" in recorded.words:
        types = [event["type"] for event in map(json.loads, recorded.live.splitlines())]
        demand(types[0] == "hello" and types[-1] == "bye" and len(types) > 20, f"{len(types)} lines")
        demand(("gap" in types) == (name == "trace_loss"), f"gaps: {types.count('gap')}")
    if name == "report_loss":
        report = json.loads(recorded.live)
        demand(not report["complete"] and report["lost"], f"nothing was lost: {report['lost']}")
    if name in ("report_stacks", "trace_stacks"):
        demand(b'"stacks":{' in recorded.live, "no stacks")
    if name in ("report_json", "run_json"):
        demand(b'"verdict":"leak"' in recorded.live, "no leak")
    if name == "report_text":
        demand(b"forgot" in recorded.live, "nobody is named")


def same(stage, recorded):
    name = stage.case.name.removeprefix("record_same_")
    must_tell(name, recorded)
    must_replay(stage, recorded, says="events were lost" if "loss" in name else None)
    if recorded.words[0] == "trace":  # a recording of this command shows itself as the other command too
        other = replay(stage, recorded.recording, "report", "--json").must_end(0).document()
        demand(other["lost"] == 0 or name == "trace_loss", f"lost {other['lost']}")
    else:
        events = replay(stage, recorded.recording, "trace", "--json").must_end(0).events()
        compare.check_stream(events, gaps_allowed=name == "report_loss")


# -- a recording is of the run, and not of the command

def rows_that_leak(document):
    return {(row["process"]["pid"], row["process"]["start_ns"], row["process"]["comm"], row["process"]["exe"],
             row["process"]["cmdline"]):
            sorted((group["kind"], group["verdict"], group["count"], str(group["holders"]))
                   for group in row["close_wait"]["groups"] if group["verdict"] == "leak")
            for row in document["processes"] if row["process"] and row["close_wait"]["leaked"]}


def trace_shown_as_report(stage, recorded):
    """The same leaks of the same processes as the report of the same time has found."""
    ours = rows_that_leak(replay(stage, recorded.recording, "report", "--json").must_end(0).document())
    theirs = rows_that_leak(json.loads(runs(stage.settings)["report_json"].live))
    demand(ours and ours == theirs, f"{ours}, and by the report {theirs}")


def report_shown_as_trace(stage, recorded):
    """A whole stream, each line as docs/events.schema.json has it, and the same findings as a trace has told."""
    events = replay(stage, recorded.recording, "trace", "--json").must_end(0).events()
    compare.check_stream(events)
    report_form.validate_lines(events, "events.schema.json")

    def findings(of):
        return {(event["conn"]["id"], event["kind"], event["verdict"]) for event in of if event["type"] == "finding"
                and event["verdict"] == "leak"}
    theirs = findings(map(json.loads, runs(stage.settings)["trace_json"].live.splitlines()))
    demand(findings(events) == theirs, f"{findings(events)}, and by the trace {theirs}")


def judged_anew(stage, recorded):
    """--leak-after of a replay: nothing was old enough for an hour, and nothing that is shown is called a leak."""
    document = replay(stage, recorded.recording, "report", "--json", "--leak-after", "1h").must_end(0).document()
    demand(sum(row["close_wait"]["leaked"] + row["close_wait"]["stuck"] for row in document["processes"]) == 0,
           "judged all the same")
    replay(stage, recorded.recording, "report", "--fail-on-leak").must_end(3)
    replay(stage, recorded.recording, "report", "--fail-on-leak", "--leak-after", "1h").must_end(0)


def output_in_a_file(stage, recorded):
    file = stage.folder / "shown"
    replayed = replay(stage, recorded.recording, "report", "--json", "-o", str(file)).must_end(0)
    demand(not replayed.shown and file.read_bytes() == recorded.live, "not what -o has to get")


def through_a_pipe(stage, recorded):
    """The file need not be one that can be sought in."""
    words = stage.closewatch("replay", "/dev/stdin", "--", *recorded.shown_as())
    ran = subprocess.run(words, input=recorded.recording, capture_output=True, check=False, timeout=30)
    demand(ran.returncode == 0 and ran.stdout == recorded.live, f"{ran.returncode}: {ran.stderr}")


# -- wherever it is replayed, by whomever

def elsewhere(stage, recorded, *wrapper):
    path = stage.folder / "for_others"
    path.write_bytes(recorded.recording)
    path.chmod(0o644)
    program = lib.program_for_others(stage)
    replayed = replay(stage, path, *recorded.shown_as(), wrapper=wrapper, program=program).must_end(0)
    lib.must_be_same(recorded.live, replayed.shown, " ".join(wrapper))
    demand(not replayed.said, f"it says: {replayed.said}")


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
          "--no-new-privs")


def by_nobody(stage, recorded):
    elsewhere(stage, recorded, *NOBODY)


def in_a_pid_namespace(stage, recorded):
    elsewhere(stage, recorded, "unshare", "--pid", "--fork", "--mount-proc")


def without_proc_and_sys(stage, recorded):
    """In mounts of its own: an empty folder is in the place of both."""
    empty = stage.folder / "empty"
    empty.mkdir()
    script = f'mount --bind {empty} /proc && mount --bind {empty} /sys && exec "$@"'
    elsewhere(stage, recorded, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


def by_nobody_without_anything(stage, recorded):
    elsewhere(stage, recorded, "unshare", "--net", "--uts", "--ipc", "--user", *NOBODY[:1], "--no-new-privs")


CASES = [
    *[of_run(name, same) for name in (*RUNS, "run_json", "run_text")],
    of_run("trace_json", trace_shown_as_report),
    of_run("report_json", report_shown_as_trace),
    of_run("report_json", judged_anew),
    of_run("report_json", output_in_a_file),
    of_run("trace_json", through_a_pipe),
    of_run("report_json", by_nobody),
    of_run("trace_text", in_a_pid_namespace),
    of_run("report_text", without_proc_and_sys),
    of_run("trace_json", by_nobody_without_anything),
]
