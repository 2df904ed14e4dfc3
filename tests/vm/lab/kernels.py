# SPDX-License-Identifier: MIT
"""Brings Debian kernels with their headers into a cache.

A kernel has a name: a series, and after a dash a flavour or another processor:
6.1, 6.12-rt, 5.10-cloud, 6.1-arm64. Image, headers and kbuild tools are unpacked
side by side, nothing is installed, and the machine's own apt configuration stays as
it is.
"""

import contextlib
import dataclasses
import fcntl
import functools
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

from .arch import AMD64, ARM64, I386, RISCV64, S390X, Arch

LISTS_MAX_AGE = 24 * 3600
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Series, the suites that carry it, and how its metapackages are called.
SERIES = {
    "5.10": (("bullseye", "bullseye-security"), "linux-{}{}-amd64"),
    "6.1": (("bookworm", "bookworm-security"), "linux-{}{}-amd64"),
    "6.12": (("bookworm-security",), "linux-{}-6.12{}-amd64"),
    "newest": (("trixie-backports",), "linux-{}{}-amd64"),
}
# Updates that mirrors list and have lost: the suites that are left.
WITHOUT_UPDATES = {"5.10-rt": ("bullseye",)}
# Kernels for other processors: suites, processor, and whose compiler it takes.
# One suite comes without its security updates: some mirrors have no usable list of
# these for i386.
FOREIGN = {
    "6.1-i386": (("bookworm",), I386, ""),
    "6.1-arm64": (("bookworm", "bookworm-security"), ARM64, "cross"),
    "6.1-s390x": (("bookworm", "bookworm-security"), S390X, "cross"),
    "6.12-riscv64": (("trixie",), RISCV64, "newest-cross"),
    "newest-arm64": (("trixie-backports",), ARM64, "newest-cross"),
}
# Compilers that this machine does not have, or that cannot be installed beside its
# own, and build tools that do not run here: a suite, and the packages of a chroot.
TOOLCHAINS = {
    "newest": ("trixie", ("gcc-14", "libc6-dev", "libelf1t64", "libssl3t64",
                          "make", "perl", "python3-minimal")),
    "cross": ("bookworm", ("gcc-12-aarch64-linux-gnu", "gcc-12-riscv64-linux-gnu",
                           "gcc-12-s390x-linux-gnu", "libc6-dev-arm64-cross",
                           "libc6-dev-riscv64-cross", "libelf1", "libssl3",
                           "make", "perl", "python3-minimal")),
    "newest-cross": ("trixie", ("gcc-14-aarch64-linux-gnu",
                                "gcc-14-riscv64-linux-gnu", "libelf1t64",
                                "libssl3t64", "make", "perl",
                                "python3-minimal")),
}
# What a metapackage needs beyond this is for installing it, not for using it.
PARTS = re.compile(r"^linux-(image|headers|kbuild|modules|binary|base|source)"
                   r"-\d")


# A metapackage has at most the series in its name, the build tools of some
# series too.
REAL = re.compile(r"^linux-kbuild-|-\d+\.\d+\.\d")


class Unavailable(Exception):
    """A kernel, or another piece of the lab, cannot be had; says why."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An unpacked kernel."""
    name: str
    release: str
    root: Path

    @property
    def vmlinux(self) -> Path:
        return self.root / "vmlinux"

    @property
    def image(self) -> Path:
        """What a boot loader would start. That of the lab's own kernels is what
        QEMU boots, too."""
        return packed(self.root, self.release) or self.vmlinux

    @property
    def kdir(self) -> Path:
        return self.root / "usr/src" / f"linux-headers-{self.release}"

    @property
    def kbuild(self) -> Path:
        """Where the tools that come with the headers are."""
        return next((self.root / "usr/lib").glob("linux-kbuild-*"))

    @property
    def arch(self) -> Arch:
        return arch_of(self.name)

    @property
    def enter(self) -> list:
        """What a command begins with that needs the kernel's own tools."""
        series = self.name.partition("-")[0]
        tools = (FOREIGN[self.name][2] if self.name in FOREIGN else
                 series if series in TOOLCHAINS else "")
        return in_toolchain(tools) if tools else []

    @property
    def make_flags(self) -> list:
        """What make needs to know of a compiler that is not Debian's for this
        machine."""
        if self.arch.gnu:
            return [f"CROSS_COMPILE={self.arch.gnu}"]
        variables = self.kdir / ".kernelvariables"
        if self.enter or not variables.exists():
            return []
        wanted = re.search(r"\bgcc-\d+", variables.read_text())
        return [] if not wanted or shutil.which(wanted[0]) else ["CC=gcc"]

    @property
    def module_flags(self) -> list:
        """What make needs to know of the driver alone: what is to be recorded, on
        the kernel that can."""
        return ["KCOV_INSTRUMENT=y"] if self.name == "debug" else []

    @property
    def modules(self) -> Path:
        for top in ("lib", "usr/lib"):
            path = self.root / top / "modules" / self.release
            if (path / "kernel").is_dir():
                return path
        raise Unavailable(f"{self.release} has no modules")


def arch_of(name: str) -> Arch:
    """The processor that a kernel is for."""
    return FOREIGN[name][1] if name in FOREIGN else AMD64


def cache_dir() -> Path:
    path = os.environ.get("IVSHMEM_LAB_CACHE")
    if not path:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = Path(home) / "ivshmem-lab"
    path = Path(path).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: Path):
    """Holds an exclusive lock on a file, between processes."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(argv, **kwargs) -> str:
    """Runs a command, returns its output; its last lines are the error."""
    try:
        done = subprocess.run([str(a) for a in argv], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **kwargs)
    except OSError as err:
        raise Unavailable(f"{argv[0]}: {err.strerror}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # What apt warns of is no reason.
        lines = [line for line in lines if not line.startswith("W: ")]
        raise Unavailable(f"{Path(argv[0]).name} {argv[1]}: "
                          + "; ".join(lines[-3:]))
    return done.stdout


def archive_uris() -> dict:
    """The machine's own mirror: URIs of the archive and of its security part."""
    release = {}
    try:
        for line in Path("/etc/os-release").read_text().splitlines():
            key, _, value = line.partition("=")
            release[key] = value.strip('"')
    except OSError:
        pass
    if release.get("ID") != "debian":
        raise Unavailable("kernels come from Debian's archive and this machine "
                          "does not run Debian")
    codename = release["VERSION_CODENAME"]
    uris = {}
    targets = run(["apt-get", "indextargets", "--format",
                   "$(RELEASE) $(REPO_URI)", "Created-By: Packages"])
    for line in targets.splitlines():
        suite, _, uri = line.partition(" ")
        if suite == codename:
            uris.setdefault("main", uri)
        elif suite == codename + "-security":
            uris.setdefault("security", uri)
    if "main" not in uris:
        raise Unavailable(f"apt has no source for {codename}")
    uris.setdefault("security",
                    re.sub(r"/debian/?$", "/debian-security/", uris["main"]))
    return uris


class Archive:
    """Some suites of Debian's archive, behind an apt configuration of its own."""

    # What comes out of it: packages, or with deb-src their source.
    kind = "deb"

    def __init__(self, suites, arch=AMD64):
        self.suites, self.arch = suites, arch
        name = "+".join(suites)
        archs = arch.debian
        if arch != AMD64:
            archs += f",{AMD64.debian}"
            name += f"-{archs}"
        self.dir = cache_dir() / "apt" / (name + self.kind.removeprefix("deb"))
        self.sources = self.dir / "sources.list"
        options = {
            "Dir::Etc::sourcelist": self.sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::State": self.dir / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self.dir / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Architecture": arch.debian,
            "APT::Architectures": archs,
            "APT::Sandbox::User": "",
            "APT::Update::Post-Invoke": "",
        }
        self.options = []
        for key, value in options.items():
            self.options += ["-o", f"{key}={value}"]

    @property
    def updated(self) -> float:
        """When the package lists came, if they are not too old to be used."""
        with contextlib.suppress(FileNotFoundError):
            then = (self.dir / "updated").stat().st_mtime
            if time.time() - then < LISTS_MAX_AGE:
                return then
        return 0

    def update(self):
        """Fetches the package lists unless they are fresh."""
        if self.updated:
            return
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        uris = archive_uris()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        lines = [f"{self.kind} {signed}"
                 f"{uris['security' if s.endswith('-security') else 'main']} "
                 f"{s} main\n" for s in self.suites]
        self.sources.write_text("".join(lines))
        run(["apt-get", "update", "-q", "--error-on=any", *self.options])
        (self.dir / "updated").touch()

    def show(self, package: str) -> dict:
        """The fields of a package's newest version."""
        text = run(["apt-cache", "show", "--no-all-versions", *self.options,
                    package])
        fields = {}
        for line in text.split("\n\n")[0].splitlines():
            key, sep, value = line.partition(": ")
            if sep and not line.startswith(" "):
                fields[key] = value
        return fields

    def closure(self, packages) -> dict:
        """The packages and all parts of a kernel that they need: versions."""
        found, queue = {}, list(packages)
        while queue:
            name = queue.pop()
            if name in found:
                continue
            fields = self.show(name)
            found[name] = fields["Version"]
            for dep in fields.get("Depends", "").split(","):
                dep = dep.split("|")[0].strip().split(" ")[0].split(":")[0]
                if PARTS.match(dep):
                    queue.append(self.runnable(dep))
        return found

    def runnable(self, package: str) -> str:
        """The build tools of a kernel for another processor, for this one."""
        if self.arch != AMD64 and package.startswith("linux-kbuild-"):
            return f"{package}:{AMD64.debian}"
        return package

    def unpack(self, packages: dict, root: Path):
        """Downloads packages of these versions and unpacks them below root."""
        debs = root.with_name(root.name + ".debs")
        shutil.rmtree(debs, ignore_errors=True)
        debs.mkdir(parents=True)
        run(["apt-get", "download", "-q", *self.options,
             *[f"{name}={version}" for name, version in packages.items()]],
            cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg", "-x", deb, root])
        shutil.rmtree(debs)


class KernelArchive(Archive):
    """An archive that has kernels."""

    def unpack(self, packages: dict, root: Path):
        """Leaves out the metapackages: they are empty, and mirrors have lost
        some of them while they have the kernel itself."""
        super().unpack({name: version for name, version in packages.items()
                        if REAL.search(name)}, root)


def extract_vmlinux(image: bytes) -> bytes:
    """Takes the ELF file out of a bzImage (see Documentation/x86/boot.rst). Images
    of arm64 and riscv64 are what QEMU wants."""
    if image[0x38:0x3c] in (b"ARM\x64", b"RSC\x05"):
        return image
    if image[0x202:0x206] != b"HdrS":
        raise Unavailable("the kernel is not a bzImage")
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    # The last four bytes are the size of what was packed.
    packed = image[start:start + length - 4]
    if packed.startswith(b"\xfd7zXZ"):
        data = lzma.LZMADecompressor().decompress(packed)
    elif packed.startswith(b"\x1f\x8b"):
        data = gzip.decompress(packed)
    else:
        tools = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}
        tool = tools.get(packed[:4])
        if not tool or not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed" if tool else
                              f"the kernel is packed as {packed[:4].hex()}")
        data = subprocess.run([tool, "-dcq"], input=packed, check=False,
                              stdout=subprocess.PIPE).stdout
    if not data.startswith(b"\x7fELF"):
        raise Unavailable("no ELF file in the kernel image")
    return data


def depmod(root: Path, release: str):
    """Writes modules.dep, modules.alias and so on below root."""
    run([shutil.which("depmod", path="/usr/sbin:/sbin") or "depmod",
         "-b", root, release])


def prepare(root: Path, image=True):
    """Makes an unpacked kernel usable where it lies, with or without its image."""
    headers = [p for p in (root / "usr/src").glob("linux-headers-*")
               if (p / "Module.symvers").exists()]
    if len(headers) != 1:
        raise Unavailable("the packages have no headers")
    release = headers[0].name.removeprefix("linux-headers-")
    (root / "release").write_text(release)
    if image:
        prepare_image(root, release)
    # From 6.12 on the headers have a vmlinux: kbuild would want pahole for it.
    with contextlib.suppress(FileNotFoundError):
        (headers[0] / "vmlinux").rename(headers[0] / "vmlinux.unused")


def packed(root: Path, release: str):
    """The image of an unpacked kernel, as its package has it; or None."""
    images = [root / "boot" / f"vmlinuz-{release}",
              root / "boot" / f"vmlinux-{release}",
              root / "usr/lib/modules" / release / "vmlinuz"]
    return next((p for p in images if p.exists()), None)


def prepare_image(root: Path, release: str):
    """Makes what QEMU boots, and an index of the modules."""
    image = packed(root, release)
    if not image:
        raise Unavailable(f"the packages have no vmlinuz-{release}")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (root / "vmlinux").write_bytes(extract_vmlinux(image.read_bytes()))
    depmod(root, release)


def relocate(root: Path, final: Path):
    """Headers name each other by absolute path: make that the final place."""
    for makefile in (root / "usr/src").glob("linux-headers-*/Makefile"):
        text = makefile.read_text()
        makefile.write_text(re.sub(r"([ =])/usr/src/",
                                   rf"\1{final}/usr/src/", text))


def checked(root: Path) -> float:
    """When an entry of the cache was last known to be the newest there is."""
    return (root / "ready").stat().st_mtime


def newest(folder: Path):
    """The entry of a cache folder that was last known to be the newest."""
    ready = [p for p in folder.glob("*") if (p / "ready").exists()]
    return max(ready, key=checked, default=None)


def bring(folder: Path, suites, metas, finish, archive=Archive) -> Path:
    """Unpacks the newest version of packages into the cache, once.

    What is in the cache already is good enough while the mirror has nothing
    newer, and when it does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = archive(suites)
    with locked(cache_dir() / "lock"):
        old = newest(folder)
        if old and archive.updated and checked(old) > archive.updated:
            return old
        try:
            archive.update()
            packages = archive.closure(metas)
        except Unavailable as err:
            if old:
                return old
            raise Unavailable(f"{folder.name}: {err}") from None
        # An epoch's colon would end the folder in a list of paths.
        final = folder / packages[metas[0]].replace(":", "_")
        if (final / "ready").exists():
            (final / "ready").touch()
            return final
        print(f"fetching {' '.join(metas)} {final.name}", file=sys.stderr,
              flush=True)
        work = folder / "partial"
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        try:
            archive.unpack(packages, work)
            finish(work, final)
            (work / "ready").touch()
            work.rename(final)
        except Unavailable as err:
            raise Unavailable(f"{folder.name}: {err}") from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return final


def get(name: str) -> Kernel:
    """A kernel by name, out of the cache or from the mirror."""
    # That module uses this one.
    from . import debugkernel  # pylint: disable=import-outside-toplevel
    if name in debugkernel.FLAGS:
        return debugkernel.get(name)
    series, _, flavour = name.partition("-")
    if name in FOREIGN:
        suites, arch, _ = FOREIGN[name]
        pattern = "linux-{}-" + arch.flavour
    elif series in SERIES:
        (suites, pattern), arch = SERIES[series], AMD64
        suites = WITHOUT_UPDATES.get(name, suites)
    else:
        raise Unavailable(f"no kernel series {series}: there are "
                          + ", ".join((*SERIES, *FOREIGN)))
    metas = [pattern.format(kind, flavour and f"-{flavour}")
             for kind in (["image"] if arch.qemu else []) + ["headers"]]

    def finish(root, final):
        prepare(root, bool(arch.qemu))
        relocate(root, final)

    root = bring(cache_dir() / "kernels" / name, suites, metas, finish,
                 archive=functools.partial(KernelArchive, arch=arch))
    return Kernel(name, (root / "release").read_text(), root)


def toolchain(series: str) -> Path:
    """A folder with the /usr of a system that a series' build tools run on."""
    suite, packages = TOOLCHAINS[series]
    root = cache_dir() / "toolchains" / series
    root.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "lock"):
        if not root.exists():
            print(f"fetching the compiler of {suite}", file=sys.stderr, flush=True)
            work = root.with_name(f"{series}.partial")
            shutil.rmtree(work, ignore_errors=True)
            signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
            run(["mmdebstrap", "--quiet", "--variant=essential",
                 f"--include={','.join(packages)}", suite, work,
                 f"deb {signed}{archive_uris()['main']} {suite} main"])
            work.rename(root)
    return root


def in_toolchain(series: str) -> list:
    """Runs what follows with another /usr, and all other files as they are."""
    if not Path("/bin").is_symlink():
        raise Unavailable("the compiler of another system needs a merged /usr")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "sh", "-c",
            'mount --bind "$0/usr" /usr && exec "$@"', toolchain(series)]


def source(series: str = "6.1") -> Path:
    """The kernel's source as Debian packages it: a folder with the tarball."""
    suites, _ = SERIES[series]
    meta = "linux-source" + ("" if series == "newest" else f"-{series}")
    root = bring(cache_dir() / "source" / series, suites, [meta],
                 lambda root, final: None)
    return next((root / "usr/src").glob("linux-source-*.tar.xz"))


def main(argv):
    names = argv or ["6.1", "6.12"]
    for name in names:
        try:
            kernel = get(name)
        except Unavailable as err:
            sys.exit(f"{err}")
        print(f"{name} {kernel.release} {kernel.kdir}")


if __name__ == "__main__":
    main(sys.argv[1:])
