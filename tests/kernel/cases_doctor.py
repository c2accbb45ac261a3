# SPDX-License-Identifier: BSD-2-Clause
"""`closewatch doctor`: what is missing for tracing, by taking it away; what is wrong, by making it so. It changes
nothing, which is looked after in each case.
"""
import json
import os
import shutil
import subprocess
from collections import Counter

import report_form
from case import Case
from harness import Failure, sees_use, storage_walk_is_refused

TCP_SETTINGS = r"^net\.(ipv4\.(tcp_|ip_local_)|core\.somaxconn|netfilter\.nf_conntrack_(max|tcp))"


def demand(condition, text):
    if not condition:
        raise Failure(text)


def settings_of(netns):
    """All that can be set of TCP in a namespace, as text. Some cannot be read by anybody."""
    return netns.run("sh", "-c", f"sysctl -a -r '{TCP_SETTINGS}' 2>/dev/null").splitlines()


def run_doctor(stage, *options, label=None, before=(), binary=None, status=0):
    """The finished process. label: the namespace to run it in."""
    words = [*before, *stage.closewatch("doctor", *options)]
    if binary:
        words[len(before)] = str(binary)
    if label is not None:
        words = stage.netns[label].command(*words)
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    said = result.stderr.decode("utf-8", "replace")
    demand(result.returncode == status, f"status {result.returncode}, and not {status}: {said}")
    return result


def doctor(stage, *options, **how):
    """The document, held to its schema; the namespaces of the stage are as they were."""
    before = {label: settings_of(netns) for label, netns in stage.netns.items()}
    text = run_doctor(stage, "--json", *options, **how).stdout.decode("utf-8", "strict")
    after = {label: settings_of(netns) for label, netns in stage.netns.items()}
    demand(before == after, f"settings were changed: {before} {after}")
    return parsed(text)


def parsed(text):
    document = json.loads(text)
    report_form.validate(document, "doctor.schema.json")
    report_form.check_compact(text)
    return document


def of_stage(stage, document, label=""):
    """What is told of a namespace of the stage."""
    inode = stage.netns[label].inum
    found = [one for one in document["namespaces"] if one["netns"] == inode]
    demand(len(found) == 1, f"{len(found)} entries for network namespace {inode}")
    return found[0]


def confined(stage, label="", **how):
    """The document on this namespace alone, and the findings by their ids."""
    document = doctor(stage, "--netns", stage.netns[label].path, **how)
    demand([one["netns"] for one in document["namespaces"]] == [stage.netns[label].inum], "another namespace is told of")
    return document, {one["id"]: one for one in document["findings"]}


def not_ok(document, prefix):
    return {check["id"] for check in document["checks"] if check["id"].startswith(prefix) and check["status"] != "ok"}


def for_everybody(stage):
    """A copy of the binary that any user may run."""
    stage.folder.chmod(0o755)
    copy = stage.folder / "closewatch"
    shutil.copy(stage.settings.closewatch, copy)
    copy.chmod(0o755)
    return copy


# -- can it be traced

HOOKS = {"hook_transition", "hook_transition_nested", "hook_send_reset", "hook_use_recv", "hook_use_send",
         "hook_destroy", "hook_process_exit", "hook_process_fork", "hook_process_free", "hook_walk_tcp",
         "hook_walk_files", "hook_walk_sockets", "hook_walk_rows_of_tables", "hook_walk_rows_of_files"}


def refused_here(stage):
    """The hooks that this kernel does not have, or refuses to everybody."""
    refused = {"hook_walk_sockets"} if storage_walk_is_refused(stage) else set()
    return refused | (set() if sees_use() else {"hook_use_recv", "hook_use_send"})


def as_root(stage):
    document = doctor(stage)
    demand(document["can_trace"], f"cannot be traced: {document['checks']}")
    hooks = {check["id"] for check in document["checks"] if check["id"].startswith("hook_")}
    demand(hooks >= HOOKS, f"not tried: {HOOKS - hooks}")
    refused = refused_here(stage)
    demand(not_ok(document, "hook_") == refused, f"not {refused} are the hooks that do not work: {document['checks']}")
    demand(not not_ok(document, "cap_"), f"capabilities that are missing: {document['checks']}")
    inodes = [one["netns"] for one in document["namespaces"]]
    demand(len(set(inodes)) == len(inodes), f"told twice: {inodes}")
    demand(inodes[0] == os.stat("/proc/self/ns/net").st_ino, "our own namespace is not the first")
    for label in ("", "2"):
        of_stage(stage, document, label)


def nothing_stays(stage):
    """No program of its own is in the kernel before, and none after."""
    def programs():
        found = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, check=True).stdout
        return {one["id"] for one in json.loads(found)}
    before = programs()
    run_doctor(stage)
    demand(programs() <= before, f"programs stayed in the kernel: {programs() - before}")


def as_nobody(stage):
    """It says what is missing, hook by hook, and does what it may."""
    before = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    document = doctor(stage, label="", before=before, binary=for_everybody(stage))
    demand(not document["can_trace"], "nobody may trace?")
    missing = {check["id"]: check for check in document["checks"] if check["status"] == "missing"}
    demand({"cap_bpf", "cap_perfmon", "hook_transition", "hook_walk_tcp"} <= set(missing), f"missing: {set(missing)}")
    demand(all(check["remedy"] for check in missing.values()), f"no remedy: {missing}")
    demand(document["unseen"], "nothing is unseen")
    own = of_stage(stage, document)
    demand(own["settings"]["tcp_fin_timeout"] == 15, f"{own['settings']}")
    demand("fin_timeout_lowered" in {one["id"] for one in document["findings"]}, f"{document['findings']}")


def without(capabilities, named, can_trace):
    """Root's others are kept. CAP_SYS_ADMIN stands in for two of them, and so goes with these."""
    def play(stage):
        dropped = ",".join(f"-{name}" for name in capabilities)
        document = doctor(stage, before=("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"))
        demand(not_ok(document, "cap_") == set(named), f"named: {not_ok(document, 'cap_')}, and not {named}")
        demand(document["can_trace"] == can_trace, f"can_trace {document['can_trace']}: {document['checks']}")
        hooks = not_ok(document, "hook_") - refused_here(stage)
        demand(bool(hooks) != can_trace, f"hooks: {hooks}")
    return play


# -- what a namespace has

def settings(stage):
    stage.netns[""].run("sysctl", "-qw", "net.ipv4.tcp_fin_timeout=15", "net.ipv4.tcp_tw_reuse=1",
                        "net.ipv4.tcp_max_tw_buckets=5000")
    document = doctor(stage)
    for label, wanted in (("", (15, 1, 5000)), ("2", (60, 2, None))):
        told = of_stage(stage, document, label)["settings"]
        found = (told["tcp_fin_timeout"], told["tcp_tw_reuse"], told["tcp_max_tw_buckets"] if wanted[2] else None)
        demand(found == wanted, f"{label or 'the first'}: {found}, and not {wanted}")
    findings = {one["id"]: one for one in document["findings"]}
    for name in ("fin_timeout_lowered", "tw_reuse_everywhere", "tw_buckets_low"):
        demand(name in findings, f"{name} is not found: {sorted(findings)}")
        text = findings[name]["text"]
        demand(str(stage.netns[""].inum) in text and str(stage.netns["2"].inum) not in text, text)
    confined_ids = set(confined(stage, "2")[1])
    demand(not confined_ids & {"fin_timeout_lowered", "tw_reuse_everywhere", "tw_buckets_low"}, f"{confined_ids}")


def states_as_ss(stage):
    server, client = stage.add_actor("srv"), stage.add_actor("cli")
    server.call("listen l 127.0.0.1 8080")
    for slot in ("a", "b", "c"):
        client.call(f"connect {slot} 127.0.0.1 8080")
        server.call(f"accept {slot} l")
    client.call("close a")
    server.call("close a")
    client.call("close b")
    told = confined(stage)[0]["namespaces"][0]["states"]
    truth = dict(Counter(state for state, _, _ in stage.netns[""].ss()))
    demand(told == truth, f"told {told}, ss has {truth}")
    demand({"LISTEN", "ESTABLISHED", "TIME_WAIT", "CLOSE_WAIT", "FIN_WAIT2"} <= set(told), f"{told}")


CLIENTS_CLOSE_FIRST = """
import errno, socket, sys
listener = socket.create_server(("127.0.0.1", 8080), backlog=64)
for number in range(int(sys.argv[1])):
    client = socket.socket()
    try:
        client.connect(("127.0.0.1", 8080))
    except OSError as error:
        print(errno.errorcode[error.errno])
        break
    accepted = listener.accept()[0]
    client.close()
    accepted.recv(1)
    accepted.close()
"""

SERVER_CLOSES_FIRST = """
import socket
listener = socket.create_server(("127.0.0.1", 8080))
client = socket.create_connection(("127.0.0.1", 8080))
accepted = listener.accept()[0]
accepted.close()
client.recv(1)
client.close()
"""

BIND = """
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(sys.argv[1]))
try:
    server.bind(("127.0.0.1", 8080))
    server.listen()
    print("bound")
except OSError as error:
    print(error.strerror)
"""


def python(stage, program, *arguments):
    return stage.netns[""].run("/usr/bin/python3", "-c", program, *arguments).strip()


def overflow(stage):
    python(stage, CLIENTS_CLOSE_FIRST, "40")
    document, findings = confined(stage)
    demand("tw_overflow" in findings, f"not found: {sorted(findings)}")
    count = of_stage(stage, document)["counters"]["TCPTimeWaitOverflow"]
    demand(count > 0 and findings["tw_overflow"]["text"].startswith(f"{count} connections since"), f"{count}: {findings['tw_overflow']}")
    demand("tw_buckets_low" in findings, f"not found: {sorted(findings)}")


def room_enough(stage):
    python(stage, CLIENTS_CLOSE_FIRST, "40")
    findings = confined(stage)[1]
    demand(not {"tw_overflow", "tw_buckets_low", "ports_exhausted"} & set(findings), f"found: {sorted(findings)}")


def exhausted(stage):
    said = python(stage, CLIENTS_CLOSE_FIRST, "40")
    demand(said == "EADDRNOTAVAIL", f"connect() was to fail: {said}")
    document, findings = confined(stage)
    demand(findings.get("ports_exhausted", {}).get("severity") == "critical", f"not found: {sorted(findings)}")
    route = of_stage(stage, document)["ports"][0]
    wanted = {"local": "127.0.0.1:*", "peer": "127.0.0.1:8080", "range": 20, "in_use": 20, "seconds_left": 0}
    demand(route == wanted, f"{route}, and not {wanted}")


def listener_in_range(stage):
    server = stage.add_actor("srv")
    server.call("listen l 127.0.0.1 40000")
    findings = confined(stage)[1]
    demand("40000" in findings.get("listener_in_port_range", {}).get("text", ""), f"not found: {sorted(findings)}")
    stage.netns[""].run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000")
    demand("listener_in_port_range" not in confined(stage)[1], "it is reserved")


def held(stage):
    """And the kernel is asked whether it is so."""
    python(stage, SERVER_CLOSES_FIRST)
    findings = confined(stage)[1]
    demand("8080" in findings.get("port_held", {}).get("text", ""), f"not found: {sorted(findings)}")
    demand("SO_REUSEADDR" in findings["port_held"]["remedy"], f"{findings['port_held']}")
    said = python(stage, BIND, "0"), python(stage, BIND, "1")
    demand(said == ("Address already in use", "bound"), f"{said}")


# -- how it is told

def as_text(stage):
    for options, most in (((), 80), (("-v",), 80), (("-w", "-v"), 120)):
        text = run_doctor(stage, *options).stdout.decode("utf-8", "strict")
        demand("can be traced" in text.splitlines()[0], text)
        demand("\x1b" not in text, "colour where there is no terminal")
        demand(max(map(len, text.splitlines())) <= most, f"wider than {most} columns:\n{text}")
        demand(f"network namespace {stage.netns[''].inum}" in text, text)
        demand(("tcp_fin_timeout 15" in text) == ("-v" in options), f"{options}: {text}")
        words = " ".join(text.split())
        demand("info fin_timeout_lowered: " in words and " do: " in words and " not: " in words, text)


def into_a_file(stage):
    file = stage.folder / "doctor.json"
    told = run_doctor(stage, "--json", "-o", str(file))
    demand(not told.stdout and not told.stderr, f"{told}")
    parsed(file.read_text())
    run_doctor(stage, "-o", str(stage.folder / "no/such/folder"), status=1)
    run_doctor(stage, "--netns", "/etc/passwd", status=2)


CHANGED = ("net.ipv4.tcp_fin_timeout=15",)

CASES = [
    Case("doctor_root", play=as_root, netns=("", "2")),
    Case("doctor_nothing_stays", play=nothing_stays, needs="/usr/sbin/bpftool",
         alone="it looks at every BPF program of the machine"),
    Case("doctor_nobody", play=as_nobody, sysctls=CHANGED),
    Case("doctor_without_bpf", play=without(["bpf", "sys_admin"], ["cap_bpf", "cap_sys_admin"], False)),
    Case("doctor_without_perfmon", play=without(["perfmon", "sys_admin"], ["cap_perfmon", "cap_sys_admin"], False)),
    Case("doctor_bpf_by_sys_admin", play=without(["bpf", "perfmon"], [], True)),
    Case("doctor_without_sys_admin", play=without(["sys_admin"], ["cap_sys_admin"], True)),
    Case("doctor_without_sys_ptrace", play=without(["sys_ptrace"], ["cap_sys_ptrace"], True)),
    Case("doctor_without_net_admin", play=without(["net_admin"], ["cap_net_admin"], True)),
    Case("doctor_without_dac_read_search",
         play=without(["dac_read_search", "dac_override"], ["cap_dac_read_search"], True)),
    Case("doctor_settings", play=settings, netns=("", "2")),
    Case("doctor_states_as_ss", play=states_as_ss),
    Case("doctor_tw_overflow", play=overflow, sysctls=("net.ipv4.tcp_max_tw_buckets=5",)),
    Case("doctor_tw_room_enough", play=room_enough),
    Case("doctor_ports_exhausted", play=exhausted,
         sysctls=("net.ipv4.ip_local_port_range=40000 40019", "net.ipv4.tcp_tw_reuse=0")),
    Case("doctor_listener_in_range", play=listener_in_range),
    Case("doctor_port_held", play=held),
    Case("doctor_text", play=as_text, sysctls=CHANGED),
    Case("doctor_output", play=into_a_file),
]
