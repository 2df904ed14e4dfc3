# SPDX-License-Identifier: MIT
"""Mappings under stress while the device goes away."""

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.entries import settings
from lab.tap import judge
from lab.vm import Plain

SIZE = 32 << 20
RESETS = 3
DRIVER = "/sys/bus/pci/drivers/ivshmem"


def stress(vm, seed, largest, unplug):
    """Runs map_stress, takes the device away in the midst of it."""
    command = f"/tests/map_stress /dev/ivshmem0 {SIZE} {seed} {largest}"
    job = vm.start_job(command)
    job.expect("^# busy$", timeout=120)
    unplug()
    done = job.wait(timeout=120)
    judge(command, done.rc, done.out)
    vm.check_log()


def test_unbind(vms, lab):
    """The driver is unbound while four threads use mappings at random."""
    vm = vms(guest([Plain("32M")], cpus=2))[0]
    slot = vm.check(f"basename {DRIVER}/0000:*").strip()
    guestmod.load(lab, vm, "pagewalk")
    for largest in settings(vm):
        for seed in range(3):
            stress(vm, seed, largest,
                   lambda: vm.check(f"echo {slot} > {DRIVER}/unbind"))
            vm.check(f"echo {slot} > {DRIVER}/bind")


@pytest.mark.ci_debug
@pytest.mark.ci_kcsan
@pytest.mark.not_on("riscv64", reason="the kernel cannot unplug")
def test_unplug(vms, lab):
    """The device is reset, which takes all entries away for a second, then it is
    unplugged, and another comes in its stead."""
    ports = ["-device", "pcie-root-port,id=rp0,slot=1,pref64-reserve=64M"]
    device = Plain("32M", bus="rp0")
    vm = vms(guest([], qemu=ports, cpus=2))[0]

    def reset_and_unplug():
        for _ in range(RESETS):
            vm.check("echo 1 > /sys/bus/pci/devices/0000:01:00.0/reset")
        vm.unplug(device)

    guestmod.load(lab, vm, "pagewalk")
    vm.check("modprobe ivshmem")
    # On the debug kernels each takes half a minute.
    seeds = 1 if vm.kernel.name in ("debug", "kcsan") else 2
    for largest in settings(vm):
        for seed in range(10, 10 + seeds):
            vm.plug(device)
            vm.check("while [ ! -e /dev/ivshmem0 ]; do sleep 0.05; done")
            stress(vm, seed, largest, reset_and_unplug)
