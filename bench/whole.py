"""All that closewatch is held to, in one run: (a) to (i) of docs/overhead.md, a table for each and a sum at the end.

(a) connections a second beside untraced, (b) time in the kernel, (c) events delivered, (e) CPU in user space: --rates;
(d) a sweep beside `ss -tanp` at 1,000, 5,000 and 15,000 sockets: --sweep; (f) memory: --memory; (g) from --leak-after
to the finding: --leak-time; (h) connections that stay: --keep-alive; (i) the live view: --top. Ends with 1 where a bar
was missed.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SIZES = (500, 2500, 7500)  # connections, two sockets each
HALF_CLOSED = 4 / 15  # of the connections
PARTS = ("rates", "sweep", "memory", "leak-time", "keep-alive", "top")


def commands(options):
    """(what, program, its options) of each part that is wanted."""
    rounds = [] if options.rounds is None else ["--rounds", str(options.rounds)]
    for part in options.parts:
        if part == "rates":
            yield part, "bench.py", rounds
        elif part == "sweep":
            for size in SIZES:
                yield f"sweep-{2 * size}", "sweep.py", [
                    "--connections", str(size), "--half-closed", str(round(size * HALF_CLOSED)), "--idle", "5", *rounds]
        elif part == "keep-alive":
            yield part, "keep_alive.py", rounds
        else:
            yield part, part.replace("-", "_") + ".py", []


def run(what, program, words, options, directory):
    """Its results, and the lines that tell of a bar that was missed."""
    output = Path(directory) / f"{what}.json"
    command = [sys.executable, "-B", str(HERE / program), "--binary", str(options.binary), "-o", str(output), *words]
    print(f"\n== {what}", flush=True)
    missed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            print(line, end="", flush=True)
            if line.startswith("MISSED"):
                missed.append(line.removeprefix("MISSED").strip())
    if not output.exists():
        missed.append(f"{what}: could not be measured")
    elif child.returncode != 0 and not missed:
        missed.append(f"{what}: ended with {child.returncode}")
    return json.loads(output.read_text()) if output.exists() else None, missed


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS, help="only this one; several times")
    parser.add_argument("--rounds", type=int, help="of each part that has rounds (rates 7, sweep 5, keep-alive 8)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench.json")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    return options


def main():
    options = parse()
    if os.geteuid() != 0:
        print("scripts/bench: tracing and network namespaces take root: sudo scripts/bench", file=sys.stderr)
        return 1
    results, missed = {"machine": machine()}, []
    if "keep-alive" in options.parts and not shutil.which("redis-benchmark"):
        options.parts.remove("keep-alive")
        missed.append("(h) not measured: redis-server and redis-tools are not installed (scripts/bench --keep-alive)")
    with tempfile.TemporaryDirectory() as directory:
        for what, program, words in commands(options):
            results[what], of_it = run(what, program, words, options, directory)
            missed += of_it
    results["missed"] = missed
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{len(missed)} bars missed" + (":" if missed else ""))
    for line in missed:
        print(f"  {line}")
    return 1 if missed else 0


sys.exit(main())
