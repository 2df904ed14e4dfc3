# SPDX-License-Identifier: MIT
"""Writes a table of what a run has found, lane by kernel: --matrix FILE.

A lane is a file of tests. What the file tells already of other lanes and other
kernels stays, so that they need not all be run in one go.
"""

import collections
import re
from pathlib import Path

import pytest

HEAD = """.. SPDX-License-Identifier: MIT
.. make check-matrix writes this file.

What ran on which kernel
========================

A lane is a file of ``tests/vm`` or ``tests/static``. Here stands how many of its
tests passed, failed or were skipped when it was run last on a kernel, which need not
have been in one run with the others. Tests that need no kernel are not counted.

"""
NOT_RUN = "not run"
OUTCOMES = ("passed", "skipped", "failed")
WORDS = {"failed": "fail", "passed": "pass", "skipped": "skip"}


def pytest_addoption(parser):
    parser.addoption("--matrix", type=Path, metavar="FILE",
                     help="write a table of lanes and kernels")


def pytest_configure(config):
    path = config.getoption("--matrix")
    if not path or hasattr(config, "workerinput"):
        return
    if config.option.keyword or any("::" in arg for arg in config.args):
        raise pytest.UsageError("--matrix is about whole lanes: choose files")
    config.pluginmanager.register(Matrix(path))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Lets the report tell where in the table it belongs."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    # A whole system brings its own kernel.
    if "kernel" in params and not item.get_closest_marker("system"):
        item.user_properties += [("kernel", params["kernel"]),
                                 ("lane", item.path.stem.removeprefix("test_"))]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    release = getattr(item.funcargs.get("kernel"), "release", None)
    if release:
        item.user_properties.append(("release", release))


class Matrix:
    """The table."""

    def __init__(self, path: Path):
        self.path = path
        self.kernels, self.cells, self.remarks = {}, {}, {}
        # Of each test, by lane and kernel: its outcome, and why it was skipped.
        self.found = collections.defaultdict(dict)

    def pytest_runtest_logreport(self, report):
        where = dict(report.user_properties)
        if "kernel" not in where:
            return
        kernel = where["kernel"]
        if where.get("release") or kernel not in self.kernels:
            self.kernels[kernel] = where.get("release", "")
        tests = self.found[where["lane"], kernel]
        reason = ""
        if report.skipped and isinstance(report.longrepr, (tuple, list)):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            # Whose mirror it was is of no interest.
            reason = re.sub(r"\w+://\S*/|\[IP: [^]]*\]", "", reason)
        # The worst of setup, call and teardown counts.
        new = (OUTCOMES.index(report.outcome), " ".join(reason.split()))
        tests[report.nodeid] = max(tests.get(report.nodeid, new), new)

    def pytest_sessionfinish(self, exitstatus):
        """Part of a run is no result."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        new = self.kernels
        self.kernels = {}
        self.read()
        self.kernels.update(new)
        for where, tests in self.found.items():
            self.fill(where, list(tests.values()))
        self.path.write_text(HEAD + "\n".join(self.lines()) + "\n")

    def fill(self, where, tests: list):
        """One cell, with what is to be remarked on it."""
        counts = collections.Counter(OUTCOMES[outcome] for outcome, _ in tests)
        self.cells[where] = ", ".join(f"{counts[outcome]} {word}" for
                                      outcome, word in WORDS.items()
                                      if counts[outcome])
        reasons = collections.Counter(reason for _, reason in tests if reason)
        self.remarks[where] = [f"{reason} ({count})" for reason, count in
                               sorted(reasons.items())]

    def read(self):
        """Takes what the file has."""
        if not self.path.exists():
            return
        text = self.path.read_text()
        rows = [re.findall(r"- (.*)", row) for row in
                re.findall(r"^   \* ((?:.*\n)(?:     .*\n)*)", text, re.M)]
        names, releases = rows[0][1:], rows[1][1:]
        self.kernels = dict(zip(names, releases))
        for lane, *cells in rows[2:]:
            for name, cell in zip(names, cells):
                if cell != NOT_RUN:
                    self.cells[lane, name] = cell
        for lane, name, remark in re.findall(r"^\* (\S+), (\S+): (.*)$", text,
                                             re.M):
            self.remarks.setdefault((lane, name), []).append(remark)

    def lines(self):
        """The table, and the reasons below it."""
        names = sorted(self.kernels, key=order)
        yield ".. list-table::\n   :header-rows: 2\n   :stub-columns: 1\n"
        yield from row("lane", names)
        yield from row("release", [self.kernels[name] or "none" for name in names])
        for lane in sorted({lane for lane, _ in self.cells}):
            yield from row(lane, [self.cells.get((lane, name), NOT_RUN)
                                  for name in names])
        yield "\nWhy tests were skipped, and how many\n" + "-" * 36 + "\n"
        for lane, name in sorted(self.remarks):
            for remark in self.remarks[lane, name]:
                yield f"* {lane}, {name}: {remark}"


def order(name: str):
    """Series by number, those with another name after them."""
    numbers = re.match(r"(\d+)\.(\d+)", name)
    return (0, int(numbers[1]), int(numbers[2]), name) if numbers else \
        (1, 0, 0, name)


def row(first: str, rest: list):
    yield f"   * - {first}"
    yield from (f"     - {cell}" for cell in rest)
