"""What watching costs where connections stay: `redis-benchmark -k 1 -P 1` untraced, and beside closewatch.

Reads and writes are all there is to see: two programs run at each. Rates are compared within a round. The cost in the
kernel is the kernel's own accounting, in a run of its own: accounting costs something itself.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import STATS, Failure, all_tools, enter_own_network, machine, play, process, wait_until

ROOT = Path(__file__).resolve().parent.parent
PORT = 6379
UNTRACED, UNTRACED_AGAIN = "untraced", "untraced, again"
WATCHED = ("closewatch report", "closewatch --json")
BAR = 0.97


def listening():
    return bool(subprocess.run(["ss", "-Htln", f"sport = :{PORT}"], capture_output=True, check=True).stdout)


def requests_per_second(requests):
    out = subprocess.run(["redis-benchmark", "-p", str(PORT), "-k", "1", "-P", "1", "-c", "50", "-t", "get", "-n",
                          str(requests), "--csv"], check=True, capture_output=True, text=True).stdout
    rows = list(csv.DictReader(out.splitlines()))
    return float(rows[0]["rps"])


def measure_rates(tools, options):
    names = [UNTRACED, *WATCHED, UNTRACED_AGAIN]
    rounds = []
    requests_per_second(options.requests)
    for number in range(options.rounds):
        turn = number % len(names)
        result = {}
        for name in names[turn:] + names[:turn]:
            time.sleep(0.3)
            if name not in tools:
                result[name] = requests_per_second(options.requests)
                continue
            with tools[name]().running() as tool:
                result[name] = requests_per_second(options.requests)
            tool.output.unlink()
        rounds.append(result)
        told = ", ".join(f"{name} {result[name]:.0f}" for name in names)
        print(f"round {number + 1} of {options.rounds}, requests per second: {told}", file=sys.stderr)
    return rounds


def measure_cost(tools, options):
    """Per tool and program: (nanoseconds a run, runs), by the kernel's accounting."""
    was = STATS.read_text()
    costs = {}
    try:
        STATS.write_text("1")
        for name in WATCHED:
            with tools[name]().running() as tool:
                before = tool.own_programs()
                requests_per_second(options.requests)
                after = tool.own_programs()
            tool.output.unlink()
            costs[name] = {}
            for key, row in after.items():
                runs = row.get("run_cnt", 0) - before[key].get("run_cnt", 0)
                spent = row.get("run_time_ns", 0) - before[key].get("run_time_ns", 0)
                if row["name"] in ("use_recv", "use_send") and runs:
                    costs[name][row["name"]] = {"ns": spent / runs, "runs": runs}
    finally:
        STATS.write_text(was)
    return costs


def ratio(result, name):
    return result[name] / statistics.mean(result[key] for key in (UNTRACED, UNTRACED_AGAIN))


def report(options, rounds, costs):
    print(f"\n{machine()}; redis-benchmark -k 1 -P 1 -c 50, {options.rounds} rounds of {options.requests} requests\n")
    print(f"{'':24}{'requests/s':>12}{'of untraced':>13}{'(least-most)':>16}  ns a run")
    medians = {}
    for name in rounds[0]:
        ratios = [ratio(result, name) for result in rounds]
        medians[name] = statistics.median(ratios)
        between = f"{min(ratios):.1%}-{max(ratios):.1%}"
        spent = ", ".join(f"{program} {cost['ns']:.0f}" for program, cost in sorted(costs.get(name, {}).items()))
        print(f"{name:24}{statistics.median(result[name] for result in rounds):12.0f}{medians[name]:13.1%}"
              f"{between:>16}  {spent}")
    held = medians["closewatch report"] >= BAR
    print(f"\n{'ok    ' if held else 'MISSED'}  (h) requests, closewatch report of untraced:"
          f" {medians['closewatch report']:.1%} (bar: >= {BAR:.0%})")
    return held


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench --keep-alive", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="of each variant (8)")
    parser.add_argument("--requests", type=int, default=150_000, help="a run (150000)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-keep-alive.json")
    return parser.parse_args()


def main():
    options = parse()
    if os.geteuid() != 0:
        raise Failure("tracing and network namespaces take root: sudo scripts/bench --keep-alive")
    enter_own_network()
    server = ["redis-server", "--bind", "127.0.0.1", "--port", str(PORT), "--save", ""]
    with tempfile.TemporaryDirectory() as directory, process(*server):
        wait_until(listening, 10, f"a listener on port {PORT}")
        tools = all_tools(options.binary, directory)
        rounds = measure_rates(tools, options)
        costs = measure_cost(tools, options)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "rounds": rounds, "accounting": costs},
                                         indent=1) + "\n")
    return 0 if report(options, rounds, costs) else 1


play(main, "--keep-alive")
