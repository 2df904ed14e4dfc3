# SPDX-License-Identifier: MIT
"""Each way in which a device can go, while it is used in each way there is.

IVSHMEM_REMOVALS says how often in all; `make soak` does it a thousand times.
"""

import os
import re
import time

import pytest

from lab.cluster import guest
from lab.entries import debuggers_see_it
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell

NODE = "/dev/ivshmem0"
DRIVER = "/sys/bus/pci/drivers/ivshmem"
REMOVALS = int(os.environ.get("IVSHMEM_REMOVALS", "50"))
# Longest that any of them may take.
BOUND = 60
# Until all who use the device have begun, on a machine that does other things.
READY = 180
# In a PCIe capability; power indicator and power controller off; interrupts.
SLOT_CONTROL, SLOT_OFF, SLOT_INTERRUPT = 0x18, 0x700, 0x20
PORT = ("-device", "pcie-root-port,id=rp0,slot=1")
# No processor has a slab at hand, which would count as allocated as a whole.
EXACT = "slub_debug=F"
MACHINES = {
    "pc": guest(machine="pc", cpus=2, append=EXACT),
    "q35": guest([Doorbell(bus="rp0")], qemu=PORT, cpus=2,
                 append=EXACT),
    # One processor: QEMU does not expect another to ring while the device goes.
    "pciehp": guest([Doorbell(bus="rp0")], qemu=(
        *PORT, "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
        append=EXACT),
}


def address(vm):
    return vm.check("basename $(readlink /sys/class/misc/ivshmem0/device)"
                    ).strip()


# The ways: each takes the device away, and then brings it back.

def unbind(vm, *_):
    """The driver is taken away."""
    where = address(vm)
    vm.check(f"echo {where} > {DRIVER}/unbind", BOUND)
    yield
    vm.check(f"echo {where} > {DRIVER}/bind")


def remove(vm, *_):
    """The kernel is told to forget the device, and to look again."""
    vm.check(f"echo 1 > /sys/bus/pci/devices/{address(vm)}/remove", BOUND)
    yield
    vm.check("echo 1 > /sys/bus/pci/rescan")


def rmmod(vm, *_):
    """The module, too, which is refused while it is used."""
    result = vm.run("rmmod ivshmem", BOUND)
    assert result.rc and "temporarily unavailable" in result.out
    vm.check(f"echo {address(vm)} > {DRIVER}/unbind", BOUND)
    yield
    vm.check("rmmod ivshmem", BOUND)
    vm.check("modprobe ivshmem")


def device_del(vm, device, *_):
    """QEMU asks for it."""
    vm.unplug(device)
    yield
    vm.plug(device)


class Slot:
    """The slot that a device is in: of a port with native hot-plug."""

    def __init__(self, vm, device):
        self.vm, self.device = vm, device
        port = vm.check(f"cd -P /sys/bus/pci/devices/{address(vm)}/.. && pwd")
        self.config = f"{port.strip()}/config"
        config = bytes.fromhex(vm.check(
            f"hexdump -v -e '1/1 \"%02x\"' {self.config}"))
        self.where = config[0x34]
        while config[self.where] != 0x10:
            self.where = config[self.where + 1]
        self.where += SLOT_CONTROL
        self.control = int.from_bytes(config[self.where:self.where + 2],
                                      "little")

    def write(self, value):
        """Writes slot control, at once."""
        text = "".join(f"\\x{byte:02x}" for byte in value.to_bytes(2, "little"))
        self.vm.check(f"printf '{text}' | dd of={self.config} bs=2 "
                      f"seek={self.where // 2} conv=notrunc 2>&1")

    def snatch(self, ringer):
        """Makes QEMU take the device out. The port says nothing of it.

        QEMU dies if an interrupt is on its way to itself just then: the process
        that rings stands still.
        """
        self.vm.check(f"kill -STOP {ringer}; "
                      f"until grep -q '^State:.T' /proc/{ringer}/status; "
                      "do sleep 0.01; done", BOUND)
        # Its main loop comes round twice.
        for _ in range(2):
            self.vm.qmp("query-status")
        with self.vm.detaching(self.device):
            self.write(self.control & ~SLOT_INTERRUPT | SLOT_OFF)
        self.vm.check(f"kill -CONT {ringer}")

    def tell(self):
        """Lets the port say so; returns when the kernel has put it off."""
        self.write(self.control)
        self.vm.check(
            f"i=0; while [ $((0x$(hexdump -s {self.where} -n 2 -e '1/2 \"%x\"' "
            f"{self.config}) & {SLOT_OFF})) != {SLOT_OFF} ]; do sleep 0.05; "
            "i=$((i + 1)); [ $i -lt 1200 ] || exit 1; done", 2 * BOUND)


def pull(vm, device, ringer):
    """The device is gone when the kernel learns of it from the port."""
    slot = Slot(vm, device)
    slot.snatch(ringer)
    slot.tell()
    yield
    vm.plug(device)


def vanish(vm, device, ringer):
    """The device is gone, all of it reads as ones, and nobody says so."""
    slot, path = Slot(vm, device), f"/sys/bus/pci/devices/{address(vm)}"
    slot.snatch(ringer)
    assert vm.check(f"hexdump -n 4 -e '1/4 \"%x\"' {path}/config") == "ffffffff"
    vm.check(f"echo 1 > {path}/remove", BOUND)
    yield
    slot.tell()
    vm.plug(device)


# So many objects of a kind come and go for other reasons; and so many inodes.
OTHERS, INODES = 64, 4
# How often memory is looked at.
LOOKS = 5

# Of fifty removals, so many are by this way on this machine.
WAYS = [
    (unbind, "pc", 11), (remove, "pc", 9), (rmmod, "q35", 8),
    (device_del, "pc", 8), (device_del, "q35", 7), (device_del, "pciehp", 2),
    (pull, "pciehp", 3), (vanish, "pciehp", 2),
]
CANNOT = pytest.mark.not_on("riscv64", reason="the kernel cannot unplug")
MARKS = {
    (unbind, "pc"): [pytest.mark.ci_debug, pytest.mark.ci_kcsan],
    (device_del, "pc"): [pytest.mark.not_on(
        "virt", reason="the machine cannot unplug without a port")],
    (device_del, "q35"): [CANNOT],
    # Nor without the driver: the port will power off in 5 s, it says, and does not.
    (device_del, "pciehp"): [CANNOT, pytest.mark.not_on(
        "5.10-rt", "6.1-rt", "6.12-rt",
        reason="the kernel does not unplug at the press of the button")],
    (pull, "pciehp"): [CANNOT],
    (vanish, "pciehp"): [CANNOT, pytest.mark.ci_debug],
}


def appears(vm):
    vm.check(f"i=0; until [ -e {NODE} ] && [ -e /dev/uio0 ]; do sleep 0.05; "
             "i=$((i + 1)); [ $i -lt 1200 ] || exit 1; done", 2 * BOUND)


def removed(vm, device, way):
    """One removal from below all who use the device, who are told, and a return
    under the same number. Returns the seconds until all had been told."""
    debugger = "debugger" if debuggers_see_it(vm) else ""
    job = vm.start_job(f"/tests/inuse {NODE} {debugger}")
    job.expect("^# ready$", READY)
    ringer = job.expect(r"^# ringer (\d+)$")[1]
    steps, start = way(vm, device, ringer), time.monotonic()
    next(steps)
    judge(f"inuse, {way.__name__}", *job.wait(BOUND))
    took = time.monotonic() - start
    assert vm.run(f"ls {NODE} /dev/uio* /sys/class/misc/ivshmem*").out.count(
        "No such file") == 3
    assert "ivshmem" not in vm.check("cat /proc/interrupts /proc/iomem")
    assert next(steps, None) is None
    appears(vm)
    return took


def look(vm):
    """What the kernel says it has allocated: objects of each kind, KiB of all."""
    inodes = vm.inodes()
    vm.check("for i in /sys/kernel/slab/*/shrink; do echo 1 > $i; done")
    # What is unmapped of the kernel's addresses is freed at some later time.
    lines = vm.check("grep -v -e vmap_area -e '^#' -e version /proc/slabinfo")
    slab = vm.check("awk '$1 == \"SUnreclaim:\" { print $2 }' /proc/meminfo")
    kinds = {kind: int(active) for kind, active, *_ in
             map(str.split, lines.splitlines())}
    return {**kinds, "inodes": inodes}, int(slab)


def memory(vm):
    """The least of some looks: what goes may do so a little later."""
    kinds, slabs = zip(*[look(vm) for _ in range(LOOKS)])
    return {kind: min(seen.get(kind, 0) for seen in kinds)
            for kind in set().union(*kinds)}, min(slabs)


def check_memory(memories, count):
    """Nothing has grown by an object for two removals."""
    (before, low), *_, (after, high) = memories
    inodes = after["inodes"] - before["inodes"]
    print(f"measured: {high - low:+} KiB, {inodes:+} inodes")
    # Each device has one.
    assert inodes < count / 2 + INODES
    assert high - low < 1024 + count / 2
    # What is freed after a while stays for that of one half, but not of both.
    if len(memories) > 2:
        grown = {kind: [late.get(kind, 0) - early.get(kind, 0) for
                        (early, _), (late, _) in zip(memories, memories[1:])]
                 for kind in after}
        assert {kind: more for kind, more in grown.items()
                if min(more) >= count / 4 + OTHERS / 2} == {}


def check_disorder(log):
    """pciehp takes two locks in either order; lockdep has no other complaint."""
    reports = re.findall(r"circular locking dependency.*?acquire lock:\n\S+ \((.*?)\)"
                         r".*?holding lock:\n\S+ \((.*?)\)", log, re.S)
    assert all(set(locks) == {"&ctrl->reset_lock", "pci_rescan_remove_lock"}
               for locks in reports)
    assert log.count("Call Trace") == len(reports)


@pytest.mark.parametrize("way, machine, share", [
    pytest.param(*way, marks=MARKS.get(way[:2], ()))
    for way in WAYS], ids=[
    f"{way.__name__}-{machine}" for way, machine, _ in WAYS])
def test_removal(vms, kernel, way, machine, share):
    """Nobody hangs, nothing is lost, and there is no end to it."""
    # The debug kernels keep what is freed for a while, to see who uses it.
    stock = kernel.name not in ("debug", "kcsan")
    # QEMU 7.2 dies in one of a thousand, of a thread that writes to what has gone.
    cluster = vms({**MACHINES[machine], "turns": stock}, share=True)
    vm, device = cluster[0], cluster[0].devices[0]
    disorder = kernel.name == "debug" and machine == "pciehp"
    if disorder:
        vms.allow("possible circular locking dependency|Call Trace")
    appears(vm)
    removed(vm, device, way)
    count = max(1, share * REMOVALS // 50 - 1)
    # Of a few removals nothing but the inode stands out from what else goes on.
    parts = [count // 2, count - count // 2] if count > 2 * OTHERS else [count]
    memories, slowest = [stock and memory(vm)], 0
    for part in parts:
        slowest = max(slowest, *[removed(vm, device, way) for _ in range(part)])
        memories.append(stock and memory(vm))
    print(f"measured: gone {count} times, in at most {slowest:.1f} s")
    run_guest_program(vm, "basic", NODE)
    assert vm.leaks() == ""
    if disorder:
        check_disorder(vm.log())
    if stock:
        check_memory(memories, count)
