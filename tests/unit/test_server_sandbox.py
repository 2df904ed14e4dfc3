# SPDX-License-Identifier: MIT
"""ivshmem-server as its own user, and with the filter of system calls.

What is run here is the server as it is delivered. A call that the filter does
not let through ends it."""
import errno
import json
import os
import pathlib
import pwd
import re
import select
import signal
import subprocess

import pytest

from serverlab import BUILD, Server, build, wait_until
from test_server_access import own_cgroup

ME = os.geteuid()


@pytest.fixture(scope="session")
def program():
    """The server without sanitizers, which make calls of their own."""
    out = BUILD / "sandbox"
    build("tools/ivshmem-server", out=out)
    return out / "bin" / "ivshmem-server"


@pytest.fixture(name="start")
def fixture_start(program, folder):
    """Starts one, which has to end well."""
    if "+seccomp" not in subprocess.check_output([program, "--version"],
                                                 text=True):
        pytest.skip("libseccomp is not installed")
    servers = []

    def start(*args, sandbox="kill", **keywords):
        servers.append(Server(program, folder, "--sandbox", sandbox, *args,
                              **keywords))
        return servers[-1]
    yield start
    try:
        for one in servers:
            if not one.ended:
                one.leave_all()
                one.end()
    finally:
        for one in servers:
            one.destroy()


def process_status(running):
    """What /proc tells of the process."""
    text = pathlib.Path(f"/proc/{running.pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.M))


@pytest.mark.parametrize("mode,filtered", [
    ("deny", "2"), ("kill", "2"), ("none", "0")])
def test_modes(start, mode, filtered):
    """The filter is there, and no new privileges are to be had."""
    running = start(sandbox=mode)
    running.join()
    # What stood in the log was before the filter.
    wait_until(lambda: process_status(running)["Seccomp"] == filtered, "filter")
    assert process_status(running)["NoNewPrivs"] == "1"


def test_default(program, folder):
    """It is on if nothing is said."""
    running = Server(program, folder)
    running.join()
    assert process_status(running)["Seccomp"] == "2"
    running.leave_all()
    running.end()


def test_everything(start, program, folder):
    """All that a server does once it runs, under the filter that kills."""
    config = folder / "main.conf"
    text = (f"size 64K\nfile {folder}/memory\ncontrol {folder}/control\n"
            "directory\nnotify-join 0\nnotify-leave 1\nstall-timeout 2\n"
            "no-quiet-departures\nverbose\n")
    config.write_text(text)
    running = start("--config", config, vectors=64, limits=(1500, 1500))
    a, b = running.join(64), running.join(64)
    assert a.receive_peer(64) == b.id
    assert select.select([a.peers[a.id][0]], [], [], 20)[0]
    b.close()
    assert a.receive() == (b.id, None)
    assert select.select([a.peers[a.id][1]], [], [], 20)[0]
    a.sock.send(b"x")
    running.wait_log("clients only listen")
    os.truncate(folder / "memory", 4096)
    running.join(64)
    running.wait_log("cannot write the directory")
    os.truncate(folder / "memory", 65536)

    stalled = running.connect()
    for _ in range(6):
        running.join(64, keep=False)
    running.wait_log("left a message waiting")
    assert stalled.drain()
    for form in [], ["--json"], ["--prometheus"]:
        told = subprocess.check_output(
            [program, "--status", folder / "control", *form], text=True)
        if form == ["--json"]:
            assert json.loads(told)["peers"]

    # Until nothing is left, and again.
    while running.connect().receive()[0] >= 0:
        pass
    running.wait_log("Too many open files")
    for client in running.clients:
        client.close()
    running.clients.clear()
    running.join(64)

    config.write_text(f"{text}allow-uid root\nallow-uid {ME}\n"
                      f"allow-gid {os.getegid()}\nallow-gid no-such-group\n")
    running.kill(signal.SIGHUP)
    running.wait_log("must be the name or number of a group")
    config.write_text(f"{text}allow-uid {ME}\nallow-uid nobody\n"
                      f"allow-gid {os.getegid()}\nallow-gid daemon\n"
                      f"allow-cgroup {own_cgroup()}\nmax-peers 2\n"
                      "max-rate 100\n")
    running.kill(signal.SIGHUP)
    running.wait_log("the access lists have been read again")
    running.clients[-1].close()
    running.wait_log(f"peer {running.clients.pop().id} left")
    running.join(64)
    running.join(64)
    assert running.connect().receive()[0] == -errno.EDQUOT
    config.write_text(f"{text}allow-cgroup /ivshmem-no-such-group\n")
    running.kill(signal.SIGHUP)
    running.wait_log("the access lists have been read again", 2)
    assert running.connect().receive()[0] == -errno.EACCES


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_user(start, folder):
    """It is its user from then on, with nothing of root's."""
    user = pwd.getpwnam("daemon")
    running = start("--user", "daemon", "--control", folder / "control",
                    "--mode", "666")
    running.join()
    wait_until(lambda: process_status(running)["Seccomp"] == "2", "filter")
    told = process_status(running)
    assert told["Uid"].split() == [str(user.pw_uid)] * 4
    assert told["Gid"].split() == [str(user.pw_gid)] * 4
    assert set(told["Groups"].split()) == \
        {str(gid) for gid in os.getgrouplist("daemon", user.pw_gid)}
    for kind in "CapInh", "CapPrm", "CapEff", "CapAmb":
        assert int(told[kind], 16) == 0
    assert told["NoNewPrivs"] == "1"
    running.leave_all()
    running.end()
    # The folder is everybody's; in root's the sockets would stay.
    assert sorted(os.listdir(folder)) == ["log"]


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_user_in_foreign_folder(start, folder):
    """A folder that is not its user's keeps the socket; it is replaced."""
    os.chmod(folder, 0o755)
    first = start("--user", "daemon")
    first.join()
    first.leave_all()
    first.end()
    assert f"cannot remove {first.path}: Permission denied" in first.log()
    start("--user", "daemon").join()


def test_user_not_possible(run, folder):
    """Only root becomes another user, and only one that there is."""
    if ME != 0:
        status, _, err = run("--socket", folder / "s", "--user", "root")
        assert status == 1
        assert "cannot give up privileges to become root" in err
    status, _, err = run("--socket", folder / "s", "--user", "no such user")
    assert status == 2
    assert "--user no such user: must be the name of a user" in err


def test_not_built_in(run, folder):
    """A server without it says so instead of doing without."""
    for mode, message in (("deny", "must be none: libseccomp is not built in"),
                          ("x", "must be none: libseccomp is not built in")):
        status, _, err = run("--socket", folder / "s", "--sandbox", mode)
        assert status == 2
        assert f"--sandbox {mode}: {message}" in err
    assert "built in: -seccomp" in run("--version")[1]
