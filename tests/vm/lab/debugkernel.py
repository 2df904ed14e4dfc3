# SPDX-License-Identifier: MIT
"""Builds kernels that notice mistakes, from the distribution's source.

"debug" has KASAN, lockdep and all else that can be had together, "kcsan" looks
for data races. Each is built once for each source and configuration, in the
lab's cache, which takes a quarter of an hour.
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
HERE = Path(__file__).parent
# What make is told for all of a kernel. KCSAN is to look at the driver alone:
# it stops at the first race, and the kernel has its own.
FLAGS = {"debug": (), "kcsan": ("KCSAN_SANITIZE=n",)}
# What no option asks for where a driver of the kernel does not.
KCONFIG = """
config IVSHMEM_LAB
	def_bool y
	select VMAP_PFN
"""


class Broken(Exception):
    """A kernel does not build, or not as it was to be: that is a mistake here,
    while an Unavailable is a lack of network."""


def configs(name: str) -> list:
    """The parts of a kernel's configuration."""
    return [HERE / "guest.config", HERE / f"{name}.config"]


def make(source: Path, *args, log=None):
    """Runs make in the source, below the priority of the tests beside it."""
    argv = ["nice", "-n", "19", "make", "-C", source, f"-j{os.cpu_count()}",
            *args]
    done = subprocess.run([str(a) for a in argv], text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        raise Broken("the debug kernel does not build: " + "; ".join(
            [s for s in done.stdout.splitlines() if "rror" in s][:3]))
    return done.stdout


def configure(source: Path, out: Path, name: str):
    """Writes the configuration; fails if an option could not be had."""
    (out / "Kconfig").write_text((source / "Kconfig").read_text() + KCONFIG)
    kconfig = f"KBUILD_KCONFIG={out}/Kconfig"
    make(source, f"O={out}", kconfig, "tinyconfig")
    config = out / ".config"
    wanted = "".join(path.read_text() for path in configs(name))
    config.write_text(config.read_text() + wanted)
    make(source, f"O={out}", kconfig, "olddefconfig")
    lines = set(config.read_text().splitlines())
    missing = []
    for line in wanted.splitlines():
        option, sep, value = line.partition("=")
        if not sep or line.startswith("#"):
            continue
        if value == "n":
            had = not any(x.startswith(f"{option}=") for x in lines)
        else:
            had = line in lines
        if not had:
            missing.append(line)
    if missing:
        raise Broken("the debug kernel cannot have " + ", ".join(missing))


def build(source: Path, root: Path, name: str) -> str:
    """Builds below root, in the shape of an unpacked package."""
    out = root / "build"
    out.mkdir(parents=True)
    configure(source, out, name)
    flags = [f"O={out}", f"KBUILD_KCONFIG={out}/Kconfig", *FLAGS[name]]
    make(source, *flags, "bzImage", "modules", log=root / "build.log")
    make(source, *flags, f"INSTALL_MOD_PATH={root}", "INSTALL_MOD_STRIP=1",
         "DEPMOD=true", "modules_install")
    release = make(source, *flags, "-s", "kernelrelease").strip()
    headers = root / "usr/src" / f"linux-headers-{release}"
    headers.parent.mkdir(parents=True)
    headers.symlink_to("../../build")
    # The ELF file's entry for VMs runs before KASAN does: it faults at once.
    shutil.copy(out / "arch/x86/boot/bzImage", root / "vmlinux")
    kernels.depmod(root, release)
    return release


def get(name: str) -> kernels.Kernel:
    """A kernel of FLAGS, out of the cache or built now."""
    tarball = kernels.source(SERIES)
    state = hashlib.sha256(repr((tarball, FLAGS[name], KCONFIG)).encode())
    for path in configs(name):
        state.update(path.read_bytes())
    folder = kernels.cache_dir() / "kernels" / name
    root = folder / state.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with kernels.locked(root.with_suffix(".lock")):
        if not (root / "release").exists():
            print(f"building the kernel {name!r} in {root}", file=sys.stderr,
                  flush=True)
            shutil.rmtree(root, ignore_errors=True)
            release = build(sources.tree(SERIES), root, name)
            (root / "release").write_text(release)
    return kernels.Kernel(name, (root / "release").read_text(), root)


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or FLAGS:
            print(get(wanted).root)
    except (Broken, kernels.Unavailable) as err:
        sys.exit(re.sub(r"\s+", " ", str(err)))
