#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""crowd.py CONNECTIONS HALF_CLOSED: holds so many connections over loopback, two sockets each, until stdin ends.

HALF_CLOSED of them are shut down by the connecting side: CLOSE_WAIT at one end, FIN_WAIT2 at the other. Four processes
share them, two for each side, so that no hard limit of descriptors is reached. Prints `ready`.
"""
import contextlib
import os
import resource
import signal
import socket
import sys

PAIRS = 2
BACKLOG = 1024


def share(number, index):
    return number // PAIRS + (index < number % PAIRS)


def accept(listener, connections, ends):
    """Each of them reads the end that it gets, and goes on holding the socket."""
    kept = [listener.accept()[0] for _ in range(connections)]
    for connection in kept[:ends]:
        connection.recv(1)
    return kept


def connect(address, connections, ends):
    kept = []
    for _ in range(connections):
        connection = socket.create_connection(address)
        if len(kept) < ends:
            connection.shutdown(socket.SHUT_WR)
        kept.append(connection)
    return kept


def child(work, *arguments):
    """A process that does the work, says so, and then waits for its end."""
    ready, done = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        kept = work(*arguments)
        os.write(done, b"x")
        os.close(done)
        while kept and os.getppid() == parent:
            signal.sigtimedwait({signal.SIGTERM}, 1) and os._exit(0)
        os._exit(0)
    os.close(done)
    return pid, ready


def main():
    connections, half_closed = (int(word) for word in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    children = []
    for index in range(PAIRS):
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        numbers = share(connections, index), share(half_closed, index)
        children.append(child(accept, listener, *numbers))
        address = listener.getsockname()
        listener.close()  # the accepting child has it
        children.append(child(connect, address, *numbers))
    good = all(os.read(ready, 1) for _, ready in children)
    if good:
        print("ready", flush=True)
        sys.stdin.read()
    for pid, _ in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    return 0 if good else 1


sys.exit(main())
