# SPDX-License-Identifier: MIT
"""A real ivshmem-server, and clients that do what a script says."""
import array
import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

from lab import kernels

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("O", TOP / "build"))

PAGES = {size: pathlib.Path(f"/sys/kernel/mm/hugepages/hugepages-{kib}kB")
         for size, kib in (("2M", 2 << 10), ("1G", 1 << 20))}

# Far more than anything takes that does not hang.
BOUND = 20


def build(folder, *targets, out=BUILD):
    """Runs make in a folder of the project; no two at a time in one build."""
    out.mkdir(parents=True, exist_ok=True)
    with kernels.locked(out / "lab.lock"):
        subprocess.run(["make", "-s", "-C", TOP / folder, f"O={out}", *targets],
                       check=True)


def wait_until(condition, what, bound=BOUND):
    """Waits until the condition is true, and returns its value."""
    end = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {bound} s for {what}"
        time.sleep(0.005)


class Closed(Exception):
    """The server has closed the connection."""


class Client:
    """A client of the protocol that does what a test wants."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(BOUND)
        self.sock.connect(str(path))
        self.id = self.memory = None
        # Vectors of every peer that this client has heard of, and its own
        self.peers = {}
        self.fds = []

    def receive(self, keep=True):
        """One message: its value and its fd, or None."""
        space = socket.CMSG_SPACE(4 * array.array("i").itemsize)
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(8, space)
        except ConnectionResetError as reset:
            raise Closed from reset
        fds = array.array("i")
        for level, kind, bytes_ in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(bytes_)
        if keep:
            self.fds.extend(fds)
        else:
            for fd in fds:
                os.close(fd)
        assert not flags & socket.MSG_CTRUNC
        if not data:
            raise Closed
        assert len(data) == 8
        assert len(fds) <= 1
        return struct.unpack("<q", data)[0], fds[0] if fds else None

    def receive_peer(self, vectors, keep=True):
        """The vectors of one peer. Returns its id."""
        peer, fd = self.receive(keep)
        assert fd is not None
        fds = [fd]
        while len(fds) < vectors:
            value, fd = self.receive(keep)
            assert value == peer and fd is not None
            fds.append(fd)
        assert peer not in self.peers
        self.peers[peer] = fds
        return peer

    def handshake(self, vectors=1, keep=True):
        """Everything up to the client's own vectors. Returns the client."""
        assert self.receive() == (0, None)
        self.id, fd = self.receive()
        assert fd is None and 0 <= self.id <= 65535
        value, self.memory = self.receive()
        assert value == -1 and self.memory is not None
        while self.receive_peer(vectors, keep) != self.id:
            pass
        return self

    def expect_silence(self):
        """Nothing has come. (The caller knows that it would have by now.)"""
        self.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.sock.recv(1)
        self.sock.settimeout(BOUND)

    def expect_closed(self):
        """Nothing more comes, ever."""
        with pytest.raises(Closed):
            self.receive()

    def drain(self):
        """What comes until the server hangs up, as (value, has an fd)."""
        messages = []
        try:
            while True:
                value, fd = self.receive(keep=False)
                messages.append((value, fd is not None))
        except Closed:
            return messages

    def skip(self):
        """Reads all that has come, keeps nothing of it."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.receive(keep=False)
        self.sock.settimeout(BOUND)

    def close(self):
        """Leaves, and gives back every fd."""
        self.sock.close()
        while self.fds:
            os.close(self.fds.pop())


class Server:
    """A running ivshmem-server."""

    def __init__(self, program, folder, *args, vectors=1, limits=None,
                 user=None, path=None, wait=True, options=None,
                 manager=None, environment=None):
        self.path = path or folder / "socket"
        self.log_path = folder / "log"
        self.clients = []
        if options is None:
            options = "--socket", self.path, "--vectors", str(vectors)
        command = [program, *options, *args]
        more = {"env": {**os.environ, **environment}} if environment else {}
        if manager:
            command, more = manager.launch(command)

        def limit():
            if limits:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, user=user,
                                            stdout=subprocess.DEVNULL,
                                            preexec_fn=limit, **more)
        self.pid = self.process.pid
        self.ended = False
        if wait:
            # Making the memory can take long, if there is much of it.
            self.wait_log("listening on", bound=6 * BOUND)
            # A manager is told that it is ready after that.
            self.wait_idle()
            self.baseline = self.fd_count()

    def log(self):
        """What it has logged so far."""
        return self.log_path.read_text()

    def wait_log(self, text, count=1, bound=BOUND):
        """Waits until it has logged the text so often."""
        wait_until(lambda: self.log().count(text) >= count or
                   self.process.poll() is not None, f"{text!r} in the log",
                   bound)
        assert self.log().count(text) >= count, self.log()

    def connect(self):
        """A client that has not received anything yet."""
        client = Client(self.path)
        self.clients.append(client)
        return client

    def join(self, vectors=1, keep=True):
        """A client after its handshake."""
        return self.connect().handshake(vectors, keep)

    def fd_count(self):
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        """The processor time that it has used."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait_wakeups(self, count):
        """Waits until it has gone to sleep so often again: for what it does from
        time to time. One that spins never does."""
        status = pathlib.Path(f"/proc/{self.pid}/status")

        def sleeps():
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)$",
                                 status.read_text(), re.M)[1])
        before = sleeps()
        wait_until(lambda: sleeps() >= before + count, f"{count} wakeups", 60)

    def kill(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)

    def wait_idle(self):
        """Waits until it has done what there is to do, and sleeps."""
        wait_until(lambda: ") S " in pathlib.Path(
            f"/proc/{self.pid}/stat").read_text(), "the server to sleep")

    def destroy(self):
        """Ends it and its clients at once, whatever they are at."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def crash(self):
        """Kills it when it is not about to write anything down."""
        self.wait_idle()
        self.end(signal.SIGKILL, -signal.SIGKILL)

    def wait_stopped(self):
        """After SIGSTOP: waits until it has taken effect."""
        wait_until(lambda: " T " in pathlib.Path(
            f"/proc/{self.pid}/stat").read_text(), "the server to stop")

    def leave_all(self):
        """All clients leave; then nothing of them may be left."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        wait_until(lambda: self.fd_count() == self.baseline,
                   "the server to close what it had for clients")

    def end(self, number=signal.SIGTERM, status=0):
        """Ends it, and checks that it ended well."""
        self.ended = True
        if self.process.poll() is None:
            self.kill(number)
        assert self.process.wait(BOUND) == status, self.log()
        for trace in "Sanitizer", "runtime error":
            assert trace not in self.log(), self.log()
