# SPDX-License-Identifier: MIT
"""The module builds without a warning, whoever looks at it."""

import re
import subprocess

import pytest

from lab import kernels, sources
from lab.build import TOP, files_of

WARNING = re.compile(r"\b(warning|error)\b", re.I)
# Said of every module that is built outside Debian's own build.
EXPECTED = re.compile(
    r"Skipping BTF generation|"
    r"(the compiler|pahole version) differs from the one used to build the "
    r"kernel|"
    r"You are using:|The kernel was built by:")
# Without a kernel that was built there are no symbols to be found.
NO_SYMVERS = re.compile(r"WARNING: modpost: .* undefined!|"
                        r"Symbol info of vmlinux is missing|"
                        r"Module\.symvers.* is missing|"
                        r"You can set KBUILD_MODPOST_WARN=1|"
                        r"suppressed \d+ unresolved symbol warnings")


def no_warnings(log: str, *fine):
    """Fails with the lines of a build's output that are warnings."""
    lines = [line for line in log.splitlines() if WARNING.search(line)
             and not any(p.search(line) for p in (EXPECTED, *fine))]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_gcc(builder, kernel):
    """gcc with W=1."""
    no_warnings(builder.module_log(kernel, "W=1"))


def test_sparse(builder, kernel):
    """sparse: address spaces, byte orders, lock balance."""
    log = builder.module_log(kernel, "C=2")
    if "checker-valid.sh: not found" in log:
        pytest.skip(f"{kernel.release}: the headers lack what runs sparse")
    assert "CHECK" in log
    ours = "\n".join(line for line in log.splitlines() if "/driver/" in line)
    no_warnings(ours)


def test_clang(builder):
    """clang with W=1."""
    try:
        kernel = sources.clang_kernel()
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    log = builder.module_log(kernel, f"LLVM={sources.LLVM}", "W=1",
                             "KBUILD_MODPOST_WARN=1")
    no_warnings(log, NO_SYMVERS)


def test_kernel_doc():
    """Comments in kernel-doc form have the right form."""
    try:
        # The newest have the checker in their source only.
        kernel = kernels.get("6.12")
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    files = [p for p in files_of(TOP / "driver", TOP / "include")
             if p.suffix in (".c", ".h")]
    done = subprocess.run([kernel.kbuild / "scripts/kernel-doc", "-Werror",
                           "-none", *files], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode or done.stdout:
        pytest.fail(done.stdout, pytrace=False)
