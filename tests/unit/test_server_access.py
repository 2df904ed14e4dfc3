# SPDX-License-Identifier: MIT
"""Whom ivshmem-server lets in."""
import contextlib
import errno
import grp
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import sys

import pytest

from serverlab import BOUND

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ME = os.geteuid()
NOBODY = 65534
OTHER = 4242
SO_PEERPIDFD = 77
REFUSED = "the access lists do not name it"


@contextlib.contextmanager
def acting(uid=ME, gid=os.getegid(), groups=None):
    """For this time the test's process is another user's."""
    mine = os.getgroups()
    if groups is not None:
        os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(ME)
        os.setegid(os.getgid())
        if groups is not None:
            os.setgroups(mine)


def refused(running, error=errno.EACCES):
    """A client of the caller's is not let in."""
    client = running.connect()
    assert client.receive() == (-error, None)
    client.expect_closed()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o606, 0o777])
def test_mode(server, mode):
    """The socket's mode is what was asked for, whatever the umask."""
    old = os.umask(0o077)
    try:
        running = server("--mode", f"{mode:o}")
    finally:
        os.umask(old)
    assert running.path.stat().st_mode & 0o7777 == mode
    running.join()


def test_umask(server):
    """Without --mode the umask decides."""
    old = os.umask(0o027)
    try:
        running = server()
    finally:
        os.umask(old)
    assert running.path.stat().st_mode & 0o7777 == 0o750


@ROOT
@pytest.mark.parametrize("owner,group", [
    ("nobody", grp.getgrgid(1).gr_name), ("4242", "4343"), (None, "4343")])
def test_owner(server, owner, group):
    """Owner and group, by name and by number."""
    args = ["--mode", "660", "--group", group]
    running = server(*args, *(["--owner", owner] if owner else []))
    stat = running.path.stat()
    assert stat.st_uid == {"nobody": pwd.getpwnam("nobody").pw_uid,
                           "4242": 4242, None: 0}[owner]
    assert stat.st_gid == (4343 if group == "4343" else 1)
    with acting(OTHER + 1, stat.st_gid, []):
        running.join()
    with acting(OTHER + 1, 4344, []), pytest.raises(PermissionError):
        running.connect()


@pytest.mark.skipif(ME == 0, reason="root may give files away")
def test_owner_not_possible(run, folder):
    """Nobody but root gives a socket away; then there is none."""
    status, _, err = run("--socket", folder / "s", "--owner", "0")
    assert status == 1
    assert "cannot give the socket" in err
    assert not os.listdir(folder)


def test_uid_own(server, folder):
    """The own user, by number, among others; and others only."""
    server("--allow-uid", "4242", "--allow-uid", str(ME)).join()
    others = server("--allow-uid", "4242", path=folder / "others")
    refused(others)
    others.wait_log(f"refused a client (pid {os.getpid()}, uid {ME}): {REFUSED}")


@ROOT
def test_uid(server):
    """Users that are listed, by name and by number, and others."""
    running = server("--mode", "666", "--allow-uid", "nobody", "--allow-uid",
                     "4242")
    for uid in NOBODY, OTHER:
        with acting(uid):
            running.join()
    refused(running)
    with acting(OTHER + 1):
        refused(running)


@ROOT
def test_gid(server):
    """The group of a process, and the others that it is in, many too."""
    running = server("--mode", "666", "--allow-gid", "4343", "--allow-gid",
                     grp.getgrgid(1).gr_name)
    with acting(OTHER, 4343, []):
        running.join()
    with acting(OTHER, 5, [7, 4343]):
        running.join()
    with acting(OTHER, 5, [*range(5000, 5500), 1]):
        running.join()
    for groups in [], [7], [*range(5000, 5500)]:
        with acting(OTHER, 5, groups):
            refused(running)


@ROOT
def test_both(server):
    """Each kind of list has to name the client."""
    running = server("--mode", "666", "--allow-uid", "4242", "--allow-gid",
                     "4343")
    with acting(OTHER, 4343, []):
        running.join()
    with acting(OTHER, 5, []):
        refused(running)
    with acting(OTHER + 1, 4343, []):
        refused(running)


def own_cgroup():
    """Of this process, as the server sees it."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return re.search("^(?:0::|[0-9]+:name=systemd:)(.*)$", file.read(),
                         re.M)[1]


def test_cgroup(server, folder):
    """A client in the control group, and one that is not."""
    server("--allow-cgroup", own_cgroup()).join()
    refused(server("--allow-cgroup", own_cgroup() + "/below",
                   "--allow-cgroup", "/ivshmem-no-such-group",
                   path=folder / "others"))


def orphan(path):
    """A connected socket whose process is gone, and what its pid was."""
    script = ("import os, socket, sys\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "s.connect(sys.argv[1])\n"
              "t = socket.socket(fileno=int(sys.argv[2]))\n"
              "socket.send_fds(t, [b'x'], [s.fileno()])\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with subprocess.Popen([sys.executable, "-c", script, path,
                               str(theirs.fileno())],
                              pass_fds=[theirs.fileno()]) as process:
            assert process.wait(BOUND) == 0
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    sock = socket.socket(fileno=fds[0])
    sock.settimeout(BOUND)
    return sock, process.pid


def process_with_pid(pid):
    """A process that has this pid, or None."""
    for _ in range(50):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    return None


@pytest.mark.parametrize("lists", [["--allow-cgroup", "/"], []])
def test_process_gone(server, lists):
    """A socket whose process is gone is in no control group."""
    running = server(*lists)
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    sock, _ = orphan(running.path)
    with sock:
        running.kill(signal.SIGCONT)
        first = int.from_bytes(sock.recv(8), "little", signed=True)
    assert first < 0 if lists else first == 0


@ROOT
def test_pid_reused(server):
    """Nor does it get another one's control group with its pid."""
    with socket.socketpair()[0] as pair:
        try:
            pidfd = pair.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        except OSError:
            pytest.skip("the kernel has no SO_PEERPIDFD")
    os.close(pidfd)
    running = server("--allow-cgroup", "/")
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    sock, pid = orphan(running.path)
    try:
        process = process_with_pid(pid)
    except OSError as err:
        pytest.skip(f"pids cannot be chosen: {err}")
    if not process:
        pytest.skip("others took the pid")
    with sock, process:
        running.kill(signal.SIGCONT)
        first = int.from_bytes(sock.recv(8), "little", signed=True)
        process.kill()
    assert first < 0


@ROOT
def test_user_vectors(server):
    """Peers of a user have fewer vectors; the others see as many."""
    running = server("--mode", "666", "--user-vectors", "4242=2",
                     "--user-vectors", "nobody=9", vectors=4)
    mine = running.join(4)
    with acting(OTHER):
        few = running.connect()
        assert few.receive() == (0, None)
        assert few.receive() == (1, None)
        assert few.receive()[0] == -1
        assert few.receive_peer(4) == mine.id
        assert few.receive_peer(2) == 1
    assert mine.receive_peer(2) == 1
    with acting(NOBODY):
        last = running.connect()
        assert [last.receive()[0] for _ in range(3)] == [0, 2, -1]
        assert {last.receive_peer(4), last.receive_peer(2)} == {0, 1}
        assert last.receive_peer(4) == 2
    assert few.receive_peer(4) == 2
    few.expect_silence()


def test_max_peers(server):
    """So many peers, and when one leaves another may come."""
    running = server("--max-peers", "2")
    first, second = running.join(), running.join()
    refused(running, errno.EDQUOT)
    running.wait_log("its user has as many peers as allowed")
    first.close()
    running.wait_log("peer 0 left")
    third = running.join()
    assert set(third.peers) == {second.id, third.id}
    refused(running, errno.EDQUOT)


@ROOT
def test_max_peers_of_others(server):
    """They are counted for each user."""
    running = server("--mode", "666", "--max-peers", "1")
    running.join()
    with acting(OTHER):
        running.join()
        refused(running, errno.EDQUOT)


def test_max_rate(server):
    """A user whose clients come too often; it is logged once."""
    running = server("--max-rate", "3")
    results = []
    for _ in range(40):
        client = running.connect()
        results.append(client.receive()[0])
        client.close()
    assert results[:3] == [0, 0, 0]
    assert set(results[3:]) <= {0, -errno.EAGAIN}
    assert results.count(-errno.EAGAIN) >= 10
    count = running.log().count("too many of this user's have come")
    assert 1 <= count <= 1 + results[3:].count(0)


def test_refused_in_the_log(server):
    """Clients that are refused without end do not fill the log."""
    running = server("--allow-uid", "4242")
    for _ in range(100):
        refused(running)
    running.wait_log("more clients of uid")
    # Ten at once, and ten in each second that this takes.
    start = running.log().count("the access lists do not name it")
    assert 10 <= start < 100
    assert running.log().count("more clients of uid") <= start - 9


def test_reload(server, folder):
    """SIGHUP: the lists are read again; who is there stays."""
    config = folder / "main.conf"
    config.write_text("allow-uid 4242\n")
    running = server("--config", config)
    refused(running)

    config.write_text(f"allow-uid {ME}\nmax-peers 2\nuser-vectors {ME}=1\n")
    running.kill(signal.SIGHUP)
    running.wait_log("the access lists have been read again")
    stays, _ = running.join(), running.join()
    refused(running, errno.EDQUOT)

    config.write_text("allow-uid 4242\nsize 3M\n")
    running.kill(signal.SIGHUP)
    running.wait_log(f"{config}:2: size 3M: must be a power of two")
    refused(running, errno.EDQUOT)

    config.unlink()
    running.kill(signal.SIGHUP)
    running.wait_log(f"cannot read the configuration file {config}")
    refused(running, errno.EDQUOT)

    config.write_text("allow-uid 4242\n")
    running.kill(signal.SIGHUP)
    running.wait_log("the access lists have been read again", 2)
    refused(running)
    assert stays.receive_peer(1) == 1
    stays.expect_silence()


@pytest.mark.parametrize("option,value,wanted", [
    *(("--mode", bad, "an octal number up to 777") for bad in (
        "", "8", "1000", "0o600", "00600", "-1", "u+w")),
    *((option, bad, "the name or number of a user")
      for option in ("--owner", "--allow-uid")
      for bad in ("", "no such user", "-1", "4294967295", "1x")),
    *((option, bad, "the name or number of a group")
      for option in ("--group", "--allow-gid")
      for bad in ("", "no such group", "-1", "4294967295")),
    ("--allow-cgroup", "machine.slice", "a path that begins with /"),
    ("--allow-cgroup", "", "a path that begins with /"),
    *(("--user-vectors", bad, "a user, = and a number from 1 to 2048")
      for bad in ("", "0", "0=", "=1", "0=0", "0=2049", "no such user=1",
                  "x" * 300 + "=1")),
    ("--max-peers", "0", "a number from 1 to 65536"),
    ("--max-rate", "0", "a number from 1 to 1000000"),
])
def test_bad_options(run, folder, option, value, wanted):
    """Values that make no sense."""
    status, _, err = run("--socket", folder / "s", option, value)
    assert status == 2
    assert f"{option} {value}: must be {wanted}" in err or len(value) > 255
    assert f"must be {wanted}" in err
    assert not os.listdir(folder)
