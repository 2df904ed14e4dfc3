# SPDX-License-Identifier: MIT
"""ivshmem-server ends, killed or not, and another one goes on."""
import fcntl
import json
import os
import pathlib
import select
import signal
import struct
import sys
import termios
import time

import pytest

from manager import Manager
from serverlab import BOUND, BUILD, Client, Closed, Server, build

KILLED = -signal.SIGKILL


@pytest.fixture(name="manager")
def fixture_manager(folder):
    """A service manager that keeps file descriptors."""
    manager = Manager(folder)
    yield manager
    manager.close()


@pytest.fixture(name="service")
def fixture_service(server, manager):
    """Starts a server that leaves what it has with the manager."""
    running = []

    def start(*args, **keywords):
        clients = running[-1].clients if running else []
        new = server("--fd-store", *args, manager=manager, **keywords)
        new.clients = clients
        new.ended = True
        running.append(new)
        return new

    yield start
    if not running:
        return
    for client in running[-1].clients:
        client.close()
    if running[-1].process.poll() is None:
        running[-1].end()


def ring(fd):
    """Rings a doorbell."""
    os.write(fd, struct.pack("=Q", 1))


def rung(fd):
    """How often a doorbell was rung."""
    return struct.unpack("=Q", os.read(fd, 8))[0]


@pytest.mark.parametrize("number,status", [(signal.SIGKILL, KILLED),
                                           (signal.SIGTERM, 0)])
def test_nobody_notices(service, number, status):
    """Peers stay, new ones meet them, and all ring each other."""
    first = service(vectors=3)
    a, b = first.join(3), first.join(3)
    assert a.receive_peer(3) == 1
    os.pwrite(a.memory, b"kept", 4000)
    first.wait_idle()
    first.end(number, status)
    a.expect_silence()

    # It comes while nobody serves, and is served later.
    waits = first.connect()
    second = service(vectors=3)
    second.wait_log("took over 2 peers; ids go on from 2")
    c = waits.handshake(3)
    assert c.id == 2 and set(c.peers) == {0, 1, 2}
    assert a.receive_peer(3) == b.receive_peer(3) == 2
    assert os.pread(c.memory, 4, 4000) == b"kept"
    everyone = [a, b, c]
    for x in everyone:
        x.expect_silence()
        for y in everyone:
            for vector in range(3):
                if x is not y or x is c:
                    ring(x.peers[y.id][vector])
                    assert rung(y.peers[y.id][vector]) == 1


def keeps_memory(path, folder):
    """The memory is where it was, and no other server's meanwhile."""
    def check(_running, client, run, args):
        assert os.path.samestat(path.stat(), os.fstat(client.memory))
        status, _, err = run("--socket", folder / "other", *args)
        assert status == 1 and "another server uses it" in err
    return check


def keeps_directory(_running, client, _run, _args):
    """Both peers stand in it."""
    assert os.pread(client.memory, 1, (64 << 10) - 12288 + 4096) == b"\3"


def keeps_ringing(_running, client, _run, _args):
    """It was rung for the one that has joined, and not for the restart."""
    assert rung(client.peers[client.id][0]) == 1


@pytest.mark.parametrize("kind", ["file", "shm", "directory", "notify", "control"])
def test_options(service, run, folder, kind):
    """A restart leaves whole what other options make."""
    name = folder.name
    shm, path = pathlib.Path("/dev/shm", name), folder / "memory"
    control = folder / "control"

    def keeps_control(_running, _client, run, _args):
        status, out, _ = run("--status", control, "--json")
        assert status == 0
        assert [peer["id"] for peer in json.loads(out)["peers"]] == [0, 1]

    args, check = {
        "file": (["--file", path], keeps_memory(path, folder)),
        "shm": (["--shm", name], keeps_memory(shm, folder)),
        "directory": (["--directory"], keeps_directory),
        "notify": (["--notify-join", "0", "--notify-leave", "0"], keeps_ringing),
        "control": (["--control", control], keeps_control),
    }[kind]
    args += ["--size", "64K"]
    try:
        running = service(*args)
        client = running.join()
        os.pwrite(client.memory, b"kept", 4000)
        running.crash()
        running = service(*args)
        assert running.join().id == 1
        assert client.receive_peer(1) == 1
        assert os.pread(running.clients[-1].memory, 4, 4000) == b"kept"
        check(running, client, run, args)
        client.expect_silence()
    finally:
        shm.unlink(missing_ok=True)


def test_many_restarts(service, manager):
    """It can be done again and again, and nothing piles up."""
    running = service(vectors=2)
    clients = [running.join(2)]
    for i in range(1, 6):
        running.crash()
        running = service(vectors=2)
        clients.append(running.join(2))
        assert clients[-1].id == i
        for client in clients[:-1]:
            assert client.receive_peer(2) == i
    manager.settle()
    assert manager.names() == sorted(["memory", "state", "listener",
                                      *(f"peer-{i}" for i in range(6))])
    baseline = running.fd_count() - 6 * 3
    while clients:
        clients.pop().close()
    running.wait_log(" left", 6)
    manager.settle()
    assert manager.names() == ["listener", "memory", "state"]
    assert running.fd_count() == baseline


def test_departures(service):
    """Who leaves while nobody serves has left, and its id is not used again."""
    running = service("--no-quiet-departures", vectors=2)
    a, b, c = (running.join(2) for _ in range(3))
    assert [a.receive_peer(2), a.receive_peer(2), b.receive_peer(2)] == [1, 2, 2]
    b.close()
    assert a.receive() == c.receive() == (1, None)
    d = running.join(2)
    assert d.id == 3
    assert a.receive_peer(2) == c.receive_peer(2) == 3
    running.crash()
    c.close()

    running = service("--no-quiet-departures", vectors=2)
    assert a.receive() == d.receive() == (2, None)
    running.crash()
    running = service("--no-quiet-departures", vectors=2)
    e = running.join(2)
    assert e.id == 4 and set(e.peers) == {0, 3, 4}
    assert a.receive_peer(2) == d.receive_peer(2) == 4
    for client in a, d, e:
        client.expect_silence()


def test_what_was_queued(service):
    """A peer that is behind gets what it was to get, in step."""
    running = service("--no-quiet-departures", vectors=64)
    slow = running.connect()
    running.wait_log("peer 0 joined")
    others = [running.join(64, keep=False) for _ in range(8)]
    others[1].close()
    running.wait_log("peer 2 left")
    # One more, of which it has been told some vectors when it is full.
    unread = fcntl.ioctl(slow.sock, termios.FIONREAD, bytes(4))
    torn, part = divmod(int.from_bytes(unread, sys.byteorder) // 8 - 3, 64)
    assert part and torn not in (0, 2, 7, 8)
    others[torn - 1].close()
    others[6].close()
    running.wait_log("left", 3)
    running.crash()
    running = service("--no-quiet-departures", vectors=64)
    got = []
    last = running.join(64, keep=False)
    while len(got) < 2 or got[-1] != (last.id, True) or \
            got.count((last.id, True)) < 64:
        value, fd = slow.receive(keep=False)
        got.append((value, fd is not None))
    slow.expect_silence()
    assert got[:3] == [(0, False), (0, False), (-1, True)]
    assert got[3:67] == [(0, True)] * 64
    known, runs = set(), []
    for value, has_fd in got[67:]:
        if not has_fd:
            known.remove(value)
        elif runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
            known.add(value)
    assert known == {1, 3, 4, 5, 6, 8, last.id} - {torn}
    assert all(count == 64 for _, count in runs)
    assert last.id == 9


def test_many_vectors(service):
    """More vectors than fit in one message of a box."""
    running = service(vectors=600)
    a = running.join(600)
    running.crash()
    b = service(vectors=600).join(600)
    assert a.receive_peer(600) == b.id
    for vector in 0, 251, 252, 253, 504, 505, 599:
        ring(b.peers[a.id][vector])
        assert rung(a.peers[a.id][vector]) == 1


def test_other_options(service):
    """What peers have stays as it is; what comes is as the new options say."""
    running = service("--size", "64K", vectors=2)
    a = running.join(2)
    running.crash()
    running = service("--size", "128K", vectors=1)
    running.wait_log("the memory keeps its size of 65536 bytes")
    b = running.connect()
    messages = [b.receive() for _ in range(6)]
    assert [value for value, _ in messages] == [0, 1, -1, 0, 0, 1]
    assert os.fstat(messages[2][1]).st_size == 65536
    assert a.receive_peer(1) == 1


@pytest.mark.parametrize("spoil", [
    {0: 0}, {8: 99}, {20: 99}, {34: 99}, {40: 7}, {40: 1, 56: 99}
], ids=["magic", "layout", "size", "fresh", "tail", "released"])
def test_spoilt_state(service, manager, spoil):
    """A state that makes no sense is not used; the server begins anew."""
    running = service()
    a = running.join()
    running.crash()
    manager.settle()
    state = dict(manager.stored)["state"]
    for place, value in spoil.items():
        os.pwrite(state, bytes([value]), place)
    running = service()
    running.wait_log("cannot go on where the last server ended: Invalid")
    a.expect_closed()
    assert running.join().id == 0
    manager.settle()
    assert manager.names() == ["listener", "memory", "peer-0", "state"]


def test_spoilt_peer(service, manager):
    """A peer of which the state says something else has to leave; no other one."""
    running = service(vectors=2)
    a, b = running.join(2), running.join(2)
    assert a.receive_peer(2) == b.id
    running.crash()
    manager.settle()
    state = dict(manager.stored)["state"]
    # The vectors of the second one, behind all ids and the first one.
    place = 48 + (16 << 16) + 32 + 24
    assert os.pread(state, 1, place) == b"\2"
    os.pwrite(state, b"\3", place)
    running = service(vectors=2)
    running.wait_log("cannot take over peer-1: Invalid argument")
    b.expect_closed()
    c = running.join(2)
    assert c.id == 2 and set(c.peers) == {0, 2}
    assert a.receive_peer(2) == c.id
    manager.settle()
    assert manager.names() == ["listener", "memory", "peer-0", "peer-2", "state"]


def test_directory_in_little(service):
    """A directory that the kept memory has no room for is left out."""
    running = service("--size", "4K")
    a = running.join()
    running.crash()
    running = service("--size", "16K", "--directory")
    running.wait_log("--directory is not possible: the memory that was kept is "
                     "too small")
    assert running.join().id == 1
    assert a.receive_peer(1) == 1
    assert os.pread(a.memory, 4096, 0) == bytes(4096)
    assert running.log().count("the directory of peers") == 0


def test_ids_run_out(service, manager):
    """That three quarters of the ids have been used is worth a warning."""
    running = service()
    running.join()
    running.crash()
    manager.settle()
    # The first id that was never given out.
    state = dict(manager.stored)["state"]
    assert os.pread(state, 4, 32) == struct.pack("=I", 1)
    os.pwrite(state, struct.pack("=I", 49150), 32)
    running = service()
    assert running.join().id == 49150
    assert "three quarters" not in running.log()
    assert running.join().id == 49151
    running.wait_log("three quarters of all ids have been used")
    assert running.join().id == 49152
    assert running.log().count("three quarters") == 1


def test_other_socket(service, folder):
    """Another path changes nothing while the manager keeps the socket, and the
    log says so."""
    running = service()
    assert "is not used" not in running.log()
    running.crash()
    running = service(path=folder / "other")
    running.wait_log(f"--socket {folder / 'other'} is not used")
    assert "listening on the socket of the service manager" in running.log()
    assert not (folder / "other").exists()
    running.path = folder / "socket"
    assert running.join().id == 0
    running.end()
    running = service()
    assert "is not used" not in running.log()
    assert f"listening on {folder / 'socket'}" in running.log()


def test_lost_box(service, manager):
    """A peer that the manager has lost has left; nothing else suffers."""
    running = service("--no-quiet-departures")
    a, b = running.join(), running.join()
    assert a.receive_peer(1) == 1
    running.crash()
    manager.settle()
    manager.forget("peer-1")
    running = service("--no-quiet-departures")
    b.expect_closed()
    assert a.receive() == (1, None)
    c = running.join()
    assert c.id == 2 and set(c.peers) == {0, 2}


def test_needs_manager(run, folder):
    """--fd-store is no use without a service manager."""
    status, _, err = run("--socket", folder / "socket", "--fd-store")
    assert status == 1
    assert "--fd-store: there is no service manager" in err
    assert not (folder / "socket").exists()


def test_half_for_boxes(service):
    """Boxes take up no more than half of what may be on its way."""
    running = service(vectors=4, limits=(100, 100))
    for _ in range(10):
        running.join(4)
    refused = running.connect()
    assert refused.receive() == (-24, None)
    refused.expect_closed()
    running.wait_log("Too many open files")
    running.crash()
    running = service(vectors=4, limits=(100, 100))
    assert running.connect().receive() == (-24, None)
    running.clients[0].close()
    running.wait_log("peer 0 left")
    running.join(4)


class Life:
    """One life of a service that is killed once, at a given place."""

    def __init__(self, program, folder, preload, at):
        self.manager = Manager(folder)
        self.manager.listen(folder / "socket")
        self.manager.environment = {"LD_PRELOAD": str(preload),
                                    "KILL_AT": str(at)}
        # Without the sandbox, which would not let it kill itself.
        self.arguments = (program, folder, "--no-quiet-departures",
                          "--fd-store", "--sandbox", "none")
        self.killed = False
        self.lost = 0
        self.clients = []
        self.server = self.start()

    def start(self):
        """Starts the server."""
        return Server(*self.arguments, vectors=2, wait=False,
                      manager=self.manager)

    def go_on(self):
        """As systemd does: starts it again when it has been killed."""
        if self.server.process.poll() is None:
            return
        assert self.server.process.returncode == KILLED and not self.killed
        self.killed = True
        self.manager.environment = {}
        self.server = self.start()

    def pump(self, client, done):
        """Receives until all is there. Returns whether the client may stay."""
        end = time.monotonic() + BOUND
        while not done(client.stream):
            assert time.monotonic() < end
            if not select.select([client.sock], [], [], 0.02)[0]:
                self.go_on()
                continue
            try:
                value, fd = client.receive(keep=False)
            except Closed:
                value, fd = -84, None
            if value == -84:
                self.clients.remove(client)
                client.close()
                self.lost += 1
                if not self.killed:
                    self.server.process.wait(BOUND)
                    self.go_on()
                return False
            client.stream.append((value, fd is not None))
        return True

    def join(self):
        """A client that has its own vectors; a second one if one is lost."""
        client = Client(self.server.path)
        client.stream = []
        self.clients.append(client)
        if self.pump(client, lambda stream: len(stream) > 4 and
                     stream.count((stream[1][0], True)) == 2):
            return client
        return self.join()

    def run(self):
        """The life. Returns whether it was killed."""
        try:
            self.join()
            second = self.join()
            self.clients.remove(second)
            second.close()
            self.join()
            # After the last one that joins nobody is lost any more.
            before = None
            while before != (self.killed, self.lost):
                before = self.killed, self.lost
                last = self.join()
                mark = last.stream[1][0]
                for client in list(self.clients):
                    self.pump(client, lambda stream:
                              stream.count((mark, True)) == 2)
            alive = known(last.stream)
            for client in self.clients:
                assert known(client.stream) == alive
            assert len(alive) == len(self.clients)
            assert self.lost <= 1
            self.manager.settle()
            assert self.manager.names() == sorted(
                ["memory", "state", *(f"peer-{one}" for one in alive)])
            return self.killed
        finally:
            for client in self.clients:
                client.close()
            self.server.process.kill()
            self.server.process.wait()
            self.manager.close()


def known(stream):
    """Whom a client knows, of whom it has heard in step with two vectors."""
    (version, _), (own, _), memory = stream[:3]
    assert (version, memory) == (0, (-1, True))
    peers, ever = set(), set()
    rest = stream[3:]
    while rest:
        value, has_fd = rest.pop(0)
        if not has_fd:
            peers.remove(value)
            continue
        assert rest.pop(0) == (value, True)
        assert value not in ever
        ever.add(value)
        peers.add(value)
    assert own in peers
    return peers


def test_killed_anywhere(folder):
    """Wherever it is killed, clients are in step, and at most one is lost."""
    build("tools/ivshmem-server")
    preload = BUILD / "unit/kill_at.so"
    build("tests/unit", preload)
    at, killed, lost = 0, True, 0
    while killed:
        at += 1
        place = folder / str(at)
        place.mkdir()
        life = Life(BUILD / "bin/ivshmem-server", place, preload, at)
        killed = life.run()
        lost += life.lost
    assert at > 60
    assert 0 < lost < at
