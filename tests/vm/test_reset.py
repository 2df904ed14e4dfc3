# SPDX-License-Identifier: MIT
"""Resets, errors of the bus and a machine that sleeps, while programs use the
device."""

import os
import time

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.model import ModelDevice
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell, serve

PORT = ("-device", "pcie-root-port,id=rp0,slot=1")
ADDRESS = "0000:01:00.0"
RESETS = 4
NO_AER = pytest.mark.not_on(
    "virt", reason="no firmware has the port report errors")


def boot(vms, device, servers=None, turns=False, **options):
    """A VM with a device that is behind a port, which can reset it, and a peer;
    with room for its own image."""
    return vms(guest([device(0, bus="rp0"), device(1, id="iv1")], cpus=2,
                     memory="1G", qemu=PORT, turns=turns), servers=servers,
               **options)


def doorbell(_index, **options):
    return Doorbell(**options)


@pytest.fixture
def slotted(vms):
    """Such a VM, whose devices have messages."""
    return boot(vms, doorbell, share=True)[0]


def boot_pins(vms, **options):
    """One whose devices have interrupt pins, and their model."""
    cluster = boot(vms, ModelDevice, {"device": {
        "guests": 2, "irq": "intx", "revision": 0, "size": 1 << 16}}, **options)
    return cluster[0], cluster.servers["device"]


@pytest.fixture
def pins(vms):
    return boot_pins(vms, share=True)


EITHER = [pytest.param("messages", marks=pytest.mark.ci_debug), "pins"]


def boot_either(vms, kind, **options):
    if kind == "pins":
        return boot_pins(vms, share=True, **options)[0]
    return boot(vms, doorbell, share=True, **options)[0]


@pytest.fixture(params=EITHER)
def either(request, vms):
    """The VM of either."""
    return boot_either(vms, request.param)


@pytest.fixture(params=EITHER)
def sleepy(request, vms):
    """One that can be put to sleep. The kernel changes its own code while it
    freezes and wakes programs, which QEMU 7.2 at times does not see in all threads
    that it has for processors."""
    return boot_either(vms, request.param, turns=True)


def nodes(vm):
    """The device that is behind the port, or the last, and the other."""
    found = vm.check("cd /sys/bus/pci/drivers/ivshmem && ls -d */misc/*")
    return [f"/dev/{path.rsplit('/', maxsplit=1)[1]}"
            for path in sorted(found.split(), reverse=True)]


def reset(vm):
    """Resets the bus by the port above."""
    vm.check(f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/reset")


def error(vm):
    """Has the port report an error for which the kernel resets the bus."""
    assert "OK" in vm.hmp("pcie_aer_inject_error rp0 DLP")


class Use:
    """Programs that use a device while it is reset so many times."""

    def __init__(self, vm, resets=1):
        self.node, peer = nodes(vm)
        self.job = vm.start_job(f"/tests/reset {self.node} {resets} {peer}")
        self.job.expect("^# ready$")
        self.start = time.monotonic()

    def judge(self):
        """They have noticed nothing but that each vector has counted."""
        judge("reset", *self.job.wait(180))
        print(f"measured: {time.monotonic() - self.start:.1f} s until all go on")
        vm, name = self.job.vm, self.node.removeprefix("/dev/")
        mode = vm.check(f"cat /sys/class/misc/{name}/irq_mode")
        run_guest_program(vm, "basic", self.node,
                          *{"msix\n": [], "intx\n": ["pin"]}[mode])


def test_bus_reset(either):
    """By the port above: the device forgets all that it was told."""
    use = Use(either, RESETS)
    for _ in range(RESETS):
        reset(either)
    use.judge()


@pytest.mark.not_on("arm64", reason="the reset is over too soon")
def test_signal(either):
    """A ring that waits for the end of a reset can be told to give up."""
    run_guest_program(either, "held", nodes(either)[0],
                      f"/sys/bus/pci/devices/{ADDRESS}/reset")


def test_pin_reset(pins):
    """A reset clears the mask of an interrupt pin."""
    vm, model = pins
    reset(vm)
    assert model.stats(0)["mask"]
    run_guest_program(vm, "intx_pair", *nodes(vm), 20)


def need_aer(vm):
    if vm.run("[ -e /sys/bus/pci_express/drivers/aer ]").rc:
        pytest.skip("the kernel does not handle errors of the bus")


@NO_AER
def test_fatal_error(either):
    """The port reports an error, the kernel resets what is behind it; twice,
    for what is restored the first time has to be kept for the next."""
    need_aer(either)
    count = "dmesg | grep -c 'device recovery successful' || true"
    before = int(either.check(count))
    use = Use(either, 2)
    for i in 1, 2:
        error(either)
        either.check(f"i=0; until [ $({count}) = {before + i} ]; do "
                     "sleep 0.1; i=$((i + 1)); [ $i -lt 600 ] || exit 1; done",
                     120)
    use.judge()


@pytest.mark.parametrize("way", [
    reset, pytest.param(error, marks=[NO_AER, pytest.mark.ci_debug])])
def test_lost(slotted, lab, way):
    """The device is not there after the reset: all who use it are told before
    anybody takes it away."""
    comm = "sh"
    if way is error:
        need_aer(slotted)
        # With PREEMPT_RT there are two: the second one, with -s-, resets.
        comm = slotted.check("grep -hs aerdrv /proc/[0-9]*/comm | sort | "
                             "tail -n 1").strip()
    node = nodes(slotted)[0]
    guestmod.load(lab, slotted, "refuse", symbol="pci_device_is_present", error=0,
                  comm=comm)
    job = slotted.start_job(f"/tests/unplug {node} wait")
    job.expect("^# ready$")
    way(slotted)
    job.expect("^# woken$", 120)
    assert slotted.check("cat /sys/module/refuse/parameters/times") == "1\n"
    slotted.check("rmmod refuse")
    slotted.check(f"echo 1 > /sys/bus/pci/devices/{ADDRESS}/remove")
    job.expect("^# checked$", 120)
    slotted.check("echo 1 > /sys/bus/pci/rescan; kill -USR1 $(pidof unplug)")
    judge("unplug", *job.wait(60))
    run_guest_program(slotted, "basic", node)


@NO_AER
def test_error(either):
    """An error that needs no reset."""
    need_aer(either)
    use = Use(either)
    assert "OK" in either.hmp("pcie_aer_inject_error rp0 POISON_TLP")
    use.judge()


def need_state(vm, state):
    states = vm.check("cat /sys/power/state").split()
    if state not in states or (state == "mem" and "deep" not in
                               vm.check("cat /sys/power/mem_sleep")):
        pytest.skip(f"the kernel has no state {state}")


def need_pm_test(vm):
    if vm.run("[ -e /sys/power/pm_test ]").rc:
        pytest.skip("the kernel cannot stop on its way to sleep (PM_DEBUG)")


@pytest.mark.parametrize("state, level", [("mem", "core"), ("disk", "devices")])
def test_sleep(sleepy, state, level):
    """All of it but the last step, which takes more of a machine."""
    need_state(sleepy, state)
    need_pm_test(sleepy)
    use = Use(sleepy)
    sleepy.check("echo 0 > /sys/module/suspend/parameters/pm_test_delay")
    sleepy.check(f"echo {level} > /sys/power/pm_test")
    sleepy.check(f"echo {state} > /sys/power/state", 120)
    sleepy.check("echo none > /sys/power/pm_test")
    use.judge()


@pytest.mark.not_on("virt", reason="the agent's line does not wake the machine")
def test_suspend_to_idle(sleepy):
    """The processors idle until somebody calls."""
    need_state(sleepy, "freeze")
    # The kernel has the word on when it is idle, for the console that goes on.
    if sleepy.run("echo 1 > /sys/power/pm_debug_messages").rc:
        pytest.skip("the kernel does not say when it sleeps (PM_DEBUG)")
    sleepy.check("echo N > /sys/module/printk/parameters/console_suspend; "
                 "echo 8 > /proc/sys/kernel/printk; "
                 "echo enabled > /sys/class/tty/ttyS1/power/wakeup")
    use = Use(sleepy)
    start = sleepy.mark("suspend to idle")
    job = sleepy.start_job("echo freeze > /sys/power/state")
    assert serve(lambda: "PM: suspend-to-idle" in sleepy.log()[start:], 120,
                 sleepy)
    assert job.running
    sleepy.check("true", 120)
    job.wait(120).check()
    sleepy.check("echo 5 > /proc/sys/kernel/printk; "
                 "echo 0 > /sys/power/pm_debug_messages")
    use.judge()


@pytest.mark.not_on("virt", reason="the machine has no such state")
def test_suspend_to_ram(vms, kernel):
    """The machine is off but for its memory; the device forgets all."""
    vm = vms(guest([Doorbell(), Doorbell(id="iv1")], machine="pc",
                   # What QEMU boots otherwise has no place to wake at.
                   qemu=("-kernel", kernel.image)))[0]
    use = Use(vm)
    job = vm.start_job("echo mem > /sys/power/state")
    vm.event("SUSPEND", 120)
    vm.qmp("system_wakeup")
    assert job.wait(120).rc == 0
    use.judge()


def test_hibernation(vms, tmp_path):
    """The machine is off. When it wakes, the device has forgotten all, and is
    another peer than before."""
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 1 << 30)
    # The debug kernel reads its image into what its shadow leaves of the memory.
    machine = guest([Doorbell(), Doorbell(id="iv1")], cpus=2, memory="1G",
                    turns=True, modules=["virtio_pci", "virtio_blk"],
                    qemu=("-drive", f"file={disk},format=raw,if=virtio"))
    find_disk = ("modprobe -a virtio_pci virtio_blk; "
                 "while [ ! -b /dev/vda ]; do sleep 0.05; done")
    positions = "cat /sys/class/misc/ivshmem*/position"
    cluster = vms(machine)
    old = cluster[0]
    need_state(old, "disk")
    old.check(f"{find_disk}; mkswap /dev/vda && swapon /dev/vda")
    use = Use(old)
    assert old.check(positions) == "0\n1\n"
    old.hibernate()
    new, = cluster.add(machine)
    new.check(find_disk)
    assert new.check(positions) == "2\n3\n"
    new.wake(old, "vda")
    assert new.check(positions) == "2\n3\n"
    use.judge()
