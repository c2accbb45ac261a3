# SPDX-License-Identifier: BSD-2-Clause
"""Holds a stream against what a case expects, and says readably where they differ.

An expectation is a line a event, the same notation in which a difference is shown:

  ESTABLISHED>FIN_WAIT1 close:cli closer:cli          from>to cause[:actor] attribution:process
  closed fin closer=cli/close first_fin=local bucket=none closer:cli      [errno=N] [sent=N] [received=N]
  snapshot FIN_WAIT2 holder:cli
  TIME_WAIT>CLOSE reused observed=event|sweep closer:cli                  what became of a bucket

Words are names of actors; `none` stands for null. `a|b` allows either. errno is 0 where it is not written; sent and
received are what the actors have sent where they are not written. Bytes lost on purpose are written by hand.

What walks have found of a bucket (its promotion, its end) is told when a walk happens to come by: a case that says
nothing of it (no line with observed=) leaves it open, and only its owner and its form are checked.

Where the kernel does not tell of reads and writes (before 6.3), whoever uses an accepted connection is not known by it:
what is written as `opener` or `holder` of one is then the actor that called listen(), as `listener`.
"""
import datetime
import difflib
import re

from harness import STATES, Failure, sees_use

COMMON = ["schema", "type", "seq", "run", "time"]
FIELDS = {
    "hello": ["version", "host", "kernel", "boot_id", "options"],
    "snapshot": ["conn", "state", "age_ns", "process", "attribution"],
    "snapshot_end": [],
    "transition": ["conn", "from", "to", "in_state_ns", "process", "attribution", "actor", "cause", "observed"],
    "closed": ["conn", "process", "attribution", "closer", "first_fin", "ending", "errno", "bucket", "states_ns",
               "duration_ns", "bytes_sent", "bytes_received"],
    "finding": ["conn", "process", "attribution", "status", "kind", "verdict", "resolution", "age_ns",
                "age_is_lower_bound", "unread_bytes", "eof", "unsent_bytes", "retransmits", "probes", "holders",
                "stacks", "advice"],
    "gap": ["lost", "where"],
    "stats": ["events", "lost", "connections", "cpu_ms", "rss_bytes"],
    "bye": ["events", "lost", "connections", "cpu_ms", "rss_bytes", "findings"],
}
CONN = ["id", "netns", "family", "role", "local", "peer"]
PROCESS = ["pid", "start_ns", "comm", "exe", "cmdline", "uid", "cgroup", "container", "exited"]
MENTION = ["pid", "start_ns", "comm"]
VALUES = {
    "attribution": {"closer", "holder", "opener", "listener", "unknown"},
    "cause": {"connect", "listen", "close", "shutdown", "exit", "disconnect", "kill", "listener_closed", "network",
              "timer", "expired", "reused", "overflow", "gone"},
    "observed": {"event", "sweep"},
    "first_fin": {"local", "peer", "both", "none"},
    "bucket": {"time_wait", "fin_wait2", "none", None},
    "by": {"close", "shutdown", "exit"},
    "ending": {"fin", "rst_linger0", "rst_unread", "rst_linger2", "rst_late_data", "rst_received", "timeout",
               "fin_timeout", "refused", "unreachable", "abandoned", "never_accepted", "killed", "disconnected",
               "unknown"},
    "from": set(STATES.values()), "to": set(STATES.values()), "state": set(STATES.values()),
    "role": {"connect", "accept", None}, "family": {"ipv4", "ipv6"},
    "where": {"ring", "output", "table", "storage"},
    "status": {"raised", "changed", "resolved"},
    "kind": {"mptcp", "never_accepted", "kernel", "dead_unclosed", "write_blocked", "replying", "inherited",
             "in_flight", "eof_unread", "eof_ignored"},
    "verdict": {"ok", "stuck", "leak"},
    "resolution": {"closed", "accepted", "exit", "reset_still_open", "killed", None},
    "eof": {"unread", "peeked", "consumed", "read", "unknown"},
}
# What has become of a bucket: (from, to): causes.
OF_BUCKETS = {
    ("FIN_WAIT2", "TIME_WAIT"): {"network"}, ("CLOSING", "TIME_WAIT"): {"network"},
    ("FIN_WAIT2", "CLOSE"): {"expired", "reused", "overflow", "gone"}, ("CLOSING", "CLOSE"): {"overflow"},
    ("TIME_WAIT", "CLOSE"): {"expired", "reused", "gone"},
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z")


# -- the form of each line

def keys_must_be(what, found, wanted):
    if list(found) != wanted:
        raise Failure(f"the keys of {what} are {list(found)}, and not {wanted}")


def values_must_be_known(event):
    for key, allowed in VALUES.items():
        if key in event and event[key] not in allowed:
            raise Failure(f"{key} is {event[key]!r} in {event}")


def check_form(event, seq):
    kind = event.get("type")
    if kind not in FIELDS:
        raise Failure(f"an event of unknown type: {event}")
    keys_must_be(kind, event, COMMON + FIELDS[kind])
    if event["schema"] != "closewatch/1" or event["seq"] != seq:
        raise Failure(f"seq {seq} of schema closewatch/1 was due: {event}")
    if not TIME.match(event["time"]):
        raise Failure(f"time is {event['time']!r}")
    datetime.datetime.fromisoformat(event["time"][:26])
    values_must_be_known(event)
    if "conn" in event:
        check_conn(event["conn"])
    if event.get("process") is not None:
        keys_must_be("process", event["process"], PROCESS)
    if event.get("actor") is not None:
        keys_must_be("actor", event["actor"], MENTION)
    if event.get("closer") is not None:
        keys_must_be("closer", event["closer"], [*MENTION, "by"])
        values_must_be_known(event["closer"])
    for holder in event.get("holders", []):
        keys_must_be("a holder", holder, [*MENTION, "fd"])
    # What only the end of its process has closed is judged anew when COMMAND of `run` ends (a replay tells it).
    may = {"raised": {None}, "changed": {None, "exit", "reset_still_open"}}.get(event.get("status"))
    if kind == "finding" and (event["resolution"] not in may if may else event["resolution"] is None):
        raise Failure(f"resolution is {event['resolution']} where it was {event['status']}")
    if kind == "closed":
        check_times(event)
    if kind == "transition":
        check_of_bucket(event)


def check_of_bucket(event):
    """Walks tell of buckets alone, and the ends of buckets have causes of their own; nobody made a call."""
    change = event["from"], event["to"]
    by_bucket = event["cause"] in OF_BUCKETS["FIN_WAIT2", "CLOSE"]
    if (by_bucket or event["observed"] == "sweep") and event["cause"] not in OF_BUCKETS.get(change, ()):
        raise Failure(f"no such change of a bucket: {event}")
    if change == ("TIME_WAIT", "CLOSE") and not by_bucket:
        raise Failure(f"no cause of a bucket's end: {event}")
    if (by_bucket or event["observed"] == "sweep") and event["actor"] is not None:
        raise Failure(f"nobody's call ends a bucket: {event}")


def check_conn(conn):
    keys_must_be("conn", conn, CONN)
    values_must_be_known(conn)
    for side in ("local", "peer"):
        if conn[side] is not None:
            keys_must_be(side, conn[side], ["address", "port"])
    if not re.fullmatch(rf"{conn['netns']}:\d+", conn["id"]) or conn["id"].endswith(":0"):
        raise Failure(f"conn.id is {conn['id']!r} in namespace {conn['netns']}")


def check_times(closed):
    states, duration = closed["states_ns"], closed["duration_ns"]
    if not isinstance(states, dict) or not set(states) <= set(STATES.values()):
        raise Failure(f"states_ns is {states}")
    if any(not isinstance(ns, int) or ns < 0 for ns in states.values()):
        raise Failure(f"states_ns is {states}")
    if duration is not None and sum(states.values()) > duration * 1.01 + 1_000_000:
        raise Failure(f"the states took longer ({states}) than the whole ({duration})")


def check_stream(events, gaps_allowed=False, only=()):
    """The form of the whole stream: hello first, seq without holes, one run, bye last, nothing lost.

    only: the types that --events names; nothing else is there then.
    """
    if not events:
        raise Failure("nothing was written")
    for seq, event in enumerate(events):
        check_form(event, seq)
    if only:
        if not {event["type"] for event in events} <= set(only):
            raise Failure(f"only {only} was asked for: {sorted({event['type'] for event in events})}")
        return
    if events[0]["type"] != "hello" or events[-1]["type"] != "bye":
        raise Failure(f"begins with {events[0]['type']} and ends with {events[-1]['type']}")
    check_snapshots(events, gaps_allowed)
    if len({event["run"] for event in events}) != 1:
        raise Failure("more than one run")
    if any(event["type"] in ("hello", "bye") for event in events[1:-1]):
        raise Failure("hello or bye in the middle")
    if not gaps_allowed and (events[-1]["lost"] != 0 or any(event["type"] == "gap" for event in events)):
        raise Failure(f"something was lost: {events[-1]}")


def check_snapshots(events, gaps_allowed):
    """Behind hello the rows of the snapshot and its end, before anything else; no other without a gap."""
    first = next((event["type"] for event in events[1:] if event["type"] != "snapshot"), "nothing")
    if first != "snapshot_end":
        raise Failure(f"after hello and the snapshot comes {first}")
    if not gaps_allowed and sum(event["type"] == "snapshot_end" for event in events) != 1:
        raise Failure("more than one snapshot")


# -- an event as a line

def side(conn, name):
    return (conn[name]["address"], conn[name]["port"]) if conn[name] else None


def who(process, known):
    """The name a case gives a process; its comm in brackets where that is another than the name."""
    if process is None:
        return "none"
    for candidate in known:
        if candidate.is_same(process["pid"], process["start_ns"]):
            if process["comm"] == candidate.name:
                return candidate.name
            return f"{candidate.name}({process['comm']})"
    return f"pid{process['pid']}({process['comm']})"


def describe(event, known):
    """(head, {key: value}) of an event."""
    owner = f"{event['attribution']}:{who(event['process'], known)}" if "attribution" in event else ""
    if event["type"] == "snapshot":
        return f"snapshot {event['state']}", {"owner": owner}
    if event["type"] == "transition":
        actor = f":{who(event['actor'], known)}" if event["actor"] is not None else ""
        values = {"cause": event["cause"] + actor, "owner": owner}
        if event["observed"] != "event":
            values["observed"] = event["observed"]
        if event["in_state_ns"] is None:
            values["in_state"] = "null"
        return f"{event['from']}>{event['to']}", values
    closer = event["closer"]
    return "closed", {
        "ending": event["ending"], "closer": f"{who(closer, known)}/{closer['by']}" if closer else "none",
        "first_fin": event["first_fin"], "bucket": event["bucket"] or "null", "owner": owner,
        "errno": str(event["errno"] or 0), "sent": str(event["bytes_sent"]), "received": str(event["bytes_received"])}


def parse_expected(line):
    words = line.split()
    if words[0] == "snapshot":
        return f"snapshot {words[1]}", {"owner": words[2]}
    head, values = words[0], {}
    values["ending" if head == "closed" else "cause"] = words[1]
    if head == "closed":
        values["errno"] = "0"
    for word in words[2:]:
        key, equals, value = word.partition("=")
        values[key if equals else "owner"] = value if equals else word
    return head, values


def render(head, values):
    free = ("ending", "cause", "owner")
    words = [head, *(values[key] for key in free[:2] if key in values)]
    words += [f"{key}={value}" for key, value in values.items() if key not in free]
    return " ".join([*words, *([values["owner"]] if "owner" in values else [])])


def matches(wanted, found):
    """Each key as wanted; a key that only the found one has does not fit either."""
    (head, values), (found_head, found_values) = wanted, found
    if "event" in values.get("observed", "").split("|"):
        found_values = {"observed": "event", **found_values}
    if head != found_head or set(values) != set(found_values):
        return False
    return all(found_values[key] in value.split("|") for key, value in values.items())


# -- the whole

def by_connection(events):
    """{conn.id: its events}, in order."""
    groups = {}
    for event in events:
        if "conn" in event:
            groups.setdefault(event["conn"]["id"], []).append(event)
    return groups


def is_of(group, endpoint):
    """The local port is 0 before connect() has chosen one: a group is known by its last event."""
    conn = group[-1]["conn"]
    if conn["netns"] != endpoint.netns or side(conn, "local") != endpoint.local:
        return False
    peer = side(conn, "peer")
    return peer == endpoint.peer if endpoint.peer else peer is None or peer[1] == 0


def complete(stage, expected, events):
    """True once as many events are there as are wanted."""
    groups = list(by_connection(events).values())
    for name, lines in expected.items():
        endpoint = stage.endpoint(name.split()[0])
        mine = [asked_for(lines, group) for group in groups if is_of(group, endpoint)]
        if sum(map(len, mine)) < len(lines):
            return False
    return True


def is_found_by_walk(event):
    return event["type"] == "transition" and event["observed"] == "sweep"


def asked_for(lines, group):
    """Without what walks have found, where the case says nothing of it."""
    if any("observed=" in line for line in lines):
        return group
    return [event for event in group if not is_found_by_walk(event)]


def check_unasked(name, group, known):
    """The owner of a bucket stays who it was when it was told last."""
    problems, last = [], None
    for event in group:
        if "attribution" not in event:
            continue
        owner = describe(event, known)[1]["owner"]
        if is_found_by_walk(event) and last not in (None, owner):
            problems.append(f"{name}: {owner}, and {last} before, in {render(*describe(event, known))}")
        last = owner
    return problems


def known_without_use(stage, endpoint, owners):
    """The owners of an accepted connection, as a kernel has them that does not tell of its use."""
    listener = stage.listeners.get((endpoint.netns, endpoint.local[1]))
    seen = [f"listener:{listener}" if owner.startswith(("opener:", "holder:")) else owner for owner in owners.split("|")]
    return "|".join(seen)


def check_group(stage, name, role, group, lines):
    """The difference, as lines; none where there is none."""
    endpoint = stage.endpoint(name)
    reverse = next((e for e in stage.truth.values() if e.local == endpoint.peer and e.peer == endpoint.local
                    and e.netns == endpoint.netns), None)
    wanted = []
    for line in lines:
        head, values = parse_expected(line)
        if head == "closed":
            values.setdefault("sent", str(endpoint.sent))
            values.setdefault("received", str(reverse.sent if reverse else 0))
        if role == "accept" and not sees_use():
            values["owner"] = known_without_use(stage, endpoint, values["owner"])
        wanted.append((head, values))
    found = [describe(event, stage.processes) for event in asked_for(lines, group)]
    problems = check_unasked(name, group, stage.processes)
    if len(wanted) != len(found) or not all(map(matches, wanted, found)):
        fitting = [render(*w) if i < len(found) and not matches(w, found[i]) or i >= len(found) else render(*found[i])
                   for i, w in enumerate(wanted)]
        problems += difflib.unified_diff(fitting, [render(*f) for f in found], f"{name} expected", f"{name} found",
                                         lineterm="", n=20)
    for event in group:
        conn = event["conn"]
        if role != "any" and conn["role"] != (None if role == "none" else role):
            problems.append(f"{name}: role is {conn['role']}, and not {role}")
        local, peer = side(conn, "local"), side(conn, "peer")
        if endpoint.peer and (peer != endpoint.peer or local[1] not in (0, endpoint.local[1])):
            problems.append(f"{name}: {local} - {peer} in {render(*describe(event, stage.processes))}")
        if event["type"] == "closed" and role in ("connect", "accept"):
            problems += check_duration(name, event)
        if conn["family"] != ("ipv6" if ":" in endpoint.local[0] else "ipv4"):
            problems.append(f"{name}: family is {conn['family']}")
        if endpoint.cookie and conn["id"] != f"{endpoint.netns}:{endpoint.cookie}":
            problems.append(f"{name}: id {conn['id']}, cookie {endpoint.cookie}")
    return problems


def check_duration(name, closed):
    """Of a connection that began under our eyes every state's time is known, and they make up the whole."""
    spent, duration = sum(closed["states_ns"].values()), closed["duration_ns"]
    if duration is None or not 0.95 * duration - 1_000_000 <= spent:
        return [f"{name}: {closed['states_ns']} does not make up {duration}"]
    return []


def check_connections(stage, expected, events):
    """Every expected event once, and no other of a connection in the namespaces of the stage."""
    inums = {netns.inum for netns in stage.netns.values()}
    groups = by_connection(e for e in events if "conn" in e and e["conn"]["netns"] in inums)
    problems, taken = [], set()
    for key, lines in expected.items():
        name, _, role = key.partition(" ")
        endpoint = stage.endpoint(name)
        of_it = [conn_id for conn_id, group in groups.items() if is_of(group, endpoint) and conn_id not in taken]
        if lines and not of_it:
            problems.append(f"{name} ({endpoint.local} - {endpoint.peer}): nothing was seen of it")
            problems += [f"-{line}" for line in lines]
        for conn_id in of_it[:1]:
            taken.add(conn_id)
            problems += check_group(stage, name, role or "any", groups[conn_id], lines)
    for conn_id, group in groups.items():
        if conn_id not in taken:
            conn = group[-1]["conn"]
            problems.append(f"not expected: {conn_id} {side(conn, 'local')} - {side(conn, 'peer')} {conn['role']}")
            problems += ["+" + render(*describe(event, stage.processes)) for event in group]
    if problems:
        raise Failure("\n".join(problems))


