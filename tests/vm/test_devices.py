# SPDX-License-Identifier: MIT
"""Plain devices, and several devices in one VM: each is its own, and they are
numbered by the lowest free number."""

import pytest

from lab.cluster import guest
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell, Plain

KB, MB = 1 << 10, 1 << 20


def nodes(vm):
    """The nodes that there are, and of which device each is."""
    text = vm.check("cd /sys/class/misc; for i in ivshmem*; do "
                    "[ -e $i ] && [ -e /dev/$i ] && "
                    "echo $i $(basename $(readlink $i/device)); done; true")
    return dict(line.split() for line in text.splitlines())


def vector_names(vm):
    return {line.split()[-1] for line in
            vm.check("cat /proc/interrupts").splitlines()
            if line.split()[-1].startswith("ivshmem")}


def appears(vm, node):
    """Waits for a node that a plugged device will have."""
    vm.check(f"i=0; while [ ! -e /dev/{node} ]; do sleep 0.05; i=$((i + 1)); "
             "[ $i -lt 400 ] || exit 1; done")


@pytest.mark.parametrize("machine, cpus", [("pc", 1), ("q35", 2)])
def test_plain(vms, machine, cpus):
    """Plain devices, of the smallest size and of a larger one, and a doorbell."""
    vm = vms(guest([Plain("4K"), Doorbell(id="iv1"), Plain("64M", id="iv2")],
                   machine=machine, cpus=cpus))[0]
    found = nodes(vm)
    assert sorted(found) == ["ivshmem0", "ivshmem1", "ivshmem2"]
    assert sorted(found.values()) == list(found.values())

    run_guest_program(vm, "plain", "/dev/ivshmem0", 4 * KB, "plain")
    run_guest_program(vm, "plain", "/dev/ivshmem2", 64 * MB, "plain")
    run_guest_program(vm, "mmap", "/dev/ivshmem2")
    run_guest_program(vm, "getinfo", "/dev/ivshmem1", 4 * MB, 4, 0)
    for program in "ring", "waits", "mmap":
        run_guest_program(vm, program, "/dev/ivshmem1", timeout=150)
    assert vector_names(vm) == {f"ivshmem1-{i}" for i in range(4)}


def test_aligned(vms):
    """Registers that the kernel gives a page of their own are no more than they
    were: a peer is rung through the one doorbell."""
    pair = vms(*[guest(append="pci=resource_alignment=12@pci:1af4:1110")] * 2)
    for a, b in pair, reversed(list(pair)):
        first, last = a.check("head -1 /sys/class/misc/ivshmem0/device/resource"
                              ).split()[:2]
        assert int(last, 16) - int(first, 16) == 4 * KB - 1
        job = b.start_job("ivshmemctl wait --verbose --timeout 30")
        job.expect("waiting")
        peer = b.check("cat /sys/class/misc/ivshmem0/position").strip()
        a.check(f"ivshmemctl ring {peer} 2")
        assert job.wait().check().out.endswith("vector 2 count 1\n")


def test_two_servers(vms):
    """Two doorbells whose servers, sizes and vectors differ."""
    vm = vms(guest([Doorbell("one", vectors=4),
                    Doorbell("two", vectors=7, id="iv1")], cpus=2),
             servers={"one": {"size": "1M"},
                      "two": {"size": "64K", "vectors": 7}})[0]
    assert sorted(nodes(vm)) == ["ivshmem0", "ivshmem1"]
    run_guest_program(vm, "getinfo", "/dev/ivshmem0", MB, 4, 0)
    run_guest_program(vm, "getinfo", "/dev/ivshmem1", 64 * KB, 7, 0)
    assert vector_names(vm) == ({f"ivshmem0-{i}" for i in range(4)} |
                                {f"ivshmem1-{i}" for i in range(7)})

    # Both have position 0; a ring on one is no ring on the other.
    counts = "cat /sys/class/misc/ivshmem{}/counts/*"
    for node, other in (0, 1), (1, 0):
        before = vm.check(counts.format(other))
        run_guest_program(vm, "ring", f"/dev/ivshmem{node}")
        assert vm.check(counts.format(other)) == before

    # Each memory is its own.
    for node in 0, 1:
        vm.check(f"echo memory {node} | ivshmemctl -d /dev/ivshmem{node} write 0")
    for node in 0, 1:
        text = vm.check(f"ivshmemctl -d /dev/ivshmem{node} read 0 8")
        assert text == f"memory {node}"

    # At the same time.
    jobs = [vm.start_job(f"/tests/race /dev/ivshmem{n} free 10000")
            for n in (0, 1)]
    for job in jobs:
        done = job.wait(240)
        judge(job.command, done.rc, done.out)


@pytest.mark.not_on("riscv64", reason="the kernel cannot unplug")
def test_numbers(vms, kernel):
    """A device takes the lowest number that is free when it comes."""
    if kernel.name == "6.1":
        options, buses = {"machine": "pc"}, ["", "", ""]
    else:
        buses = ["rp0", "rp1", "rp2"]
        options = {"machine": "q35", "qemu": [
            arg for i, bus in enumerate(buses) for arg in
            ("-device", f"pcie-root-port,id={bus},slot={i + 1},chassis={i + 1}")]}
    devices = [Doorbell(bus=buses[0]), Doorbell(bus=buses[1], id="iv1")]
    cluster = vms(guest(devices, **options))
    vm, devices = cluster[0], [cluster.resolve(d) for d in devices]
    first = nodes(vm)
    assert sorted(first) == ["ivshmem0", "ivshmem1"]

    # The lower one goes: the other keeps its number, and works.
    vm.unplug(devices[0])
    assert nodes(vm) == {"ivshmem1": first["ivshmem1"]}
    run_guest_program(vm, "basic", "/dev/ivshmem1")
    vm.plug(devices[0])
    appears(vm, "ivshmem0")
    assert nodes(vm)["ivshmem1"] == first["ivshmem1"]
    for node in first:
        run_guest_program(vm, "basic", f"/dev/{node}")

    # A third gets the next number; another one the place of the second.
    third = Plain("1M", bus=buses[2], id="iv2")
    vm.plug(third)
    appears(vm, "ivshmem2")
    run_guest_program(vm, "plain", "/dev/ivshmem2", MB, "plain")
    vm.unplug(devices[1])
    vm.unplug(third)
    assert list(nodes(vm)) == ["ivshmem0"]
    vm.plug(third)
    appears(vm, "ivshmem1")
    run_guest_program(vm, "plain", "/dev/ivshmem1", MB, "plain")

    # So it is with the driver taken from a device and given back.
    driver = "/sys/bus/pci/drivers/ivshmem"
    address = nodes(vm)["ivshmem0"]
    for _ in range(3):
        vm.check(f"echo {address} > {driver}/unbind")
        assert list(nodes(vm)) == ["ivshmem1"]
        vm.check(f"echo {address} > {driver}/bind")
        assert nodes(vm)["ivshmem0"] == address
    run_guest_program(vm, "basic", "/dev/ivshmem0")
