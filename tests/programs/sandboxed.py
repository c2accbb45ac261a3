#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs a command under what seccomp does for a systemd unit, as far as a unit of ours asks for it.

usage: sandboxed.py UNIT COMMAND [ARG...]
SystemCallFilter= (the groups as systemd-analyze lists them), RestrictNamespaces=net, RestrictAddressFamilies=none and
MemoryDenyWriteExecute=yes. What is not on the list is refused with EPERM.
"""
import errno
import os
import subprocess
import sys

import seccomp

CLONE_NEWNET = 0x40000000
NAMESPACES = 0x7E020080  # every CLONE_NEW* of clone(2); that of time stands elsewhere and takes unshare()
PROT_WRITE, PROT_EXEC = 2, 4


def members(name):
    """The calls of a group, and of those in it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for word in words if word and not word.startswith("#") for call in members(word)}


def allowed_by(unit):
    allowed = members("@default")
    for line in unit.read().splitlines():
        key, _, value = line.partition("=")
        if key != "SystemCallFilter":
            continue
        calls = {call for word in value.removeprefix("~").split() for call in members(word)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def conditions(call):
    """Each a list of conditions that lets it pass; nothing where it is not restricted."""
    masked, word = seccomp.MASKED_EQ, seccomp.Arg
    return {
        "setns": [[word(1, seccomp.EQ, CLONE_NEWNET)]],
        "unshare": [[word(0, masked, NAMESPACES, 0)]],
        "clone": [[word(0, masked, NAMESPACES, 0)]],
        "socket": [],
        "mmap": [[word(2, masked, PROT_WRITE, 0)], [word(2, masked, PROT_EXEC, 0)]],
        "mprotect": [[word(2, masked, PROT_EXEC, 0)]],
    }.get(call)


def main():
    with open(sys.argv[1], encoding="utf-8") as unit:
        allowed = allowed_by(unit)
    allowed.discard("clone3")  # its flags are in memory: systemd refuses it too, so that libc falls back to clone()
    sieve = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    if "clone" in allowed:
        sieve.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for call in sorted(allowed):
        try:
            number = seccomp.resolve_syscall(seccomp.Arch(), call)
        except (ValueError, RuntimeError):
            continue
        if number < 0:
            continue  # of another architecture
        rules = conditions(call)
        if rules is None:
            sieve.add_rule(seccomp.ALLOW, call)
        else:
            for rule in rules:
                sieve.add_rule(seccomp.ALLOW, call, *rule)
    sieve.load()
    os.execv(sys.argv[2], sys.argv[2:])


main()
