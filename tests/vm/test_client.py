# SPDX-License-Identifier: MIT
"""QEMU's own client of the protocol: a program that knows nothing of our
server."""

import os
import re
import select
import subprocess
import time

import pytest

from lab import contrib, kernels
from lab.server import Server

VECTORS = 4
BOUND = 30
RUNG = re.compile(r"receive notification from peer_id=\d+ vector=(\d+)\n")


class Client:
    """ivshmem-client, whose terminal is a pipe."""

    def __init__(self, program, server):
        # It would keep its words until somebody gives it a command.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "stdbuf", "-oL", program,
             "-S", server.socket], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.out, self.taken = "", 0

    def order(self, command):
        """Gives it a line."""
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def read(self, timeout):
        """Takes what it prints."""
        if select.select([self.process.stdout], [], [], timeout)[0]:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"it has ended: {self.out}"
            self.out += data.decode()

    def expect(self, pattern):
        """Waits until it has printed something, and takes all up to there."""
        end = time.monotonic() + BOUND
        regex = re.compile(pattern)
        while not (match := regex.search(self.out, self.taken)):
            assert time.monotonic() < end, f"no {pattern!r}: {self.out}"
            self.read(0.1)
        self.taken = match.end()
        return match

    def peers(self):
        """Who it says is there: its own id, then the others' with how many
        vectors each has."""
        self.order("dump")
        self.order("int -1 0")
        text = self.expect(r"(?s)our_id = .*?(?=cannot find peer_id = -1)")[0]
        blocks = re.findall(r"(?:our|peer)_id = (\d+)\n((?:  vector .*\n)*)",
                            text.replace("cmd> ", ""))
        return [(int(name), lines.count("enabled")) for name, lines in blocks]

    def wait_peers(self, *peers):
        """Waits until it knows these, each with all vectors."""
        end = time.monotonic() + BOUND
        wanted = [(peer, VECTORS) for peer in peers]
        while (found := self.peers()) != wanted:
            assert time.monotonic() < end, found

    def wait_rung(self, *vectors):
        """Waits until it has been rung on these, since it began."""
        end = time.monotonic() + BOUND
        while (found := [int(v) for v in RUNG.findall(self.out)]) != [*vectors]:
            assert time.monotonic() < end, found
            self.read(0.1)

    def close(self):
        """Ends it, which is how it leaves."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def server(builder, tmp_path):
    """A server that also tells who leaves."""
    one = Server(builder.tools() / "ivshmem-server", tmp_path, vectors=VECTORS,
                 options=["--no-quiet-departures"])
    try:
        yield one
        one.stop()
    finally:
        one.destroy()


@pytest.fixture
def clients(server):
    """Starts clients, one after another."""
    try:
        program = contrib.get("ivshmem-client")
    except kernels.Unavailable as err:
        pytest.skip(str(err))
    started = []

    def start():
        started.append(Client(program, server))
        started[-1].expect("listen on server socket")
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_client(clients):
    """It joins, learns of others, rings, is rung, and learns who leaves."""
    first = clients()
    first.wait_peers(0)
    second = clients()
    second.wait_peers(1, 0)
    first.wait_peers(0, 1)
    third = clients()
    third.wait_peers(2, 0, 1)
    for one, peers in (first, (0, 1, 2)), (second, (1, 0, 2)):
        one.wait_peers(*peers)

    for vector in 2, 0, 3, 1:
        first.order(f"int 1 {vector}")
        second.expect(f"vector={vector}\n")
    second.order("int 0 all")
    first.wait_rung(0, 1, 2, 3)
    third.order("int all")
    first.wait_rung(0, 1, 2, 3, 0, 1, 2, 3)
    second.wait_rung(2, 0, 3, 1, 0, 1, 2, 3)
    # Nobody was rung who was not meant.
    third.wait_peers(2, 0, 1)
    third.wait_rung()

    second.close()
    first.wait_peers(0, 2)
    third.wait_peers(2, 0)
