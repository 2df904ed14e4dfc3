# SPDX-License-Identifier: MIT
"""Resets, errors of the bus and a machine that sleeps, while programs use the
device."""

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.model import ModelDevice
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell

PORT = ("-device", "pcie-root-port,id=rp0,slot=1")
ADDRESS = "0000:01:00.0"
RESETS = 4


@pytest.fixture
def slotted(vms):
    """A VM with a device that is behind a port, which can reset it, and a peer;
    with room for its own image."""
    return vms(guest([Doorbell(bus="rp0"), Doorbell(id="iv1")], cpus=2,
                     memory="1G", qemu=PORT), share=True)[0]


def nodes(vm):
    """The device that is behind the port, or the last, and the other."""
    found = vm.check("cd /sys/bus/pci/drivers/ivshmem && ls -d */misc/*")
    return [f"/dev/{path.rsplit('/', maxsplit=1)[1]}"
            for path in sorted(found.split(), reverse=True)]


class Use:
    """Programs that use a device while it is reset so many times."""

    def __init__(self, vm, resets=1):
        self.vm, (self.node, peer) = vm, nodes(vm)
        self.job = vm.start_job(f"/tests/reset {self.node} {resets} {peer}")
        self.job.expect("^# ready$")

    def judge(self):
        """They have noticed nothing but that each vector has counted."""
        judge("reset", *self.job.wait(180))
        run_guest_program(self.vm, "basic", self.node)


def test_bus_reset(slotted):
    """By the port above: the device forgets all that it was told."""
    use = Use(slotted, RESETS)
    for _ in range(RESETS):
        slotted.check(f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/reset")
    use.judge()


def test_signal(slotted):
    """A ring that waits for the end of a reset can be told to give up."""
    run_guest_program(slotted, "held", nodes(slotted)[0],
                      f"/sys/bus/pci/devices/{ADDRESS}/reset")


def test_pin_reset(vms):
    """A reset clears the mask of an interrupt pin."""
    devices = [ModelDevice(0, bus="rp0", id="iv0"), ModelDevice(1, id="iv1")]
    cluster = vms(guest(devices, qemu=PORT), servers={
        "device": {"guests": 2, "irq": "intx", "revision": 0}})
    vm, model = cluster[0], cluster.servers["device"]
    vm.check(f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/reset")
    assert model.stats(0)["mask"]
    run_guest_program(vm, "intx_pair", *nodes(vm), 20)


def need_aer(vm):
    if vm.run("[ -e /sys/bus/pci_express/drivers/aer ]").rc:
        pytest.skip("the kernel does not handle errors of the bus")


def test_fatal_error(slotted):
    """The port reports an error, the kernel resets what is behind it; twice,
    for what is restored the first time has to be kept for the next."""
    need_aer(slotted)
    count = "dmesg | grep -c 'device recovery successful' || true"
    before = int(slotted.check(count))
    use = Use(slotted, 2)
    for i in 1, 2:
        assert "OK" in slotted.hmp("pcie_aer_inject_error rp0 DLP")
        slotted.check(f"i=0; until [ $({count}) = {before + i} ]; do "
                      "sleep 0.1; i=$((i + 1)); [ $i -lt 600 ] || exit 1; done",
                      120)
    use.judge()


@pytest.mark.ci_debug
def test_lost(slotted, lab):
    """The device is not there after the reset: all who use it are told before
    anybody takes it away."""
    need_aer(slotted)
    node = nodes(slotted)[0]
    guestmod.load(
        lab, slotted, "refuse", symbol="pci_device_is_present", error=0,
        comm=slotted.check("grep -h aerdrv /proc/[0-9]*/comm").strip())
    job = slotted.start_job(f"/tests/unplug {node} wait")
    job.expect("^# ready$")
    assert "OK" in slotted.hmp("pcie_aer_inject_error rp0 DLP")
    job.expect("^# woken$", 120)
    assert slotted.check("cat /sys/module/refuse/parameters/times") == "1\n"
    slotted.check("rmmod refuse")
    slotted.check(f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/remove")
    job.expect("^# checked$", 120)
    slotted.check("echo 1 > /sys/bus/pci/rescan; kill -USR1 $(pidof unplug)")
    judge("unplug", *job.wait(60))
    run_guest_program(slotted, "basic", node)


def test_error(slotted):
    """An error that needs no reset."""
    need_aer(slotted)
    use = Use(slotted)
    assert "OK" in slotted.hmp("pcie_aer_inject_error rp0 POISON_TLP")
    use.judge()


def need_state(vm, state):
    if state not in vm.check("cat /sys/power/state").split():
        pytest.skip(f"the kernel has no state {state}")


def need_pm_test(vm):
    if vm.run("[ -e /sys/power/pm_test ]").rc:
        pytest.skip("the kernel cannot stop on its way to sleep (PM_DEBUG)")


def sleep(vm, state, level):
    """Lets the machine go to sleep as far as a level, and come back."""
    vm.check("echo 0 > /sys/module/suspend/parameters/pm_test_delay")
    vm.check(f"echo {level} > /sys/power/pm_test")
    vm.check(f"echo {state} > /sys/power/state", 120)
    vm.check("echo none > /sys/power/pm_test")


@pytest.mark.parametrize("state, level", [
    ("freeze", "devices"), ("mem", "core"), ("disk", "devices")])
def test_sleep(slotted, state, level):
    """All of it but the last step, from which this machine does not wake."""
    need_state(slotted, state)
    need_pm_test(slotted)
    use = Use(slotted)
    sleep(slotted, state, level)
    use.judge()


def test_suspend_to_ram(vms, kernel):
    """The machine is off but for its memory; the device forgets all."""
    image = next(kernel.root.glob("boot/vmlinuz-*"), None)
    if not image:
        pytest.skip("the kernel has no image that can wake")
    vm = vms(guest([Doorbell(), Doorbell(id="iv1")], machine="pc",
                   qemu=("-kernel", image)))[0]
    use = Use(vm)
    job = vm.start_job("echo mem > /sys/power/state")
    vm.event("SUSPEND", 120)
    vm.qmp("system_wakeup")
    assert job.wait(120).rc == 0
    use.judge()
