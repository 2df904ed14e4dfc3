# SPDX-License-Identifier: MIT
"""Server and client of the protocol that come with QEMU's source.

Debian has no package of them. The source does come out of its archive, into the
cache, and they are built there, once and as they are.
"""

import os
import shutil
from pathlib import Path

from . import kernels

SUITES = ("bookworm",)
PROGRAMS = ("ivshmem-server", "ivshmem-client")


class Source(kernels.Archive):
    """An archive out of which comes source."""
    kind = "deb-src"

    def closure(self, packages) -> dict:
        """The versions that there are."""
        found = {}
        for name in packages:
            text = kernels.run(["apt-cache", "showsrc", "--only-source",
                                *self.options, name])
            found[name] = text.partition("\nVersion: ")[2].split()[0]
        return found

    def unpack(self, packages: dict, root: Path):
        """Downloads one source package and unpacks it as root."""
        folder = root.with_name(root.name + ".dsc")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kernels.run(["apt-get", "source", "--download-only", "-q",
                     *self.options, *[f"{name}={version}" for name, version
                                      in packages.items()]], cwd=folder)
        # apt has checked it.
        kernels.run(["dpkg-source", "-x", "--no-check", "--no-copy",
                     next(folder.glob("*.dsc")), root])
        shutil.rmtree(folder)


def get(name: str) -> Path:
    """One of the programs, ready to run."""
    root = kernels.bring(kernels.cache_dir() / "qemu-source", SUITES, ["qemu"],
                         lambda root, final: None, archive=Source)
    out = root / "out"
    with kernels.locked(root.with_name("lock")):
        if not (out / "ready").exists():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            kernels.run([root / "configure", "--target-list=",
                         "--without-default-features", "--enable-tools",
                         "--disable-werror"], cwd=out)
            kernels.run(["ninja", f"-j{os.cpu_count()}",
                         *[f"contrib/{p}/{p}" for p in PROGRAMS]], cwd=out)
            (out / "ready").touch()
    return out / "contrib" / name / name
