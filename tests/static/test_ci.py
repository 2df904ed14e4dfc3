# SPDX-License-Identifier: MIT
"""What a run does that has no time left."""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def run(kernel):
    """A run that ends before its only test begins."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         "tests/vm/test_basic.py", "--kernels", kernel, "--minutes", "1e-9"],
        cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False)
    return done.returncode, done.stdout.splitlines()[-2:]


def counts(line):
    return [int(n) for n in re.findall(r"\d+", line)]


def test_cut():
    """A kernel that is always tested fails the run; one that is extra does not,
    but the run says so."""
    rc, (late, last) = run("6.1")
    passed, failed, skipped = counts(last)
    assert rc == 1 and failed and (passed, skipped) == (0, 0)
    assert late == f"for lack of time: {failed} failed, 0 skipped"
    rc, (late, last) = run("debug")
    passed, failed, skipped = counts(last)
    assert rc == 0 and skipped and (passed, failed) == (0, 0)
    assert late == f"for lack of time: 0 failed, {skipped} skipped"
