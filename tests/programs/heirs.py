#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""heirs.py: a program connects COUNT times, its child inherits the descriptors, and the program ends; what its peer, another
process, closes then belongs to the child. Commands on standard input, a line each: `exit`, `close`. JSON lines say what
was done.
"""
import json
import os
import socket
import sys


def say(**words):
    print(json.dumps(words), flush=True)


def become(name):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)


def inherit(port, count, wait_for, told, life):
    """The parent of the heir, which lives for as long as somebody has the other end of `life`. Ends when `wait_for` is
    closed."""
    become("ancestor")
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for one in sockets:
        one.send(b"x")
    heir = os.fork()
    if heir == 0:
        become("heir")
        os.close(told)
        os.read(life, 1)
        os._exit(0)
    os.write(told, f"{os.getpid()} {heir}\n".encode())
    os.read(wait_for, 1)
    os._exit(0)


def main():
    count = int(sys.argv[1])
    become("peer")
    listener = socket.create_server(("127.0.0.1", 0), backlog=count)
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    life, alive = os.pipe()
    ancestor = os.fork()
    if ancestor == 0:
        os.close(go_write)
        os.close(alive)
        inherit(listener.getsockname()[1], count, go_read, told_write, life)
    os.close(go_read)
    accepted = [listener.accept()[0] for _ in range(count)]
    for one in accepted:
        one.recv(1)
    _, heir = map(int, os.read(told_read, 100).split())
    say(ancestor=ancestor, heir=heir, port=listener.getsockname()[1])
    for line in sys.stdin:
        if line == "exit\n":
            os.close(go_write)
            os.waitpid(ancestor, 0)
        else:
            for one in accepted:
                one.close()
        say(done=line.strip())
    os.close(alive)


main()
