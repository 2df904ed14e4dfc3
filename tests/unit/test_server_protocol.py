# SPDX-License-Identifier: MIT
"""What ivshmem-server sends to clients that behave."""
import fcntl
import mmap
import os
import select
import signal
import struct

import pytest

F_GET_SEALS = 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1, 2, 4
F_SEAL_EXEC = 0x20

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def kind(fd):
    """What a file descriptor is."""
    return os.readlink(f"/proc/self/fd/{fd}")


def ring(fd):
    """Rings a doorbell."""
    os.write(fd, struct.pack("=Q", 1))


def rung(fds):
    """Which doorbells have been rung since the last look, and how often."""
    counts = {}
    ready, _, _ = select.select(fds, [], [], 0)
    for fd in ready:
        counts[fds.index(fd)] = struct.unpack("=Q", os.read(fd, 8))[0]
    return counts


def messages(client, count):
    """The next messages, as bytes and what their fds are."""
    result = []
    for _ in range(count):
        value, fd = client.receive()
        result.append((value, fd and kind(fd)))
    return result


MEMORY = (-1, "/memfd:ivshmem (deleted)")


def vector(peer):
    """The message that carries a vector of a peer."""
    return (peer, "anon_inode:[eventfd]")


def raw(client, length):
    """The bytes that are there, as hexadecimal words of a message each."""
    data = b""
    while len(data) < length:
        # What comes with an fd comes by itself.
        part = client.sock.recv(length - len(data))
        assert part
        data += part
    client.expect_silence()
    return data.hex(" ", 8)


def test_bytes(server):
    """What is on the wire, byte for byte, as QEMU has it from its own server."""
    running = server("--no-quiet-departures", vectors=2)
    a = running.connect()
    assert raw(a, 40) == ("0000000000000000 0000000000000000 ffffffffffffffff "
                          "0000000000000000 0000000000000000")
    b = running.connect()
    assert raw(b, 56) == ("0000000000000000 0100000000000000 ffffffffffffffff "
                          "0000000000000000 0000000000000000 "
                          "0100000000000000 0100000000000000")
    assert raw(a, 16) == "0100000000000000 0100000000000000"
    b.close()
    running.wait_log("peer 1 left")
    assert raw(a, 8) == "0100000000000000"


def test_handshake(server):
    """Every byte and every fd that three clients get, in order."""
    running = server(vectors=2)
    a = running.connect()
    assert messages(a, 5) == [(0, None), (0, None), MEMORY] + [vector(0)] * 2
    b = running.connect()
    assert messages(b, 7) == [(0, None), (1, None), MEMORY,
                              *[vector(0)] * 2, *[vector(1)] * 2]
    assert messages(a, 2) == [vector(1)] * 2
    c = running.connect()
    assert messages(c, 9) == [(0, None), (2, None), MEMORY, *[vector(0)] * 2,
                              *[vector(1)] * 2, *[vector(2)] * 2]
    assert messages(a, 2) == messages(b, 2) == [vector(2)] * 2
    for client in a, b, c:
        client.expect_silence()


def test_handshake_at_once(server):
    """The whole handshake is there without anything that a client does."""
    running = server(vectors=3)
    client = running.connect()
    running.wait_log("joined")
    running.join(3)
    size = len(client.sock.recv(8))
    for _ in range(2 + 3 + 3):
        size += len(client.sock.recv(8))
    assert size == 9 * 8
    client.expect_silence()


@pytest.mark.parametrize("vectors", [1, 5, 64, 2048])
def test_ring(server, vectors):
    """Each vector that a peer got of another rings just that one."""
    running = server(vectors=vectors)
    clients = [running.join(vectors) for _ in range(3)]
    for i, client in enumerate(clients):
        for later in clients[i + 1:]:
            assert client.receive_peer(vectors) == later.id
    for a in clients:
        for b in clients:
            for v in {0, vectors // 2, vectors - 1}:
                ring(a.peers[b.id][v])
                for c in clients:
                    if vectors > 64:
                        own = [c.peers[c.id][v]]
                        assert rung_poll(own) == (c is b)
                    else:
                        assert rung(c.peers[c.id]) == ({v: 1} if c is b else {})


def rung_poll(fds):
    """As rung(), for a single fd of any number."""
    poll = select.poll()
    poll.register(fds[0], select.POLLIN)
    return bool(poll.poll(0)) and bool(os.read(fds[0], 8))


def test_eventfds_do_not_block(server):
    """A doorbell that nobody answers must not stop those who ring it."""
    running = server()
    client = running.join()
    fd = client.peers[client.id][0]
    assert not os.get_blocking(fd)
    os.write(fd, struct.pack("=Q", 2**64 - 2))
    with pytest.raises(BlockingIOError):
        os.write(fd, struct.pack("=Q", 1))


@pytest.mark.parametrize("text,size", [
    ("4096", 4 * KIB), ("4K", 4 * KIB), ("64k", 64 * KIB), ("1M", MIB),
    ("4G", 4 * GIB), ("8g", 8 * GIB), ("1T", 1 << 40),
    (str(16 * GIB), 16 * GIB), (None, 4 * MIB)])
def test_size(server, text, size):
    """Sizes of 64 bits, suffixes, and the default."""
    running = server(*(["--size", text] if text else []))
    client = running.join()
    assert os.fstat(client.memory).st_size == size
    last = size - mmap.PAGESIZE
    with mmap.mmap(client.memory, mmap.PAGESIZE, offset=last) as page:
        assert page[:] == bytes(mmap.PAGESIZE)
        page[:4] = b"last"
    with mmap.mmap(running.join().memory, mmap.PAGESIZE, offset=last) as page:
        assert page[:4] == b"last"


def test_memory(server):
    """It is zero, shared, and no peer can change its size."""
    running = server("--size", "1M")
    a, b = running.join(), running.join()
    with mmap.mmap(a.memory, MIB) as mine, mmap.mmap(b.memory, MIB) as theirs:
        assert mine[:] == bytes(MIB)
        mine[123456:123461] = b"hello"
        assert theirs[123456:123461] == b"hello"
    for size in 0, 2 * MIB:
        with pytest.raises(PermissionError):
            os.ftruncate(a.memory, size)
    # More seals than these make QEMU refuse the device.
    seals = fcntl.fcntl(a.memory, F_GET_SEALS)
    assert seals & ~F_SEAL_EXEC == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
    assert fcntl.fcntl(a.memory, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


@pytest.mark.parametrize("option", [None, "--quiet-departures"])
def test_departure_quiet(server, option):
    """Nobody is told that a peer left, and newcomers do not hear of it."""
    running = server(*([option] if option else []))
    a, b = running.join(), running.join()
    assert a.receive_peer(1) == 1
    b.close()
    running.wait_log("peer 1 left")
    c = running.join()
    assert c.id == 2 and set(c.peers) == {0, 2}
    assert a.receive_peer(1) == 2
    a.expect_silence()


def test_departure_told(server):
    """Everybody who knew the peer is told, once, and newcomers are not."""
    running = server("--no-quiet-departures", vectors=2)
    a, b, c = (running.join(2) for _ in range(3))
    assert [a.receive_peer(2), a.receive_peer(2), b.receive_peer(2)] == [1, 2, 2]
    b.close()
    assert a.receive() == c.receive() == (1, None)
    d = running.join(2)
    assert d.id == 3 and set(d.peers) == {0, 2, 3}
    assert a.receive_peer(2) == c.receive_peer(2) == 3
    for client in a, c, d:
        client.expect_silence()
    a.close()
    assert c.receive() == d.receive() == (0, None)


def test_departures_at_once(server):
    """Many that leave together, while the server cannot look."""
    running = server("--no-quiet-departures")
    witness = running.join()
    others = [running.join() for _ in range(50)]
    for other in others:
        assert witness.receive_peer(1) == other.id
    running.kill(signal.SIGSTOP)
    running.wait_stopped()
    for other in others[:40]:
        other.close()
    last = running.connect()
    running.kill(signal.SIGCONT)
    gone = sorted(witness.receive() for _ in range(40))
    assert gone == [(other.id, None) for other in others[:40]]
    last.handshake()
    assert witness.receive_peer(1) == last.id
    assert set(last.peers) == {0, last.id, *(o.id for o in others[40:])}
    witness.expect_silence()


def test_ids_are_new(server):
    """An id is not used again after its client has left."""
    running = server()
    stays = running.join()
    for i in range(1, 100):
        client = running.join()
        assert client.id == i and set(client.peers) == {0, i}
        assert stays.receive_peer(1) == i
        client.close()
        running.wait_log("left", i)
    running.leave_all()
    assert running.join().id == 100
