# SPDX-License-Identifier: MIT
"""What a person runs: make demo and make shell."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from lab.build import TOP, clean_env

# It is the host's side that is tested here.
pytestmark = pytest.mark.not_on("debug", "kcsan",
                                reason="another kernel changes nothing")
PROGRAM = TOP / "tests/vm"


def environment(builder, kernel):
    return {**clean_env(), "O": str(builder.out), "KERNEL": kernel.name}


def test_demo(builder, kernel):
    """The demo shows all that it promises, and ends well."""
    done = subprocess.run([sys.executable, PROGRAM / "demo.py"], text=True,
                          env=environment(builder, kernel), check=False,
                          timeout=300, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    for line in (r"A: ivshmem.ko loaded for pci:v00001AF4d00001110",
                 r"B: wakes with vector 1 count 1",
                 r"A: wakes with vector 2 count 1",
                 r"A: 100 round trips: median \d+ us"):
        assert re.search(line, done.stdout), done.stdout


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(argv[0], argv, env)
        self.out = b""

    def read(self, timeout: float):
        """Takes what it prints, or returns when nothing comes."""
        if select.select([self.fd], [], [], timeout)[0]:
            self.out += os.read(self.fd, 65536)

    def panes(self) -> str:
        """What stands in both halves of the screen, as tmux has it."""
        tmux = ["tmux", "-L", f"ivshmem-{self.pid}", "capture-pane", "-pJ",
                "-S", "-", "-t"]
        return "".join(subprocess.run([*tmux, pane], text=True, check=False,
                                      stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL).stdout
                       for pane in (":.0", ":.1"))

    def expect(self, pattern: str, timeout: float):
        """Waits until it shows something."""
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.panes()):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r}: {self.panes()}")
            try:
                self.read(0.1)
            except OSError:
                raise AssertionError(f"ended: {self.out!r}") from None

    def send(self, keys: bytes):
        os.write(self.fd, keys)

    def wait(self, timeout: float) -> int:
        """Waits for its end; returns its exit status."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            # Nobody ends whose output is not taken.
            with contextlib.suppress(OSError):
                self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"does not end: {self.out!r}")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(30)
        os.close(self.fd)


@pytest.fixture
def terminal(builder, kernel):
    env = {**environment(builder, kernel), "TERM": "xterm"}
    new = Terminal([sys.executable, str(PROGRAM / "shell.py")], env)
    yield new
    new.close()


@pytest.mark.not_on("virt", reason="the machine has no third line")
def test_shell(terminal):
    """Both guests have a shell, and leaving them ends all."""
    terminal.expect(r"(?s)guest-A#.*guest-B#", 120)
    terminal.send(b"ivshmemctl info\r")
    terminal.expect("doorbell: +yes", 60)
    terminal.send(b"\x02d")
    assert terminal.wait(60) == 0


def test_shell_without_terminal(builder, kernel):
    """Without a terminal it says so, and starts nothing."""
    done = subprocess.run([sys.executable, PROGRAM / "shell.py"], text=True,
                          env=environment(builder, kernel), check=False,
                          timeout=60, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1
    assert "terminal" in done.stdout
