#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""stranded.py orphan|held NETNS HERE: a connection from another network namespace, which no process is in, to here.

Its end over there closes with data in flight that nobody reads (orphan: in FIN_WAIT1, and nobody's), or stays open when
this end has closed (held: in CLOSE_WAIT, a descriptor of this process). Prints the port over there; a line on stdin has
the other end read, or it closed.
"""
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000
PORT = 7009
libc = ctypes.CDLL(None, use_errno=True)


def enter(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), path)
    os.close(descriptor)


def main():
    what, there, address = sys.argv[1:]
    libc.prctl(15, f"stranded-{what}".encode())  # PR_SET_NAME
    listener = socket.create_server((address, PORT))
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    enter(there)
    far = socket.create_connection((address, PORT), timeout=5)
    enter(f"/proc/self/fd/{here}")
    near, (_, port) = listener.accept()
    if what == "orphan":
        far.setblocking(False)
        try:
            while True:
                far.send(bytes(65536))
        except BlockingIOError:
            pass
        far.close()
    else:
        near.close()
        far.settimeout(5)
        if far.recv(1) != b"":
            raise SystemExit("no end")
    print(port, flush=True)
    sys.stdin.readline()
    if what == "orphan":
        while near.recv(65536):
            pass
        near.close()
    else:
        far.close()
    sys.stdin.readline()


main()
