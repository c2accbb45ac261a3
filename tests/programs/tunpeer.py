#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tunpeer.py CPU SOCKET: a TCP peer made by hand on a tun device, for the segments no kernel would send when asked.

It takes commands from the unix socket as an actor does and answers each with one JSON line:

  up LOCAL PEER            make the tun device; the kernel has LOCAL/24, this program plays PEER
  answer PORT              wait for the kernel's SYN to PORT and complete the handshake
  open PORT KERNEL_PORT    open a connection from PORT to the kernel's listener
  play PORT                be PORT, and nothing more yet
  expect FLAGS             read segments until one has all FLAGS (letters of SFRPA), in order
  unreachable              answer the last segment with ICMP host unreachable
  send FLAGS [data=N] [ack=N]   send a segment; ack is relative to what is due (-1: all but the last byte or FIN)
"""
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
FLAGS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10}
PATIENCE = 8.0


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def bits(letters):
    return sum(FLAGS[letter] for letter in letters)


class Peer:
    def __init__(self):
        self.tun = -1
        self.kernel = self.me = b""
        self.port = self.kernel_port = 0
        self.sent = 0x10000000  # the next sequence number of ours
        self.due = 0            # the next one we expect of the kernel's
        self.packet = b""       # the last one read

    def up(self, local, peer):
        self.kernel, self.me = socket.inet_aton(local), socket.inet_aton(peer)
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        for words in (["link", "set", "tun0", "up"], ["addr", "add", f"{local}/24", "dev", "tun0"]):
            subprocess.run(["ip", *words], check=True)

    def read(self, deadline):
        """The next TCP segment for our address as (kernel's port, our port, seq, ack, flags, data length)."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.tun], [], [], left)[0]:
                raise TimeoutError("no such segment came")
            packet = os.read(self.tun, 65536)
            if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP or packet[16:20] != self.me:
                continue
            self.packet = packet
            header = (packet[0] & 15) * 4
            source, target, seq, ack, offset, flags = struct.unpack("!HHIIBB", packet[header:header + 14])
            length = struct.unpack("!H", packet[2:4])[0] - header - (offset >> 4) * 4
            return source, target, seq, ack, flags, length

    def expect(self, letters):
        deadline = time.monotonic() + PATIENCE
        while True:
            source, target, seq, _, flags, length = self.read(deadline)
            if target != self.port or (self.kernel_port and source != self.kernel_port):
                continue
            if flags & FLAGS["S"]:
                self.kernel_port, self.due = source, seq
            span = length + bool(flags & FLAGS["S"]) + bool(flags & FLAGS["F"])
            if seq == self.due:
                self.due = (seq + span) & 0xFFFFFFFF
            if flags & bits(letters) == bits(letters):
                return length

    def write(self, protocol, payload):
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, self.me, self.kernel)
        os.write(self.tun, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + payload)

    def send(self, letters, data=0, ack=0):
        acknowledged = (self.due + ack) & 0xFFFFFFFF if "A" in letters else 0
        head = struct.pack("!HHIIBBHHH", self.port, self.kernel_port, self.sent, acknowledged, 5 << 4, bits(letters),
                           65535, 0, 0)
        body = b"x" * data
        pseudo = self.me + self.kernel + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head) + data)
        head = head[:16] + struct.pack("!H", checksum(pseudo + head + body)) + head[18:]
        self.write(socket.IPPROTO_TCP, head + body)
        self.sent = (self.sent + data + ("S" in letters) + ("F" in letters)) & 0xFFFFFFFF
        return data

    def unreachable(self):
        message = struct.pack("!BBHI", 3, 1, 0, 0) + self.packet[:28]
        self.write(socket.IPPROTO_ICMP, message[:2] + struct.pack("!H", checksum(message)) + message[4:])

    def play(self, port):
        self.port, self.kernel_port = int(port), 0

    def answer(self, port):
        self.play(port)
        self.expect("S")
        self.send("SA")
        return self.expect("A")

    def open(self, port, kernel_port):
        self.port, self.kernel_port = int(port), int(kernel_port)
        self.send("S")
        self.expect("SA")
        return self.send("A")

    def perform(self, words):
        call, arguments = words[0], words[1:]
        named = {key: int(value) for key, value in (word.split("=") for word in arguments if "=" in word)}
        return getattr(self, call)(*[word for word in arguments if "=" not in word], **named)


def main():
    os.sched_setaffinity(0, {int(sys.argv[1])})
    control = socket.socket(socket.AF_UNIX)
    control.connect(sys.argv[2])
    lines = control.makefile("rw", buffering=1)
    peer = Peer()

    def reply(call, result, error=""):
        truth = {"pid": os.getpid(), "start_ticks": 0, "comm": "python3", "call": call, "slot": None, "local": None,
                 "peer": None, "netns": os.stat("/proc/self/ns/net").st_ino, "result": result, "errno": 0}
        if error:
            truth["error"] = error
        lines.write(json.dumps(truth) + "\n")

    reply("start", 0)
    for line in lines:
        words = line.split()
        try:
            reply(words[0], peer.perform(words) or 0)
        except (OSError, TimeoutError, subprocess.CalledProcessError) as error:
            reply(words[0], -1, str(error))


main()
