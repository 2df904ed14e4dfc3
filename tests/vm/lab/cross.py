# SPDX-License-Identifier: MIT
"""What VMs with other processors than this machine's need: QEMU, busybox, and the
compiler of their programs, out of Debian's archive and not installed."""

import functools
import os
import shutil

from . import kernels, qemu11
from .arch import AMD64, RISCV64

SUITES = ("bookworm", "bookworm-security")
# Those before have not all processors.
NEWER = ("trixie",)


def bring(package, arch):
    """A folder with the files of one package."""
    folder = kernels.cache_dir() / "packages" / f"{package}-{arch.debian}"
    suites = NEWER if arch == RISCV64 else SUITES
    return kernels.bring(folder, suites, [package], lambda root, final: None,
                         archive=functools.partial(kernels.Archive, arch=arch))


def qemu(arch) -> list:
    """How to run QEMU. One out of the machine's own release needs libraries and files
    of the machine's own."""
    if not arch.package:
        return [os.environ.get("IVSHMEM_QEMU", arch.qemu)]
    if arch.newer:
        return qemu11.command(qemu11.bring(arch.package), arch.qemu)
    return [shutil.which(arch.qemu)
            or bring(arch.package, AMD64) / "usr/bin" / arch.qemu]


def busybox(arch):
    """The static one."""
    return next(bring("busybox-static", arch).rglob("bin/busybox"))


def tools(arch) -> list:
    """What a command begins with that uses the compiler or what belongs to it."""
    return kernels.in_toolchain("cross") if arch.gnu else []
