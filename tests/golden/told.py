# SPDX-License-Identifier: BSD-2-Clause
"""What a replay tells, in lines that people can hold against what happened: no times, no pids, no ports of chance.

  raised eof_ignored stuck eof=read owner=srv/holder fds=srv:5            a finding; stuck|exit: resolved so
  closed fin closer=cli/close first_fin=local bucket=fin_wait2 owner=cli/closer role=connect      [errno=N]
  FIN_WAIT2>TIME_WAIT network sweep owner=cli/closer                      what became of a bucket
  group srv *:8080 from * eof_ignored stuck x1 eof=read by holder fds=srv:5     [trend] [queue=4/3] [unread=N] …
  row srv close_wait=1 leaked=0 stuck=1 time_wait=0/0 fin_wait2=0/0       now/entered, orphaned/living; and its endings

Lines that differ in their descriptors alone are one, and a line that is told more than once has `2 *` before it.
"""
from collections import Counter

CHANCE = 32768  # ports from here on are the kernel's choice (ip_local_port_range)
BUCKET_ENDS = ("expired", "reused", "overflow", "gone")


def named(process, attribution):
    return f"{process['comm'] if process else 'nobody'}/{attribution}"


def endpoint(text):
    host, _, port = text.rpartition(":")
    return f"{host}:#" if port.isdigit() and int(port) >= CHANCE else text


def spans(numbers):
    """5,6,7,9 as 5-7,9"""
    words = []
    for number in sorted(set(numbers)):
        if words and words[-1][1] == number - 1:
            words[-1][1] = number
        else:
            words.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in words)


class Lines:
    """Counted; what differs in descriptors alone is put together."""

    def __init__(self):
        self.counts, self.fds, self.order = Counter(), {}, []

    def add(self, words, holders=()):
        line = " ".join(word for word in words if word)
        if line not in self.counts:
            self.order.append(line)
        self.counts[line] += 1
        for holder in holders:
            self.fds.setdefault(line, {}).setdefault(holder["comm"], []).append(holder["fd"])

    def all(self):
        return [(f"{self.counts[line]} * " if self.counts[line] > 1 else "") + line + self.held(line)
                for line in self.order]

    def held(self, line):
        holders = self.fds.get(line, {})
        return "".join(f" fds={comm}:{spans(fds)}" for comm, fds in sorted(holders.items()))


def condition(socket):
    """What is chance as a number is told as there or not."""
    yield f"eof={socket['eof']}"
    yield f"unread={socket['unread_bytes']}" if socket["unread_bytes"] else ""
    yield from (f"has_{key}" for key in ("unsent_bytes", "retransmits", "probes") if socket[key])
    yield "bound" if socket["age_is_lower_bound"] else ""


def of_trace(events):
    lines = Lines()
    for event in events:
        kind = event["type"]
        owner = f"owner={named(event.get('process'), event.get('attribution'))}"
        if kind == "finding":
            ended = f"|{event['resolution']}" if event["resolution"] else ""
            lines.add([event["status"], event["kind"], event["verdict"] + ended, *condition(event), owner],
                      event["holders"])
        elif kind == "closed":
            closer = event["closer"]
            by = f"closer={closer['comm']}/{closer['by']}" if closer else "closer=none"
            lines.add(["closed", event["ending"], by, f"first_fin={event['first_fin']}", f"bucket={event['bucket']}",
                       owner, f"role={event['conn']['role']}", f"errno={event['errno']}" if event["errno"] else ""])
        elif kind == "transition" and (event["cause"] in BUCKET_ENDS or event["to"] == "TIME_WAIT"):
            lines.add([f"{event['from']}>{event['to']}", event["cause"], event["observed"], owner])
        elif kind == "snapshot":
            lines.add(["snapshot", event["state"], owner])
        elif kind == "gap":
            lines.add(["gap", event["where"], f"lost={event['lost']}"])
        elif kind == "bye":
            lines.add(["bye", f"lost={event['lost']}", f"findings={event['findings']}"])
    return lines.all()


def numbers(counts):
    return " ".join(f"{key}={count}" for key, count in sorted(counts.items()))


def of_group(lines, name, group):
    sockets = group["sockets"]
    queue = group["accept_queue"]
    words = {" ".join(filter(None, (*condition(socket), "by", socket["attribution"]))) for socket in sockets}
    ends = endpoint(group["local"]), "from", endpoint(group["peer"])
    lines.add(["group", name, *ends, group["kind"], group["verdict"], f"x{group['count']}", group["trend"],
               " and ".join(sorted(words)),
               f"queue={queue['len']}/{queue['max']}" if queue else ""],
              [holder for socket in sockets for holder in socket["holders"]])


def of_endpoint(lines, name, listed):
    ports = listed["ports"]
    left = "" if not ports else "left" if ports["seconds_left"] is not None else "fits"
    lines.add(["ports" if ports else "waits", name, listed["side"], endpoint(listed["local"]), endpoint(listed["peer"]),
               f"now={listed['now']}", f"range={ports['range']}" if ports else "", left])


def of_report(report):
    lines = Lines()
    lines.add(["complete" if report["complete"] else "incomplete:", "; ".join(report["incomplete_reasons"])])
    lines.add([f"lost={report['lost']}", "states:", numbers(report["states"])])
    for row in sorted(report["processes"], key=lambda row: (row["process"] or {}).get("comm", "~")):
        process, waits, close_wait, orphans = row["process"], row["time_wait"], row["close_wait"], row["fin_wait2"]
        name = process["comm"] if process else "nobody"
        lines.add(["row", name, "exited" if process and process["exited"] else "", f"close_wait={close_wait['now']}",
                   f"leaked={close_wait['leaked']}", f"stuck={close_wait['stuck']}",
                   f"time_wait={waits['now']}/{waits['entered']}",
                   f"fin_wait2={orphans['orphaned']}/{orphans['living']}", numbers(row["endings"])])
        for group in close_wait["groups"]:
            of_group(lines, name, group)
        for listed in waits["by_endpoint"]:
            of_endpoint(lines, name, listed)
    for finding in report["host_findings"]:
        lines.add(["host", finding["severity"], finding["id"]])
    return lines.all()
