# SPDX-License-Identifier: MIT
"""The series of `make upstream-patch`, on the newest source that Debian has."""

import os
import re
import shutil
import subprocess

import pytest

from lab import kernels, sources
from lab.build import JOBS, TOP, digest, files_of, make

# Beyond tinyconfig: what the driver can make use of.
CONFIG = """
CONFIG_64BIT=y
CONFIG_SMP=y
CONFIG_PRINTK=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_EVENTFD=y
CONFIG_IA32_EMULATION=y
CONFIG_TRANSPARENT_HUGEPAGE=y
CONFIG_FTRACE=y
CONFIG_ENABLE_DEFAULT_TRACERS=y
CONFIG_MODULES=y
CONFIG_PCI=y
CONFIG_PCI_MSI=y
"""
DRIVER = "drivers/misc/ivshmem"


@pytest.fixture(scope="module")
def tree():
    """The source, which stays as it is."""
    try:
        return sources.tree("newest")
    except kernels.Unavailable as err:
        return pytest.skip(str(err))


@pytest.fixture(scope="module")
def state(tree):
    """What the series is made of."""
    return digest(files_of(TOP / "Makefile", TOP / "Kbuild", TOP / "driver",
                           TOP / "include", TOP / "packaging/upstream",
                           TOP / "Documentation"), str(tree))


@pytest.fixture(scope="module")
def series(builder, tree, state):
    """The patches."""
    for program in ("git", "unifdef"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    folder = builder.out / "upstream"
    builder.once("upstream", builder.stamped, folder, state,
                 lambda: make("upstream-patch", f"TREE={tree}",
                              f"O={builder.out}"))
    return sorted(folder.glob("*.patch"))


@pytest.fixture(scope="module")
def patched(builder, tree, state, series):
    """The source with the series applied: links to all that it leaves alone."""
    folder = builder.out / "upstream-tree"

    def apply():
        if subprocess.run(["cp", "-al", f"{tree}/.", folder], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            kernels.run(["cp", "-a", f"{tree}/.", folder])
        # It must not take this for a part of our own repository.
        env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(builder.out)}
        kernels.run(["git", "apply", "--whitespace=error-all", *series],
                    cwd=folder, env=env)

    builder.once("upstream-tree", builder.stamped, folder, state, apply)
    return folder


def test_series(series, patched):
    """It is a series by the one who signs it, and the tree is found in order."""
    assert len(series) > 1
    for number, path in enumerate(series, 1):
        text = path.read_text()
        # A long name is broken into two lines.
        author = re.search(r"^From: (.*?)\nDate:", text, re.M | re.S)[1]
        assert f"\nSigned-off-by: {author.replace(chr(10), '')}\n---\n" in text
        assert f"Subject: [PATCH {number}/{len(series)}] misc: ivshmem: " in text
    titles = re.findall(r"^([^\t\n]+)\nM:", (patched / "MAINTAINERS").read_text(),
                        re.M)
    place = titles.index("IVSHMEM DRIVER")
    assert titles[place - 1] < titles[place] < titles[place + 1]
    index = (patched / "Documentation/misc-devices/index.rst").read_text()
    pages = re.findall(r"^   ([\w-]+)$", index, re.M)
    assert "ivshmem" in pages and pages == sorted(pages)
    numbers = patched / "Documentation/userspace-api/ioctl/ioctl-number.rst"
    codes = re.findall(r"^0x([0-9A-F]{2}) ", numbers.read_text(), re.M)
    assert codes.count("C4") == 1
    place = codes.index("C4")
    assert codes[place - 1] < "C4" < codes[place + 1]


def test_checkpatch(series, patched):
    """That tree's own checkpatch --strict has nothing to say."""
    for path in series:
        done = subprocess.run(["perl", "scripts/checkpatch.pl", "--strict",
                               "--terse", "--show-types", path], cwd=patched,
                              text=True, check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        said = [line for line in done.stdout.splitlines()
                if not line.startswith("total: 0 errors, 0 warnings, 0 checks")]
        if done.returncode or said:
            pytest.fail("\n".join(said), pytrace=False)


@pytest.mark.timeout(1200)
def test_build(builder, patched):
    """It builds into the kernel and as a module, with UIO and without, with W=1.

    There is no vmlinux to look for symbols in: that is done for the module that
    is built outside the tree.
    """
    out = builder.out / "upstream-build"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    flags = ["-C", patched, f"O={out}", "KBUILD_MODPOST_WARN=1", JOBS]
    make(*flags, "tinyconfig")
    for answer, uio, target in (("y", "y", ""), ("m", "m", "ivshmem.ko"),
                                ("m", "n", "ivshmem.ko")):
        with (out / ".config").open("a") as config:
            config.write(f"{CONFIG}CONFIG_IVSHMEM={answer}\nCONFIG_UIO={uio}\n")
        make(*flags, "olddefconfig")
        lines = (out / ".config").read_text().splitlines()
        assert not {*CONFIG.split(), f"CONFIG_IVSHMEM={answer}",
                    "CONFIG_VMAP_PFN=y"} - set(lines)
        assert (f"CONFIG_UIO={uio}" in lines) == (uio != "n")
        shutil.rmtree(out / DRIVER, ignore_errors=True)
        log = make(*flags, "W=1", f"{DRIVER}/{target}")
        assert (out / DRIVER / (target or "built-in.a")).exists()
        built = {p.stem for p in (out / DRIVER).glob("*.o")}
        wanted = {p.stem for p in (TOP / "driver").glob("*.c")}
        assert wanted & built == wanted - ({"uio"} if uio == "n" else set())
        said = [line for line in log.splitlines() if DRIVER in line
                and re.search(r"warning|error", line)]
        if said:
            pytest.fail("\n".join(said), pytrace=False)


def test_old_tree(tree, tmp_path):
    """A kernel to which the driver would have to adapt is refused."""
    for name in ("MAINTAINERS", "include/linux/fs.h", "include/linux/mm.h",
                 "include/linux/eventfd.h", "include/linux/uio_driver.h",
                 "include/linux/wait.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (tree / name).read_text()
        (tmp_path / name).write_text(text.replace("copy_splice_read", "x"))
    (tmp_path / "Makefile").write_text("kernelversion: ; @echo 7.3.3\n")
    done = subprocess.run([TOP / "packaging/upstream", tmp_path,
                           tmp_path / "out"], text=True, check=False,
                          stderr=subprocess.PIPE)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert done.stderr.endswith("it is without HAVE_COPY_SPLICE_READ, "
                                "HAVE_SAFE_MBIND\n")
