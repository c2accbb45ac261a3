#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""hoarder.py CPU CYCLES CONNECTIONS: closes many connections at once while a tracer walks the descriptors.

A walk holds each file that it visits; whoever closes the file meanwhile leaves the last reference, and with it the
close, to the walker. A cycle: open CONNECTIONS, make the tracer ask who holds a socket whose opener has ended (which
makes it walk), and during that close them, some at a time. The tracer has to be on the same CPU: this process wakes up
with the better priority, so that the walker waits with a file in its hands.
"""
import os
import random
import socket
import sys
import time

PAUSE = 0.3  # the tracer leaves ten times the length of a walk between two
BURST, NAP = 32, 0.0001  # of closes; between two the walker goes on to another file


class Helper:
    """A process that does one thing when told so, forked before the descriptors are there that it must not inherit."""

    def __init__(self, work):
        told, self.tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.tell)
            os.read(told, 1)
            work()
            os._exit(0)
        os.close(told)

    def go(self):
        os.write(self.tell, b"x")

    def end(self):
        os.close(self.tell)
        os.waitpid(self.pid, 0)


def connected(address):
    client = socket.socket()
    client.connect(address)
    return client


def orphaned_opener(address):
    """A connection of a process that has ended, held by its child; closing what is returned ends the child."""
    stay, leave = os.pipe()
    opener = os.fork()
    if opener == 0:
        kept = connected(address)
        if os.fork() == 0:
            os.close(leave)
            os.read(stay, 1)
            kept.close()
        os._exit(0)
    os.close(stay)
    os.waitpid(opener, 0)
    return leave


def refused():
    """A process not seen before wakes the tracer at once."""
    with socket.socket() as probe:
        probe.connect_ex(("127.0.0.1", 1))


def cycle(listener, connections):
    leave = orphaned_opener(listener.getsockname())
    trigger, _ = listener.accept()
    waker = Helper(refused)
    descriptors = []
    for _ in range(connections):
        descriptors += (connected(listener.getsockname()).detach(), listener.accept()[0].detach())
    time.sleep(PAUSE)
    trigger.close()
    waker.go()
    random.shuffle(descriptors)  # the walker goes in order
    while descriptors:
        time.sleep(NAP)
        for descriptor in descriptors[:BURST]:
            os.close(descriptor)
        del descriptors[:BURST]
    waker.end()
    os.close(leave)


def main():
    cpu, cycles, connections = (int(word) for word in sys.argv[1:])
    os.sched_setaffinity(0, {cpu})
    os.nice(-15)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    for _ in range(cycles):
        cycle(listener, connections)


main()
