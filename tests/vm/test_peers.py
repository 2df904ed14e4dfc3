# SPDX-License-Identifier: MIT
"""Several VMs on one server: rings reach whom they are meant for, and memory is
shared."""

import itertools
import re
import socket

import pytest

from lab.cluster import guest
from lab.tap import judge, run_guest_program

NODE = "/dev/ivshmem0"
SYSFS = "/sys/class/misc/ivshmem0"
ROUNDS = 200

RUN = itertools.count(1)


@pytest.fixture
def trio(vms):
    """Three VMs on one server."""
    return vms(guest(), guest(machine="pc"), guest(cpus=2), share=True)


def register_position(vm):
    """The position as the device itself has it, read behind the guest's back."""
    start = int(vm.check(f"head -n 1 {SYSFS}/device/resource").split()[0], 16)
    text = vm.hmp(f"xp /1xw {start + 8:#x}")
    return int(re.search(r": (0x[0-9a-f]+)", text)[1], 16)


def counts(vm):
    return vm.check(f"cd {SYSFS}/counts && head -n 1 *")


def side_by_side(*commands):
    """Runs programs in several VMs at the same time."""
    jobs = [vm.start_job(command) for vm, command in commands]
    for job in jobs:
        done = job.wait(180)
        judge(f"{job.vm.name}: {job.command}", done.rc, done.out)


def test_positions(trio):
    """Each VM knows its own position, and no two have the same."""
    positions = [register_position(vm) for vm in trio]
    assert sorted(positions) == [0, 1, 2]
    for vm, position in zip(trio, positions):
        run_guest_program(vm, "getinfo", NODE, 4 << 20, 4, position)


@pytest.mark.parametrize("first, second, third", [(0, 1, 2), (2, 0, 1)])
def test_pair(trio, first, second, third):
    """Two VMs hand messages to each other; the third hears nothing of it."""
    a, b, other = trio[first], trio[second], trio[third]
    before, run = counts(other), next(RUN)
    side_by_side(
        (a, f"/tests/peers {NODE} {run} ping {register_position(b)} {ROUNDS}"),
        (b, f"/tests/peers {NODE} {run} pong {register_position(a)} {ROUNDS}"))
    assert counts(other) == before


def test_mesh(trio):
    """Three VMs ring each other all at once, and each ring is one interrupt."""
    run = next(RUN)
    everyone = " ".join(str(register_position(vm)) for vm in trio)
    side_by_side(*[(vm, f"/tests/peers {NODE} {run} mesh {everyone}")
                   for vm in trio])


def test_server_killed(vms):
    """Peers that are together need no server: memory and doorbells stay theirs."""
    cluster = vms(guest(), guest(cpus=2))
    a, b = cluster
    cluster.servers.pop("main").destroy()
    run = next(RUN)
    side_by_side(
        (a, f"/tests/peers {NODE} {run} ping {register_position(b)} {ROUNDS}"),
        (b, f"/tests/peers {NODE} {run} pong {register_position(a)} {ROUNDS}"))
    for vm in cluster:
        run_guest_program(vm, "basic")


def test_departed(trio):
    """A peer that was there and has gone can be rung, and nobody is hurt."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(trio.servers["main"].socket))
        hello = peer.recv(16, socket.MSG_WAITALL)
        gone = int.from_bytes(hello[8:], "little")
    assert gone not in [register_position(vm) for vm in trio]
    for vm in trio:
        before = counts(vm)
        for vector in range(4):
            vm.check(f"ivshmemctl ring {gone} {vector}")
        assert counts(vm) == before
        run_guest_program(vm, "basic")
