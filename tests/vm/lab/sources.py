# SPDX-License-Identifier: MIT
"""Kernel source, for its scripts and for compilers that Debian did not use."""

import os
import shutil
from pathlib import Path

from . import kernels

SERIES = "6.12"
LLVM = "-14"


def tree(series: str = SERIES) -> Path:
    """The unpacked source of a series; nobody builds inside it."""
    tarball = kernels.source(series)
    final = tarball.with_name("tree")
    with kernels.locked(tarball.with_name("lock")):
        if not final.exists():
            work = tarball.with_name("tree.partial")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            kernels.run(["tar", "-xf", tarball, "-C", work,
                         "--strip-components=1"])
            work.rename(final)
    return final


def clang_kernel() -> kernels.Kernel:
    """Headers for modules that are built with clang, as a kernel.

    Debian's headers bring gcc along. There is no kernel to boot, and no
    Module.symvers: modules need KBUILD_MODPOST_WARN=1.
    """
    source = tree()
    folder = kernels.cache_dir() / "kernels" / "clang"
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / (source.parents[2].name + LLVM)
    with kernels.locked(folder / "lock"):
        if not (root / "release").exists():
            shutil.rmtree(root, ignore_errors=True)
            headers = root / "usr/src/linux-headers-clang"
            headers.mkdir(parents=True)
            make = ["make", "-C", source, f"O={headers}", f"LLVM={LLVM}",
                    f"-j{os.cpu_count()}"]
            kernels.run([*make, "x86_64_defconfig"])
            kernels.run([source / "scripts/config", "--file",
                         headers / ".config", "-m", "UIO"])
            kernels.run([*make, "olddefconfig", "modules_prepare"])
            (root / "release").write_text("clang")
    return kernels.Kernel("clang", "clang", root)
