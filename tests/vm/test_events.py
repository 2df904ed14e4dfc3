# SPDX-License-Identifier: MIT
"""Every way of /dev/ivshmemN to hear of an interrupt: who is told, and who is
left alone; also for programs of 32 bits."""

import re

import pytest

from lab import starved
from lab.cluster import guest
from lab.tap import run_guest_program
from lab.vm import Doorbell, Plain

DEVICE = "/dev/ivshmem0"
# What instructions are counted with: each takes a nanosecond.
ICOUNT = ("-icount", "shift=0,sleep=off")
FOLDERS = {64: "/tests", 32: "/tests32"}
BITS = pytest.mark.parametrize("bits", FOLDERS)

# VMs that other tests use too.
SMALL = guest(machine="q35", cpus=1)
LARGE = guest(machine="pc", cpus=2)


@pytest.fixture(params=[SMALL, LARGE], ids=["q35-1cpu", "pc-2cpu"])
def machine(request, vms):
    return vms(request.param, share=True)[0]


@pytest.fixture
def vm(vms):
    return vms(SMALL, share=True)[0]


@pytest.mark.parametrize("program", ["eventfd", "subscribe", "epoll", "uring",
                                     "splice", "sigio", "rights", "sharing",
                                     "sysfs"])
def test_program(machine, program):
    run_guest_program(machine, program, timeout=150)


def test_busy(vm):
    """Busy-polling does not sleep, keeps its budget, and lets others run."""
    run_guest_program(vm, "busy", timeout=150)


@pytest.mark.ci_debug
@pytest.mark.ci_kcsan
def test_churn(vms):
    """Binding, subscribing, opening and closing while interrupts come."""
    vm = vms(LARGE, share=True)[0]
    run_guest_program(vm, "churn", timeout=270)


@pytest.mark.not_on("debug", "kcsan", reason="the kernel has no KVM")
@pytest.mark.not_on("virt", reason="KVM emulates parts of a PC")
@pytest.mark.not_on("5.10-rt", "6.1-rt", "6.12-rt",
                    reason="KVM wants a clock there that TCG does not have")
@BITS
def test_irqfd(vms, bits):
    """An eventfd that is bound to a vector is KVM's irqfd, too."""
    vm = vms(guest(modules=["kvm-amd"], m32=bits == 32))[0]
    vm.check("modprobe kvm-amd")
    run_guest_program(vm, "irqfd", folder=FOLDERS[bits])


@BITS
def test_wakeups(vms, bits):
    """64 threads wait for a vector of their own; a ring wakes one of them."""
    vm = vms(guest([Doorbell(vectors=64)], cpus=2, m32=bits == 32),
             servers={"main": {"vectors": 64}})[0]
    run_guest_program(vm, "wakeups", timeout=270, folder=FOLDERS[bits])


@pytest.mark.not_on("debug", "kcsan", reason="the kernel adds instructions")
@pytest.mark.not_on("virt", reason="its clock is too coarse to count instructions")
@pytest.mark.not_on("5.10-rt", "6.1-rt", "6.12-rt",
                    reason="there a thread handles interrupts, and is not counted")
@BITS
def test_cost(vms, bits):
    """The handler takes as many instructions with 1 as with 64 open files that
    did not ask for its vector."""
    vm = vms(guest([Doorbell(vectors=65)], qemu=ICOUNT, m32=bits == 32),
             servers={"main": {"vectors": 65}})[0]
    run_guest_program(vm, "cost", timeout=270, folder=FOLDERS[bits])


@pytest.mark.parametrize("call", starved.ALLOCATORS)
def test_no_memory(vm, lab, call):
    """A call that gets no memory fails and changes nothing."""
    starved.check(lab, vm, DEVICE, call)


PROGRAMS_32 = {
    "getinfo": (DEVICE, 4 << 20, 4, 0), "ring": (), "waits": (), "read": (),
    "poll": (), "mmap": (), "signals": (), "eventfd": (), "subscribe": (),
    "epoll": (), "uring": (), "splice": (), "sigio": (), "rights": (),
    "sharing": (), "sysfs": (), "busy": (), "readers": (),
    "churn": (DEVICE, 100), "race": (DEVICE, "free", 2000),
    "race phase": (DEVICE, "phase", 500), "basic": (),
    "unplug": (DEVICE, "unbind"), "unplug churn": (DEVICE, "churn", 5),
    "plain": ("/dev/ivshmem1", 1 << 20, "plain"),
    "fuzz": (DEVICE, "--calls=20000"), "vectors": (DEVICE, 4),
}
MACHINE_32 = guest([Doorbell(), Plain("1M", id="iv1")], m32=True)


@pytest.mark.parametrize("program", PROGRAMS_32)
def test_32bit(vms, program):
    """The same programs, built with -m32, on the 64-bit kernel."""
    vm = vms(MACHINE_32, share=True)[0]
    run_guest_program(vm, program.split()[0], *PROGRAMS_32[program],
                      timeout=520 if program == "fuzz" else 150,
                      folder=FOLDERS[32])


@pytest.mark.parametrize("call", starved.ALLOCATORS)
def test_32bit_no_memory(vms, lab, call):
    """Nor do they get another answer for lack of memory."""
    starved.check(lab, vms(MACHINE_32, share=True)[0], DEVICE, call, FOLDERS[32])


TRACING = "/sys/kernel/tracing"
FIELDS = {
    "ring": {"device": 4, "doorbell": 4},
    "interrupt": {"device": 4, "vector": 4, "count": 8},
    "wake": {"device": 4, "vector": 4, "count": 8, "ret": 4},
}


def trace(vm):
    """Traces what the driver does."""
    vm.check(f"[ -e {TRACING}/trace ] || mount -t tracefs none {TRACING}")
    vm.check(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/ivshmem/enable")


@pytest.fixture
def tracing(vm):
    trace(vm)
    yield vm
    vm.check(f"echo 0 > {TRACING}/events/ivshmem/enable")


def test_trace_format(tracing):
    """There are three tracepoints, with the fields that tools look for."""
    events = f"{TRACING}/events/ivshmem"
    names = tracing.check(f"cd {events} && ls -d */").split()
    assert sorted(n.rstrip("/") for n in names) == sorted(FIELDS)
    for name, fields in FIELDS.items():
        text = tracing.check(f"cat {events}/{name}/format")
        found = re.findall(r"field:[\w ]+?(\w+);\s*offset:\d+;\s*size:(\d+);",
                           text.partition("\n\n")[2])
        assert {f: int(size) for f, size in found} == fields


def test_trace(tracing):
    """What is rung, what comes of it, and what a wait returns, is traced in
    this order."""
    position = tracing.check("cat /sys/class/misc/ivshmem0/position").strip()
    count = int(tracing.check("cat /sys/class/misc/ivshmem0/counts/3"))
    run_guest_program(tracing, "basic")
    text = tracing.check(f"cat {TRACING}/trace")
    assert re.findall(r": (\w+): (ivshmem.*)", text) == [
        ("wake", f"ivshmem0 vector=3 count={count} ret=0"),
        ("ring", f"ivshmem0 peer={position} vector=3"),
        ("interrupt", f"ivshmem0 vector=3 count={count + 1}"),
        ("wake", f"ivshmem0 vector=3 count={count + 1} ret=0"),
        ("wake", f"ivshmem0 vector=3 count={count + 1} ret=-110"),
    ], text


def test_trace_off(tracing):
    """Nothing is traced that is not asked for."""
    tracing.check(f"echo 0 > {TRACING}/events/ivshmem/enable; "
                  f"echo > {TRACING}/trace")
    tracing.check("ivshmemctl ring $(cat /sys/class/misc/ivshmem0/position) 0")
    assert "ivshmem" not in tracing.check(f"grep -v '^#' {TRACING}/trace || true")
