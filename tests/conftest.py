# SPDX-License-Identifier: MIT
"""Options and fixtures of the whole test run, and the line it ends with."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab import debugkernel, kernels
from lab.build import Builder

pytest_plugins = ["lab.matrix"]
OVER = "the run's time is over"
# With --ci, the kernels that run everything.
WHOLE = "6.1", "6.12", "newest"


def pytest_addoption(parser):
    parser.addoption("--kernels", default="6.1,6.12",
                     help="kernels to boot, by name (default: %(default)s)")
    parser.addoption("--ci", action="store_true",
                     help=f"on other kernels than {', '.join(WHOLE)}, run what is "
                     "marked for it only; build debug and kcsan while other tests "
                     "run")
    parser.addoption("--minutes", type=float,
                     help="fail the tests that have not begun by then; skip "
                     "those on debug and kcsan, and those that --ci runs a part of")


def pytest_configure(config):
    """Whatever ends the run, fixtures end what they have started."""
    minutes = config.getoption("--minutes")
    config.end = time.monotonic() + minutes * 60 if minutes else math.inf
    # A worker of xdist may run its tests beside its main thread.
    if threading.current_thread() is threading.main_thread():
        for sig in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.default_int_handler)


def kernel_of(item):
    """The name of the kernel that a test runs on, if it needs one."""
    return getattr(getattr(item, "callspec", None), "params", {}).get("kernel")


def ci_mark(item):
    """The mark without which --ci does not run a test on its kernel."""
    name = kernel_of(item)
    if not item.config.getoption("--ci") or name in (None, *WHOLE):
        return None
    return f"ci_{name}" if name in debugkernel.FLAGS else "ci_debug"


def turn(item):
    """When a test has its turn: what a lack of time may skip is last."""
    return (kernel_of(item) in debugkernel.FLAGS, bool(ci_mark(item)))


def pytest_runtest_setup(item):
    if time.monotonic() > item.config.end:
        if any(turn(item)):
            pytest.skip(OVER)
        pytest.fail(OVER, pytrace=False)


def pytest_sessionstart(session):
    """Begins at once with what takes longest, for the tests that come last."""
    config = session.config
    config.building = None
    names = [name for name in config.getoption("--kernels").split(",")
             if name in debugkernel.FLAGS]
    if (config.getoption("--ci") and names and not config.option.collectonly
            and not hasattr(config, "workerinput")):
        # Whoever needs a kernel waits for its lock, and says what went wrong.
        config.building = subprocess.Popen(
            [sys.executable, "-m", "lab.debugkernel", *names],
            cwd=Path(__file__).parent / "vm", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)


def pytest_sessionfinish(session):
    building = getattr(session.config, "building", None)
    if building:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(building.pid, signal.SIGKILL)
        building.wait()


def pytest_generate_tests(metafunc):
    if "kernel" in metafunc.fixturenames:
        names = metafunc.config.getoption("--kernels").split(",")
        # A whole system brings its own.
        if metafunc.definition.get_closest_marker("system"):
            names = [name for name in names if name not in debugkernel.FLAGS
                     ][:1] or names[:1]
        metafunc.parametrize("kernel", names, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Keeps only_on(), not_on(), --ci and who has his turn when."""
    left = []
    for item in list(items):
        name = kernel_of(item)
        names = {name}
        if name:
            # A mark can also name a processor, or the machine that it is in.
            arch = kernels.arch_of(name)
            names |= {arch.debian, *(machine.split(",")[0] for machine in
                                     arch.machines.values())}
        only = item.get_closest_marker("only_on")
        needed = ci_mark(item)
        if only and not names & set(only.args) or (
                needed and not item.get_closest_marker(needed)):
            items.remove(item)
            left.append(item)
        for mark in item.iter_markers("not_on"):
            if names & set(mark.args):
                item.add_marker(pytest.mark.skip(**mark.kwargs))
    config.hook.pytest_deselected(items=left)
    items.sort(key=turn)


@pytest.fixture(scope="session")
def builder() -> Builder:
    """Builds what tests need, each thing once."""
    return Builder()


@pytest.fixture(scope="session")
def kernel(request) -> kernels.Kernel:
    """Each kernel of --kernels in turn; skips where one cannot be had."""
    try:
        return kernels.get(request.param)
    except kernels.Unavailable as err:
        return pytest.skip(str(err))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Lets fixtures know how their test went: item.reports["call"]."""
    outcome = yield
    reports = item.__dict__.setdefault("reports", {})
    reports[call.when] = outcome.get_result()


def pytest_terminal_summary(terminalreporter):
    """What tests have measured: the lines that they have printed and that say so."""
    lines = [f"{report.nodeid.rpartition('::')[2]}: {line}"
             for report in terminalreporter.stats.get("passed", ())
             for line in report.capstdout.splitlines()
             if line.startswith("measured: ")]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(lines))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """The run's last line: passed, failed (errors count as such), skipped; and
    above it, how many were for lack of time."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not reporter or config.option.collectonly or hasattr(config,
                                                            "workerinput"):
        return
    tests = {kind: {r.nodeid for r in reporter.stats.get(kind, ())}
             for kind in ("passed", "failed", "error", "skipped")}
    failed = tests["failed"] | tests["error"]
    passed = tests["passed"] - failed
    late = {kind: len({r.nodeid for name in names
                       for r in reporter.stats.get(name, ())
                       if OVER in str(r.longrepr)})
            for kind, names in (("failed", ("failed", "error")),
                                ("skipped", ("skipped",)))}
    if any(late.values()):
        print(f"for lack of time: {late['failed']} failed, "
              f"{late['skipped']} skipped")
    print(f"{len(passed)} passed, {len(failed)} failed, "
          f"{len(tests['skipped'] - failed)} skipped", flush=True)
