# SPDX-License-Identifier: MIT
"""Builds what a test needs: module, tools, guest programs, initramfs.

Everything goes below build/, sources are copied there first, so that kernels
do not meet in the source tree, and only what changed is built again.
"""

import contextlib
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
from pathlib import Path

from . import cross, kernels
from .arch import AMD64

TOP = Path(__file__).resolve().parents[3]
AGENT_SOURCE = Path(__file__).with_name("agent.c")
BUSYBOX = Path("/bin/busybox")
JOBS = f"-j{os.cpu_count()}"
MODULE_SOURCES = ("Kbuild", "driver", "include")

INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
dmesg -n 8
# As udev does: modules for what is plugged in, and for what is there already.
if [ ! -e /etc/no-modules ]; then
	uevent /etc/plugged >/dev/null &
	modprobe -abq $(cat /sys/bus/pci/devices/*/modalias) 2>/dev/null
fi
if [ -e /etc/shell ]; then
	sh /etc/shell &
fi
exec /agent /dev/LINE
"""

PLUGGED = """#!/bin/sh
[ "$ACTION" = add ] && [ "$MODALIAS" ] && modprobe -bq "$MODALIAS"
"""


class BuildError(Exception):
    """Something of the project does not build; holds the compiler's words."""


def make(*args, cwd=TOP, env=None, enter=()) -> str:
    """Runs make, by the command that enter begins; returns what it said."""
    done = subprocess.run([str(a) for a in (*enter, "make", *args)], cwd=cwd,
                          text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False,
                          env={**clean_env(), **(env or {})})
    if done.returncode:
        raise BuildError(f"make {' '.join(str(a) for a in args)}:\n"
                         + "\n".join(done.stdout.splitlines()[-40:]))
    return done.stdout


def clean_env() -> dict:
    """The environment, without what a make around us left in it."""
    return {k: v for k, v in os.environ.items()
            if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES",
                         "O", "KDIR")}


def files_of(*paths):
    """All files below some paths, in a stable order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file()
                              and not is_product(p))
        elif path.exists():
            yield path


def is_product(path: Path) -> bool:
    """Left by a build in the source tree."""
    return (path.name.startswith(".") or path.name.endswith(".mod.c")
            or path.suffix in (".o", ".ko", ".mod", ".order", ".symvers"))


def digest(files, *more) -> str:
    """A hash over names and contents of files, and over other values."""
    state = hashlib.sha256(repr(more).encode())
    for path in files:
        state.update(f"{path}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def cpio_entry(name: str, mode: int, data: bytes = b"", ino: int = 0) -> bytes:
    name = name.encode() + b"\0"
    head = b"070701" + b"".join(
        b"%08X" % v for v in (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                              len(name), 0)) + name
    return (head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))


def cpio(root: Path) -> bytes:
    """The newc archive of a folder, all owned by root."""
    out = []
    for ino, path in enumerate(sorted(root.rglob("*")), 1):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            data = os.readlink(path).encode()
        else:
            data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        out.append(cpio_entry(str(path.relative_to(root)), info.st_mode, data,
                              ino))
    return b"".join(out) + cpio_entry("TRAILER!!!", 0)


class Builder:
    """Builds into one folder; several may run at the same time."""

    def __init__(self, out: Path = None):
        self.out = (out or Path(os.environ.get("O") or TOP / "build")).absolute()
        self.out.mkdir(parents=True, exist_ok=True)
        self.done = {}

    def once(self, key, function, *args):
        """Builds a thing at most once in the life of this builder."""
        if key not in self.done:
            with kernels.locked(self.out / "lab.lock"):
                self.done[key] = function(*args)
        return self.done[key]

    def stamped(self, folder: Path, state: str, function):
        """Calls function unless it made folder from the same state before."""
        stamp = folder / ".stamp"
        with contextlib.suppress(FileNotFoundError):
            if stamp.read_text() == state:
                return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        function()
        stamp.write_text(state)

    # What is built for the host

    def tools(self) -> Path:
        """The project's tools; returns the folder with the programs."""
        return self.once("tools", self._tools)

    def _tools(self):
        make("tools", f"O={self.out}", JOBS)
        return self.out / "bin"

    # What goes into a guest

    def module(self, kernel, *flags, sources: Path = TOP) -> Path:
        """ivshmem.ko for a kernel."""
        return self.once(("module", kernel.root, flags, sources), self._module,
                         kernel, flags, sources)[0]

    def module_log(self, kernel, *flags) -> str:
        """What kbuild printed when it built ivshmem.ko with these flags."""
        return self.once(("module", kernel.root, flags, TOP), self._module,
                         kernel, flags, TOP)[1]

    def _module(self, kernel, flags, sources):
        tag = digest([], flags, str(sources))[:8] if flags or sources != TOP else ""
        flags = (*kernel.module_flags, *flags)
        folder = self.out / "modules" / f"{kernel.release}{tag and '-' + tag}"
        files = list(files_of(*[sources / s for s in MODULE_SOURCES]))
        log = folder / "build.log"

        def build():
            for path in files:
                copy = folder / path.relative_to(sources)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            log.write_text(make("-C", kernel.kdir, f"M={folder}",
                                *kernel.make_flags, *flags, JOBS, "modules",
                                enter=kernel.enter))

        self.stamped(folder, digest(files, str(kernel.root), flags), build)
        return folder / "ivshmem.ko", log.read_text()

    def out_of(self, arch) -> Path:
        """The folder for the programs of guests with this processor."""
        return self.out if arch == AMD64 else self.out / arch.debian

    def make_for(self, arch, folder, target):
        """Runs make for the programs of guests with this processor."""
        compiler = [f"CC={arch.gnu}gcc-12", f"AR={arch.gnu}ar"] if arch.gnu else []
        make("-C", TOP / folder, target, f"O={self.out_of(arch)}", *compiler, JOBS,
             enter=cross.tools(arch))

    def guest_programs(self, arch=AMD64, m32=False) -> Path:
        """The static programs that run in a guest; returns their folder."""
        target, folder = ("m32", "guest32") if m32 else ("all", "guest")
        if m32 and arch != AMD64:
            raise kernels.Unavailable("programs of 32 bits are built for x86")
        if m32 and not can_build_32():
            raise kernels.Unavailable("the compiler cannot build for 32 bits: "
                                      "gcc-multilib is not installed")
        self.once((folder, arch.debian), self.make_for, arch, "tests/guest", target)
        return self.out_of(arch) / folder

    def guest_tools(self, arch=AMD64) -> Path:
        """The project's programs as a guest without libraries can run them."""
        return self.once(("guest-tools", arch.debian), self._guest_tools, arch)

    def _guest_tools(self, arch):
        self.make_for(arch, "tools", "static")
        self.make_for(arch, "samples", "static")
        return self.out_of(arch) / "bin-static"

    def initramfs(self, kernel, modules=(), autoload=True, tests=True, m32=False,
                  shell="", own=None) -> Path:
        """The guest's whole file system.

        modules:  names of further modules of the kernel to put into it
        autoload: load modules for devices that are there at boot
        tests:    put the programs of tests/guest into it, as /tests
        m32:      those built for 32 bits too, as /tests32
        shell:    a script to run beside the agent, for VMs that a person uses
        own:      another ivshmem.ko than the project's
        """
        arch = kernel.arch
        programs = {"bin": self.guest_tools(arch),
                    "samples": self.out_of(arch) / "samples-static"}
        if tests:
            programs["tests"] = self.guest_programs(arch)
        if m32:
            programs["tests32"] = self.guest_programs(arch, m32=True)
        key = (kernel.root, tuple(modules), autoload, shell, own, *programs)
        return self.once(("initramfs", key), self._initramfs, key, kernel,
                         own or self.module(kernel), modules, autoload, shell,
                         programs)

    def _initramfs(self, key, kernel, module, modules, autoload, shell,
                   programs):
        name = digest([], str(key))[:8]
        folder = self.out / "initramfs" / f"{kernel.release}-{name}"
        arch = kernel.arch
        files = [module, AGENT_SOURCE, *files_of(*programs.values())]
        init = INIT.replace("LINE", arch.line)

        def build():
            root = folder / "root"
            for sub in ("dev", "etc", "proc", "root", "sys", "tmp", *programs):
                (root / sub).mkdir(parents=True)
            install(root / "init", init)
            install(root / "etc/plugged", PLUGGED)
            if not autoload:
                (root / "etc/no-modules").touch()
            if shell:
                (root / "etc/shell").write_text(shell)
            busybox(root / "bin", arch)
            compile_agent(root / "agent", arch)
            for sub, place in programs.items():
                for program in files_of(place):
                    strip(program, root / sub / program.name, arch)
            install_modules(root, kernel, modules, module)
            (folder / "initrd").write_bytes(cpio(root))
            shutil.rmtree(root)

        self.stamped(folder, digest(files, init, PLUGGED), build)
        return folder / "initrd"


def can_build_32() -> bool:
    """Whether the compiler has what static 32-bit programs need."""
    done = subprocess.run([os.environ.get("CC", "gcc"), "-m32", "-static", "-x",
                           "c", "-", "-o", "/dev/null"], text=True, check=False,
                          input="int main(void) { return 0; }",
                          stderr=subprocess.DEVNULL)
    return not done.returncode


def install(path: Path, text: str):
    path.write_text(text)
    path.chmod(0o755)


def tool(argv) -> str:
    """Runs what has to work: where it does not, that is no lack of something."""
    try:
        return kernels.run(argv)
    except kernels.Unavailable as err:
        raise BuildError(str(err)) from None


def strip(source: Path, target: Path, arch=AMD64, *options):
    tool([*cross.tools(arch), f"{arch.gnu}strip", *options, "-o", target, source])


def busybox(folder: Path, arch=AMD64):
    """Busybox and its names: the machine's own one tells them."""
    if not BUSYBOX.exists():
        raise kernels.Unavailable("busybox-static is not installed")
    shutil.copy(BUSYBOX if arch == AMD64 else cross.busybox(arch),
                folder / "busybox")
    for name in tool([BUSYBOX, "--list"]).split():
        if name != "busybox":
            (folder / name).symlink_to("busybox")


def compile_agent(program: Path, arch=AMD64):
    compiler = f"{arch.gnu}gcc-12" if arch.gnu else os.environ.get("CC", "gcc")
    tool([*cross.tools(arch), compiler, "-O2", "-Wall", "-Wextra", "-s",
          "-static", "-o", program, AGENT_SOURCE])


def install_modules(root: Path, kernel, names, module: Path = None):
    """Puts modules, and what they need, where modprobe finds them."""
    target = root / "lib/modules" / kernel.release
    (target / "extra").mkdir(parents=True)
    if module:
        strip_debug(module, target / "extra" / module.name, kernel.arch)
        names = [*names, *depends(module)]
    needs = {}
    if names:
        lines = kernel_deps(kernel).items()
        needs = {module_name(path): [path, *deps] for path, deps in lines}
    for name in names:
        for path in needs.get(module_name(name), ()):
            data = (kernel.modules / path).read_bytes()
            if path.endswith(".xz"):
                data, path = lzma.decompress(data), path.removesuffix(".xz")
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(data)
    for table in ("modules.order", "modules.builtin"):
        if (kernel.modules / table).exists():
            shutil.copy(kernel.modules / table, target / table)
    kernels.depmod(root, kernel.release)


def depends(module: Path) -> list:
    """The modules that a module needs."""
    listed = tool(["/sbin/modinfo", "-F", "depends", module]).strip()
    return listed.split(",") if listed else []


def strip_debug(source: Path, target: Path, arch):
    strip(source, target, arch, "-g")


def module_name(path: str) -> str:
    return Path(path).name.split(".ko")[0].replace("-", "_")


def kernel_deps(kernel) -> dict:
    """Which modules of a kernel need which; paths below its modules folder."""
    deps = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, more = line.partition(":")
        deps[path] = more.split()
    return deps
