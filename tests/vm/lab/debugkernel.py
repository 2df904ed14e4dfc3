# SPDX-License-Identifier: MIT
"""Builds a kernel that notices mistakes, from the distribution's source.

It is called "debug" where kernels have names. It is built once for each source
and configuration (debug.config), in the lab's cache, which takes a quarter of
an hour.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import kernels, sources

SERIES = "6.12"
CONFIG = Path(__file__).with_name("debug.config")


def make(source: Path, *args, log=None):
    """Runs make in the source, at the lowest priority: others work here too."""
    argv = ["nice", "-n", "19", "make", "-C", source, f"-j{os.cpu_count()}",
            *args]
    done = subprocess.run([str(a) for a in argv], text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        raise kernels.Unavailable("the debug kernel does not build: " + "; ".join(
            [s for s in done.stdout.splitlines() if "rror" in s][:3]))
    return done.stdout


def configure(source: Path, out: Path):
    """Writes the configuration; fails if an option could not be had."""
    make(source, f"O={out}", "tinyconfig")
    config = out / ".config"
    config.write_text(config.read_text() + CONFIG.read_text())
    make(source, f"O={out}", "olddefconfig")
    lines = set(config.read_text().splitlines())
    missing = []
    for line in CONFIG.read_text().splitlines():
        name, sep, value = line.partition("=")
        wanted = f"# {name} is not set" if value == "n" else line
        if sep and not line.startswith("#") and wanted not in lines and (
                value != "n" or any(known.startswith(f"{name}=")
                                    for known in lines)):
            missing.append(line)
    if missing:
        raise kernels.Unavailable("the debug kernel cannot have "
                                  + ", ".join(missing))


def build(source: Path, root: Path) -> str:
    """Builds below root, in the shape of an unpacked package."""
    out = root / "build"
    out.mkdir(parents=True)
    configure(source, out)
    make(source, f"O={out}", "bzImage", "modules", log=root / "build.log")
    release = make(source, f"O={out}", "-s", "kernelrelease").strip()
    headers = root / "usr/src" / f"linux-headers-{release}"
    headers.parent.mkdir(parents=True)
    headers.symlink_to("../../build")
    # The ELF file's entry for VMs runs before KASAN does: it faults at once.
    shutil.copy(out / "arch/x86/boot/bzImage", root / "vmlinux")
    modules = root / "lib/modules" / release
    (modules / "kernel").mkdir(parents=True)
    for table in ("modules.order", "modules.builtin"):
        shutil.copy(out / table, modules / table)
    kernels.depmod(root, release)
    return release


def get() -> kernels.Kernel:
    """The debug kernel, out of the cache or built now."""
    tarball = kernels.source(SERIES)
    state = hashlib.sha256(str(tarball).encode() + CONFIG.read_bytes())
    folder = kernels.cache_dir() / "kernels" / "debug"
    root = folder / state.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with kernels.locked(folder / "lock"):
        if not (root / "release").exists():
            print(f"building the debug kernel in {root}", file=sys.stderr,
                  flush=True)
            shutil.rmtree(root, ignore_errors=True)
            release = build(sources.tree(SERIES), root)
            (root / "release").write_text(release)
    return kernels.Kernel("debug", (root / "release").read_text(), root)


if __name__ == "__main__":
    try:
        print(get().root)
    except kernels.Unavailable as err:
        sys.exit(re.sub(r"\s+", " ", str(err)))
