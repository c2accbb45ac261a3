# SPDX-License-Identifier: BSD-2-Clause
"""A person at a terminal: a shell in tmux, keys in, what is on the screen out."""
import os
import re
import shlex
import subprocess
import time

from harness import Failure, poll

PROMPT = "READY> "


class Screen:
    """A tmux server of its own, with one window; what was on it is told where a case fails."""
    number = 0

    def __init__(self, stage, columns=100, rows=30, term="", **variables):
        Screen.number += 1
        self.stage, self.folder = stage, stage.folder / f"screen{Screen.number}"
        self.folder.mkdir()
        self.socket = self.folder / "tmux"
        self.asked = 0
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PS1": PROMPT, "LC_ALL": "C.UTF-8",
                       "HISTFILE": "", **variables}
        if term:
            environment["TERM"] = term
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
        # tmux says what the terminal is; of the rest nothing is inherited.
        shell = f'exec env -i TERM="$TERM" {words} bash --norc --noprofile -i'
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(self.folder), shell)
        stage.programs.append(self)
        self.wait(re.escape(PROMPT.strip()))
        self.before = self.state()

    def tmux(self, *words):
        # C.UTF-8: or tmux itself would show other letters as underscores.
        result = subprocess.run(["tmux", "-S", str(self.socket), "-f", "/dev/null", "-u", *words], check=False,
                                capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        if result.returncode != 0:
            raise Failure(f"tmux {words[0]}: {result.stderr.strip()}")
        return result.stdout

    # -- keys

    def press(self, *keys):
        """By tmux's names: Enter, Up, C-z."""
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def run(self, command):
        self.type(command)
        self.press("Enter")

    def ask(self, command):
        """What a command says: through a file, the screen is not to be trusted with it."""
        self.asked += 1
        said, done = self.folder / f"said{self.asked}", self.folder / f"done{self.asked}"
        self.run(f" {{ {command}; }} > {said}; : > {done}")
        poll(done.exists, f"the shell to do {command}\n{self.text()}")
        return said.read_text().strip()

    # -- the picture

    def text(self):
        return self.tmux("capture-pane", "-p")

    def coloured(self):
        return self.tmux("capture-pane", "-p", "-e")

    def lines(self):
        return self.text().split("\n")[:-1]

    def wait(self, pattern, patience=10.0):
        """Until it is on the screen: the match."""
        deadline = time.monotonic() + patience
        while True:
            text = self.text()
            if found := re.search(pattern, text, re.M):
                return found
            if time.monotonic() > deadline:
                raise Failure(f"waited {patience:g} s in vain for {pattern!r} on the screen:\n{text}")
            time.sleep(0.05)

    def wait_gone(self, pattern, patience=10.0):
        poll(lambda: not re.search(pattern, self.text(), re.M), f"{pattern!r} to be gone:\n{self.text()}", patience, 0.05)

    def stands(self, seconds):
        """The picture does not change."""
        before = self.text()
        time.sleep(seconds)
        return self.text() == before

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    # -- the terminal itself

    def flags(self):
        """(alternate screen, cursor shown, cursor keys in application mode)"""
        return self.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{keypad_cursor_flag}").strip()

    def state(self):
        return self.ask("stty -g"), self.flags()

    def must_be_as_before(self, what):
        found = self.state()
        if found != self.before:
            raise Failure(f"after {what} the terminal is {found}, before it was {self.before}:\n{self.text()}")

    # -- closewatch in it

    def words(self, *options, scope=""):
        return shlex.join([*self.stage.closewatch(*options), "--netns", self.stage.netns[scope].path])

    def start_top(self, *options, before="", **how):
        """Without waiting for more than its first picture. The status goes into a file when it ends."""
        status = self.folder / "status"
        status.unlink(missing_ok=True)
        self.run(f"{before} {self.words('top', '-i', '200ms', *options, **how)}; echo $? > {status}")
        self.wait(r"^closewatch .* watched ")

    def top_pid(self):
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(shell)], check=True, capture_output=True,
                                  text=True).stdout.split("\n")
        found = [int(line.split()[0]) for line in children if line.strip().endswith("closewatch")]
        if len(found) != 1:
            raise Failure(f"not one closewatch in the shell: {children}")
        return found[0]

    def status(self):
        """Of the one that was started and has ended."""
        file = self.folder / "status"
        poll(lambda: file.exists() and file.read_text().strip(), f"closewatch to end:\n{self.text()}")
        return int(file.read_text())

    def quit(self):
        self.press("q")
        status = self.status()
        if status != 0:
            raise Failure(f"closewatch ended with {status}:\n{self.text()}")

    def quit_from_fg(self):
        """The list that it was started in has ended with the stop: its status is that of fg."""
        self.press("q")
        self.wait_gone("q quit")
        status = self.ask("echo $?")
        if status != "0":
            raise Failure(f"closewatch ended with {status}:\n{self.text()}")

    def end(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], check=False, capture_output=True)
