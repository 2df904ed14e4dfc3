# SPDX-License-Identifier: MIT
"""How ivshmem-server tells peers of others: doorbells and the directory."""
import fcntl
import mmap
import os
import select
import struct
import subprocess

import pytest

from serverlab import BOUND, BUILD, TOP, build, wait_until

SIZE = 64 << 10
DIRECTORY = 12288
FULL = struct.pack("=Q", (1 << 64) - 2)


def rung(fd):
    """Waits for a doorbell, and returns how often it was rung."""
    assert select.select([fd], [], [], BOUND)[0]
    return struct.unpack("=Q", os.read(fd, 8))[0]


def silent(fds):
    """None of the doorbells has been rung."""
    return not select.select(fds, [], [], 0)[0]


@pytest.mark.parametrize("quiet", [True, False])
def test_notify(server, quiet):
    """The vectors that were asked for ring, of all others, and no more."""
    running = server("--notify-join", "1", "--notify-leave", "3", vectors=4,
                     *([] if quiet else ["--no-quiet-departures"]))
    a = running.join(4)
    b = running.join(4)
    assert a.receive_peer(4) == b.id
    assert rung(a.peers[a.id][1]) == 1
    c = running.join(4)
    assert a.receive_peer(4) == b.receive_peer(4) == c.id
    assert rung(a.peers[a.id][1]) == rung(b.peers[b.id][1]) == 1

    b.close()
    assert rung(a.peers[a.id][3]) == rung(c.peers[c.id][3]) == 1
    for client in a, c:
        assert silent(client.peers[client.id])
    if not quiet:
        assert a.receive() == c.receive() == (b.id, None)


def test_notify_one(server):
    """One of the two alone."""
    running = server("--notify-leave", "0")
    a, b = running.join(), running.join()
    running.join()
    assert silent(a.peers[a.id])
    b.close()
    assert rung(a.peers[a.id][0]) == 1


def test_notify_full(server):
    """A peer whose doorbell blocks whoever writes to it blocks nobody."""
    running = server("--notify-join", "0", "--notify-leave", "0")
    hostile, other = running.join(), running.join()
    fd = hostile.peers[hostile.id][0]
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    rung(fd)
    os.write(fd, FULL)
    assert other.fds and not select.select([], [fd], [], 0)[1]
    for _ in range(3):
        third = running.join()
        rung(other.peers[other.id][0])
        third.close()
        rung(other.peers[other.id][0])


def read_directory(client, size=SIZE):
    """What stands in it: (count, counter), and the set of ids."""
    # A huge page is mapped as a whole.
    with mmap.mmap(client.memory, size) as memory:
        content = memory[size - DIRECTORY:]
    magic, version, count, generation = struct.unpack_from("<8sIIQ", content)
    assert (magic, version) == (b"ivshmdir", 1)
    assert generation % 2 == 0
    assert content[24:4096] == bytes(4072)
    ids = {i for i in range(65536)
           if content[4096 + i // 8] & 1 << i % 8}
    assert count == len(ids)
    return generation, ids


@pytest.mark.parametrize("kind", [[], ["--file"]])
def test_directory(server, folder, kind):
    """Who is there, from the first moment on, and the rest is zero."""
    running = server("--directory", "--size", "64K",
                     *(kind + [folder / "memory"] if kind else []))
    a = running.join()
    first, ids = read_directory(a)
    assert ids == {0}
    b = running.join()
    second, ids = read_directory(b)
    assert ids == {0, 1} and second > first
    assert os.pread(a.memory, SIZE - DIRECTORY, 0) == bytes(SIZE - DIRECTORY)
    a.sock.close()
    wait_until(lambda: read_directory(b)[1] == {1}, "the peer to be gone")
    c = running.join()
    assert read_directory(b)[1] == {1, 2}
    b.sock.close()
    c.sock.close()
    wait_until(lambda: read_directory(a)[1] == set(), "the peers to be gone")


def test_directory_repaired(server):
    """Whatever a peer writes there, the server neither reads nor leaves it."""
    running = server("--directory", "--size", "64K")
    a = running.join()
    os.pwrite(a.memory, b"\xff" * DIRECTORY, SIZE - DIRECTORY)
    running.join()
    assert read_directory(a)[1] == {0, 1}


def test_directory_cut_off(server, folder):
    """A peer that makes the file smaller does not end the server."""
    running = server("--directory", "--size", "64K", "--file",
                     folder / "memory")
    a = running.join()
    os.ftruncate(a.memory, 4096)
    for _ in range(3):
        running.join()
    assert running.log().count("cannot write the directory of peers") == 1
    os.ftruncate(a.memory, SIZE)
    running.join()
    assert read_directory(a)[1] == {0, 1, 2, 3, 4}


def test_directory_huge(server, huge_pages):
    """In huge pages, too."""
    huge_pages(1)
    running = server("--directory", "--hugetlb", "2M", "--size", "2M")
    a, b = running.join(), running.join()
    assert read_directory(a, 2 << 20)[1] == {a.id, b.id}
    running.leave_all()
    running.end()


def test_command(server, folder):
    """ivshmemctl prints what the server wrote."""
    for part in "libivshmem", "ivshmemctl":
        build(f"tools/{part}")
    fake = folder / "fake.so"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC",
                    f"-I{TOP}/include/uapi", "-o", fake,
                    TOP / "tests/unit/fake_device.c"], check=True)
    memory = folder / "memory"
    running = server("--directory", "--size", "16K", "--file", memory)
    for _ in range(5):
        running.join()
    running.clients[1].sock.close()
    running.wait_log("peer 1 left")
    running.join()
    done = subprocess.run(
        [BUILD / "bin" / "ivshmemctl", "peers"], check=True, timeout=BOUND,
        stdout=subprocess.PIPE, text=True,
        env={"LD_PRELOAD": str(fake), "IVSHMEM_FAKE": str(memory)})
    assert done.stdout == "0\n2\n3 (this one)\n4\n5\n"


@pytest.mark.parametrize("args,message", [
    (["--notify-join", "1"], "need a vector less than --vectors"),
    (["--notify-leave", "1"], "need a vector less than --vectors"),
    (["--notify-join", "-1"], "must be a number from 0 to 2047"),
    (["--notify-leave", "2048"], "must be a number from 0 to 2047"),
    (["--directory", "--size", "8K"], "--directory needs a --size of 16K"),
])
def test_options(run, folder, args, message):
    """What makes no sense."""
    status, _, err = run("--socket", folder / "s", *args)
    assert status == 2
    assert message in err
