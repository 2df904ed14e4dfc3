# SPDX-License-Identifier: MIT
"""ivshmem-server's kinds of memory."""
import fcntl
import mmap
import os
import pathlib
import re
import secrets
import signal
import subprocess

import pytest

from serverlab import BOUND, PAGES

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
F_GET_SEALS = 1034
SIZE = 64 << 10
NODES = pathlib.Path("/sys/devices/system/node/online")


@pytest.fixture(name="name")
def fixture_name():
    """Of a POSIX shared memory object that is removed in the end."""
    name = f"ivshmem-test-{secrets.token_hex(8)}"
    yield name
    pathlib.Path("/dev/shm", name).unlink(missing_ok=True)


def allocated(client):
    """How many bytes the memory takes up."""
    return os.fstat(client.memory).st_blocks * 512


@pytest.mark.parametrize("slash", ["", "/"])
def test_shm(server, name, slash):
    """A POSIX shared memory object, for its user only, all of it allocated."""
    running = server("--shm", slash + name, "--size", "64K")
    client = running.join()
    path = pathlib.Path("/dev/shm", name)
    stat = path.stat()
    assert os.path.samestat(stat, os.fstat(client.memory))
    assert (stat.st_size, stat.st_mode) == (SIZE, 0o100600)
    assert allocated(client) == SIZE
    os.pwrite(client.memory, b"there", 4096)
    assert path.read_bytes()[4096:4101] == b"there"


@pytest.mark.parametrize("keep", [False, True])
def test_file(server, folder, keep):
    """A file is zeroed, or kept, and a crash locks nobody out."""
    path = folder / "memory"
    path.write_bytes(bytes(4096) + b"old" * 20480)
    args = ["--file", path, "--size", "64K", *(["--keep"] if keep else [])]
    first = server(*args)
    client = first.join()
    assert allocated(client) >= SIZE
    content = os.pread(client.memory, SIZE, 0)
    assert content == (path.read_bytes() if keep else bytes(SIZE))
    assert bool(content.count(b"old")) == keep
    assert len(path.read_bytes()) == SIZE
    first.end(signal.SIGKILL, -signal.SIGKILL)
    # The client still has the memory, but not the lock.
    server(*args).join()


def test_file_prepared(server, folder):
    """An empty file gets its size and keeps its mode."""
    path = folder / "memory"
    path.touch(0o640)
    path.chmod(0o640)
    server("--file", path, "--size", "64K", "--keep").join()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_bytes() == bytes(SIZE)


def test_in_use(server, run, folder):
    """Two servers do not share a file, and the second one zeroes nothing."""
    path = folder / "memory"
    client = server("--file", path).join()
    os.pwrite(client.memory, b"precious", 0)
    status, _, err = run("--socket", folder / "other", "--file", path)
    assert status == 1
    assert f"shared memory in {path}: another server uses it" in err
    assert path.read_bytes()[:8] == b"precious"


def test_file_wrong(run, folder):
    """What is not ours stays as it is."""
    path = folder / "memory"
    path.write_bytes(b"precious")
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    for what, message in (
            (path, "it is there already and has another size"),
            (fifo, "it is not a regular file"),
            (folder, "Is a directory"),
            (folder / "no" / "file", "No such file or directory")):
        status, _, err = run("-q", "--socket", folder / "s", "--file", what)
        assert status == 1
        assert err.endswith(f"bytes of shared memory in {what}: {message}\n")
        assert err.count("\n") == 1
    assert path.read_bytes() == b"precious"


def test_full(run, folder, name):
    """A file system without so much room: found out at once, nothing is kept."""
    path = pathlib.Path("/dev/shm", name)
    for args in (["--shm", name], ["--file", path]):
        status, _, err = run("-q", "--socket", folder / "s", "--size", "256T",
                             *args)
        assert status == 1
        assert err.endswith(": No space left on device\n")
        assert path.stat().st_size == 0


def test_prefault(server, folder):
    """Memory without a name is allocated when used, or before."""
    lazy = server("--size", "8M", path=folder / "lazy").join()
    assert allocated(lazy) == 0
    eager = server("--size", "8M", "--prefault").join()
    assert allocated(eager) == 8 << 20


@pytest.mark.parametrize("size", PAGES)
def test_no_huge_pages(run, folder, size):
    """More huge pages than any pool has."""
    if not PAGES[size].exists():
        pytest.skip(f"the kernel knows no huge pages of {size}")
    status, _, err = run("-q", "--socket", folder / "s", "--hugetlb", size,
                         "--size", "1T")
    assert status == 1
    assert err == ("ivshmem-server: error: cannot make 1099511627776 bytes of "
                   "shared memory: not enough huge pages are free\n")


@ROOT
@pytest.mark.parametrize("prepare", [
    "mount -t hugetlbfs -o pagesize=2M none $0",
    "truncate -s 16M $0.image && mkfs.ext4 -q $0.image && "
    "mount -o loop $0.image $0"], ids=["hugetlbfs", "ext4"])
def test_full_disk(server_program, folder, huge_pages, prepare):
    """A file system of huge pages of which there are none, or on a small disk:
    one line says so, and no block is taken."""
    huge_pages(0)
    place = folder / "place"
    place.mkdir()
    alone = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*alone, prepare, place], check=False).returncode:
        pytest.skip("it cannot be mounted here")
    done = subprocess.run(
        [*alone, f"{prepare} && timeout {BOUND} $1 -q --socket $0.socket --size "
         "64M --file $0/file; echo $?; stat -c %b $0/file", place,
         server_program],
        check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stderr == ("ivshmem-server: error: cannot make 67108864 bytes of "
                           f"shared memory in {place}/file: No space left on "
                           "device\n")
    assert done.stdout == "1\n0\n"
    assert not (folder / "place.socket").exists()


@pytest.mark.parametrize("size,count", [("2M", 2), ("1G", 1)])
def test_huge_pages(server, huge_pages, size, count):
    """Huge pages, as many as are needed and no more, sealed."""
    huge_pages(count, size)
    page = {"2M": 2 << 20, "1G": 1 << 30}[size]
    free = PAGES[size] / "free_hugepages"
    running = server("--hugetlb", size, "--size", str(count * page))
    client = running.join()
    assert os.fstat(client.memory).st_blksize == page
    assert free.read_text() == "0\n"
    assert fcntl.fcntl(client.memory, F_GET_SEALS) & 7 == 7
    with mmap.mmap(client.memory, count * page) as memory:
        assert memory[:2 << 20] == bytes(2 << 20)
        memory[-1] = 1
    running.leave_all()
    running.end()
    assert free.read_text() == f"{count}\n"


@pytest.mark.parametrize("prefault", [False, True])
def test_node(server, prefault):
    """Whoever touches the memory first, it comes from the node."""
    if not NODES.exists():
        pytest.skip("the kernel knows no NUMA nodes")
    running = server("--numa-node", "0", "--size", "64K",
                     *(["--prefault"] if prefault else []))
    client = running.join()
    with mmap.mmap(client.memory, SIZE) as memory:
        memory[0] = 1
        maps = pathlib.Path("/proc/self/numa_maps").read_text()
        line = next(one for one in maps.splitlines() if "memfd:ivshmem" in one)
        assert " bind:0 " in line
    assert allocated(client) == (SIZE if prefault else 4096)


def test_no_node(run, folder):
    """A node that is not there, and a file system that has no nodes."""
    for args, message in ((["1023"], "there is no such NUMA node"),
                          (["0", "--file", folder / "memory"],
                           "this file system knows no NUMA nodes")):
        if "--file" in args and "tmpfs" in subprocess.check_output(
                ["stat", "-f", "-c", "%T", folder], text=True):
            continue
        status, _, err = run("-q", "--socket", folder / "s", "--numa-node",
                             *args)
        assert status == 1
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("args,message", [
    (["--hugetlb", "4M"], "--hugetlb 4M: must be 2M or 1G"),
    (["--hugetlb", "2M", "--size", "1M"],
     "--size is less than one page of --hugetlb"),
    (["--shm", "a/b"], "must be a name with no slash but at the beginning"),
    (["--shm", "/"], "must be a name with no slash"),
    (["--shm", ".."], "must be a name with no slash"),
    (["--shm", "x" * 256], "must be a name with no slash"),
    (["--file", ""], "must be a path"),
    (["--shm", "a", "--file", "b"],
     "only one of --hugetlb, --shm and --file is possible"),
    (["--hugetlb", "2M", "--file", "b"], "only one of --hugetlb, --shm"),
    (["--keep"], "--keep needs --shm or --file"),
    (["--numa-node", "1024"], "must be a number from 0 to 1023"),
    (["--numa-node", "-1"], "must be a number from 0 to 1023"),
], ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "")
def test_options(run, folder, args, message):
    """What makes no sense."""
    status, _, err = run("--socket", folder / "s", *args)
    assert status == 2
    assert message in err
    assert not os.listdir(folder)
