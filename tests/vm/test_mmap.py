# SPDX-License-Identifier: MIT
"""How the memory is mapped, read from page tables; see Documentation/design.rst."""

import functools
import json
import time

import pytest

from lab import guestmod
from lab.arch import AMD64, RISCV64
from lab.cluster import guest
from lab.entries import (can_be_huge, configured, debuggers_see_it,
                         mbind_is_safe, settings, with_huge)
from lab.tap import run_guest_program
from lab.vm import Plain

X86 = pytest.mark.not_on("virt", reason="it is about x86")
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
NODES = ["/dev/ivshmem", "/dev/uio"]
# Instructions to map 64 GiB, and to serve a fault, by the largest entry that it may
# make. Seen were 14 to 39 thousand; 35 thousand, and 1,700.
MAP_MOST = 50000
FAULT_MOST = {4 * KB: 38000, 2 * MB: 3000}


def size_text(size):
    for unit, name in ((GB, "G"), (MB, "M")):
        if size >= unit:
            return f"{size // unit}{name}"
    return f"{size // KB}K"


def bar(vm, number=0):
    """The first and the last address of BAR2."""
    text = vm.check(f"cat /sys/class/misc/ivshmem{number}/device/resource")
    return [int(x, 16) for x in text.splitlines()[2].split()[:2]]


def bar_start(vm, number=0):
    return bar(vm, number)[0]


def check_memtypes(vm, number=0):
    """Nobody has the memory on record, so that nothing conflicts with it."""
    if vm.kernel.arch != AMD64:
        return
    vm.mount_debugfs()
    # Not all that is said of it reaches the console.
    vm.judge(vm.check("dmesg | grep x86/PAT || true"))
    out = vm.check("cat /sys/kernel/debug/x86/pat_memtype_list")
    start, last = bar(vm, number)
    for line in out.splitlines()[1:]:
        # PAT: [mem 0x00000000feb00000-0x00000000feb01000] uncached-minus
        low, high = (int(x, 16) for x in
                     line.split("[mem ")[1].split("]")[0].split("-"))
        assert high <= start or last < low, line


def boot_sizes(vms, lab, *sizes, **options):
    """Boots a VM with a device of each size, in this order."""
    devices = [Plain(size_text(size), id=f"iv{n}", options=f"addr={n + 0x10:#x}")
               for n, size in enumerate(sizes)]
    vm = vms(guest(devices, **options))[0]
    guestmod.load(lab, vm, "pagewalk")
    return vm


@pytest.fixture
def boot(vms, lab):
    """boot_sizes() of VMs of this test."""
    return functools.partial(boot_sizes, vms, lab)


def check_entries(vm, *sizes):
    """Runs map_entries on each device, through each of its nodes."""
    for largest in settings(vm):
        for number, size in enumerate(sizes):
            for node in NODES:
                run_guest_program(vm, "map_entries", f"{node}{number}", size,
                                  largest, timeout=300)


@X86
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_hole(boot, machine):
    """Below 4 GiB, where the MTRRs say uncacheable: write-back all the same."""
    sizes = 4 * KB, 64 * KB, MB, 2 * MB, 4 * MB, 64 * MB
    vm = boot(*sizes, machine=machine)
    assert "uncachable" in vm.check("cat /proc/mtrr")
    for number in range(len(sizes)):
        assert bar_start(vm, number) < 4 * GB
    check_entries(vm, *sizes)


@X86
def test_hole_large(boot):
    """The most that firmware puts there."""
    vm = boot(GB, machine="pc")
    assert bar_start(vm) < 4 * GB
    check_entries(vm, GB)


@pytest.mark.not_on("kcsan", reason="it would watch one in 40 of 17 million entries")
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_high(boot, kernel, machine):
    """Above 4 GiB, up to 64 GiB; 2048 huge entries make 4 GiB."""
    sizes = 4 * KB, 2 * MB, GB, 4 * GB
    # The machine has 16 GiB for all BARs.
    if kernel.arch != RISCV64:
        sizes += 64 * GB,
    vm = boot(*sizes, machine=machine)
    for number in range(len(sizes)):
        assert bar_start(vm, number) >= 4 * GB
    check_entries(vm, *sizes)


@pytest.mark.only_on("6.12")
def test_cost(boot):
    """Mapping 64 GiB takes microseconds; touching it takes a fault for each entry
    or table, and that not much more than it has to write."""
    # Each instruction takes a nanosecond.
    vm = boot(64 * GB, qemu=["-icount", "shift=0,sleep=off"])
    for largest in settings(vm):
        for node in "/dev/ivshmem0 0", f"/dev/uio0 {4 * KB}":
            took = json.loads(vm.check(
                f"/tests/map_bench file {node} {64 * GB} {64 * MB}", 120))
            print(f"measured: {node}, {took}")
            assert (took["cache"], took["entry"]) == ("WB", largest)
            assert took["map_ns"] < MAP_MOST
            assert took["faults"] == 1024
            assert took["touch_ns"] < 1024 * FAULT_MOST[largest]


def check_calls(vm, node, debuggers):
    """Runs map_calls, which needs a RAM disk."""
    vm.check("modprobe brd rd_nr=1 rd_size=1024")
    for largest in settings(vm):
        run_guest_program(vm, "map_calls", node, 16 * MB, largest,
                          int(debuggers),
                          int(largest < 2 * MB or mbind_is_safe(vm.kernel)),
                          timeout=180)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_calls(boot, machine, node):
    """fork, munmap, mprotect, mremap, madvise, a debugger, errors; on the one
    machine in the hole, on the other above 4 GiB, where 4 GiB draw it to."""
    sizes = {"pc": (16 * MB,), "q35": (16 * MB, 4 * GB)}[machine]
    vm = boot(*sizes, machine=machine, modules=["brd"])
    assert (bar_start(vm) >= 4 * GB) == (machine == "q35"
                                         or vm.kernel.arch != AMD64)
    check_calls(vm, f"{node}0", debuggers_see_it(vm))
    # What is left over would be seen.
    check_memtypes(vm)


@pytest.mark.only_on("arm64")
def test_low(boot):
    """Below 4 GiB, as on a machine that has no room for devices above."""
    sizes = 4 * KB, 64 * KB, 2 * MB, 64 * MB, 256 * MB
    vm = boot(*sizes, machine="virt,gic-version=3,highmem=off")
    for number in range(len(sizes)):
        assert bar_start(vm, number) < 4 * GB
    check_entries(vm, *sizes)


@X86
def test_behind_ram(vms, lab):
    """Where the kernel might take the memory for its own, a debugger is refused:
    vmap_pfn() would warn."""
    cluster = vms(guest([], machine="pc", memory="480M", modules=["brd"], qemu=[
        "-global", "i440FX-pcihost.pci-hole64-size=0"]))
    vm = cluster[0]
    guestmod.load(lab, vm, "pagewalk")
    vm.plug(cluster.resolve(Plain("16M")))
    vm.check("until [ -e /dev/ivshmem0 ]; do usleep 10000; done")
    assert bar_start(vm) < 512 * MB
    check_calls(vm, "/dev/ivshmem0", False)


def test_meet(boot, lab, kernel):
    """Two threads meet in one fault, and want entries of different sizes."""
    if not can_be_huge(kernel):
        pytest.skip("all entries are small")
    vm = boot(16 * MB, cpus=2)
    with_huge(vm)
    guestmod.load(lab, vm, "meet")
    run_guest_program(vm, "map_meet")


def test_gate(boot, lab):
    """The device goes, and waits for a fault that is on its way."""
    vm = boot(16 * MB, cpus=2)
    guestmod.load(lab, vm, "meet")
    driver = "/sys/bus/pci/drivers/ivshmem"
    slot = vm.check(f"basename {driver}/0000:*").strip()
    run_guest_program(vm, "map_gate", "/dev/ivshmem0", f"{driver}/unbind", slot)


@X86
@pytest.mark.parametrize("cpu, append", [
    ("max", "nopat"), ("max,-pat", ""), ("max,-mtrr", ""),
    ("max,-pat,-mtrr,-la57", ""),
    ("max", "enable_mtrr_cleanup mem_encrypt=on iomem=strict pci=nocrs")])
def test_cpu(boot, kernel, cpu, append):
    """Write-back whatever processor and command line are; the driver says so."""
    if "-mtrr" in cpu and configured(kernel, "DEBUG_VM_PGTABLE"):
        pytest.skip("this kernel tests itself at boot, and for that needs MTRRs")
    vm = boot(16 * MB, qemu=["-cpu", cpu], append=append)
    check_entries(vm, 16 * MB)
    mode = vm.check("cat /sys/class/misc/ivshmem0/cache_mode")
    assert mode == "write-back\n"


@X86
@pytest.mark.not_on("kcsan", reason="QEMU shows the first of two processors alone")
def test_qemu_agrees(boot, kernel):
    """QEMU's own view of the guest's page tables is that of the module, through
    each node; and nobody else has the memory meanwhile."""
    if configured(kernel, "KASAN"):
        pytest.skip("QEMU would list the terabytes of KASAN's shadow, too")
    vm = boot(16 * MB)
    for largest in settings(vm):
        for node in NODES:
            check_with_qemu(vm, largest, node)


def check_with_qemu(vm, largest, node):
    job = vm.start_job(f"/tests/map_hold {node}0")
    address = int(job.expect(r"^# at (0x[0-9a-f]+)$")[1], 16)
    entry, deadline = None, time.monotonic() + 30
    while not entry:
        assert time.monotonic() < deadline, "the program does not run"
        # The page tables are those of whoever runs now.
        vm.qmp("stop")
        lines = vm.hmp("info tlb").splitlines()
        vm.qmp("cont")
        # 00007f0000000000: 00000000fd000000 X-PDA--UW
        entry = next((line.split() for line in lines
                      if int(line.partition(":")[0], 16) == address), None)
    assert int(entry[1], 16) == bar_start(vm)
    assert entry[2] == ("X-PDA--UW" if largest == 2 * MB else "X--DA--UW")
    check_memtypes(vm)
    job.kill()
    job.wait()
