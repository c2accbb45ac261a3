# SPDX-License-Identifier: BSD-2-Clause
"""The form of a report document: docs/report.schema.json, the order of its keys, and sums that have to agree."""
import json
import re
from pathlib import Path

from compare import CONN, MENTION, PROCESS, keys_must_be
from harness import Failure

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
TOP = ["schema", "host", "kernel", "from", "to", "complete", "incomplete_reasons", "lost", "states", "workloads",
       "processes", "host_findings"]
WORKLOAD = ["exe", "cgroup", "container", "endpoint", "processes"]
FINDINGS = ["states", "fds", "close_wait", "time_wait", "fin_wait2", "endings", "close_latency_ns"]
CLOSE_WAIT = ["now", "leaked", "stuck", "oldest_ns", "groups"]
GROUP = ["kind", "verdict", "count", "trend", "local", "peer", "holders", "accept_queue", "unread_bytes", "sockets",
         "stacks", "advice"]
SOCKET = ["conn", "age_ns", "age_is_lower_bound", "unread_bytes", "eof", "unsent_bytes", "retransmits", "probes",
          "attribution", "holders"]
LISTED_AT_MOST = 20


def check(document, text, verbose=False):
    validate(document, "report.schema.json")
    check_compact(text)
    keys_must_be("the report", document, TOP)
    if document["complete"] == bool(document["incomplete_reasons"]):
        raise Failure(f"complete is {document['complete']}: {document['incomplete_reasons']}")
    for row in document["workloads"]:
        keys_must_be("a workload", row, WORKLOAD + FINDINGS)
        check_row(row, verbose)
    for row in document["processes"]:
        keys_must_be("a process", row, ["process", *FINDINGS])
        if row["process"] is not None:
            keys_must_be("process", row["process"], PROCESS)
        check_row(row, verbose)
    check_order(document["workloads"])
    check_order(document["processes"])


def check_compact(text):
    if re.search(r"\s", re.sub(r'"(?:[^"\\]|\\.)*"', "", text.rstrip("\n"))):
        raise Failure("the JSON is not compact")


def validate(document, name):
    validate_lines([document], name)


def validate_lines(documents, name):
    try:
        import jsonschema
    except ImportError as error:
        raise Failure("python3-jsonschema is not installed") from error
    schema = json.loads((DOCS / name).read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    problems = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}"
                for document in documents for e in validator.iter_errors(document)]
    if problems:
        raise Failure("\n".join([f"not valid by docs/{name}:", *problems[:10]]))


def check_row(row, verbose):
    close_wait = row["close_wait"]
    keys_must_be("close_wait", close_wait, CLOSE_WAIT)
    for verdict, key in (("leak", "leaked"), ("stuck", "stuck")):
        count = sum(group["count"] for group in close_wait["groups"] if group["verdict"] == verdict)
        if count != close_wait[key]:
            raise Failure(f"{key} is {close_wait[key]}, its groups have {count}")
    for group in close_wait["groups"]:
        keys_must_be("a group", group, GROUP)
        if not group["advice"]:
            raise Failure(f"a {group['kind']} without advice")
        listed = group["count"] if verbose else min(group["count"], LISTED_AT_MOST)
        if len(group["sockets"]) != listed:
            raise Failure(f"{len(group['sockets'])} sockets are listed of {group['count']}")
        for socket in group["sockets"]:
            keys_must_be("a socket", socket, SOCKET)
            keys_must_be("conn", socket["conn"], CONN)
        for holder in group["holders"] + [h for s in group["sockets"] for h in s["holders"]]:
            keys_must_be("a holder", holder, [*MENTION, "fd"])


def check_order(rows):
    """Worst first: leaked, stuck, TIME_WAIT; what is nobody's last."""
    ranks = [(row.get("process", 0) is None or row.get("exe", 0) is None, -row["close_wait"]["leaked"],
              -row["close_wait"]["stuck"], -row["time_wait"]["now"]) for row in rows]
    if ranks != sorted(ranks):
        raise Failure(f"not the worst first: {ranks}")
