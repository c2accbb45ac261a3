#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""screenshot.py CLOSEWATCH FILE.svg: what `closewatch demo` shows in tmux after some seconds, as a picture."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 22
SECONDS = 14  # until the demo's leaks are judged


def tmux(socket, *words):
    return subprocess.run(["tmux", "-S", socket, *words], check=True, capture_output=True, text=True).stdout


def captured(closewatch):
    """The screen with its attributes, as escape sequences."""
    with tempfile.TemporaryDirectory() as directory:
        socket = os.path.join(directory, "tmux")
        # UTF-8 and 256 colours, whatever the caller has; and the host's own name stays out of the picture.
        command = ["env", "LC_ALL=C.UTF-8", "unshare", "--uts", "sh", "-c", 'hostname web-1 && exec "$0" demo', closewatch]
        tmux(socket, "-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), *command)
        try:
            time.sleep(SECONDS)
            return tmux(socket, "capture-pane", "-e", "-p")
        finally:
            tmux(socket, "send-keys", "q")
            time.sleep(1)
            subprocess.run(["tmux", "-S", socket, "kill-server"], check=False, capture_output=True)


def main():
    _, closewatch, target = sys.argv
    if not shutil.which("tmux"):
        sys.exit("screenshot.py: tmux is missing")
    screen = captured(os.path.abspath(closewatch))
    if "VERDICT" not in screen:
        sys.exit(f"screenshot.py: this is not the screen of top:\n{screen}")
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"), color_system="256",
                      force_terminal=True)
    for line in screen.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", highlight=False)
    console.save_svg(target, title="sudo closewatch demo")


main()
