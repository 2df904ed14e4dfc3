# SPDX-License-Identifier: MIT
"""The server's units under a real systemd: peers notice nothing of its ends."""

import re
import time

from .vm import VMError

LONG = 300
UNIT = "ivshmem-server@main"
SOCKET = "/run/ivshmem/main.sock"
CONTROL = "/run/ivshmem-main/control"
CONFIG = f"size 1M\nvectors 2\nmax-rate 100\ncontrol {CONTROL}\n"
# The unit's 30 seconds are long to wait for.
DROP_IN = "[Service]\nWatchdogSec=8\n"


class Peer:
    """A client in the VM that stays."""

    def __init__(self, vm, known, vectors=2):
        self.id = max(known, default=-1) + 1
        self.job = vm.start_job(f"/usr/bin/stay {SOCKET}")
        self.expected = [0, self.id, -1] + [
            peer for peer in (*known, self.id) for _ in range(vectors)]
        self.check()

    def meets(self, peer, vectors=2):
        """It has been told of another."""
        self.expected += [peer] * vectors
        self.check()

    def check(self):
        """It has got what it was to get, and nothing else."""
        lines = "".join(f"{value}\n" for value in self.expected)
        self.job.expect(re.escape(lines) + r"\Z", LONG)
        assert self.job.out == lines
        assert self.job.running


def show(vm, name, unit=UNIT):
    """What systemd says of the service."""
    return vm.check(f"systemctl show -P {name} {unit}", LONG).strip()


def wait_for(vm, condition):
    """Waits until something is so, and returns its value."""
    end = time.monotonic() + LONG
    while not (value := condition()):
        if time.monotonic() > end:
            raise VMError(vm.check(f"journalctl -n 50 -u {UNIT}", LONG))
    return value


def wait_next(vm, before):
    """Waits for another process of the service than that; returns its pid."""
    def running():
        pid = show(vm, "MainPID")
        return (pid not in ("0", before) and show(vm, "SubState") == "running"
                and pid)
    return wait_for(vm, running)


def check_service(builder, vm):
    """An instance is started by its first client, and its peers notice no
    restart, kill, hang, reload or mistake in its file."""
    vm.put((builder.guest_programs() / "stay").read_bytes(), "/usr/bin/stay",
           0o755)
    vm.put(CONFIG.encode(), "/etc/ivshmem/main.conf")
    vm.check(f"mkdir /run/systemd/system/{UNIT}.service.d")
    vm.put(DROP_IN.encode(), f"/run/systemd/system/{UNIT}.service.d/lab.conf")
    vm.check("systemctl daemon-reload", LONG)
    vm.check(f"systemctl enable --now {UNIT}.socket", LONG)
    assert vm.check(f"stat -c '%G %a' {SOCKET}") == "ivshmem 660\n"
    assert show(vm, "MainPID") == "0"
    peers = []

    def join():
        new = Peer(vm, range(len(peers)))
        for peer in peers:
            peer.meets(new.id)
        peers.append(new)

    join()
    join()
    pid = wait_next(vm, "0")
    # The memory, the state, and a box for each peer.
    assert show(vm, "NFileDescriptorStore") == "4"
    vm.check(f"systemctl restart {UNIT}", LONG)
    pid = wait_next(vm, pid)
    join()
    # More often than systemd's own limit allows for.
    for _ in range(6):
        vm.check(f"kill -9 {pid}")
        pid = wait_next(vm, pid)
    join()
    # It does not show that it is alive.
    vm.check(f"kill -STOP {pid}")
    pid = wait_next(vm, pid)
    assert "Watchdog timeout" in vm.check(f"journalctl -u {UNIT}", LONG)
    join()
    assert show(vm, "NFileDescriptorStore") == "7"
    status = vm.check(f"ivshmem-server --status {CONTROL} --json")
    assert re.findall(r'"id": (\d+)', status) == ["0", "1", "2", "3", "4"]

    # Nobody may join any more; who is there stays.
    vm.put(f"{CONFIG}allow-uid 64321\n".encode(), "/etc/ivshmem/main.conf")
    vm.check(f"systemctl reload {UNIT}", LONG)
    assert vm.check(f"/usr/bin/stay {SOCKET}", LONG) == "-13\nend\n"
    assert show(vm, "MainPID") == pid

    # With a mistake nothing starts, and nothing is lost.
    vm.put(f"{CONFIG}no-such 1\n".encode(), "/etc/ivshmem/main.conf")
    assert vm.run(f"systemctl restart {UNIT}", LONG).rc
    waits = vm.start_job(f"/usr/bin/stay {SOCKET}")
    tries = int(show(vm, "NRestarts"))
    wait_for(vm, lambda: int(show(vm, "NRestarts")) > tries + 5)
    vm.put(CONFIG.encode(), "/etc/ivshmem/main.conf")
    wait_next(vm, pid)
    waits.expect(r"^5\n5\n\Z", LONG)
    for peer in peers:
        peer.meets(5)

    vm.check(f"systemctl disable --now {UNIT}.socket", LONG)
    vm.check(f"systemctl stop {UNIT}", LONG)
    assert waits.wait(LONG).out.endswith("\nend\n")
    for peer in peers:
        assert peer.job.wait(LONG).out.endswith("\nend\n")
    assert vm.run(f"test -e {SOCKET}").rc
