# SPDX-License-Identifier: MIT
"""/dev/uioN, beside /dev/ivshmemN."""

import re
import subprocess

import pytest

from lab import guestmod, kernels
from lab.build import TOP
from lab.cluster import guest
from lab.tap import judge, run_guest_program
from lab.vm import Doorbell, Plain

@pytest.fixture(params=["q35", "pc"])
def stock(request, vms):
    """A shared VM of QEMU's own devices: one with a doorbell, one plain."""
    return vms(guest([Doorbell(id="iv0", options="addr=0x4"),
                      Plain(id="iv1", options="addr=0x5")],
                     machine=request.param, modules=["uio_pci_generic"]),
               share=True)[0]


@pytest.mark.ci_debug
def test_both(stock):
    """Maps, counts, poll, control and registers of a device of QEMU."""
    run_guest_program(stock, "uio_both", "/dev/ivshmem0")


@pytest.mark.ci_debug
@pytest.mark.ci_kcsan
def test_storm(vms):
    """Of interrupts that two processors have at the same moment, none is left
    out of the count."""
    vm = vms(guest(machine="pc", cpus=2), share=True)[0]
    numbers = vm.check("sed -n 's/^ *\\([0-9]*\\):.*ivshmem0-[0-9]*$/\\1/p' "
                       "/proc/interrupts").split()
    assert len(numbers) == 4
    for i, number in enumerate(numbers):
        vm.check(f"echo {1 << i % 2} > /proc/irq/{number}/smp_affinity")
    run_guest_program(vm, "uio_storm", "/dev/ivshmem0", 20000, timeout=300)


def test_plain(stock):
    """Without interrupts there is the memory."""
    run_guest_program(stock, "uio_plain", "/dev/ivshmem1")


def give(vm, driver):
    """Has a driver take the device, as Documentation/uio.rst tells it."""
    vm.check("cd /sys/bus/pci/devices/0000:00:04.0 && "
             f"echo {driver} > driver_override && "
             "echo 0000:00:04.0 > driver/unbind && "
             "echo 0000:00:04.0 > /sys/bus/pci/drivers_probe")
    path = vm.check("readlink /sys/bus/pci/devices/0000:00:04.0/driver")
    assert path.strip().endswith(f"/{driver}")


def test_other_driver(stock):
    """driver_override gives the device to another driver, and back."""
    stock.check("modprobe uio_pci_generic")
    give(stock, "uio_pci_generic")
    give(stock, "ivshmem")
    stock.check("echo > /sys/bus/pci/devices/0000:00:04.0/driver_override")
    name = stock.check("ls /sys/bus/pci/devices/0000:00:04.0/misc").strip()
    run_guest_program(stock, "uio_both", f"/dev/{name}")


@pytest.mark.not_on("riscv64", reason="the machine has no IOMMU that the lab knows")
def test_vfio(vms, lab):
    """So it is with vfio-pci on a machine with an IOMMU, where a program has the
    device as a whole."""
    vm = vms(guest([Doorbell(options="addr=0x4")], memory="768M",
                   modules=["vfio-pci", "vfio_iommu_type1"],
                   qemu=["-device", "intel-iommu"],
                   append="intel_iommu=on iommu=nopt"))[0]
    if vm.run("modprobe vfio_iommu_type1 && modprobe vfio-pci").rc:
        pytest.skip("the kernel has no VFIO")
    guestmod.load(lab, vm, "pagewalk")
    give(vm, "vfio-pci")
    vm.check("[ ! -e /dev/ivshmem0 ] && "
             f"/tests/map_bench vfio 0000:00:04.0 {4 << 20}")
    give(vm, "ivshmem")
    run_guest_program(vm, "uio_both", "/dev/ivshmem0")


@pytest.mark.ci_debug
@pytest.mark.parametrize("device", ["iv0", "iv1"])
def test_unbind(stock, device):
    """Unbound with both nodes open and mapped: nothing is left behind, and the
    driver takes the device again."""
    node = {"iv0": "0000:00:04.0", "iv1": "0000:00:05.0"}[device]
    name = "/dev/" + stock.check(f"ls /sys/bus/pci/devices/{node}/misc").strip()
    for _ in range(3):
        job = stock.start_job(f"/tests/uio_unplug {name}")
        job.expect("^# ready$")
        stock.check(f"echo {node} > /sys/bus/pci/drivers/ivshmem/unbind")
        judge("uio_unplug", *job.wait())
        assert stock.run(f"ls {name}").rc
        stock.check(f"echo {node} > /sys/bus/pci/drivers/ivshmem/bind")
        stock.check(f"ls {name} /dev/uio0 /dev/uio1")


@pytest.fixture
def slotted(vms):
    """A VM whose device can be pulled out."""
    device = Doorbell(bus="rp0")
    vm = vms(guest([device], qemu=["-device", "pcie-root-port,id=rp0,slot=1"]))[0]
    return vm, vm.devices[0]


@pytest.mark.ci_debug
@pytest.mark.not_on("riscv64", reason="the kernel cannot unplug")
def test_unplug(slotted):
    """Pulled out with both nodes open and mapped, and plugged in again."""
    vm, device = slotted
    for _ in range(2):
        job = vm.start_job("/tests/uio_unplug /dev/ivshmem0")
        job.expect("^# ready$")
        vm.unplug(device)
        judge("uio_unplug", *job.wait())
        vm.check("[ ! -e /dev/ivshmem0 ] && [ ! -e /dev/uio0 ]")
        vm.plug(device)
        vm.check("until [ -e /dev/ivshmem0 ] && [ -e /dev/uio0 ]; do "
                 "sleep 0.05; done")
    run_guest_program(vm, "uio_both", "/dev/ivshmem0")


def test_early(vms, lab):
    """An interrupt between the appearance of the node and the end of probe."""
    vm = vms(guest(machine="pc", cpus=2), share=True)[0]
    name = vm.check("basename $(readlink /sys/class/misc/ivshmem0/device)").strip()
    position = vm.check("cat /sys/class/misc/ivshmem0/position").strip()
    vm.check(f"echo {name} > /sys/bus/pci/drivers/ivshmem/unbind")
    guestmod.load(lab, vm, "refuse", symbol="kobject_create_and_add",
                  late=2000000)
    # While probe is late nothing else may get to its processor.
    affinity = "/proc/irq/default_smp_affinity"
    vm.check(f"echo 2 > {affinity}")
    job = vm.start_job(f"taskset 2 /tests/uio_early /dev/uio0 {position} "
                       "/dev/ivshmem0")
    job.expect("^# ready$")
    vm.check("taskset 1 sh -c "
             f"'echo {name} > /sys/bus/pci/drivers/ivshmem/bind'")
    assert int(vm.check("cat /sys/module/refuse/parameters/times"))
    vm.check(f"rmmod refuse; echo 3 > {affinity}")
    judge("uio_early", *job.wait())


@pytest.mark.not_on("virt", reason="the machine cannot plug in without a port")
def test_shared_page(vms):
    """Registers that share their page with others cannot be mapped; the memory
    can."""
    vm = vms(guest([], machine="pc", autoload=False))[0]
    slots = range(4, 6)
    # Firmware gives each device a page; the kernel packs those that come later.
    for slot in slots:
        vm.plug(Plain(id=f"iv{slot}", options=f"addr={slot:#x}"))
        vm.check(f"until [ -e /sys/bus/pci/devices/0000:00:{slot:02}.0/resource0 ]"
                 "; do sleep 0.05; done")
    starts = [vm.check(f"head -1 /sys/bus/pci/devices/0000:00:{slot:02}.0/"
                       "resource").split()[0] for slot in slots]
    assert starts[0][:-3] == starts[1][:-3], "each has a page of its own"
    vm.check("dmesg -n 8; modprobe ivshmem")
    for i, slot in enumerate(slots):
        run_guest_program(vm, "uio_plain", f"/dev/ivshmem{i}", "shared")
        assert (f"ivshmem 0000:00:{slot:02}.0: BAR0 shares its page, "
                "UIO programs cannot map it") in vm.check("dmesg")


def registers(vm):
    """The first and last address of BAR0, and the names of what lies in its
    page."""
    first, last = (int(word, 16) for word in vm.check(
        "head -1 /sys/bus/pci/devices/0000:00:04.0/resource").split()[:2])
    held = {}
    for name in vm.check("cat /proc/iomem").splitlines():
        area, _, name = name.partition(" : ")
        start, end = (int(word, 16) for word in area.split("-"))
        if first >> 12 == start >> 12 == end >> 12:
            held[name] = (start, end)
    return first, last, held


@pytest.mark.not_on("virt", reason="the registers have the size of a page")
def test_padding(stock):
    """While the registers can be mapped, nobody else gets the rest of their
    page."""
    first, last, held = registers(stock)
    assert held["ivshmem"] == (first, last)
    assert held["ivshmem padding"] == (last + 1, first | 0xfff)
    driver = "/sys/bus/pci/drivers/ivshmem"
    stock.check(f"echo 0000:00:04.0 > {driver}/unbind")
    assert set(registers(stock)[2]) == {"0000:00:04.0"}
    stock.check(f"echo 0000:00:04.0 > {driver}/bind")
    assert registers(stock) == (first, last, held)


def test_left_out(stock):
    """A module parameter leaves UIO out, the rest stays."""
    stock.check("rmmod ivshmem && modprobe ivshmem uio=0")
    assert stock.check("ls /sys/class/uio").strip() == ""
    run_guest_program(stock, "basic", "/dev/ivshmem0")
    stock.check("rmmod ivshmem && modprobe ivshmem")
    assert stock.check("ls /sys/class/uio").split() == ["uio0", "uio1"]


@pytest.mark.not_on("debug", "kcsan", reason="UIO is built into them")
def test_without_uio(lab, kernel, vms):
    """For a kernel without UIO the module builds, and does not ask for it."""
    header = lab.builder.out / "without-uio.h"
    header.write_text("#undef CONFIG_UIO\n#undef CONFIG_UIO_MODULE\n")
    module = lab.builder.module(kernel, "CONFIG_UIO=",
                                f"KCFLAGS=-include {header}")
    assert "uio_" not in kernels.run(["nm", "-u", module])
    vm = vms(guest(own=module))[0]
    assert vm.run("ls /sys/class/uio").rc
    run_guest_program(vm, "basic")


def test_sample(stock):
    """The example program sees what a peer has written, when it rings."""
    stock.check("echo hello | ivshmemctl write 0")
    job = stock.start_job("/samples/uio /dev/uio0 2")
    position = job.expect(r"^I am peer (\d+)$")[1]
    job.expect(r'^\d+ interrupts, memory: "hello"$')
    stock.check("echo howdy | ivshmemctl write 0")
    stock.check(f"ivshmemctl ring {position} 1")
    assert 'memory: "howdy"' in job.wait().check().out


def readme_block(text):
    """The block of README that holds a text, and nothing else."""
    readme = (TOP / "README.md").read_text()
    block, = [b for b in re.findall(r"^```\w*\n(.*?)^```$", readme, re.M | re.S)
              if text in b]
    return block


@pytest.mark.not_on("virt", reason="the compiler in README is the machine's own")
def test_readme(pair, tmp_path):
    """What README says of the sample, word for word: how it is built, called,
    woken from the other guest, and what it prints."""
    a, b = pair
    build, call = readme_block("samples/uio.c").splitlines()
    # The guest has neither compiler nor libraries.
    subprocess.run(["sh", "-ec", f"""
        cc() {{ gcc -static -Wall -Wextra -Werror "$@"; }}
        ln -s {TOP}/samples .
        {build}"""], cwd=tmp_path, check=True)
    a.put((tmp_path / "uio").read_bytes(), "/tmp/uio")
    a.check("chmod +x /tmp/uio")

    # As if the machine had just been switched on.
    device = a.check("basename $(readlink /sys/class/misc/ivshmem0/device)").strip()
    for verb in "unbind", "bind":
        a.check(f"echo {device} > /sys/bus/pci/drivers/ivshmem/{verb}")
    a.check("head -c 4096 /dev/zero | ivshmemctl write 0")
    peer = a.check("cat /sys/class/misc/ivshmem0/position").strip()
    wanted = readme_block("I am peer 0").replace("peer 0", f"peer {peer}")

    job = a.start_job(f"cd /tmp && {call}")
    job.expect('memory: ""$')
    for line in readme_block("ivshmemctl ring 0 1").splitlines():
        b.check(line.replace("ring 0", f"ring {peer}"))
    assert job.wait().check().out == wanted
