# SPDX-License-Identifier: MIT
"""ivshmem-server with as many peers as a machine may want."""
import re
import resource
import subprocess
import time

import pytest

from serverlab import BUILD, Client, Server, build, wait_until


@pytest.fixture(name="programs", scope="module")
def fixture_programs():
    """The server as it is installed, without sanitizers, and its clients."""
    for folder, target in (("tools/ivshmem-server", "all"),
                           ("tests/unit", BUILD / "unit/crowd")):
        build(folder, target)
    return BUILD / "bin/ivshmem-server", BUILD / "unit/crowd"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("peers,vectors", [(1000, 8), (100, 64)])
def test_crowd(programs, folder, peers, vectors):
    """All get all, whatever the soft limit; in the end nothing is left."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < peers * (vectors + 1) + 100:
        pytest.skip(f"the hard limit of open files is {hard}")
    server, crowd = programs
    running = Server(server, folder, "--stall-timeout", "3600", vectors=vectors,
                     limits=(256, hard))
    with subprocess.Popen([crowd, running.path, str(peers), str(vectors)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as clients:
        try:
            line = clients.stdout.readline().split()
            assert line, clients.stderr.read()
            assert list(map(int, line[1:])) == \
                [peers, peers * (3 + peers * vectors)]
            assert running.fd_count() == \
                running.baseline + peers * (vectors + 1)
            clients.stdin.close()
            wait_until(lambda: running.fd_count() == running.baseline,
                       "the server to close what it had", bound=60)
            assert "warning" not in running.log()
            assert running.join(vectors).id == peers
            running.leave_all()
            running.end()
        finally:
            clients.kill()
            running.destroy()


class Witness:
    """A peer that hears who comes and who leaves."""

    def __init__(self, client, vectors):
        self.client = client
        self.vectors = vectors
        self.came = []
        self.left = []

    def listen(self, until):
        """Receives until that is so; of each that comes, all vectors."""
        while not until():
            value, fd = self.client.receive(keep=False)
            if fd is None:
                self.left.append(value)
                continue
            for _ in range(self.vectors - 1):
                more, fd = self.client.receive(keep=False)
                assert more == value and fd is not None
            self.came.append(value)


def test_connects(programs, folder):
    """Thousands of clients that come and go, more than a thousand a second: each
    is dealt with and logged, who stays hears of all that were seen, also one that
    does not read meanwhile, and nothing of them is left."""
    vectors, rounds = 8, 1000
    running = Server(programs[0], folder, "--no-quiet-departures", "--verbose",
                     "--stall-timeout", "600", vectors=vectors)

    def come_and_go():
        Client(running.path).close()
        one = Client(running.path)
        assert one.receive() == (0, None)
        one.close()
        one = Client(running.path).handshake(vectors, keep=False)
        one.close()
        return one.id

    try:
        first, late = (Witness(running.join(vectors), vectors) for _ in range(2))
        first.listen(lambda: first.came == [1])
        first.came.clear()
        files = running.fd_count()
        start = time.monotonic()
        for _ in range(rounds):
            last = come_and_go()
            first.listen(lambda: first.came[-1:] == [last])
        print(f"{3 * rounds / (time.monotonic() - start):.0f} connects a second")
        everybody = list(range(2, last + 1))
        assert 2 * rounds <= len(everybody) <= 3 * rounds
        wait_until(lambda: running.fd_count() == files, "it to close all")
        for witness in first, late:
            witness.listen(lambda w=witness: len(w.left) == len(everybody))
            assert witness.came == sorted(witness.left) == everybody
            witness.client.expect_silence()
        log = running.log()
        gone = log.count("debug: a client was gone before it could join\n")
        assert gone + len(everybody) == 3 * rounds
        for what in r"joined \(.*", "left":
            seen = re.findall(rf" info: peer (\d+) {what}$", log, re.M)
            assert sorted(map(int, seen)) == (
                everybody if what == "left" else [0, 1, *everybody])
        assert "warning" not in log
        running.leave_all()
        running.end()
    finally:
        running.destroy()
