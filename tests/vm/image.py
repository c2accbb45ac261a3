# SPDX-License-Identifier: BSD-2-Clause
"""The initramfs that a kernel is booted with: the built program, the tests, and this machine's own tools with the
libraries that ldd(1) names. Nothing is compressed: an emulated processor would take longer to unpack it than to read it.
"""
import compileall
import lzma
import os
import py_compile
import shutil
import stat
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = "/usr/bin/python3"
PROGRAMS = ("actor", "flood", "workload", "stackleak", "storage-walk", "transition-counter")
TOOLS = ("busybox", "ip", "ss", "sysctl", "unshare", "setpriv", "taskset", "mount", "umount", "nsenter", "bpftool")
# What the tests ask of the shell and its like.
APPLETS = ("sh", "insmod", "poweroff", "cat", "ls", "mkdir", "echo", "sleep", "true", "false", "dmesg", "sort",
           "wc", "kill", "ps", "head")
# What Python looks for by itself, or the tests only in a function.
HIDDEN_MODULES = ("encodings.utf_8", "encodings.latin_1", "encodings.ascii", "site", "pty", "tty", "ctypes", "traceback",
                  "jsonschema")
CPIO_MAGIC = b"070701"


def tool(name):
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is not installed")
    return Path(found)


def libraries(path):
    """What ldd(1) names, as the loader looks for it."""
    listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
    return {Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")}


def python_files():
    """Of Python's own library what the tests import, and no more of its 50 MB."""
    script = f"""
import importlib, sys
from pathlib import Path
sys.path[:0] = {[str(ROOT / "tests/kernel"), str(ROOT / "tests/vm")]!r}
names = [path.stem for folder in sys.path[:2] for path in Path(folder).glob("cases_*.py")]
for name in [*names, *{HIDDEN_MODULES!r}]:
    importlib.import_module(name)
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""
    words = [PYTHON, "-B", "-I", "-c", script]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    files = {Path(line) for line in listed.splitlines() if line}
    return {path for path in files if not path.is_relative_to(ROOT)}


class Tree:
    """What goes in, in a folder of this machine's first."""

    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def put(self, source, target=None):
        place = self.folder / str(target or source).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy2(source, place)  # what a link leads to
        return place

    def put_program(self, source, target=None):
        place = self.put(source, target)
        for library in libraries(source):
            self.put(library)
        return place

    def link(self, target, place):
        path = self.folder / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def write(self, place, text):
        path = self.folder / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def put_python(tree):
    tree.put_program(PYTHON)
    for path in python_files():
        tree.put(path)
        if path.suffix == ".so":
            tree.put_program(path)
    for path in Path("/usr/lib/python3/dist-packages/jsonschema").rglob("*.json"):
        tree.put(path)
    for path in ROOT.glob("docs/*.json"):
        tree.put(path, Path("/docs") / path.name)
    for path in (*ROOT.glob("tests/kernel/*.py"), *ROOT.glob("tests/vm/*.py"), *ROOT.glob("tests/programs/*.py")):
        tree.put(path, Path("/tests") / path.relative_to(ROOT / "tests"))
    # Compiled here, and never held against the source again: the clock of the guest may be anything.
    compileall.compile_dir(str(tree.folder), quiet=2, stripdir=str(tree.folder), prependdir="/", maxlevels=20,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def make_common(closewatch, programs, folder):
    """Everything but the kernel's modules, as the bytes of an archive."""
    tree = Tree(folder)
    for name in TOOLS:
        place = tool(name)
        tree.put_program(place, f"/usr/bin/{name}")
    for name in APPLETS:
        tree.link("busybox", f"/usr/bin/{name}")
    for name, place in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin")):
        tree.link(place, name)
    stripped = tree.put_program(closewatch, "/build/closewatch")
    subprocess.run(["strip", "--strip-debug", str(stripped)], check=True)
    for name in PROGRAMS:
        tree.put_program(programs / name, f"/build/tests/programs/{name}")
    put_python(tree)
    tree.put(ROOT / "tests/vm/init", "/init").chmod(0o755)
    tree.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    tree.write("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    for name in ("proc", "sys", "dev", "tmp", "run", "root"):
        (tree.folder / name).mkdir(exist_ok=True)
    return archive(tree.folder)


def make_own(modules, wanted, folder):
    """What one kernel has for itself: its modules, in the order in which they are to be loaded, and what is to be played."""
    tree = Tree(folder)
    tree.write("/tests/vm/wanted", "".join(f"{word}\n" for word in wanted))
    for path in modules:
        data = path.read_bytes()
        place = tree.folder / "modules" / path.name.removesuffix(".xz")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
    return archive(tree.folder)


def archive(folder):
    """cpio(5) "newc", as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    paths = sorted(folder.rglob("*"), key=lambda path: path.parts)
    for number, path in enumerate(paths, 1):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            data = os.readlink(path).encode()
        elif stat.S_ISREG(info.st_mode):
            data = path.read_bytes()
        else:
            data = b""
        append(out, str(path.relative_to(folder)), info.st_mode, number, data)
    append(out, "TRAILER!!!", 0, 0, b"")
    return bytes(out)


def append(out, name, mode, number, data):
    label = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(label), 0)
    out += CPIO_MAGIC + b"".join(b"%08x" % field for field in fields) + label
    out += bytes(-len(out) % 4) + data
    out += bytes(-len(out) % 4)
