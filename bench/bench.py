"""What watching costs: closewatch beside nothing at all, and beside tcpstates and tcplife, in alternating runs.

Every run is a fresh network namespace with the same number of short loopback connections in it; the tools watch the
whole machine. Rates are compared within a round and the ratios' median is told, since two runs a minute apart differ
by more than what is measured. The cost in the kernel is the kernel's own accounting, in runs of its own: accounting
costs something itself.
"""
import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import STATS, Failure, all_tools, pause, processor, run_load

ROOT = Path(__file__).resolve().parent.parent
UNTRACED, UNTRACED_AGAIN = "untraced", "untraced, again"
# The client closes first. Each side makes 2 transitions up to ESTABLISHED, and 3 on the close path: the client
# FIN_WAIT1, FIN_WAIT2 and CLOSE (or TIME_WAIT), the server CLOSE_WAIT, LAST_ACK and CLOSE.
CLOSE_PATH_TRANSITIONS = 6
ALL_TRANSITIONS = 10
# Of what a tool is to tell of, how much a connection of the load makes. tcplife has a line for each end.
MADE = {"closewatch --json": CLOSE_PATH_TRANSITIONS, "closewatch report": 2, "tcpstates": ALL_TRANSITIONS, "tcplife": 2}
RATE_BARS = {"closewatch report": 0.92, "closewatch --json": 0.88}
COST_SHARE = 0.1  # of tcpstates' cost in the kernel
UNATTRIBUTED_SHARE = 0.001
# Not measured unless asked for by --only.
EXTRAS = ("closewatch", "closewatch --stacks", "closewatch --all-states")


def measure_rates(tools, options):
    """Per round and variant: connections per second, and what the tool used and saw."""
    rounds = []
    run_load(options.connections // 4)
    names = [UNTRACED, *[name for name in tools if "all-states" not in name], UNTRACED_AGAIN]
    for number in range(options.rounds):
        turn = number % len(names)
        result = {}
        for name in names[turn:] + names[:turn]:
            pause()
            if name not in tools:
                result[name] = run_load(options.connections)
                continue
            with tools[name]().running() as tool:
                before = tool.usage()
                load = run_load(options.connections)
                tool.settle()
                after = tool.usage()
            seen = tool.seen(load["netns"])
            result[name] = load | {"seen": seen, "rss_bytes": after["rss_bytes"]} | {
                key: after[key] - before[key] for key in ("user_s", "system_s")}
            tool.output.unlink()
        rounds.append(result)
        told = ", ".join(f"{name} {result[name]['per_second']:.0f}" for name in names)
        print(f"round {number + 1} of {options.rounds}, connections per second: {told}", file=sys.stderr)
    return rounds


def measure_cost(tools, options):
    """Per tool and round: what its programs ran, by the kernel's accounting."""
    was = STATS.read_text()
    costs = {name: [] for name in tools}
    try:
        STATS.write_text("1")
        for number in range(options.cost_rounds):
            for name, make in tools.items():
                pause()
                with make().running() as tool:
                    before = tool.own_programs()
                    run_load(options.connections)
                    tool.settle()
                    after = tool.own_programs()
                costs[name].append(cost_of(before, after, options.connections))
                tool.output.unlink()
            print(f"accounting, round {number + 1} of {options.cost_rounds}", file=sys.stderr)
    finally:
        STATS.write_text(was)
    return costs


def cost_of(before, after, connections):
    rows = []
    for key, row in after.items():
        old = before.get(key, {})
        ran = {field: row.get(field, 0) - old.get(field, 0) for field in ("run_time_ns", "run_cnt", "recursion_misses")}
        if ran["run_cnt"] or ran["recursion_misses"]:
            rows.append({"program": row.get("name", "?"), "type": row["type"]} | ran)
    transitions = connections * ALL_TRANSITIONS
    return {"ns_per_transition": sum(row["run_time_ns"] for row in rows) / transitions,
            "transitions": transitions, "programs": rows}


def summarise(rounds, costs, options):
    names = list(rounds[0])
    variants = {}
    for name in names:
        runs = [result[name] for result in rounds]
        ratios = [result[name]["per_second"] / untraced(result) for result in rounds]
        row = {"per_second": statistics.median(run["per_second"] for run in runs),
               "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}
        if "seen" in runs[0]:
            lines = sum(run["seen"]["lines"] for run in runs)
            row |= {"rss_bytes": max(run["rss_bytes"] for run in runs), "lines": lines,
                    "lost": sum(run["seen"].get("lost", 0) for run in runs)}
            transitions = CLOSE_PATH_TRANSITIONS * options.connections * len(runs)
            row |= {f"{key}_per_million": sum(run[key] for run in runs) / transitions * 1e6
                    for key in ("user_s", "system_s")}
            if name in MADE:
                row |= {"made": MADE[name] * options.connections * len(runs), "told": lines}
        variants[name] = row
    summary = {"variants": variants, "kernel_cost": {
        name: statistics.median(run["ns_per_transition"] for run in runs) for name, runs in costs.items()}}
    seen = [result["closewatch --json"]["seen"] for result in rounds if "closewatch --json" in result]
    if seen:
        summary["stream"] = stream_summary(seen, options)
    return summary


def untraced(result):
    """A round's reference: two runs, so that the table shows by how much two equal runs differ."""
    return statistics.mean(result[name]["per_second"] for name in (UNTRACED, UNTRACED_AGAIN))


def stream_summary(seen, options):
    def total(*path):
        return sum(reach(row, path) for row in seen)
    closed = total("load", "closed") + total("others", "closed")
    unattributed = total("load", "unattributed") + total("others", "unattributed")
    attribution = {}
    for row in seen:
        for how, count in row["load"]["attribution"].items():
            attribution[how] = attribution.get(how, 0) + count
    return {
        "closed": closed, "closed_of_other_namespaces": total("others", "closed"),
        "closed_opened_before_hello": total("others", "opened_before"),
        "closed_wanted": 2 * options.connections * len(seen), "closed_of_the_load": total("load", "closed"),
        "unattributed": unattributed, "unattributed_share": unattributed / closed if closed else 1.0,
        "attribution": attribution,
        "made": CLOSE_PATH_TRANSITIONS * options.connections * len(seen),
        # A connection that goes into a FIN_WAIT2 bucket has its last transition told by `closed` alone.
        "delivered": total("load", "transition") + total("load", "orphaned_fin_wait2"), "lost": total("lost")}


def reach(row, path):
    for key in path:
        row = row[key]
    return row


def judge(summary):
    """(what, measured, bar, held) for each bar."""
    verdicts = []
    if stream := summary.get("stream"):
        share = stream["unattributed_share"]
        verdicts += [
            ("unattributed share of closed", f"{share:.4%}", f"< {UNATTRIBUTED_SHARE:.1%}",
             share < UNATTRIBUTED_SHARE),
            ("(c) transitions delivered of those made", f"{stream['delivered']} of {stream['made']}", "all",
             stream["delivered"] == stream["made"]),
            ("(c) closed delivered", f"{stream['closed_of_the_load']} of {stream['closed_wanted']}", "all",
             stream["closed_of_the_load"] == stream["closed_wanted"]),
            ("(c) lost", str(stream["lost"]), "0", stream["lost"] == 0)]
    variants, costs = summary["variants"], summary["kernel_cost"]
    if row := variants.get("closewatch report"):
        verdicts.append(("(c) endings in the report of those made", f"{row['told']} of {row['made']}", "all",
                         row["told"] == row["made"]))
    for name, bar in RATE_BARS.items():
        if row := variants.get(name):
            verdicts.append((f"(a) rate, {name} of untraced", f"{row['ratio']:.1%}", f">= {bar:.0%}",
                             row["ratio"] >= bar))
    for name in RATE_BARS:
        if name in costs and "tcpstates" in costs:
            share = costs[name] / costs["tcpstates"]
            verdicts.append((f"(b) ns per transition in the kernel, {name} of tcpstates", f"{share:.1%}",
                             f"<= {COST_SHARE:.0%}", share <= COST_SHARE))
    return verdicts


def print_table(summary, costs, verdicts):
    header = ("", "conn/s", "of untraced", "(least-most)", "kernel ns/transition", "user s/M events", "RSS MB", "lost")
    print("{:24}{:>9}{:>13}{:>16}{:>22}{:>16}{:>8}{:>6}".format(*header))
    for name in dict.fromkeys([*summary["variants"], *summary["kernel_cost"]]):
        row = summary["variants"].get(name, {})
        cost = summary["kernel_cost"].get(name)

        def cell(key, form, scale=1):
            return form.format(row[key] / scale) if key in row else "-"
        between = f"{row['ratio_least']:.1%}-{row['ratio_most']:.1%}" if row else "-"
        print(f"{name:24}{cell('per_second', '{:.0f}'):>9}{cell('ratio', '{:.1%}'):>13}{between:>16}"
              f"{'-' if cost is None else f'{cost:.0f}':>22}{cell('user_s_per_million', '{:.2f}'):>16}"
              f"{cell('rss_bytes', '{:.1f}', 1e6):>8}{cell('lost', '{:.0f}'):>6}")
    print("\nby program (last round of accounting): nanoseconds a transition of the load, times run, skipped as nested")
    for name, runs in costs.items():
        for row in runs[-1]["programs"]:
            print(f"  {name:24}{row['program']:18}{row['run_time_ns'] / runs[-1]['transitions']:8.0f}"
                  f"{row['run_cnt']:10}{row['recursion_misses']:6}")
    if stream := summary.get("stream"):
        print(f"\nattribution of the load's closed: {stream['attribution']}; closed in other namespaces meanwhile:"
              f" {stream['closed_of_other_namespaces']} (counted), and {stream['closed_opened_before_hello']} opened"
              " before hello (not counted)")
    print()
    for what, measured, bar, held in verdicts:
        print(f"{'ok    ' if held else 'MISSED'}  {what}: {measured} (bar: {bar})")


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench --rates", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of rates (7)")
    parser.add_argument("--cost-rounds", type=int, default=3, help="of the kernel's accounting (3)")
    parser.add_argument("--connections", type=int, default=30000, help="a run (30000)")
    parser.add_argument("--only", action="append", metavar="TOOL", help="of: closewatch --json, closewatch, "
                        "closewatch report, closewatch --stacks, closewatch --all-states, tcplife, tcpstates; several times")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-rates.json")
    options = parser.parse_args()
    if options.rounds < 1 or options.cost_rounds < 1 or options.connections < 100:
        parser.error("at least one round of each, and 100 connections")
    return options


def main():
    options = parse()
    if os.geteuid() != 0:
        print("scripts/bench: tracing and network namespaces take root: sudo scripts/bench", file=sys.stderr)
        return 1
    # So that `finally` puts the sysctl back and stops the tool.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine = {"kernel": platform.release(), "cpu": processor(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    busy = machine["load"] > 0.5
    if busy:
        print(f"scripts/bench: the machine is busy (load {machine['load']:.1f}): what preempts a program counts as its"
              " cost, and the rates differ for other reasons", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        tools = all_tools(options.binary, directory)
        if not options.only:
            tools = {name: make for name, make in tools.items() if name not in EXTRAS}
        else:
            if unknown := set(options.only) - set(tools):
                print(f"scripts/bench: no tool {', '.join(unknown)}; there are: {', '.join(tools)}", file=sys.stderr)
                return 2
            tools = {name: make for name, make in tools.items() if name in options.only}
        try:
            rounds = measure_rates(tools, options)
            costs = measure_cost(tools, options)
        except Failure as failure:
            print(f"scripts/bench: {failure}", file=sys.stderr)
            return 1
    summary = summarise(rounds, costs, options)
    verdicts = judge(summary)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({
        "machine": machine, "connections": options.connections, "summary": summary,
        "bars": [dict(zip(("what", "measured", "bar", "held"), row)) for row in verdicts],
        "rounds": rounds, "accounting": costs}, indent=1) + "\n")
    where = f"{machine['cpu']}, {machine['cpus']} CPUs{', BUSY' if busy else ''}, Linux {machine['kernel']}"
    print(f"\n{where}; {options.rounds} rounds of"
          f" {options.connections} connections; every number is a median over rounds but RSS (most) and lost (sum)\n")
    print_table(summary, costs, verdicts)
    return 0 if all(held for *_, held in verdicts) else 1


sys.exit(main())
