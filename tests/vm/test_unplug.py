# SPDX-License-Identifier: MIT
"""A device goes away while programs use it."""

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell

NODE = "/dev/ivshmem0"
CHURNS = 25
CI = [pytest.mark.ci_debug, pytest.mark.ci_kcsan]


@pytest.fixture(params=[("q35", 1), ("pc", 2)],
                ids=lambda p: f"{p[0]}-{p[1]}cpu")
def machine(request, vms):
    name, cpus = request.param
    return vms(guest(machine=name, cpus=cpus), share=True)[0]


@pytest.mark.ci_debug
def test_unbind(machine):
    """The driver is taken away below files, sleepers and mappings."""
    run_guest_program(machine, "unplug", NODE, "unbind", timeout=270)


@pytest.mark.parametrize("late", [
    pytest.param("", marks=CI), pytest.param("ivshmem_doorbell_ring", marks=CI),
    "ivshmem_irq_bind"])
def test_churn(machine, lab, late):
    """The driver comes and goes while threads open, map, ring, bind and wait; also
    where a thread is late between seeing the device and touching it."""
    if late:
        guestmod.load(lab, machine, "refuse", symbol=late, late=3000,
                      comm="unplug")
    run_guest_program(machine, "unplug", NODE, "churn", CHURNS, timeout=270)
    if late:
        assert int(machine.check("cat /sys/module/refuse/parameters/times")) > 0
        machine.check("rmmod refuse")
    run_guest_program(machine, "basic", NODE)


@pytest.mark.ci_debug
@pytest.mark.not_on("riscv64", reason="the kernel cannot unplug")
def test_device_del(vms, kernel):
    """The device is pulled out of the machine, and another one put in."""
    # Both kinds of bus, one on each kernel.
    if kernel.name == "6.1":
        device, options = Doorbell(), {"machine": "pc", "cpus": 2}
    else:
        device, options = Doorbell(bus="rp0"), {
            "machine": "q35", "qemu": ("-device", "pcie-root-port,id=rp0,slot=1")}
    cluster = vms(guest([device], **options))
    vm, device = cluster[0], cluster.resolve(device)
    for _ in range(3):
        job = vm.start_job(f"/tests/unplug {NODE} wait")
        job.expect("^# ready$")
        # Returns once the guest has let go, which no program can delay.
        vm.unplug(device)
        job.expect("^# checked$")
        assert vm.check("ls /sys/class/misc | grep -c ivshmem || true") == "0\n"
        assert "ivshmem" not in vm.check("cat /proc/interrupts /proc/iomem")
        vm.plug(device)
        vm.check(f"i=0; while [ ! -e {NODE} ] && [ $i -lt 100 ]; do "
                 "sleep 0.1; i=$((i + 1)); done")
        run_guest_program(vm, "basic", NODE)
        vm.check("kill -USR1 $(pidof unplug)")
        done = job.wait()
        judge("unplug wait", done.rc, done.out)
