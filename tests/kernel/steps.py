# SPDX-License-Identifier: BSD-2-Clause
"""The script of a case: one step a line, in strict order.

  ACTOR[@NETNS]: CALL ARGUMENT…        see tests/programs/actor.c; the actor is started at its first mention
  ACTOR: CALL … !ECONNREFUSED          the call has to fail so
  -- wait SOCKET STATE                 until the kernel has it there; SOCKET is ACTOR.SLOT, ~ACTOR.SLOT its other end
  -- gone SOCKET                       until the kernel has it no more
  -- ss SOCKET STATE                   ss has to agree, now
  -- told SOCKET STATE                 until the stream has it there
  -- kill ACTOR                        SIGKILL, and its end waited for
  -- ss-kill SOCKET                    ss -K
  -- watch [OPTION…]                   start the tracer here, not before the first step
  -- pidns ACTOR                       start the actor inside a pid namespace of its own
"""
import os
import shlex
import signal
import subprocess

import compare
from harness import Endpoint, Failure, Process, errno_named, parse_address, poll, start_ticks


def run(stage, text):
    for line in text.strip().splitlines():
        line = line.strip()
        if not line:
            continue
        try:
            if line.startswith("-- "):
                directive(stage, line[3:].split())
            else:
                who, _, command = line.partition(":")
                call(stage, who.strip(), command.strip())
        except Failure as failure:
            raise Failure(f"at `{line}`: {failure}") from failure


def actor_named(stage, who):
    name, _, label = who.partition("@")
    return stage.actors.get(name) or stage.add_actor(name, label)


def call(stage, who, command):
    actor = actor_named(stage, who)
    command, _, wanted = command.partition("!")
    command = command.strip().replace("$DIR", str(stage.folder))
    for label, netns in stage.netns.items():
        command = command.replace(f"$NETNS[{label}]", netns.path)
    verb = next(word for word in command.split() if not word.startswith("@"))
    actor.send(command)
    if verb == "exit":
        actor.wait_end()
        return
    truth = actor.receive()
    if verb == "fork":
        stage.accept_actor(command.split()[-1], actor.netns)
    error = truth["errno"]
    if truth.get("error"):
        raise Failure(truth["error"])
    if wanted:
        if error != errno_named(wanted):
            raise Failure(f"{os.strerror(error)}, and not {wanted}")
    elif truth["result"] < 0 and not (verb == "connect-start" and error == errno_named("EINPROGRESS")):
        raise Failure(os.strerror(error))
    learn(stage, actor, truth, [word for word in command.split() if not word.startswith("@")])


def learn(stage, actor, truth, words):
    """Keeps what the reply says of a socket."""
    local, peer = parse_address(truth["local"]), parse_address(truth["peer"])
    if not truth["slot"] or not local or not local[1]:
        return
    name = f"{actor.process.name}.{truth['slot']}"
    if truth["call"] == "listen":
        stage.listeners[truth["netns"], local[1]] = actor.process.name
    known = stage.truth.setdefault(name, Endpoint(local, peer, truth["netns"]))
    if peer and not known.peer:
        known.peer = peer
    if truth["call"] in ("connect", "connect-start") and not known.peer:
        # getpeername() says nothing before the connection stands, or after it failed; the command has the address.
        known.peer = parse_address(f"[{words[2]}]:{words[3]}")
    if truth["call"] == "send" and truth["result"] > 0:
        known.sent += truth["result"]
    if truth["call"] == "cookie":
        known.cookie = truth["result"]


def directive(stage, words):
    verb, arguments = words[0], words[1:]
    if verb == "watch":
        stage.start_watch(*stage.case.options, *arguments, **stage.case.watch)
    elif verb == "pidns":
        stage.add_actor(arguments[0], wrapper=("unshare", "--pid", "--fork", "--mount-proc"))
    elif verb == "kill":
        actor = stage.actors[arguments[0]]
        os.kill(actor.pid, signal.SIGKILL)
        actor.wait_end()
    elif verb == "ss-kill":
        ss_kill(stage, stage.endpoint(arguments[0]))
    elif verb == "told":
        wait_told(stage, stage.endpoint(arguments[0]), arguments[1])
    elif verb in ("wait", "gone", "ss"):
        look(stage, verb, stage.endpoint(arguments[0]), arguments[1] if len(arguments) > 1 else None)
    else:
        raise Failure(f"no such directive: {shlex.join(words)}")


def netns_of(stage, endpoint):
    return next(netns for netns in stage.netns.values() if netns.inum == endpoint.netns)


def look(stage, verb, endpoint, state):
    netns = netns_of(stage, endpoint)
    if verb == "ss":
        found = stage.state_of(endpoint, netns.ss())
        if found != state:
            raise Failure(f"ss has it in {found}")
    else:
        poll(lambda: stage.state_of(endpoint, stage.tcp_table(netns)) == state, f"state {state}")


def wait_told(stage, endpoint, state):
    def told():
        groups = compare.by_connection(stage.watches[-1].events()).values()
        return any(event.get("to") == state for group in groups if compare.is_of(group, endpoint) for event in group)
    poll(told, f"{state} in the stream")


def ss_kill(stage, endpoint):
    netns = netns_of(stage, endpoint)
    words = ["ss", "-K", "-tn", "src", f"{endpoint.local[0]}", "sport", "=", f":{endpoint.local[1]}",
             "dport", "=", f":{endpoint.peer[1]}"]
    killer = subprocess.Popen(netns.command(*words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stage.processes.append(Process("ss", killer.pid, start_ticks(killer.pid), ["ss"]))
    killer.communicate()
