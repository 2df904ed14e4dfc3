# SPDX-License-Identifier: MIT
"""What systemd does for a service: a stand-in that the tests look into."""
import os
import random
import select
import socket
import sys
import threading

from serverlab import wait_until

# As in a unit's process: the file descriptors from 3 on, and who they are for.
LAUNCH = """
import fcntl, os, sys
names, fds, command = sys.argv[1], sys.argv[2], sys.argv[3:]
passed = [int(fd) for fd in fds.split()]
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 3 + len(passed)) for fd in passed]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(fds), max([3, *fds, *passed]) + 1)
if fds:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)),
                      LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


class Manager:
    """Listens to one service and keeps its file descriptors."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.lock = threading.Lock()
        self.stored = []
        self.watched = []
        self.messages = []
        self.sockets = []
        self.environment = {}
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.path))
        self.path.chmod(0o666)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Does what is asked for, in order, until asked to end."""
        while True:
            data, fds, flags, _ = socket.recv_fds(self.sock, 4096, 253)
            assert not flags & socket.MSG_CTRUNC
            message = dict(line.split("=", 1)
                           for line in data.decode().splitlines())
            with self.lock:
                if message.get("FDSTORE") == "1":
                    assert fds
                    for fd in fds:
                        self.store(message["FDNAME"], fd)
                        if message.get("FDPOLL") != "0":
                            self.watched.append(message["FDNAME"])
                elif message.get("FDSTOREREMOVE") == "1":
                    self.forget(message["FDNAME"])
                self.messages.append(message)
            if "X_END" in message:
                return

    def store(self, name, fd):
        """Keeps one."""
        assert name not in self.names(), f"{name} is there already"
        self.stored.append((name, fd))

    def forget(self, name):
        """Drops all of a name."""
        for one in [one for one in self.stored if one[0] == name]:
            os.close(one[1])
            self.stored.remove(one)

    def drop_dead(self):
        """Forgets what is watched and looks hung up."""
        watch = select.poll()
        for name, fd in list(self.stored):
            watch.register(fd, 0)
            if name in self.watched and watch.poll(0):
                self.forget(name)
            watch.unregister(fd)

    def names(self):
        """The names of what is kept."""
        return sorted(name for name, _ in self.stored)

    def listen(self, path):
        """Socket activation: makes the socket itself."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen()
        path.chmod(0o666)
        self.sockets.append(sock)

    def told(self, name):
        """What the service has said under a name, in order."""
        with self.lock:
            return [message[name] for message in self.messages
                    if name in message]

    def settle(self):
        """Waits until all that was sent has been dealt with."""
        mark = str(random.random())
        self.send(f"X_MARK={mark}")
        wait_until(lambda: mark in self.told("X_MARK"), "the manager")

    def send(self, text):
        """Sends itself a message, after those that it has been sent."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), str(self.path))

    def launch(self, command):
        """The command that starts the service, and arguments for Popen."""
        self.settle()
        self.drop_dead()
        fds = [("socket", sock.fileno()) for sock in self.sockets]
        stored = list(self.stored)
        # systemd keeps no order.
        random.shuffle(stored)
        fds += stored
        names = ":".join(name for name, _ in fds)
        numbers = [fd for _, fd in fds]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.path),
                       **self.environment}
        return ([sys.executable, "-c", LAUNCH, names,
                 " ".join(map(str, numbers)), *command],
                {"pass_fds": numbers, "env": environment})

    def close(self):
        """Lets everything go, as at the end of a service."""
        self.send("X_END=1")
        self.thread.join()
        for _, fd in self.stored:
            os.close(fd)
        for sock in self.sockets:
            sock.close()
        self.sock.close()
