# SPDX-License-Identifier: MIT
"""A whole Debian system to boot, and the project's packages in it.

The system is made once, and kept in the cache as an archive. It has what
ivshmem-dkms needs, as the VMs that boot it have no network; a second kernel
lies in it, ready to be installed. Everything here is done in namespaces of its
own: of the machine, nothing changes.
"""

import os
import shutil
import sys
from pathlib import Path

from . import kernels
from .build import (AGENT_SOURCE, TOP, busybox, compile_agent, cpio, digest,
                    files_of, install, install_modules, make)
from .kernels import KEYRING, archive_uris, cache_dir, locked, run

SUITE = "bookworm"
KERNEL = "linux-image-amd64", "linux-headers-amd64"
SECOND = "linux-image-6.12-amd64", "linux-headers-6.12-amd64"
# DKMS signs by openssl; the last two are for README's program.
INCLUDE = ("dkms", "kmod", "man-db", "openssl", "systemd-sysv", "udev", *KERNEL,
           "libc6-dev", "pkgconf")
# No documents, and of a kernel's drivers only those that the VMs have.
LEAVE_OUT = ["path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*",
             "path-exclude=/usr/share/locale/*",
             "path-exclude=/lib/modules/*/kernel/drivers/*",
             "path-exclude=/lib/modules/*/kernel/sound/*",
             "path-include=/lib/modules/*/kernel/drivers/block/*",
             "path-include=/lib/modules/*/kernel/drivers/uio/*",
             "path-include=/lib/modules/*/kernel/drivers/virtio/*",
             # The VMs have an initramfs of their own.
             "path-exclude=/etc/kernel/postinst.d/initramfs-tools"]
HOOKS = ['chroot "$1" apt-get install -y --no-install-recommends '
         f'--download-only {" ".join(SECOND)}',
         'chroot "$1" useradd --create-home alice',
         'chroot "$1" useradd --create-home bob']
# What the packages are made of.
SOURCES = ("Documentation/man", "Kbuild", "LICENSES", "Makefile", "dkms.conf",
           "driver", "include", "packaging", "samples", "tools")
INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe -a virtio_pci virtio_blk crc32c_generic ext4
while [ ! -b /dev/vda ]; do sleep 0.05; done
mount -t ext4 /dev/vda /root
mount -t tmpfs -o mode=755 run /root/run
units=/root/run/systemd/system
mkdir -p $units/multi-user.target.wants
cp /agent /root/run/agent
cp /agent.service $units
ln -s ../agent.service $units/multi-user.target.wants
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
"""
# The lab's hand in the system. It is no part of the image.
AGENT = """[Unit]
After=systemd-udev-settle.service
[Service]
ExecStart=/run/agent /dev/ttyS1
WorkingDirectory=/root
Environment=HOME=/root
"""
MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
# The packages, and after them a kernel for which DKMS has to build again.
INSTALL = f"""
apt-get install -y /root/*.deb
apt-get install -y {' '.join(SECOND)}
usermod -aG ivshmem alice
"""
CHROOT = """
mount --rbind /dev "$0/dev"
mount -t proc proc "$0/proc"
exec chroot "$0" sh -ec "$1"
"""


def sources(top: Path) -> list:
    return list(files_of(*[top / source for source in SOURCES]))


def packages(builder, top: Path = TOP, name="packages") -> list:
    """The Debian packages, from the project's or from other sources."""
    return builder.once(("packages", top), _packages, builder, top, name)


def _packages(builder, top, name):
    folder = builder.out / name
    builder.stamped(folder, digest(sources(top)),
                    lambda: make("deb", f"O={folder}", cwd=top))
    return sorted((folder / "deb").glob("*.deb"))


def alone(*argv) -> str:
    """Runs a command as root, with mounts and processes of its own."""
    user = [] if os.geteuid() == 0 else ["--map-root-user", "--map-auto"]
    return run(["unshare", *user, "--mount", "--pid", "--fork", "--kill-child",
                *argv])


def archive() -> Path:
    """The system as an archive, made once for each recipe."""
    recipe = digest([], SUITE, INCLUDE, LEAVE_OUT, HOOKS)[:12]
    folder = cache_dir() / "system"
    folder.mkdir(exist_ok=True)
    final = folder / f"{recipe}.tar"
    with locked(folder / "lock"):
        if final.exists():
            return final
        print(f"making a {SUITE} system", file=sys.stderr, flush=True)
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        uris = archive_uris()
        work = folder / "partial.tar"
        run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar",
             "--skip=cleanup/apt", f"--include={','.join(INCLUDE)}",
             *[f"--dpkgopt={line}" for line in LEAVE_OUT],
             *[f"--customize-hook={line}" for line in HOOKS], SUITE, work,
             f"deb {signed}{uris['main']} {SUITE} main",
             f"deb {signed}{uris['security']} {SUITE}-security main"])
        work.rename(final)
    return final


class Tree:
    """A system in a folder, for commands that need no boot."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "root"
        folder.mkdir(parents=True, exist_ok=True)
        alone("sh", "-ec", 'mkdir "$0" && tar -C "$0" -xf "$1" '
              "--exclude='./dev/*'", self.root, archive())

    def run(self, script: str) -> str:
        """Runs a shell script in it."""
        return alone("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                     "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C",
                     "sh", "-ec", CHROOT, self.root, script)

    def put(self, files, folder: str):
        """Copies files into one of its folders."""
        alone("sh", "-ec", 'mkdir -p "$0" && cp "$@" "$0"',
              f"{self.root}{folder}", *files)

    def files(self) -> set:
        """Its files, with what they are, and the groups."""
        listed = self.run("find / -xdev -not -path '/var/log/*' -not -path "
                          "'/var/cache/*' -printf '%p %M %u %g %l\\n'\n"
                          "cat /etc/group")
        return set(listed.splitlines())

    def image(self) -> Path:
        """The file system for a disk."""
        image = self.folder / "image"
        alone("mke2fs", "-q", "-t", "ext4", "-d", self.root, image, "2G")
        return image

    def remove(self):
        alone("rm", "-rf", self.root)


class System:
    """A system that VMs can boot: they leave it as it is."""

    def __init__(self, folder: Path, release: str):
        self.image, self.folder = folder / "image", folder / release
        self.initrd = folder.with_name(f"{folder.name}-{release}") / "initrd"
        self.kernel = kernels.Kernel(release, release, self.folder)

    @property
    def qemu(self) -> list:
        return ["-drive", f"file={self.image},format=raw,if=virtio,snapshot=on"]

    def take_kernel(self, root: Path):
        """Takes the kernel out of a system."""
        release = self.kernel.release
        self.folder.mkdir()
        image = (root / f"boot/vmlinuz-{release}").read_bytes()
        self.kernel.vmlinux.write_bytes(kernels.extract_vmlinux(image))
        modules = f"lib/modules/{release}"
        shutil.copytree(root / modules, self.folder / modules, symlinks=True)

    def make_initrd(self):
        """Makes the file system from which the kernel finds the disk."""
        root = self.initrd.parent / "root"
        for sub in ("bin", "dev", "proc", "root", "sys"):
            (root / sub).mkdir(parents=True)
        install(root / "init", INIT)
        (root / "agent.service").write_text(AGENT)
        busybox(root / "bin")
        compile_agent(root / "agent")
        install_modules(root, self.kernel, MODULES)
        self.initrd.write_bytes(cpio(root))


def clean(builder) -> System:
    """A system without the project's packages."""
    return builder.once("clean system", _systems, builder, "clean", [])[0]


def installed(builder) -> list:
    """One with the packages, and after them a second kernel: to be booted with
    the first, and with the second."""
    return builder.once("system", _systems, builder, "installed",
                        packages(builder))


def _systems(builder, name, debs):
    folder = builder.out / "system" / name

    def build():
        tree = Tree(folder)
        if debs:
            tree.put(debs, "/root")
            tree.run(INSTALL)
        releases = sorted(p.name.removeprefix("vmlinuz-")
                          for p in (tree.root / "boot").glob("vmlinuz-*"))
        tree.image()
        for release in releases:
            System(folder, release).take_kernel(tree.root)
        tree.remove()

    # The packages themselves hold the time when they were built.
    state = digest(sources(TOP) if debs else [], str(archive()), INSTALL)
    builder.stamped(folder, state, build)
    systems = [System(folder, p.parent.name)
               for p in sorted(folder.glob("*/vmlinux"))]
    for system in systems:
        builder.stamped(system.initrd.parent,
                        digest([AGENT_SOURCE], state, INIT, AGENT, MODULES),
                        system.make_initrd)
    return systems
