# SPDX-License-Identifier: BSD-2-Clause
"""`closewatch top`, driven by keys in a real terminal (tmux)."""
import json
import os
import re
import stat
import subprocess
import time

import recordlib
from case import Case
from harness import Failure, poll
from leaklib import read_document, start_program
from screenlib import PROMPT, Screen

JUDGING = ("--leak-after", "1s")
SHELL = "^" + re.escape(PROMPT.strip())


def demand(condition, text):
    if not condition:
        raise Failure(text)


def leaker(stage, name="leaker", port=7001):
    program = start_program(stage, "forgot", name, port)
    program.wait_said("in_place")
    return program


def begin(stage, *options, **how):
    screen = Screen(stage, **how)
    screen.start_top(*JUDGING, *options)
    return screen


# -- a session

OPEN = """
import socket, time
listener = socket.create_server(("127.0.0.1", 7100))
client = socket.create_connection(("127.0.0.1", 7100))
accepted, _ = listener.accept()
time.sleep(60)
"""


def session(stage):
    """From the table into the row with the trouble, and what is to be done about it."""
    screen = begin(stage)
    program = leaker(stage)
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    demand(screen.flags() == "1 0 1", f"screen, cursor, keys: {screen.flags()}")
    # What is open has made no transition: sweeps alone tell of it.
    stage.spawn(stage.netns[""].command("/usr/bin/python3", "-c", OPEN))
    screen.wait(r"^.*\bCLOSE_WAIT 3\b")
    screen.wait(r"^.*\bESTABLISHED 2\b")
    screen.press("Enter")
    screen.wait(rf"\b{program.pid}\b")
    screen.wait(r"close\(\)")
    screen.wait("Esc back")
    descriptors = [line["fd"] for line in program.held()]
    screen.wait("|".join(rf"\bfd {fd}\b|descriptors? .*\b{fd}\b" for fd in descriptors))
    screen.press("Escape")
    screen.wait("/ filter")
    screen.press("?")
    screen.wait("^Help")
    screen.press("Escape")
    screen.wait_gone("^Help")
    screen.quit()
    screen.must_be_as_before("q")


def rows_of(screen):
    """The names in the table, as they stand."""
    return [line.split()[0] for line in screen.lines()[4:-1] if line.strip()]


def movement(stage):
    """Moving, filtering, sorting, and processes for workloads."""
    for number, name in enumerate(("alpha", "beta", "gamma")):
        leaker(stage, name, 7001 + number)
    screen = begin(stage)
    for port in (7001, 7002, 7003):
        screen.wait(rf"\*:{port} .*\bstuck\b|\*:{port} .*\bleak\b")
    screen.press("Down", "Down")
    screen.press("Enter")
    third = screen.wait(r"\*:(700\d)")[1]
    screen.press("Escape")
    screen.wait("/ filter")
    screen.press("Home", "Enter")
    first = screen.wait(r"\*:(700\d)")[1]
    demand(first != third, f"Home and two Downs open the same row, {first}")
    screen.press("Escape")
    screen.wait("/ filter")
    screen.type("/:7002")
    screen.wait_gone(r"\*:7003")
    demand(":7002" in screen.text() and "*:7001" not in screen.text(), f"the filter:\n{screen.text()}")
    screen.press("Enter")
    screen.wait(r"/:7002: \d of ")
    screen.press("Escape")
    screen.wait(r"\*:7003")
    screen.press("p")
    screen.wait("^COMMAND|^PROCESS")
    for name in ("alpha", "beta", "gamma"):
        screen.wait(name)
    before = screen.lines()[3]
    screen.press("<")
    poll(lambda: screen.lines()[3] != before, f"the sorted column to change:\n{screen.text()}")
    # By name, wherever its column is.
    for _ in range(20):
        if re.match(r"\S?[▾▴]", screen.lines()[3]):
            break
        screen.press("<")
        time.sleep(0.1)
    names = [name for name in rows_of(screen) if name in ("alpha", "beta", "gamma")]
    demand(names == sorted(names) and len(names) == 3, f"not by name: {names}\n{screen.text()}")
    screen.press("r")
    poll(lambda: [name for name in rows_of(screen) if name in ("alpha", "beta", "gamma")] == names[::-1],
         f"the other way round:\n{screen.text()}")
    screen.quit()
    screen.must_be_as_before("q")


def pause(stage):
    """The picture stands, and what happened meanwhile is there afterwards."""
    screen = begin(stage)
    screen.press("Space")
    screen.wait("PAUSED")
    leaker(stage)
    demand(screen.stands(1.5), f"the picture moves:\n{screen.text()}")
    demand(":7001" not in screen.text(), f"the picture does not stand:\n{screen.text()}")
    screen.press("Space")
    screen.wait(r"\*:7001 ")
    screen.wait_gone("PAUSED")
    screen.quit()


def saved(stage):
    """w: both forms, into the working directory, for the owner alone."""
    screen = begin(stage)
    leaker(stage)
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    screen.press("w")
    name = screen.wait(r"written: (closewatch-\S+-\d{8}-\d{6})\.txt and \.json")[1]
    for ending in (".txt", ".json"):
        mode = stat.S_IMODE((screen.folder / (name + ending)).stat().st_mode)
        demand(mode == 0o600, f"{name}{ending} has mode {mode:o}")
    report = read_document(screen.folder / (name + ".json"))
    demand(report["states"].get("CLOSE_WAIT") == 3, f"{report['states']}")
    demand(":7001" in (screen.folder / (name + ".txt")).read_text(), "the text says nothing of it")
    screen.press("x")
    screen.wait("/ filter")
    screen.quit()


def saved_elsewhere(stage):
    """Where the working directory is somebody else's, who lets nobody write: root's right to do so was given up."""
    screen = Screen(stage)
    folder = screen.folder / "foreign"
    folder.mkdir(mode=0o755)
    os.chown(folder, 65534, 65534)
    screen.run(f"cd {folder}")
    screen.start_top(*JUDGING)
    screen.press("w")
    path = screen.wait(r"written: (/tmp/closewatch-\S+-\d{8}-\d{6})\.txt and")[1]
    for ending in (".txt", ".json"):
        os.unlink(path + ending)
    demand(not list(folder.iterdir()), f"something is in it: {list(folder.iterdir())}")
    screen.quit()


# -- sizes and kinds of terminal

def sizes(stage):
    screen = begin(stage)
    leaker(stage)
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    for columns, rows in ((80, 24), (200, 50), (40, 10), (20, 3), (1, 1), (300, 12), (100, 30)):
        screen.resize(columns, rows)

        def fits(columns=columns, rows=rows):
            lines = screen.lines()
            if columns < 60:
                return len(lines) == rows and (rows < 3 or lines[0].startswith("closewatch"[:columns]))
            return len(lines) == rows and lines[0].startswith("closewatch  ") and "q quit" in lines[-1]
        poll(fits, f"a picture of {columns} by {rows}", pause=0.05)
        demand(columns < 60 or ":7001" in screen.text(), f"{columns}x{rows}: no row:\n{screen.text()}")
    screen.quit()
    screen.must_be_as_before("resizing")


COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[1-6]m")


def colours(stage):
    """Colour as the terminal has it, unless NO_COLOR; bold and reverse in any case."""
    leaker(stage)
    for variables, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"term": "vt220"}, False),
                              ({"term": "xterm"}, True), ({"term": "xterm-256color"}, True)):
        screen = begin(stage, **variables)
        screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
        picture = screen.coloured()
        demand(bool(COLOUR.search(picture)) == wanted, f"{variables}: colour is not {wanted}:\n{picture!r}")
        demand("\x1b[7m" in picture or ";7m" in picture, f"{variables}: no row is chosen:\n{picture!r}")
        screen.quit()
        screen.must_be_as_before(str(variables))
        screen.end()


def letters(stage):
    """Plain ASCII where the locale has no more; the graph and the marks with it."""
    leaker(stage)
    screen = begin(stage, LC_ALL="C")
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    demand(screen.text().isascii(), f"not ASCII:\n{screen.text()}")
    row = screen.wait(r"^.*\*:7001 .*$")[0]
    demand("?" not in row and " = " in row, f"the graph is not drawn in ASCII: {row}")
    screen.quit()


STEERING = r'''
import socket, time
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"\x1b]0;owned\x07\x1b[1m")
listener = socket.create_server(("127.0.0.1", 7001))
client = socket.create_connection(("127.0.0.1", 7001))
accepted, _ = listener.accept()
client.close()
print("in place", flush=True)
time.sleep(60)
'''


def hostile_names(stage):
    """A process may be called what it likes."""
    program = stage.spawn(stage.netns[""].command("/usr/bin/python3", "-c", STEERING), stdout=subprocess.PIPE)
    program.stdout.readline()
    screen = begin(stage)
    screen.wait(r"\*:7001 ")
    screen.press("p")
    screen.wait(r"owned")
    demand("owned" not in screen.tmux("display-message", "-p", "#{pane_title}"), "the title of the window was changed")
    screen.quit()


def plain(stage):
    """TERM=dumb: tables, one after the other."""
    leaker(stage)
    screen = Screen(stage, term="dumb")
    screen.run(f"{screen.words('top', '-i', '200ms', *JUDGING, '-d', '3s')} | tee {screen.folder}/piped > /dev/null; "
               f"{screen.words('top', '-i', '200ms', *JUDGING, '-d', '2s')}; echo $? > {screen.folder}/status")
    demand(screen.status() == 0, "status")
    demand(screen.flags() == "0 1 0", f"the screen was taken: {screen.flags()}")
    check_tables((screen.folder / "piped").read_text())
    screen.wait(r"\*:7001 ")
    screen.must_be_as_before("plain tables")


def check_tables(text):
    tables = text.split("\n\n")
    demand(len(tables) >= 4, f"{len(tables)} tables in three seconds")
    demand("\x1b" not in text and "\r" not in text, f"escapes where there is no terminal: {text!r}")
    demand(all(table.startswith("closewatch  ") for table in tables if table.strip()), f"not tables:\n{text}")
    demand(re.search(r"\*:7001 .*\b(leak|stuck)\b", text), f"no row:\n{text}")
    demand("q quit" not in text, "keys are told where there are none")
    demand(max(map(len, text.splitlines())) <= 80, "wider than 80 columns")


def one_look(stage):
    """-d 0: one table of what there is, and no screen, on a terminal too."""
    leaker(stage)
    time.sleep(1.2)
    screen = Screen(stage)
    screen.run(f"{screen.words('top', *JUDGING, '-d', '0')}; echo $? > {screen.folder}/status")
    demand(screen.status() == 0, "status")
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    demand(screen.flags() == "0 1 0", f"the screen was taken: {screen.flags()}")
    said = screen.ask(f"{screen.words('top', *JUDGING, '-d', '0')} < /dev/null | cat")
    demand(len(said.split("\n\n")) == 1 and said.startswith("closewatch  ") and "*:7001" in said, f"not a table:\n{said}")


def no_other_screen(stage):
    """A terminal that has one screen alone: the picture stays there, and its last line goes."""
    for term in ("vt100", "linux"):
        screen = begin(stage, term=term)
        screen.quit()
        screen.wait(SHELL)
        demand("q quit" not in screen.text(), f"{term}: the last line is still there:\n{screen.text()}")
        demand("closewatch  " in screen.text(), f"{term}: the picture has gone:\n{screen.text()}")
        screen.end()


RESTARTED = """
import socket, sys, time
kept, listener = [], socket.create_server(("127.0.0.1", 7200))
for _ in range(3):
    client = socket.create_connection(("127.0.0.1", 7200))
    kept.append(listener.accept()[0])
    client.close()
    if sys.argv[1] == "mended":
        kept.pop().close()
print("in place", flush=True)
time.sleep(60)
"""


def restarted(stage):
    """A program that was killed and mended is no leaker any more, and its sockets are nobody's fault."""
    def run(how):
        program = stage.spawn(stage.netns[""].command("/usr/bin/python3", "-c", RESTARTED, how), stdout=subprocess.PIPE)
        program.stdout.readline()
        return program
    first = run("forgets")
    screen = begin(stage)
    screen.wait(r"\*:7200 +1 +3 .*\bstuck\b|\*:7200 .*\bleak\b")
    first.kill()
    first.wait()
    run("mended")
    screen.wait(r"\*:7200 +1 +- +- +- .*\bok\b")
    screen.quit()


def nobodys(stage):
    """What was in TIME_WAIT before the start has a row of its own among the processes, which can be looked into."""
    stage.netns[""].run(stage.program("flood"), "20", stage.cpu, stage.cpu)
    screen = begin(stage)
    screen.press("p", "End")
    screen.wait("^unknown ")
    screen.press("Enter")
    screen.wait("^unknown$")
    screen.wait("nobody saw whose they were; .*TIME_WAIT 20")
    screen.quit()


def broken_pipe(stage):
    """`top | head`: a quiet end."""
    words = [*stage.closewatch("top", "-i", "100ms", "-q", *JUDGING), "--netns", stage.netns[""].path]
    process = stage.spawn(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    demand(process.wait(10) == 0, f"status {process.returncode}")
    demand(process.stderr.read() == b"", "not quiet")


def bare(stage):
    """Without a command it is top on a terminal, and the event stream elsewhere."""
    screen = Screen(stage)
    words = screen.words("-i", "200ms")
    screen.run(words)
    screen.wait("^closewatch .* watched ")
    screen.press("q")
    screen.wait_gone("q quit")
    screen.must_be_as_before("q")
    hello = json.loads(screen.ask(f"timeout -s INT 3 {screen.words('--json')} | head -1"))
    demand(hello["type"] == "hello", f"no stream: {hello}")
    said = screen.ask(f"{screen.words('--json')} 2>&1 >/dev/tty; echo $?")
    demand("'--json' is no option of top" in said and said.endswith("2"), f"not refused: {said}")


def unknown_terminal(stage):
    screen = Screen(stage, term="no-such-terminal")
    said = screen.ask(f"{screen.words('top')} 2>&1 >/dev/tty; echo $?")
    demand("'no-such-terminal'" in said and "TERM" in said and said.endswith("1"), f"not refused: {said}")
    screen.must_be_as_before("a refusal")


def keyboard_elsewhere(stage):
    """Standard input is none: keys come from the terminal itself, as with less(1)."""
    screen = Screen(stage)
    screen.run(f"{screen.words('top', '-i', '200ms')} < /dev/null; echo $? > {screen.folder}/status")
    screen.wait("^closewatch .* watched ")
    screen.quit()
    screen.must_be_as_before("q")


# -- of a recording

def replayed(stage):
    """At its own pace; space pauses the playing too; at its end the picture stands until q."""
    run = recordlib.start(stage, "report", "--json", "--leak-after", "1s", "--sweep", "250ms", "-d", "4s").started()
    leaker(stage)
    recorded = run.ended()
    file = stage.folder / "played.cwr"
    file.write_bytes(recorded.recording)
    screen = Screen(stage)
    words = " ".join(stage.closewatch("replay", str(file), "--", "top", "-i", "200ms"))
    screen.run(f"{words}; echo $? > {screen.folder}/status")
    screen.wait("^closewatch .* watched 1s")
    demand(f"only --netns {stage.netns[''].path}" in screen.text(), f"the filter is not told:\n{screen.text()}")
    screen.press("Space")
    screen.wait("PAUSED")
    # For longer than what is left of it: all of that is played nevertheless.
    demand(screen.stands(4), f"it goes on:\n{screen.text()}")
    screen.press("Space")
    screen.wait("^closewatch .* watched [23]s")
    demand("ended" not in screen.text(), f"it has not waited:\n{screen.text()}")
    screen.wait("The recording has ended")
    screen.wait(r"\*:7001 .*\b(leak|stuck)\b")
    screen.wait(r"watched [45]s")
    screen.press("Enter")
    screen.wait(r"close\(\)")
    screen.quit()
    screen.must_be_as_before("a replay")
    table = subprocess.run(stage.closewatch("replay", str(file), "top"), stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, check=False)
    demand(table.returncode == 0 and len(table.stdout.strip().split("\n\n")) == 1, f"not one table: {table}")
    demand(re.search(r"\*:7001 .*\b(leak|stuck)\b", table.stdout), f"no row:\n{table.stdout}")


CASES = [
    Case("top: a leak is seen, opened and understood", play=session),
    Case("top: moving, filtering, sorting, processes", play=movement),
    Case("top: pause", play=pause),
    Case("top: the report is saved", play=saved),
    Case("top: the report is saved where the working directory is closed", play=saved_elsewhere),
    Case("top: sizes", play=sizes),
    Case("top: colours", play=colours),
    Case("top: plain letters", play=letters),
    Case("top: names that would steer the terminal", play=hostile_names),
    Case("top: plain tables", play=plain),
    Case("top: one look", play=one_look),
    Case("top: a terminal with one screen", play=no_other_screen),
    Case("top: mended after a restart", play=restarted),
    Case("top: what belongs to nobody", play=nobodys),
    Case("top: nobody reads the tables any more", play=broken_pipe),
    Case("top: without a command", play=bare),
    Case("top: a terminal that nobody knows", play=unknown_terminal),
    Case("top: the keyboard is not standard input", play=keyboard_elsewhere),
    Case("top: of a recording", play=replayed),
]
