"""closewatch against Debian's own nginx, curl and redis, and its TIME_WAIT owners against ss.

nginx with keepalive off closes first (TIME_WAIT on its port), redis-benchmark -k 0 closes first itself (TIME_WAIT on
its own ports). Both run in a fresh network namespace. Every bucket that ss shows must be in the stream with a process,
and the other way round.
"""
import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import ClosewatchJson, ClosewatchText, Failure, process, wait_until

ROOT = Path(__file__).resolve().parent.parent
NGINX_PORT, REDIS_PORT = 8080, 6379
NGINX_CONFIG = """
daemon off; user root; worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 512; }}
http {{ access_log off; keepalive_timeout 0; server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}
"""


@contextlib.contextmanager
def network_namespace():
    """What to put before a command so that it runs in a namespace of its own; a sleeping process keeps it alive."""
    with process("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity") as holder:
        mine = os.stat("/proc/self/ns/net").st_ino
        path = Path(f"/proc/{holder.pid}/ns/net")
        wait_until(lambda: path.stat().st_ino != mine and Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n",
                   5, "the namespace")
        yield ["nsenter", f"--net={path}"], path.stat().st_ino


def listening(enter, port):
    return bool(subprocess.run([*enter, "ss", "-Htln", f"sport = :{port}"], capture_output=True, check=True).stdout)


def traffic(enter, directory, requests):
    config = Path(directory) / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(directory=directory, port=NGINX_PORT))
    with process(*enter, "nginx", "-c", str(config)), \
            process(*enter, "redis-server", "--bind", "127.0.0.1", "--port", str(REDIS_PORT), "--save", ""):
        for port in (NGINX_PORT, REDIS_PORT):
            wait_until(lambda: listening(enter, port), 10, f"a listener on port {port}")
        for _ in range(requests):
            subprocess.run([*enter, "curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{NGINX_PORT}/"], check=True)
        subprocess.run([*enter, "redis-benchmark", "-q", "-p", str(REDIS_PORT), "-k", "0", "-c", "4",
                        "-n", str(requests * 10), "-t", "ping_mbulk"], check=True, capture_output=True)
        time.sleep(0.5)
        # Before the servers go: what ends with them is another matter.
        return buckets_of_ss(enter)


def buckets_of_ss(enter):
    rows = subprocess.run([*enter, "ss", "-Htan", "state", "time-wait"], capture_output=True, text=True, check=True)
    return {tuple(line.split()[2:4]) for line in rows.stdout.splitlines()}


def endpoint(of):
    address = f"[{of['address']}]" if ":" in of["address"] else of["address"]
    return f"{address}:{of['port']}"


def buckets_of_stream(stream, netns):
    """(local, peer) -> process, of what the stream says went into a bucket. On loopback most enter as FIN_WAIT2 and
    are promoted silently within microseconds, so both buckets count."""
    owners = {}
    for line in open(stream, "rb"):
        if b'"type":"closed"' in line:
            event = json.loads(line)
            if event["conn"]["netns"] == netns and event["bucket"] in ("time_wait", "fin_wait2"):
                conn = event["conn"]
                owners[endpoint(conn["local"]), endpoint(conn["peer"])] = event["process"]
    return owners


def compare(of_ss, of_stream):
    table = collections.defaultdict(lambda: [0, 0, 0, collections.Counter()])
    for bucket in of_ss | set(of_stream):
        local, peer = (int(end.rsplit(":", 1)[1]) for end in bucket)
        port = f"local port {local}" if local in (NGINX_PORT, REDIS_PORT) else f"remote port {peer}"
        row = table[port]
        row[0] += bucket in of_ss
        row[1] += bucket in of_stream
        row[2] += bucket in of_ss and bucket in of_stream
        if bucket in of_stream:
            owner = of_stream[bucket]
            row[3][owner["comm"] if owner else "unknown"] += 1
    print(f"\n{'TIME_WAIT by':20}{'ss':>8}{'closewatch':>12}{'both':>8}  owners")
    for port, (ss, stream, both, owners) in sorted(table.items()):
        print(f"{port:20}{ss:8}{stream:12}{both:8}  {', '.join(f'{name} {count}' for name, count in owners.items())}")
    good = set(of_ss) == set(of_stream) and "unknown" not in set().union(*(row[3] for row in table.values())) and table
    print("\nss and closewatch " + ("agree, bucket by bucket" if good else "DISAGREE"))
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --real", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200, help="of curl; ten times as many of redis-benchmark (200)")
    parser.add_argument("--lines", type=int, default=20, help="of the text to show (20)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, network_namespace() as (enter, netns):
        os.chmod(directory, 0o755)
        trace = [str(options.binary), "trace", "--netns", str(netns)]
        stream = ClosewatchJson("closewatch-json", lambda out: [*trace, "--json", "-o", str(out)], directory)
        text = ClosewatchText("closewatch-text", lambda out: [*trace, "--wide"], directory)
        with stream.running(), text.running():
            of_ss = traffic(enter, directory, options.requests)
            stream.settle()
        lines = text.output.read_text(errors="replace").splitlines()
        print("\n".join([*lines[:options.lines], f"… {max(len(lines) - options.lines, 0)} more lines"]))
        return compare(of_ss, buckets_of_stream(stream.output, netns))


try:
    sys.exit(main())
except (Failure, subprocess.CalledProcessError) as failure:
    print(f"scripts/bench --real: {failure}", file=sys.stderr)
    sys.exit(1)
