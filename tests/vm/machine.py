# SPDX-License-Identifier: BSD-2-Clause
"""A guest in qemu without KVM. One processor: with two an emulated guest hangs now and then."""
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field

BOOTED, ENDED = "vm: booted ", "vm: ended with "
BOOTS_AT_MOST = 6
PATIENCE_TO_BOOT = 60  # seconds; a guest that is fine needs two to five on an idle machine


@dataclass
class Told:
    """What a guest said on its second serial port."""
    lines: list = field(default_factory=list)
    release: str = ""
    ended: bool = False
    boots: int = 0
    why: str = ""       # it did not end as it should


living = set()


def end_all():
    for guest in list(living):
        guest.kill()


def command(image, initrd, console, has_cx16):
    """setpriv ends the guest with us, however we end."""
    return ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg",
            "-cpu", "qemu64" if has_cx16 else "qemu64,-cx16", "-smp", "1", "-m", "1024", "-nodefaults",
            "-display", "none", "-no-reboot", "-kernel", str(image), "-initrd", str(initrd), "-serial", f"file:{console}",
            "-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on"]


def needs_cx16(kernel):
    """qemu 7.2 leaves the flags in disorder behind cmpxchg16b, and an interrupt right there kills the guest: old kernels
    allocate with it all the time (6.12 dies in one boot of five), and do without it where the processor has none. New
    ones allocate otherwise, but have no memory for the storage of sockets without it (kmalloc_nolock(), Linux 6.18).
    """
    return tuple(map(int, re.match(r"linux-image-(\d+)\.(\d+)", kernel.package).groups())) >= (6, 18)


def watch(guest, told, on_line, booted):
    for raw in guest.stdout:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        told.lines.append(line)
        if line.startswith(BOOTED):
            told.release = line.removeprefix(BOOTED)
            booted.set()
        elif line.startswith(ENDED):
            told.ended = line == f"{ENDED}0"
            told.why = "" if told.ended else line
        else:
            on_line(line)


def boot_once(words, told, on_line, patience):
    """False where the guest never said that it booted: some kernels panic in one boot of five when emulated."""
    booted = threading.Event()
    guest = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    reader = threading.Thread(target=watch, args=(guest, told, on_line, booted))
    living.add(guest)
    reader.start()
    try:
        deadline = time.monotonic() + PATIENCE_TO_BOOT
        while not booted.is_set() and guest.poll() is None and time.monotonic() < deadline:
            booted.wait(0.2)
        if not booted.is_set():
            return False
        guest.wait(patience)
    except subprocess.TimeoutExpired:
        told.why = f"the guest was still at it after {patience} s"
    finally:
        if guest.poll() is None:
            guest.kill()
            guest.wait()
        living.discard(guest)
        reader.join()
        guest.stdout.close()
    return True


def run(kernel, initrd, console, on_line, patience):
    """Boots until a guest has booted, and lets that one end by itself. What happens after is never tried again."""
    told = Told()
    words = command(kernel.image, initrd, console, needs_cx16(kernel))
    for told.boots in range(1, BOOTS_AT_MOST + 1):
        told.lines.clear()
        if boot_once(words, told, on_line, patience):
            if not told.ended and not told.why:
                told.why = "the guest went down in the middle"
            return told
    told.why = f"it never booted, tried {told.boots} times"
    return told
