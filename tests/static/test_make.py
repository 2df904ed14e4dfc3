# SPDX-License-Identifier: MIT
"""The front door: what make says and does on a machine as it is."""

import re
import shutil
import subprocess

import pytest

from lab import kernels
from lab.build import TOP, clean_env

TEXTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", *TOP.glob(".ci/*"),
         *TOP.glob("Documentation/*.rst")]


def run(*argv, cwd=TOP, path=""):
    env = clean_env()
    return subprocess.run([str(a) for a in argv], text=True, cwd=cwd,
                          env={**env, "PATH": f"{path}{env['PATH']}"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)


def test_help():
    """make help has every target that a document names, in one line each."""
    done = run("make", "help")
    assert not done.returncode
    lines = done.stdout.splitlines()
    assert all(re.match(r"  make [a-z][a-z -]* +[A-Z]", line) for line in lines)
    known = set(re.findall(r"[a-z-]+", " ".join(line[7:22] for line in lines)))
    named = set()
    for path in TEXTS:
        named |= set(re.findall(r"(?:^ +|`)make ([a-z][a-z-]*)", path.read_text(),
                                re.M))
    assert len(named) > 8
    assert not named - known


def test_no_headers(tmp_path):
    """Without headers it names what is missing."""
    done = run("make", "modules", f"KDIR={tmp_path}/none")
    assert done.returncode == 2
    assert re.match(rf"No kernel headers in {tmp_path}/none: install "
                    r"linux-headers-\S+, or name others with KDIR=\n", done.stderr)


def test_install(tmp_path):
    """make install puts module, programs and manual pages below DESTDIR, and
    nothing elsewhere."""
    try:
        kernel = kernels.get("6.1")
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    source, root = tmp_path / "source", tmp_path / "root"
    shutil.copytree(TOP, source, ignore=shutil.ignore_patterns(
        ".git", "build", "tests", "*.o", "*.cmd"))
    done = run("make", "install", f"KDIR={kernel.kdir}", f"O={tmp_path}/out",
               f"DESTDIR={root}", "prefix=/usr", *kernel.make_flags, cwd=source)
    assert not done.returncode, done.stderr
    files = {str(path.relative_to(root)) for path in root.rglob("*")
             if path.is_file()}
    [module] = [name for name in files if not name.startswith("usr/")]
    assert re.fullmatch(rf"lib/modules/{re.escape(kernel.release)}/"
                        r"(extra|updates)/ivshmem\.ko", module)
    for name in ("bin/ivshmemctl", "share/man/man1/ivshmemctl.1",
                 "share/man/man4/ivshmem.4", "include/linux/ivshmem.h"):
        assert f"usr/{name}" in files
    done = run(root / "usr/bin/ivshmemctl", "--version")
    assert done.stdout.startswith("ivshmemctl ")


def test_install_deps(tmp_path):
    """Who is not root is given the command, and nothing is installed."""
    programs = {"id": "echo 1000", "apt-get": f"touch {tmp_path}/called",
                # One is there, one was removed, the others were never.
                "dpkg-query": "case $4 in tmux) echo installed ;; "
                              "socat) echo config-files ;; *) exit 1 ;; esac"}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = run(TOP / "tests/install-deps", "shell", path=f"{tmp_path}:")
    assert done.returncode == 1
    assert done.stderr == (
        "Packages are missing. Install them as root:\n"
        "  apt-get update && apt-get install -y --no-install-recommends "
        "busybox-static gcc gcc-12 kmod libc6-dev libelf1 make python3 "
        "qemu-system-x86 zstd socat\n")
    assert not (tmp_path / "called").exists()
