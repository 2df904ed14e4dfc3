# SPDX-License-Identifier: MIT
"""Loading and unloading the module, and probes that fail."""

import re

import pytest

from lab import guestmod
from lab.cluster import guest
from lab.tap import run_guest_program

NODE = "/dev/ivshmem0"
DRIVER = "/sys/bus/pci/drivers/ivshmem"
CYCLES = 8
LEAKS = 150
LOADS = 40

# What fails in probe, by the names it has had; the error, and the reason that the
# log gives.
ENOMEM, EIO, ENOENT, EBUSY, ENOSPC = 12, 5, 2, 16, 28
FAILURES = [
    # With two underscores where the kernel checks its locks.
    ("init_srcu_struct init_srcu_struct_generic __init_srcu_struct", ENOMEM,
     "cannot allocate a device"),
    ("alloc_anon_inode", ENOMEM, "cannot allocate a device"),
    ("ida_alloc_range", ENOMEM, "cannot allocate a number"),
    ("pci_enable_device", EIO, "cannot enable the device"),
    ("pci_request_regions_exclusive", EBUSY, "the BARs are in use"),
    ("pci_iomap", 0, "cannot map BAR0"),
    ("ivshmem_irq_init", ENOMEM, "cannot allocate vectors"),
    ("ivshmem_sysfs_init", ENOMEM, "cannot allocate attributes"),
    ("__uio_register_device", ENOSPC, "cannot register with UIO"),
    ("misc_register", EBUSY, "cannot register /dev/ivshmem0"),
]


@pytest.fixture
def vm(vms):
    """A VM for the tests of this file, whose module comes and goes."""
    return vms(guest(autoload=False), share=True)[0]


def address(vm):
    return vm.check("cd /sys/bus/pci/devices; grep -l 0x1110 */device"
                    ).split("/")[0]


def modalias(vm):
    return vm.check(f"cat /sys/bus/pci/devices/{address(vm)}/modalias").strip()


def traces(vm):
    """All that the driver leaves in the system while it has a device."""
    device = f"/sys/bus/pci/devices/{address(vm)}"
    return vm.check(
        "ls -d /dev/ivshmem* /dev/uio* /sys/class/misc/ivshmem* "
        "/sys/class/uio/* 2>/dev/null; "
        "grep ivshmem /proc/misc /proc/interrupts /proc/iomem; "
        f"ls -d {device}/driver {device}/msi_irqs 2>/dev/null; "
        f"[ $(cat {device}/enable) = 0 ] || echo enabled; "
        # Bus mastering is bit 2 of the command register.
        f"[ $(($(hexdump -s 4 -n 1 -e '\"%u\"' {device}/config) & 4)) = 0 ] || "
        "echo bus master; true")


def load(vm):
    """Loads the module as udev does."""
    vm.check(f"modprobe -b {modalias(vm)}")


def unload(vm):
    vm.check("rmmod ivshmem")
    assert traces(vm) == ""


def said(vm, start):
    """What the driver has said since: not the core's own report on it."""
    # Up to the mark the log is complete, but only once the mark is there.
    end = vm.mark("said")
    text = vm.log()[start:end]
    return [line for line in text.splitlines() if re.search(r"\bivshmem\b", line)
            and not re.search(r"probe (of|with)\b.* failed with error", line)
            and "lab " not in line]


def test_load(vm):
    """By modalias, and again and again."""
    assert traces(vm) == ""
    assert vm.run(f"[ -e {NODE} ]").rc == 1
    first = ""
    for _ in range(CYCLES):
        load(vm)
        first = first or traces(vm)
        assert traces(vm) == first and NODE in first
        unload(vm)
    load(vm)
    run_guest_program(vm, "basic")
    unload(vm)


def test_any_subsystem(vms):
    """The alias asks for no subsystem."""
    vm = vms(guest(autoload=False), share=True)[0]
    aliases = vm.check("grep ivshmem /lib/modules/*/modules.alias").split("\n")
    assert "alias pci:v00001AF4d00001110sv*sd*bc*sc*i* ivshmem" in aliases


@pytest.mark.parametrize("use", ["open", "map", "read", "wait"])
def test_in_use(vm, use):
    """The module stays while a file is open or memory is mapped."""
    load(vm)
    job = vm.start_job(f"/tests/hold {NODE} {use}")
    job.expect("^# held$")
    result = vm.run("rmmod ivshmem")
    assert result.rc and "temporarily unavailable" in result.out
    run_guest_program(vm, "basic")
    job.kill()
    job.wait()
    unload(vm)


def bind_fails(vm, reason):
    """Binding fails, says why in one line, and leaves nothing behind."""
    start = vm.mark("bind")
    assert vm.run(f"echo {address(vm)} | dd of={DRIVER}/bind").rc
    lines = said(vm, start)
    assert len(lines) == 1, lines
    assert re.search(rf" error -\w+: {reason}$", lines[0])
    assert traces(vm) == ""


@pytest.mark.ci_debug
def test_failures(vm, lab):
    """Each step of probe fails once."""
    load(vm)
    vm.check(f"echo {address(vm)} > {DRIVER}/unbind")
    assert traces(vm) == ""
    for names, error, reason in FAILURES:
        symbol = next(name for name in names.split()
                      if not vm.run(f"grep -qw {name} /proc/kallsyms").rc)
        # A shell may call it for its own ends.
        guestmod.load(lab, vm, "refuse", symbol=symbol, error=-error, comm="dd")
        bind_fails(vm, reason)
        assert vm.check("cat /sys/module/refuse/parameters/times") == "1\n"
        vm.check("rmmod refuse")
    vm.check(f"echo {address(vm)} > {DRIVER}/bind")
    run_guest_program(vm, "basic")
    unload(vm)


@pytest.mark.only_on("debug")
@pytest.mark.ci_debug
@pytest.mark.timeout(900)
def test_each_place(vm):
    """Whatever a probe or a call of a program needs is refused in turn."""
    # A kernel that could not make an interrupt's entry in /proc complains when it
    # takes it away.
    start, end = (f"0x{line.split()[0]}" for line in vm.check(
        "grep -w -A 1 register_irq_proc /proc/kallsyms").splitlines())
    # Without a word, and also to those who could wait for memory.
    vm.mount_debugfs()
    vm.check("cd /sys/kernel/debug && "
             "for i in failslab fail_page_alloc fail_usercopy; "
             f"do echo {start} > $i/reject-start; echo {end} > $i/reject-end; "
             "echo 0 > $i/verbose; done; "
             "for i in failslab fail_page_alloc; "
             "do echo N > $i/ignore-gfp-wait; done; "
             "echo 0 > fail_page_alloc/min-order")
    load(vm)
    vm.check(f"echo {address(vm)} > {DRIVER}/unbind")
    run_guest_program(vm, "failnth", NODE, address(vm), timeout=270)
    assert traces(vm) == ""
    vm.check(f"echo {address(vm)} > {DRIVER}/bind")
    run_guest_program(vm, "failnth", NODE, timeout=270)
    run_guest_program(vm, "basic")
    # The functions of a module that has gone have no names.
    assert vm.leaks() == ""
    unload(vm)


def test_leak(vm, lab):
    """Neither probes that fail nor devices that come and go cost memory."""
    load(vm)
    bind = f"echo {address(vm)} > {DRIVER}/bind"
    unbind = f"echo {address(vm)} > {DRIVER}/unbind"
    vm.check(unbind)
    guestmod.load(lab, vm, "refuse", symbol="__uio_register_device",
                  error=-ENOSPC, most=10 * LEAKS)
    before = vm.inodes()
    assert vm.run(f"for i in $(seq {LEAKS}); do {bind} && exit; done; exit 9",
                  timeout=120).rc == 9
    vm.check("rmmod refuse")
    assert vm.inodes() < before + LEAKS / 2

    before = vm.inodes()
    vm.check(f"for i in $(seq {LEAKS}); do {bind} || exit; {unbind}; done",
             timeout=120)
    assert vm.inodes() < before + LEAKS / 2
    unload(vm)


@pytest.mark.parametrize("symbol", ["kern_mount", "__pci_register_driver"])
def test_load_failure(vm, lab, symbol):
    """A module that cannot be loaded leaves nothing, not even the inode of the
    file system that it has."""
    guestmod.load(lab, vm, "refuse", symbol=symbol, error=-ENOMEM,
                  comm="modprobe", most=10 * LOADS)
    before = vm.inodes()
    # busybox tries each twice, as a file and as memory.
    said_by_all = vm.check(f"for i in $(seq {LOADS}); do modprobe ivshmem 2>&1; "
                           "[ ! -e /sys/module/ivshmem ] || exit; done", 120)
    assert said_by_all.count("Cannot allocate memory") == LOADS
    assert vm.inodes() < before + LOADS / 2
    vm.check("rmmod refuse")
    load(vm)
    run_guest_program(vm, "basic")
    unload(vm)


@pytest.mark.parametrize("bar", [0, 2])
def test_bar_in_use(vm, lab, bar):
    """Somebody else has a part of the device."""
    resource = vm.check(f"cat /sys/bus/pci/devices/{address(vm)}/resource")
    first, last = (int(word, 16) for word in
                   resource.splitlines()[bar].split()[:2])
    guestmod.load(lab, vm, "refuse", start=first, size=last - first + 1)
    start = vm.mark("load")
    load(vm)
    lines = [line for line in said(vm, start) if "BAR" in line]
    # The first of them is the PCI core's.
    assert len(lines) == 2 and f"BAR {bar}: can't reserve" in lines[0]
    assert re.search(r" error -(16|EBUSY): the BARs are in use$", lines[1])
    held = vm.check("grep refuse /proc/iomem")
    assert len(held.splitlines()) == 1
    assert traces(vm) == ""
    vm.check("rmmod refuse")
    vm.check(f"echo {address(vm)} > {DRIVER}/bind")
    run_guest_program(vm, "basic")
    unload(vm)


def test_fewer_interrupts(vm, lab):
    """One interrupt cannot be had: the device makes do with those before it."""
    load(vm)
    vm.check(f"echo {address(vm)} > {DRIVER}/unbind")
    guestmod.load(lab, vm, "refuse", symbol="request_threaded_irq",
                  error=-ENOSPC, skip=2)
    start = vm.mark("bind")
    vm.check(f"echo {address(vm)} > {DRIVER}/bind")
    vm.check("rmmod refuse")
    lines = said(vm, start)
    assert len(lines) == 2 and "only 2 of 4 vectors can interrupt" in lines[0]
    run_guest_program(vm, "vectors", NODE, 4)
    unload(vm)


def test_no_interrupts(vm, lab):
    """None can be had: what is left is memory, and a doorbell to ring."""
    load(vm)
    vm.check(f"echo {address(vm)} > {DRIVER}/unbind")
    symbol = vm.check("grep -ow -m 1 pci_alloc_irq_vectors /proc/kallsyms || "
                      "echo pci_alloc_irq_vectors_affinity").strip()
    guestmod.load(lab, vm, "refuse", symbol=symbol, error=-ENOSPC, most=100)
    start = vm.mark("bind")
    vm.check(f"echo {address(vm)} > {DRIVER}/bind")
    vm.check("rmmod refuse")
    lines = said(vm, start)
    assert len(lines) == 2 and "only 0 of 4 vectors can interrupt" in lines[0]
    assert vm.check("cat /sys/class/misc/ivshmem0/vectors") == "0\n"
    run_guest_program(vm, "mmap", NODE)
    vm.check("ivshmemctl ring 0 0")
    unload(vm)
