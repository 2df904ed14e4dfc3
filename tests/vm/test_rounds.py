# SPDX-License-Identifier: MIT
"""Devices of two QEMUs join and leave one server, again and again: the server
must never tell QEMU anything that it dies of.

No guest runs in them, so that a round takes no time: the port that the device is
in is one with native hot-plug, which lets go of it at once when it has no power.
"""

import os
import select
import signal

import pytest

from lab import kernels, qemu11
from lab.server import Server
from lab.vm import QEMU, VM, Doorbell, VMDied, serve
from serverlab import Client

# It is QEMU that is tested here, not the guest's kernel.
pytestmark = pytest.mark.only_on("6.12")

ROUNDS = 50
VECTORS = 4
PAUSED = ("-S", "-device", "pcie-root-port,id=rp0,slot=1", "-global",
          "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")


@pytest.fixture
def serve_with(lab):
    """Starts a server with these options."""
    started = []

    def start(*options):
        started.append(Server(lab.builder.tools() / "ivshmem-server",
                              lab.new_folder(), vectors=VECTORS,
                              options=options))
        return started[-1]

    yield start
    for one in started:
        one.destroy()


@pytest.fixture(params=["own", "11"])
def machines(request, lab, kernel):
    """Two machines that do not run, under the machine's QEMU or QEMU 11."""
    program = (QEMU,)
    if request.param == "11":
        try:
            program = qemu11.get()
        except kernels.Unavailable as err:
            pytest.skip(str(err))
    folder, started = lab.new_folder(), []
    try:
        for name in "ab":
            vm = VM(kernel, lab.builder.initramfs(kernel), folder, name,
                    memory="256M", program=program, qemu=PAUSED)
            started.append(vm.start())
            vm.qmp("qmp_capabilities")
        yield started
    finally:
        for vm in started:
            vm.destroy()


def plug(vm, device, others):
    """Puts a device in; the others already have one.

    All have then taken what the server sends about it. What QEMU has not taken
    yet when it lets go of a device, it takes for one that is being freed, and
    dies: of that no server can know.
    """
    counts = [other.eventfds() for other in others]
    own = vm.eventfds()
    vm.plug(device)
    vm.wait_eventfds(own + (1 + len(others)) * VECTORS)
    for other, count in zip(others, counts):
        other.wait_eventfds(count + VECTORS)


def meet(server, vms):
    """A peer of another kind joins, rings all, and leaves."""
    counts = [vm.eventfds() for vm in vms]
    client = Client(server.socket)
    try:
        client.handshake(VECTORS)
        # None that has left is among them.
        assert len(client.peers) == 1 + len(vms)
        for vm, count in zip(vms, counts):
            vm.wait_eventfds(count + VECTORS)
        rung = [fd for peer, fds in client.peers.items() for fd in fds
                if peer != client.id]
        for fd in rung:
            os.eventfd_write(fd, 1)
        # A device that lives takes each ring.
        assert serve(lambda: not select.select(rung, [], [], 0)[0], 30)
    finally:
        client.close()


def fds(server):
    """How many files the server has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def rounds(server, machines):
    """Fifty times a device is unplugged and comes back, and another peer comes,
    rings and goes."""
    device, inside = Doorbell(server, bus="rp0", vectors=VECTORS), []
    for vm in machines:
        plug(vm, device, inside)
        inside.append(vm)
    for number in range(ROUNDS):
        meet(server, machines)
        vm, other = machines[number % 2], machines[1 - number % 2]
        vm.unplug(device)
        plug(vm, device, [other])
    for vm in machines:
        vm.unplug(device)


def test_rounds(serve_with, machines):
    """QEMU bears it, and the server keeps nothing of those that have left."""
    server = serve_with()
    # Only then it opens nothing more.
    assert serve(lambda: "listening on" in server.log(), 30)
    before = fds(server)
    rounds(server, machines)
    assert all(vm.process.poll() is None for vm in machines)
    # Each has joined as often as it was plugged in, and nobody was refused.
    joined = 2 + 2 * ROUNDS
    assert server.log().count(" joined ") == joined
    assert serve(lambda: server.log().count(" left\n") == joined, 30)
    assert serve(lambda: fds(server) == before, 30), fds(server) - before
    # No id was given out twice.
    last = Client(server.socket)
    try:
        assert last.handshake(VECTORS).id == joined
        assert set(last.peers) == {joined}
    finally:
        last.close()
    server.stop()


def test_departures_told(serve_with, machines):
    """What --quiet-departures is for, and test_rounds() would notice: when QEMU
    has been told of a departure, it dies of an unplug."""
    with pytest.raises(VMDied):
        rounds(serve_with("--no-quiet-departures"), machines)
    [died] = [vm for vm in machines if vm.process.poll() is not None]
    assert died.process.returncode in (-signal.SIGABRT, -signal.SIGSEGV)
