"""What closewatch keeps resident with many sockets in TIME_WAIT, beside the ring: 10,000, 100,000 and 250,000 of them.

They are made in a network namespace of its own, by short connections to several addresses, fast enough that none has
expired when the last is there. The most of what was resident from the first to two sweeps after the last is told.
"""
import argparse
import json
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tools import Closewatch, Failure, machine, play

ROOT = Path(__file__).resolve().parent.parent
BAR_MIB = 64
TWO_SWEEPS_S = 11
IN_NAMESPACE = """
ip link set lo up
echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range
echo 0 >/proc/sys/net/ipv4/tcp_tw_reuse
echo 1000000 >/proc/sys/net/ipv4/tcp_max_tw_buckets
"$@"
grep -c . /proc/net/tcp >/dev/null
ss -Htan state time-wait | wc -l
sleep SECONDS
"""


def beside_the_ring(pid):
    """Resident bytes of all mappings but those of BPF maps."""
    total, counts = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = "bpf" not in line
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def measure(options, buckets, directory):
    command = [str(options.binary), "report", "--json", "-d", "1h"]
    tool = Closewatch("closewatch-report", lambda out: [*command, "-o", str(out)], directory)
    most, over = 0, threading.Event()
    with tool.running():
        def watch():
            nonlocal most
            while not over.wait(0.25):
                most = max(most, beside_the_ring(tool.process.pid))
        before = beside_the_ring(tool.process.pid)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            load = [str(options.load), "--connections", str(buckets), "--servers", "2", "--clients", "2",
                    "--addresses", "50"]
            script = IN_NAMESPACE.replace("SECONDS", str(TWO_SWEEPS_S))
            done = subprocess.run(["unshare", "--net", "sh", "-ec", script, "sh", *load], capture_output=True,
                                  text=True)
        finally:
            over.set()
            watcher.join()
    if done.returncode != 0:
        raise Failure(f"the load failed: {done.stderr.strip()}")
    tool.output.unlink()
    return {"made": buckets, "in_time_wait": int(done.stdout.split()[-1]), "before_bytes": before, "most_bytes": most}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --memory", description=__doc__.splitlines()[0])
    parser.add_argument("--buckets", type=int, nargs="+", default=[10_000, 100_000, 250_000])
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    parser.add_argument("--load", type=Path, default=ROOT / "build/connect_load")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build/bench-memory.json")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for buckets in options.buckets:
            rows.append(measure(options, buckets, directory))
            time.sleep(2)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(f"\n{machine()}\n")
    held = True
    for row in rows:
        mib = row["most_bytes"] / 2**20
        held &= mib < BAR_MIB
        print(f"{'ok    ' if mib < BAR_MIB else 'MISSED'}  (f) {row['in_time_wait']} in TIME_WAIT of {row['made']} made:"
              f" {mib:.1f} MiB beside the ring (before: {row['before_bytes'] / 2**20:.1f}; bar: < {BAR_MIB})")
    return 0 if held else 1


play(main, "--memory")
