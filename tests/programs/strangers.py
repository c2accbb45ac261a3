#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""strangers.py SECONDS FORKS: short connections over loopback by a process each, every one of which calls itself by
another name (any bytes), half of them to an address of its own (127.0.0.0/8): whatever is kept by process, by workload or
by remote end is met by something new each time. Keeps to FORKS a second. Now and then one has an argv of a megabyte.
"""
import os
import random
import socket
import subprocess
import sys
import time

PORT = 7900
ARGUMENT = "x" * 120_000


def odd_name():
    return bytes(random.choice(range(1, 256)) for _ in range(random.randrange(1, 16)))


def visit(address):
    with open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(odd_name())
    with socket.create_connection((address, PORT)) as connection:
        connection.send(b"x")


def serve():
    listener = socket.create_server(("0.0.0.0", PORT), backlog=1024)
    if os.fork():
        return
    while True:
        connection, _ = listener.accept()
        while connection.recv(4096):
            pass
        connection.close()


def main():
    end, forks = time.monotonic() + float(sys.argv[1]), float(sys.argv[2])
    serve()
    made = 0
    while time.monotonic() < end:
        made += 1
        address = f"127.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        child = os.fork()
        if child == 0:
            try:
                visit(address if made % 2 else "127.0.0.1")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        if made % 500 == 0:
            words = "import socket; socket.create_connection(('127.0.0.1', %d))" % PORT
            subprocess.run([sys.executable, "-S", "-E", "-c", words, *[ARGUMENT] * 9], check=True)
        time.sleep(1 / forks)
    print(made, flush=True)


main()
