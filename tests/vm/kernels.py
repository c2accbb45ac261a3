# SPDX-License-Identifier: BSD-2-Clause
"""Debian's cloud kernels, from Debian's mirror: fetched and verified by an apt of its own (its own list of sources, its
own state, Debian's own keys), so that nothing of this machine's is touched. What was fetched is kept.
"""
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MIRROR = "http://deb.debian.org"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Where the kernels of a series are; of several packages the newest is taken. What is not here is looked for everywhere.
SUITES = {"5.10": ("bullseye-security", "bullseye"), "6.1": ("bookworm-security", "bookworm"), "6.12": ("trixie",),
          "newest": ("sid", "trixie-backports")}
EVERYWHERE = ("sid", "trixie-backports", "trixie", "bookworm-security", "bookworm")
PACKAGE = re.compile(r"linux-image-(\d+\.\d+)\.\d\S*-cloud-amd64")
# The first of these needs the second; the rest are for tests that say so.
MODULES = ("net/ipv4/inet_diag", "net/ipv4/tcp_diag", "drivers/net/veth", "drivers/net/tun")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "closewatch/kernels"


class Refused(Exception):
    """The mirror answers, and there is no such kernel, or not as it should be."""


@dataclass
class Kernel:
    series: str        # as it was asked for: 6.1, newest
    package: str
    image: Path
    modules: list


class Apt:
    """apt(8) with a folder of its own."""

    def __init__(self, folder, suites):
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "etc/preferences.d"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        sources = folder / "sources.list"
        sources.write_text("".join(f"deb [signed-by={KEYRING}] {place(suite)} {suite} main\n" for suite in suites))
        settings = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::State": folder,
                    "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": folder / "etc/preferences.d",
                    "Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status",
                    "Dir::Cache": folder / "cache", "Acquire::Languages": "none", "APT::Architecture": "amd64",
                    "APT::Architectures": "amd64", "APT::Sandbox::User": "", "APT::Update::Error-Mode": "any",
                    "Acquire::Retries": "2", "Acquire::http::Timeout": "20"}
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def run(self, program, *words, where=None):
        done = subprocess.run([program, "-qq", *self.options, *words], cwd=where, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
        if done.returncode != 0:
            raise Refused(" ".join(done.stderr.split()) or f"{program} ended with {done.returncode}")
        return done.stdout

    def packages(self):
        """{package: version} of the cloud kernels."""
        listed = self.run("apt-cache", "dumpavail")
        found = {}
        for paragraph in listed.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
            name = fields.get("Package", "")
            if PACKAGE.fullmatch(name):
                found[name] = fields["Version"], fields.get("Depends", "")
        return found


def place(suite):
    return f"{MIRROR}/debian-security" if suite.endswith("-security") else f"{MIRROR}/debian"


def sort_key(version):
    """Numbers as numbers; good enough among versions of one source package."""
    return [int(word) if word.isdigit() else 0 for word in re.split(r"(\d+)", version)]


def choose(series, packages):
    """The newest package of a series, and those that it is split into since 7.2."""
    names = [name for name in packages if series in ("newest", PACKAGE.fullmatch(name)[1])]
    if not names:
        raise Refused(f"the mirror has no cloud kernel {series}")
    name = max(names, key=lambda name: (sort_key(packages[name][0]), name))
    parts = re.findall(r"linux-(?:binary|modules)-\S+", packages[name][1])
    return name, parts


def fetch(series):
    """From the mirror into the cache."""
    folder = CACHE / series
    fresh = CACHE / f"{series}.new.{os.getpid()}"
    began = time.monotonic()
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        apt = Apt(fresh / "apt", SUITES.get(series, EVERYWHERE))
        apt.run("apt-get", "update")
        name, parts = choose(series, apt.packages())
        apt.run("apt-get", "download", name, *parts, where=fresh)
        for package in fresh.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(fresh / "root")], check=True)
            package.unlink()
        shutil.rmtree(fresh / "apt")
        keep_what_is_used(fresh)
        (fresh / "package").write_text(name)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        print(f"# {series}: fetched {name} in {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def keep_what_is_used(folder):
    root = folder / "root"
    images = [*root.glob("boot/vmlinuz-*"), *root.glob("usr/lib/modules/*/vmlinuz")]
    if len(images) != 1:
        raise Refused(f"no kernel in the package: {images}")
    images[0].rename(folder / "vmlinuz")
    for number, name in enumerate(MODULES):
        found = [*root.glob(f"lib/modules/*/kernel/{name}.ko*"), *root.glob(f"usr/lib/modules/*/kernel/{name}.ko*")]
        if found:  # what is built in is no module
            found[0].rename(folder / f"{number}-{found[0].name}")
    shutil.rmtree(root)


def is_kept(series):
    return (CACHE / series / "package").exists()


def kept(series):
    folder = CACHE / series
    return Kernel(series, (folder / "package").read_text(), folder / "vmlinuz", sorted(folder.glob("*.ko*")))
