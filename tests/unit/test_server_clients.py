# SPDX-License-Identifier: MIT
"""ivshmem-server and clients that misbehave, or are too many."""
import errno
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from serverlab import BOUND, BUILD, Closed, Server, build, wait_until

# A socket takes some 280 messages that nobody reads; the rest is queued.
ENOUGH_TO_BLOCK = 400
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


def read_one_and_hang(path):
    """A process that reads the first message of the handshake, and no more."""
    script = ("import socket, sys, time\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "s.connect(sys.argv[1])\n"
              "assert len(s.recv(8)) == 8\n"
              "print(flush=True)\n"
              "time.sleep(1000)\n")
    process = subprocess.Popen([sys.executable, "-c", script, path],
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def crowd(running, count, vectors):
    """Clients that have read all that there is."""
    clients = []
    for _ in range(count):
        new = running.join(vectors, keep=False)
        for client in clients:
            assert client.receive_peer(vectors, keep=False) == new.id
        clients.append(new)
    return clients


def test_connects_and_closes(server):
    """A thousand clients, as fast as they can, that close at once leave nothing
    and disturb nobody."""
    running = server(vectors=8)
    stays = running.join(8)
    for _ in range(1000):
        running.connect().sock.close()
    last = running.join(8)
    assert set(last.peers) == {stays.id, last.id}
    # Those that were seen at all were whole.
    while stays.receive_peer(8) != last.id:
        pass
    stays.expect_silence()


def test_closed_before_accept(server):
    """A client that is gone before the server looks uses up no id."""
    running = server()
    stays = running.join()
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    for _ in range(20):
        running.connect().sock.close()
    running.kill(signal.SIGCONT)
    assert running.join().id == 1
    assert stays.receive_peer(1) == 1


def test_killed_in_handshake(server):
    """A client that dies while its handshake is being sent is just gone."""
    running = server(vectors=64)
    others = [running.join(64, keep=False) for _ in range(6)]
    process = read_one_and_hang(running.path)
    running.wait_log("peer 6 joined")
    process.kill()
    process.wait()
    running.wait_log("peer 6 left")
    late = running.join(64, keep=False)
    assert set(late.peers) == {0, 1, 2, 3, 4, 5, 7}
    for other in others:
        while other.receive_peer(64, keep=False) != 7:
            pass
        other.expect_silence()


def test_closed_while_blocked(server):
    """A client that closes while messages for it are queued is just gone."""
    running = server(vectors=64)
    blocked = running.connect()
    for _ in range(8):
        running.join(64, keep=False)
    blocked.sock.close()
    running.wait_log("peer 0 left")
    assert 0 not in running.join(64, keep=False).peers


def test_stalled(server):
    """A client that never reads is disconnected; the others do not wait."""
    running = server("--stall-timeout", "1.5", vectors=64)
    stalled = running.connect()
    running.wait_log("peer 0 joined")
    start = time.monotonic()
    others = crowd(running, ENOUGH_TO_BLOCK // 64 + 1, 64)
    assert "disconnected" not in running.log()

    running.wait_log("peer 0 disconnected: it left a message waiting for 1.5 s")
    assert 1.5 <= time.monotonic() - start < 10
    # What it got is a beginning of what it was to get, with nothing left out.
    expected = [(0, False), (0, False), (-1, True), *[(0, True)] * 64]
    for other in others:
        expected += [(other.id, True)] * 64
    got = stalled.drain()
    assert 100 < len(got) < len(expected)
    assert got == expected[:len(got)]

    late = running.join(64, keep=False)
    assert set(late.peers) == {*(other.id for other in others), late.id}
    for other in others:
        assert other.receive_peer(64, keep=False) == late.id
        other.expect_silence()


def test_idle_is_not_stalled(server):
    """A client that reads nothing may stay while nothing waits for it."""
    running = server("--stall-timeout", "0.5", vectors=100)
    stalled = running.connect()
    running.wait_log("peer 0 joined")
    idle = running.join(100, keep=False)
    assert running.join(100, keep=False).id == 2
    # Of the one something has waited for so long, of the other nothing.
    running.wait_log("peer 0 disconnected: it left a message waiting")
    assert running.join(100, keep=False).id == 3
    assert [idle.receive_peer(100, keep=False) for _ in range(2)] == [2, 3]
    idle.expect_silence()
    stalled.drain()


def test_late_reader(server):
    """One that reads late, but in time, gets everything in order."""
    running = server(vectors=64)
    late = running.connect()
    others = [running.join(64, keep=False) for _ in range(20)]
    assert late.handshake(64, keep=False).id == 0
    for other in others:
        assert late.receive_peer(64, keep=False) == other.id
    late.expect_silence()


def test_trickling_reader(server):
    """One that reads a little whenever more comes gets everything in order."""
    running = server(vectors=32)
    slow = running.connect()
    values = []
    count = 30
    for _ in range(count):
        running.join(32, keep=False)
        for _ in range(11):
            values.append(slow.receive(keep=False)[0])
    while len(values) < 3 + 32 * (count + 1):
        values.append(slow.receive(keep=False)[0])
    expected = [0, 0, -1, *[0] * 32]
    for peer in range(1, count + 1):
        expected += [peer] * 32
    assert values == expected
    slow.expect_silence()


def test_too_slow_reader(server):
    """One that reads, but never catches up, is disconnected all the same."""
    running = server("--stall-timeout", "1", vectors=128)
    others = crowd(running, 30, 128)
    slow = running.connect()
    hung_up = select.poll()
    hung_up.register(slow.sock, 0)
    got = 0
    with pytest.raises(Closed):
        while True:
            # As much as makes the server send on, and less than there is
            for _ in range(250):
                slow.receive(keep=False)
                got += 1
            hung_up.poll(150)
    running.wait_log("peer 30 disconnected: it left a message waiting")
    assert 300 < got < 30 * 128
    for other in others:
        assert other.receive_peer(128, keep=False) == 30
        other.expect_silence()


@pytest.mark.parametrize("garbage", [b"x", b"\0" * 8, os.urandom(100000)],
                         ids=["byte", "message", "much"])
def test_garbage(server, garbage):
    """A client that sends something is disconnected."""
    running = server()
    stays = running.join()
    rude = running.join()
    assert stays.receive_peer(1) == rude.id
    rude.sock.setblocking(False)
    rude.sock.send(garbage)
    rude.sock.settimeout(BOUND)
    rude.expect_closed()
    running.wait_log("peer 1 disconnected: it sent data")
    assert set(running.join().peers) == {0, 2}
    assert stays.receive_peer(1) == 2
    stays.expect_silence()


def test_garbage_before_accept(server):
    """So is one that sends before it is accepted, and file descriptors."""
    running = server()
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    rude = running.connect()
    for _ in range(5):
        socket.send_fds(rude.sock, [b"fds"], [0, 1, 2])
    running.kill(signal.SIGCONT)
    running.wait_log("peer 0 disconnected: it sent data")
    assert running.join().id == 1
    rude.drain()


def test_stopped(server):
    """A process that is stopped is like one that does not read; nobody waits."""
    running = server("--stall-timeout", "1", vectors=64)
    script = ("import socket, sys\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "s.connect(sys.argv[1])\n"
              "while data := s.recv(8):\n"
              "    value = int.from_bytes(data, 'little', signed=True)\n"
              "    print(value, flush=True)\n")
    with subprocess.Popen([sys.executable, "-c", script, running.path],
                          stdout=subprocess.PIPE, text=True) as process:
        head = [process.stdout.readline() for _ in range(3 + 64)]
        assert head == ["0\n", "0\n", "-1\n", *["0\n"] * 64]
        process.send_signal(signal.SIGSTOP)
        try:
            others = crowd(running, ENOUGH_TO_BLOCK // 64 + 1, 64)
            running.wait_log("peer 0 disconnected: it left a message waiting")
            late = running.join(64, keep=False)
        finally:
            process.send_signal(signal.SIGCONT)
        # It reads what had got through, in step, and sees the end.
        got = process.stdout.read().split()
    assert process.returncode == 0
    told = [str(other.id) for other in others for _ in range(64)]
    assert 100 < len(got) < len(told)
    assert got == told[:len(got)]
    assert set(late.peers) == {*(other.id for other in others), late.id}
    for other in others:
        assert other.receive_peer(64, keep=False) == late.id
        other.expect_silence()
    assert running.log().count("warning") == 1


def test_half_closed(server):
    """A client that closes its sending half has left."""
    running = server()
    client = running.join()
    client.sock.shutdown(socket.SHUT_WR)
    client.expect_closed()
    running.wait_log("peer 0 left")


def test_two_hundred_at_once(server):
    """All of 200 clients that come together hear of each other."""
    running = server(vectors=2)
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    clients = [running.connect() for _ in range(200)]
    running.kill(signal.SIGCONT)
    running.wait_log("joined", 200)
    for client in clients:
        client.handshake(2, keep=False)
        while len(client.peers) < 200:
            client.receive_peer(2, keep=False)
        client.expect_silence()
    assert sorted(client.id for client in clients) == list(range(200))
    assert "warning" not in running.log()


def test_many_leave_at_once(server):
    """Half of many leave while others have not read a thing."""
    running = server("--no-quiet-departures", vectors=16)
    clients = [running.connect() for _ in range(60)]
    running.wait_log("joined", 60)
    for client in clients[::2]:
        client.close()
    running.wait_log(" left", 30)
    for client in clients[1::2]:
        client.handshake(16, keep=False)
        alive = set(client.peers)
        gone = set()
        while alive - gone != set(range(1, 60, 2)):
            peer, fd = client.receive(keep=False)
            if fd is None:
                assert peer in alive and peer not in gone
                gone.add(peer)
                continue
            for _ in range(15):
                value, fd = client.receive(keep=False)
                assert value == peer and fd is not None
            assert peer not in alive
            alive.add(peer)
        client.expect_silence()


def test_soft_limit_is_raised(server):
    """The soft limit of open files is not the server's limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    running = server(vectors=64, limits=(64, hard))
    for i in range(20):
        assert running.join(64, keep=False).id == i


@pytest.mark.parametrize("limit", range(40, 45))
def test_hard_limit(server, limit):
    """Clients for which fds do not suffice are refused; the rest goes on.

    A peer takes five, so that each of the limits leaves another rest.
    """
    running = server("--verbose", vectors=4, limits=(limit, limit))
    peers = []
    while True:
        client = running.connect()
        first, _ = client.receive()
        if first:
            break
        peers.append(client)
        client.id, _ = client.receive()
        client.receive()
        while client.receive_peer(4) != client.id:
            pass
    assert 3 <= len(peers) <= 8
    # A version that no client knows, which is -EMFILE, and nothing else
    assert first == -24
    client.expect_closed()
    # It goes on like this, however little is left.
    for _ in range(20):
        client = running.connect()
        assert client.receive() == (-24, None)
        client.expect_closed()
    running.wait_log(f"uid {os.getuid()}): Too many open files", 21)

    for i, peer in enumerate(peers):
        for later in peers[i + 1:]:
            assert peer.receive_peer(4) == later.id
        peer.expect_silence()
    peers[0].close()
    running.wait_log("peer 0 left")
    new = running.join(4)
    # Nobody has heard of those that were refused, and they used up no id.
    assert new.id == len(peers)
    for peer in peers[1:]:
        assert peer.receive_peer(4) == new.id
        peer.expect_silence()


def test_no_fd_to_accept(server):
    """Without a single fd clients wait; nothing spins, and they come in."""
    running = server()
    first = running.join()
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (3, 20000))
    waiting = [running.connect(), running.connect()]
    running.wait_log("clients that connect now have to wait")
    before = running.cpu_seconds()
    running.wait_wakeups(2)
    assert running.cpu_seconds() - before < 0.2
    for client in waiting:
        client.expect_silence()
    assert running.log().count("have to wait") == 1
    # Peers come and go meanwhile.
    first.close()
    running.wait_log("peer 0 left")
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (20000, 20000))
    for client in waiting:
        client.handshake()


def test_no_memory(folder):
    """Without memory clients are refused; who is there notices nothing, and with
    memory others join."""
    build("tools/ivshmem-server")
    # The heap has little room to spare.
    running = Server(BUILD / "bin/ivshmem-server", folder, vectors=2000,
                     environment={"MALLOC_TOP_PAD_": "0",
                                  "MALLOC_TRIM_THRESHOLD_": "0"})
    try:
        used = int(re.search(r"^VmSize:\s+(\d+) kB$", pathlib.Path(
            f"/proc/{running.pid}/status").read_text(), re.M)[1]) << 10
        peers = [running.join(2000, keep=False)]
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_AS)
        resource.prlimit(running.pid, resource.RLIMIT_AS, (used, hard))
        for _ in range(50):
            client = running.connect()
            first, _ = client.receive()
            if first:
                break
            client.id, _ = client.receive()
            client.receive()
            while client.receive_peer(2000, keep=False) != client.id:
                pass
            peers.append(client)
        assert first == -errno.ENOMEM
        client.expect_closed()
        running.wait_log("Cannot allocate memory", 1)
        files = running.fd_count()
        assert running.connect().drain() == [(-errno.ENOMEM, False)]
        running.wait_log("Cannot allocate memory", 2)
        assert running.fd_count() == files == running.baseline + 2001 * len(peers)

        resource.prlimit(running.pid, resource.RLIMIT_AS, (hard, hard))
        late = running.join(2000, keep=False)
        assert set(late.peers) == {*(peer.id for peer in peers), late.id}
        for i, peer in enumerate(peers):
            for other in [*peers[i + 1:], late]:
                assert peer.receive_peer(2000, keep=False) == other.id
            peer.expect_silence()
        running.leave_all()
        running.end()
    finally:
        running.destroy()


@AS_ROOT
def test_fds_in_flight(server):
    """The kernel's limit of fds on their way delays, and costs nobody who is not
    late twice."""
    running = server("--stall-timeout", "5", vectors=32, limits=(150, 150),
                     user=64321)
    clients = [running.connect() for _ in range(3)]
    running.wait_log("has to wait: too many file descriptors")
    before = running.cpu_seconds()
    # It tries again twenty times a second, for longer than nobody may stall.
    running.wait_wakeups(120)
    assert running.cpu_seconds() - before < 0.6
    for client in clients:
        client.handshake(32, keep=False)
        while len(client.peers) < 3:
            client.receive_peer(32, keep=False)
    for client in clients:
        client.expect_silence()
    assert "disconnected" not in running.log()


@AS_ROOT
def test_hoarders(server):
    """Clients that never read what they were sent can keep others from joining,
    but not waiting: these are told. One that has all it was sent stays."""
    running = server("--stall-timeout", "1", "--mode", "666", vectors=32,
                     limits=(150, 150), user=64321)
    stays = running.join(32, keep=False)
    hoarders = []
    for _ in range(2):
        hoarders.append(running.connect())
        stays.receive_peer(32, keep=False)
    running.wait_log("has to wait: too many file descriptors")
    late = running.connect()

    def refused():
        stays.skip()
        if not select.select([late.sock], [], [], 0)[0]:
            return False
        return late.receive(keep=False) == (-errno.ETOOMANYREFS, None)

    def parted():
        stays.skip()
        return re.search("peer [12] disconnected: for 2 s too many file descr",
                         running.log())

    wait_until(refused, "the late one to be told")
    wait_until(parted, "a hoarder to be disconnected")
    assert "peer 0 disconnected" not in running.log()
    for hoarder in hoarders:
        hoarder.close()
    # What was on its way to them comes free with their sockets.
    new = running.join(32, keep=False)
    while stays.receive(keep=False)[0] != new.id:
        pass


def test_nothing_leaks(server):
    """After all of it the server has as many files open as before."""
    running = server("--no-quiet-departures", "--stall-timeout", "1",
                     vectors=64)
    for _ in range(3):
        clients = [running.connect() for _ in range(8)]
        clients[0].handshake(64, keep=False)
        clients[1].sock.close()
        clients[2].sock.send(b"garbage")
        clients[3].receive()
        process = read_one_and_hang(running.path)
        process.kill()
        process.wait()
    running.wait_log("it left a message waiting", 3)
    running.leave_all()
    log = running.log()
    assert log.count("joined") == log.count("left\n") + log.count("disconnected")
    wait_until(lambda: running.fd_count() == running.baseline, "the baseline")


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no QEMU")
def test_qemu_refused(server):
    """QEMU ends with a message when it is refused; it does not spin."""
    running = server(vectors=4, limits=(40, 40))
    while running.connect().receive()[0] == 0:
        pass
    done = subprocess.run(
        ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-S",
         "-nodefaults", "-display", "none",
         "-chardev", f"socket,path={running.path},id=server",
         "-device", "ivshmem-doorbell,chardev=server,vectors=4"],
        stderr=subprocess.PIPE, text=True, timeout=BOUND, check=False)
    assert done.returncode == 1
    assert "server sent version -24, expecting 0" in done.stderr
