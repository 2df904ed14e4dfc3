# SPDX-License-Identifier: MIT
"""ivshmem-server under a service manager: sockets, readiness, the journal."""
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from manager import Manager
from serverlab import BOUND, wait_until


@pytest.fixture(name="manager")
def fixture_manager(folder):
    """A service manager."""
    manager = Manager(folder)
    yield manager
    manager.close()


def test_activation(server, manager, folder):
    """It serves the socket that it is given, and leaves it at the end."""
    path = folder / "given"
    manager.listen(path)
    running = server(manager=manager, options=["--vectors", "2"], path=path)
    a = running.join(2)
    assert running.join(2).id == 1
    assert a.receive_peer(2) == 1
    running.end()
    assert path.is_socket()
    a.expect_closed()
    # The next one serves who has come meanwhile.
    waits = running.connect()
    running = server(manager=manager, options=["--vectors", "2"], path=path)
    assert waits.handshake(2).id == 0
    running.end()
    waits.close()


def test_other_path(server, manager, folder):
    """The socket that is passed is served, not the path; the log says so."""
    path = folder / "given"
    manager.listen(path)
    running = server(manager=manager, options=["--socket", folder / "mine"],
                     path=path)
    running.wait_log(f"--socket {folder / 'mine'} is not used")
    assert "listening on the socket of the service manager" in running.log()
    assert running.join().id == 0
    assert not (folder / "mine").exists()
    running.leave_all()
    running.end()


def test_no_socket(server, manager, folder):
    """What is passed and is no listening socket is not taken for one."""
    with open(folder / "file", "wb") as file:
        manager.store("file", os.dup(file.fileno()))
    running = server(manager=manager, options=[], wait=False)
    running.wait_log("has passed no socket to listen on")
    running.process.wait(BOUND)
    running.end(status=1)


def test_ready(server, manager, folder):
    """It tells when it is ready, reads its file again, and ends."""
    running = server(manager=manager)
    wait_until(lambda: manager.told("READY") == ["1"], "the server")
    assert running.join().id == 0
    running.kill(signal.SIGHUP)
    wait_until(lambda: manager.told("READY") == ["1"] * 2, "the server")
    assert manager.told("RELOADING") == ["1"]
    assert "the access lists have been read again" in running.log()
    assert int(manager.told("MONOTONIC_USEC")[0]) > 0
    assert not manager.told("STOPPING")
    running.leave_all()
    running.end()
    manager.settle()
    assert manager.told("STOPPING") == ["1"]
    assert not (folder / "socket").exists()


def test_reload(server, manager, folder):
    """Access lists are read again by one that was passed its socket, too."""
    path, config = folder / "given", folder / "config"
    config.write_text("vectors 1\n")
    manager.listen(path)
    running = server(manager=manager, options=["--config", config], path=path)
    assert running.join().id == 0
    config.write_text("allow-uid 64321\n")
    running.kill(signal.SIGHUP)
    running.wait_log("the access lists have been read again")
    refused = running.connect()
    assert refused.receive() == (-13, None)
    refused.expect_closed()
    running.leave_all()
    running.end()


def test_failed_reload(server, manager, folder):
    """After a mistake in the file it is ready again, with the old lists."""
    config = folder / "config"
    config.write_text("max-peers 2\n")
    running = server("--config", config, manager=manager)
    config.write_text("no-such-option\n")
    running.kill(signal.SIGHUP)
    wait_until(lambda: manager.told("READY") == ["1"] * 2, "the server")
    assert "not an option of a configuration file" in running.log()
    assert "read again" not in running.log()
    running.join(), running.join()
    assert running.connect().receive() == (-122, None)


def test_not_ready(server, manager, folder):
    """One that cannot start does not say that it is ready."""
    (folder / "socket").write_text("in the way")
    running = server(manager=manager, wait=False)
    running.process.wait(BOUND)
    running.end(status=1)
    manager.settle()
    assert not manager.told("READY")


def test_watchdog(server, manager):
    """It shows that it is alive, as often as it is asked to and no oftener."""
    manager.environment = {"WATCHDOG_USEC": "200000"}
    running = server(manager=manager)
    wait_until(lambda: len(manager.told("WATCHDOG")) >= 4, "signs of life")
    manager.settle()
    start, before = time.monotonic(), len(manager.told("WATCHDOG"))
    wait_until(lambda: len(manager.told("WATCHDOG")) >= before + 10,
               "signs of life")
    count = len(manager.told("WATCHDOG")) - before
    # One each half of the time; one more was on its way at each end.
    assert count <= (time.monotonic() - start) / 0.1 + 2
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    manager.settle()
    before = len(manager.told("WATCHDOG"))
    running.kill(signal.SIGCONT)
    wait_until(lambda: len(manager.told("WATCHDOG")) > before, "a sign of life")


def test_no_watchdog(server, manager):
    """Nobody asks, so it shows nothing."""
    running = server(manager=manager)
    running.join()
    manager.settle()
    assert not manager.told("WATCHDOG")


JOURNAL = """
import os, sys
st = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{st.st_dev}:{st.st_ino + int(sys.argv[1])}"
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("other", [0, 1], ids=["journal", "elsewhere"])
def test_journal(server_program, folder, other):
    """Lines for the journal begin with their level, and others do not."""
    path = folder / "socket"
    path.write_text("in the way")
    done = subprocess.run([sys.executable, "-c", JOURNAL, str(other),
                           server_program, "--socket", path], check=False,
                          stderr=subprocess.PIPE, text=True, timeout=BOUND)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    if other:
        assert all(line.startswith("ivshmem-server: ") for line in lines)
        return
    assert re.match("<6>[0-9]+ open files", lines[0])
    assert re.match("<3>.* is there already and is not a socket", lines[-1])
    assert all(re.match("<[3-7]>[^<]", line) for line in lines)
