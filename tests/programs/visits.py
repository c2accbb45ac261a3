#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""visits.py NAME serve HOST PORT [first]: accepts, and closes at the end of file (or first, at once).

visits.py NAME visit HOST PORT COUNT [last] [rate=N] [source=ADDRESS]: so many connections, one after the other, closed
first (or last, at the end of file), so many a second where a rate is given. Ends where connect() finds no port.

NAME is the process's name. It says in JSON lines on stdout when it is `in_place`, and a visitor how many it has `made`
and when (seconds since 1970) it was `refused`; then it stays until it is killed. `exit` as the last word: it ends.
"""
import errno
import json
import socket
import sys
import time
from pathlib import Path


def say(**what):
    print(json.dumps(what), flush=True)


def serve(address, first):
    listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(1024)
    say(in_place=True)
    while True:
        connection, _ = listener.accept()
        while not first and connection.recv(4096):
            pass
        connection.close()


def visit_once(address, source, last):
    connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        if source:
            # Without this bind() would choose the port, for all destinations alike.
            connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            connection.bind((source, 0))
        connection.connect(address)
        while last and connection.recv(4096):
            pass
    finally:
        connection.close()


def visit(address, count, last=False, rate=0.0, source=""):
    began, made = time.monotonic(), 0
    while made < count:
        if rate:
            time.sleep(max(0.0, began + made / rate - time.monotonic()))
        try:
            visit_once(address, source, last)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            say(refused=time.time(), made=made)
            break
        made += 1
    say(in_place=True, made=made)


def main():
    name, call, host, port, *words = sys.argv[1:]
    Path("/proc/self/comm").write_text(name)
    address = host, int(port)
    if call == "serve":
        serve(address, "first" in words)
    named = dict(word.split("=") for word in words if "=" in word)
    visit(address, int(words[0]), "last" in words, float(named.get("rate", 0)), named.get("source", ""))
    while words[-1] != "exit":
        time.sleep(3600)


main()
