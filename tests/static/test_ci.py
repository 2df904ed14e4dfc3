# SPDX-License-Identifier: MIT
"""What a run does that has no time left."""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def run(kernel, *options):
    """A run that ends before its only test begins."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         "tests/vm/test_basic.py", "--kernels", kernel, "--minutes", "1e-9",
         *options],
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
    for extra in ("debug",), ("5.10", "--ci"):
        rc, (late, last) = run(*extra)
        passed, failed, skipped = counts(last)
        assert rc == 0 and skipped and (passed, failed) == (0, 0)
        assert late == f"for lack of time: 0 failed, {skipped} skipped"


def collected(*options):
    """The tests of a run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/vm",
         "--collect-only", "-q", *options],
        cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_selection():
    """With --ci some kernels run all, others, and later, a part."""
    tests = collected("--ci", "--kernels", "debug,5.10,6.1")
    parts = [[n for n, test in enumerate(tests) if re.search(rf"\W{name}\W", test)]
             for name in (r"6\.1", r"5\.10", "debug")]
    whole, some, debug = parts
    assert max(whole) < min(some) and max(some) < min(debug)
    assert len(whole) > 3 * len(some) > 60
    assert len(collected("--kernels", "5.10")) > 3 * len(some)
