"""How long after --leak-after a socket left in CLOSE_WAIT is told of: the age in its finding, less the limit.

Connections over loopback whose peers close one after the other, so that their limits pass at any point between two
sweeps. Nothing else is asked of the machine meanwhile.
"""
import argparse
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

from tools import ClosewatchJson, Failure, enter_own_network, machine, play

ROOT = Path(__file__).resolve().parent.parent
LEAK_AFTER_S, SWEEP_S = 2.0, 0.5


def leave_half_closed(sockets, apart_s):
    """Pairs, the connecting end of each closed and the other kept."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    kept = []
    for _ in range(sockets):
        client = socket.create_connection(listener.getsockname())
        end, _ = listener.accept()
        kept.append(end)
        client.close()
        time.sleep(apart_s)
    return listener, kept


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --leak-time", description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-leak-time.json")
    options = parser.parse_args()
    enter_own_network()
    netns = Path("/proc/self/ns/net").stat().st_ino
    command = [str(options.binary), "trace", "--json", "--netns", str(netns), "--leak-after", f"{LEAK_AFTER_S:g}s",
               "--sweep", f"{SWEEP_S * 1000:g}ms"]
    with tempfile.TemporaryDirectory() as directory:
        tool = ClosewatchJson("closewatch-json", lambda out: [*command, "-o", str(out)], directory)
        with tool.running():
            kept = leave_half_closed(options.sockets, 0.037)
            time.sleep(LEAK_AFTER_S + 2 * SWEEP_S)
        lines = [json.loads(line) for line in open(tool.output, "rb")]
        del kept
    late_ms = sorted((line["age_ns"] / 1e9 - LEAK_AFTER_S) * 1e3 for line in lines
                     if line["type"] == "finding" and line["status"] == "raised")
    if len(late_ms) != options.sockets:
        raise Failure(f"{len(late_ms)} findings of {options.sockets} sockets")
    row = {"sockets": options.sockets, "least_ms": late_ms[0], "median_ms": statistics.median(late_ms),
           "p99_ms": late_ms[int(0.99 * (len(late_ms) - 1))], "most_ms": late_ms[-1], "sweep_ms": SWEEP_S * 1e3}
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "row": row}, indent=1) + "\n")
    # The next sweep begins so long after the end of the one before.
    held = row["median_ms"] < row["sweep_ms"] and row["p99_ms"] < row["sweep_ms"] * 1.05
    print(f"\n{machine()}\n\n{'ok    ' if held else 'MISSED'}  (g) from --leak-after {LEAK_AFTER_S:g} s to the finding:"
          f" {row['least_ms']:.0f} to {row['most_ms']:.0f} ms, median {row['median_ms']:.0f}, p99 {row['p99_ms']:.0f}"
          f" (bar: one sweep, {row['sweep_ms']:.0f} ms and what it takes)")
    return 0 if held else 1


play(main, "--leak-time")
