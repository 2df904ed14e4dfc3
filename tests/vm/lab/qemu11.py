# SPDX-License-Identifier: MIT
"""Brings a QEMU into the cache that is newer than the machine's.

vfio-user-pci, which takes a device from a process, is in QEMU 10.1 and later.
Where the machine's own QEMU does not have it, Debian's newer suites do: the
packages are unpacked side by side, and run through their own loader with their own
libraries.
"""

import functools
import os
import re
import subprocess

from . import kernels
from .arch import AMD64
from .kernels import Unavailable

SUITES = ("trixie", "trixie-backports")
PACKAGE = "qemu-system-x86"
PROGRAM = "qemu-system-x86_64"
OWN = os.environ.get("IVSHMEM_QEMU", PROGRAM)
INSTALLS = re.compile(r"^Inst (\S+) \((\S+) ", re.M)


class Closure(kernels.Archive):
    """An archive out of which a package comes with all that it needs."""

    def closure(self, packages) -> dict:
        plan = kernels.run(["apt-get", "install", "-s", *self.options,
                            "-o", f"APT::Default-Release={SUITES[-1]}",
                            "-o", "Debug::NoLocking=true",
                            "--no-install-recommends", *packages])
        return dict(INSTALLS.findall(plan))


def bring(package, finish=lambda root, final: None):
    """A folder with what a package of QEMU needs."""
    return kernels.bring(kernels.cache_dir() / package, SUITES, [package], finish,
                         archive=Closure)


def command(root, program) -> list:
    """How to run a QEMU that is unpacked below a folder."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    argv = [root / "usr/lib64/ld-linux-x86-64.so.2",
            "--library-path", f"{libraries}:{libraries}/pulseaudio",
            root / "usr/bin" / program]
    for folder in ("share/seabios", "share/qemu", "lib/ipxe/qemu"):
        argv += ["-L", root / "usr" / folder]
    return [str(a) for a in argv]


def capable(argv) -> bool:
    """Whether a QEMU runs, and has vfio-user-pci."""
    try:
        done = subprocess.run([*argv, "-device", "vfio-user-pci,help"],
                              text=True, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return "vfio-user-pci options" in done.stdout


@functools.lru_cache
def find() -> tuple:
    """The command that runs such a QEMU, or nothing and the reason."""
    if capable([OWN]):
        return (OWN,), ""

    def finish(root, _final):
        if not capable(command(root, PROGRAM)):
            raise Unavailable("it has no vfio-user-pci")

    try:
        root = bring(PACKAGE, finish)
    except Unavailable as err:
        return (), str(err)
    return tuple(command(root, PROGRAM)), ""


def get(arch=AMD64) -> tuple:
    """The command that runs such a QEMU: the machine's own, or the cache's."""
    if arch != AMD64:
        raise Unavailable(f"the model of the device is not run on {arch.debian}")
    argv, why = find()
    if not argv:
        raise Unavailable("the model of the device needs QEMU 10.1 or later, "
                          f"which cannot be had: {why}")
    return argv
