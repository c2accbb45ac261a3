"""closewatch against Debian's own nginx, curl, ab and redis: its TIME_WAIT owners and counts against ss.

nginx without keep-alive closes first (TIME_WAIT on its port), and so it does after an ab that asks for none;
redis-benchmark -k 0 and an ab with keep-alive close first themselves (TIME_WAIT on their own ports). All run in a fresh
network namespace. Every bucket that ss shows must be in the stream with the right process, and the other way round; and
the report must count by port what ss has.
"""
import argparse
import collections
import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

from tools import ClosewatchJson, ClosewatchText, play, process, wait_until

ROOT = Path(__file__).resolve().parent.parent
NGINX_PORT, KEEPING_PORT, REDIS_PORT = 8080, 8081, 6379
# Who closes first, by the port: whose the buckets are. Where nginx does, a client is now and then as fast.
OWNERS = {f"local port {NGINX_PORT}": {"nginx"}, f"remote port {KEEPING_PORT}": {"ab"},
          f"remote port {REDIS_PORT}": {"redis-benchmark"}, f"remote port {NGINX_PORT}": {"curl", "ab"}}
BY_CHANCE = {f"remote port {NGINX_PORT}"}
NGINX_CONFIG = """
daemon off; user root; worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 512; }}
http {{ access_log off;
  server {{ listen 127.0.0.1:{port}; keepalive_timeout 0; location / {{ return 200 "ok"; }} }}
  server {{ listen 127.0.0.1:{keeping}; keepalive_timeout 60; keepalive_requests 1000000;
           location / {{ return 200 "ok"; }} }}
}}
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
    config.write_text(NGINX_CONFIG.format(directory=directory, port=NGINX_PORT, keeping=KEEPING_PORT))
    with process(*enter, "nginx", "-c", str(config)), \
            process(*enter, "redis-server", "--bind", "127.0.0.1", "--port", str(REDIS_PORT), "--save", ""):
        for port in (NGINX_PORT, KEEPING_PORT, REDIS_PORT):
            wait_until(lambda: listening(enter, port), 10, f"a listener on port {port}")
        for _ in range(requests):
            subprocess.run([*enter, "curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{NGINX_PORT}/"], check=True)
        subprocess.run([*enter, "redis-benchmark", "-q", "-p", str(REDIS_PORT), "-k", "0", "-c", "4",
                        "-n", str(requests * 10), "-t", "ping_mbulk"], check=True, capture_output=True)
        for port, *keep_alive in ((NGINX_PORT,), (KEEPING_PORT, "-k")):
            subprocess.run([*enter, "ab", "-q", "-c", "8", "-n", str(requests * 10), *keep_alive,
                            f"http://127.0.0.1:{port}/"], check=True, capture_output=True)
        wait_until(lambda: at_rest(enter), 10, "the end of all that closes")
        # Before the servers go: what ends with them is another matter.
        return buckets_of_ss(enter)


def at_rest(enter):
    rows = subprocess.run([*enter, "ss", "-Htan"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {row.split()[0] for row in rows} <= {"LISTEN", "ESTAB", "TIME-WAIT"}


def buckets_of_ss(enter):
    rows = subprocess.run([*enter, "ss", "-Htan", "state", "time-wait"], capture_output=True, text=True, check=True)
    return {tuple(line.split()[2:4]) for line in rows.stdout.splitlines()}


def endpoint(of):
    address = f"[{of['address']}]" if ":" in of["address"] else of["address"]
    return f"{address}:{of['port']}"


def buckets_of_stream(stream, netns):
    """(local, peer) -> process, of what the stream says is in TIME_WAIT."""
    owners = {}
    for line in open(stream, "rb"):
        if b'"TIME_WAIT"' not in line:
            continue
        event = json.loads(line)
        if event["type"] != "transition" or event["conn"]["netns"] != netns:
            continue
        ends = endpoint(event["conn"]["local"]), endpoint(event["conn"]["peer"])
        if event["to"] == "TIME_WAIT":
            owners[ends] = event["process"]
        elif event["from"] == "TIME_WAIT":
            owners.pop(ends, None)
    return owners


def port_of(local, peer):
    """How the table calls it: by the server's port, on whichever side that is."""
    port = local.rsplit(":", 1)[1]
    served = port in map(str, (NGINX_PORT, KEEPING_PORT, REDIS_PORT))
    return f"local port {port}" if served else f"remote port {peer.rsplit(':', 1)[1]}"


def buckets_of_report(document):
    """{port: {owner: count}}"""
    table = collections.defaultdict(collections.Counter)
    for row in document["processes"]:
        name = row["process"]["comm"] if row["process"] else "unknown"
        for group in row["time_wait"]["by_endpoint"]:
            if group["now"]:
                table[port_of(group["local"], group["peer"])][name] += group["now"]
    return table


def compare(of_ss, of_stream, of_report):
    table = collections.defaultdict(lambda: [0, 0, 0, collections.Counter()])
    for bucket in of_ss | set(of_stream):
        row = table[port_of(*bucket)]
        row[0] += bucket in of_ss
        row[1] += bucket in of_stream
        row[2] += bucket in of_ss and bucket in of_stream
        if bucket in of_stream:
            owner = of_stream[bucket]
            row[3][owner["comm"] if owner else "unknown"] += 1
    print(f"\n{'TIME_WAIT by':20}{'ss':>8}{'trace':>8}{'both':>8}{'report':>8}  owners")
    wrong = []
    for port, (ss, stream, both, owners) in sorted(table.items()):
        reported = of_report.get(port, collections.Counter())
        print(f"{port:20}{ss:8}{stream:8}{both:8}{sum(reported.values()):8}  "
              f"{', '.join(f'{name} {count}' for name, count in owners.items())}")
        if not set(owners) == set(reported) <= OWNERS.get(port, set()) \
                or not ss == stream == both == sum(reported.values()):
            wrong.append(port)
    missing = set(OWNERS) - BY_CHANCE - set(table)
    print(f"\nnothing in TIME_WAIT by: {', '.join(sorted(missing))}" if missing else "")
    print("ss and closewatch " + (f"DISAGREE on {', '.join(wrong)}" if wrong else "agree, bucket by bucket"))
    return 1 if wrong or missing else 0


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --real", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200,
                        help="of curl; ten times as many of redis-benchmark and ab (200)")
    parser.add_argument("--lines", type=int, default=20, help="of the text to show (20)")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/closewatch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, network_namespace() as (enter, netns):
        os.chmod(directory, 0o755)
        trace = [str(options.binary), "trace", "--netns", str(netns)]
        stream = ClosewatchJson("closewatch-json", lambda out: [*trace, "--json", "-o", str(out)], directory)
        text = ClosewatchText("closewatch-text", lambda out: [*trace, "--wide"], directory)
        report = ClosewatchText("closewatch-report", lambda out: [
            str(options.binary), "report", "--netns", str(netns), "--json", "-d", "1h", "-o", str(out)], directory)
        with report.running(), stream.running(), text.running():
            of_ss = traffic(enter, directory, options.requests)
            stream.settle()
        lines = text.output.read_text(errors="replace").splitlines()
        print("\n".join([*lines[:options.lines], f"… {max(len(lines) - options.lines, 0)} more lines"]))
        return compare(of_ss, buckets_of_stream(stream.output, netns),
                       buckets_of_report(json.loads(report.output.read_text())))


play(main, "--real")
