# SPDX-License-Identifier: MIT
"""As many vectors as the device has, or as the machine can give."""

import re

import pytest

from lab.arch import RISCV64
from lab.cluster import guest
from lab.tap import run_guest_program
from lab.vm import Doorbell

NODE = "/dev/ivshmem0"
FEW = r"ivshmem 0000:\S+ only (\d+) of (\d+) vectors can interrupt"


def vector_names(vm, node="ivshmem0"):
    """The device's lines in /proc/interrupts, by their names."""
    lines = vm.check("cat /proc/interrupts").splitlines()
    return [line.split()[-1] for line in lines
            if line.split()[-1].startswith(f"{node}-")]


def boot(vms, vectors, **options):
    return vms(guest([Doorbell(vectors=vectors)], **options),
               servers={"main": {"vectors": vectors}})[0]


def granted(vm, vectors):
    """Tries all vectors; returns how many there are."""
    run_guest_program(vm, "vectors", NODE, vectors, "new", timeout=150)
    count = int(vm.check("cat /sys/class/misc/ivshmem0/vectors"))
    assert vector_names(vm) == [f"ivshmem0-{i}" for i in range(count)]
    return count


def test_one(vms):
    vm = boot(vms, 1)
    assert granted(vm, 1) == 1
    assert not re.findall(FEW, vm.log())


@pytest.mark.not_on("arm64", reason="its interrupts are not those of a processor")
@pytest.mark.not_on("debug", reason="it takes minutes for 2048 vectors, and boots in two")
@pytest.mark.parametrize("machine, cpus", [("pc", 1), ("q35", 2)])
def test_too_many(vms, machine, cpus):
    """More vectors than one or two processors have interrupts."""
    vm = boot(vms, 2048, machine=machine, cpus=cpus)
    count = granted(vm, 2048)
    # Said once, and right.
    assert re.findall(FEW, vm.log()) == [(str(count), "2048")]
    # A processor has about 200, or 255 for messages. Some are left for others: the
    # line to the agent, for one, was opened after the device had taken its share.
    most = 255 if vm.kernel.arch == RISCV64 else 190
    assert most - 40 < count / cpus < most

    # None is lost when the module goes and comes; that line has taken one.
    again = []
    for _ in range(2):
        vm.check("rmmod ivshmem")
        assert not vector_names(vm)
        vm.check("modprobe ivshmem")
        again.append(int(vm.check("cat /sys/class/misc/ivshmem0/vectors")))
    assert count - 2 <= again[0] == again[1]
    run_guest_program(vm, "basic")


@pytest.mark.only_on("6.12", "arm64")
def test_all(vms):
    """As many as there can be, on a machine with enough processors."""
    vm = boot(vms, 2048, machine="q35", cpus=12)
    assert granted(vm, 2048) == 2048
    assert not re.findall(FEW, vm.log())


def test_32bit(vms):
    """A program of 32 bits chooses from all of them."""
    vm = boot(vms, 2048, cpus=2, m32=True)
    run_guest_program(vm, "vectors", NODE, 2048, timeout=150, folder="/tests32")


def test_none(vms):
    """A machine without messages: a doorbell that only rings."""
    vm = vms(guest(append="pci=nomsi"))[0]
    assert re.findall(FEW, vm.log()) == [("0", "4")]
    run_guest_program(vm, "plain", NODE, 4 << 20, "doorbell")
    assert not vector_names(vm)
