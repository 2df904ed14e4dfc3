# SPDX-License-Identifier: MIT
"""The lab itself: what it must be able to do, and what it must notice."""

import hashlib

import pytest

from lab import kernels, mistakes, qemu11, tap
from lab.cluster import guest
from lab.model import ModelDevice
from lab.vm import VM, BootDied, Plain, VMDied, VMError

BOOT = "cat /proc/sys/kernel/random/boot_id"


def test_commands(vm):
    """Commands run side by side, and their output and status come back."""
    assert tuple(vm.run("echo out; echo err >&2; exit 3")) == (3, "out\nerr\n")
    first = vm.start_job("while [ ! -e /tmp/go ]; do sleep 0.05; done; echo on")
    second = vm.start_job("echo here; cat /proc/uptime; touch /tmp/go")
    second.expect("^here$")
    assert second.wait().rc == 0
    assert first.wait().out == "on\n"
    vm.check("rm /tmp/go")


def test_files(vm):
    """A file goes into the guest unharmed."""
    data = bytes(range(256)) * 200
    vm.put(data, "/tmp/some file")
    digest = hashlib.sha256(data).hexdigest()
    assert vm.check("sha256sum '/tmp/some file'").split()[0] == digest
    vm.check("rm '/tmp/some file'")


def test_paused(vms, lab):
    """A VM between two tests takes no time, and goes on where it was."""
    cluster = vms(guest(), share=True)
    boot = cluster[0].check(BOOT)
    vms.finish(failed=False)
    assert cluster[0].qmp("query-status")["status"] == "paused"
    assert lab.shared(cluster.kernel, (guest(),)) is cluster
    assert cluster[0].qmp("query-status")["status"] == "running"
    assert cluster[0].check(BOOT) == boot


def test_hung_program(vms):
    """A program that hangs is ended, and named."""
    vm = vms()[0]
    with pytest.raises(VMError, match="sleep 1000: still running after 1 s"):
        vm.run("sleep 1000", timeout=1)
    assert vm.run("pidof sleep").rc == 1


def test_panic(vms):
    """A kernel that panics is noticed at once, with its last words."""
    vm = vms()[0]
    job = vm.start_job("sleep 1000")
    vm.start_job("echo c > /proc/sysrq-trigger")
    with pytest.raises(VMDied, match="sysrq triggered crash"):
        job.wait(timeout=60)
    vm.destroy()


@pytest.mark.parametrize("deaths", [1, 2])
def test_dead_boot(vms, monkeypatch, deaths):
    """A kernel that dies by itself is booted once more, and that is told; one that
    dies again is not."""
    appends = iter(["rdinit=/absent"] * deaths + [""])
    start = VM.start

    def start_dying(vm):
        vm.append = next(appends)
        return start(vm)

    monkeypatch.setattr(VM, "start", start_dying)
    with pytest.warns(UserWarning, match="booted again: (?s:.*)root fs"):
        if deaths == 1:
            assert vms(guest([]))[0].check("echo alive") == "alive\n"
        else:
            with pytest.raises(BootDied, match="Unable to mount root fs"):
                vms(guest([]))
    assert list(appends) == [""] * (deaths - 1)


@pytest.mark.only_on("6.12")
def test_dead_driver(vms, builder, kernel):
    """One that the driver kills is not."""
    folder = builder.out / "dead-driver"
    mistakes.make(folder, [], [("device.c", "\tivs->pdev = pdev;",
                                '\tpanic("dead driver");\n'
                                "\tivs->pdev = pdev;")])
    with pytest.raises(VMDied, match="dead driver") as died:
        vms(guest(own=builder.module(kernel, sources=folder)))
    assert died.type is VMDied


def test_kernel_log(vms):
    """Trouble in the kernel log is found, once."""
    vm = vms()[0]
    vm.check_log()
    vm.check("echo 'WARNING: made up' > /dev/kmsg")
    with pytest.raises(VMError, match="made up"):
        vm.check_log()
    vm.broken = False
    vm.check_log()
    vm.check("echo 'WARNING: again' > /dev/kmsg")
    vms.allow("WARNING: again")


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_machines(vms, machine):
    """Both machines, two CPUs, a plain device, a clean end."""
    vm = vms(guest([Plain()], machine=machine, cpus=2))[0]
    assert vm.check("nproc").strip() == "2"


@pytest.mark.parametrize("text, rc, wrong", [
    ("1..2\nok 1 - a\nnot ok 2 - b\n", 1, "not ok 2 - b"),
    ("ok 1 - a\n", 0, "no plan"),
    ("1..3\nok 1 - a\n", 0, "3 test points planned, 1 came"),
    ("", 0, "no plan"),
    ("1..1\nok 1 - a\n", 139, "exit status 139"),
    ("1..2\nok 1 - a\nok 1 - b\n", 0, "test point 1 is the 2th"),
    ("1..1\nok 1 - a\nBail out! why\n", 0, "Bail out! why"),
    ("1..0\nok 1 - a\n", 0, "0 test points planned, 1 came"),
])
def test_tap_wrong(text, rc, wrong):
    with pytest.raises(tap.TapError, match=wrong):
        tap.judge("program", rc, text)


def test_tap_right():
    result = tap.judge("program", 0,
                       "ok 1 - a\n# hm\nok 2 - b # SKIP no c\n1..2\n")
    assert (len(result.passed), len(result.skipped)) == (1, 1)
    assert tap.judge("program", 0, "1..0 # SKIP no d\n").skip_all == "no d"


def test_metapackages(monkeypatch, tmp_path):
    """Of a kernel's packages those are fetched that have something in them."""
    unpacked = {}
    monkeypatch.setattr(kernels.Archive, "unpack",
                        lambda self, packages, root: unpacked.update(packages))
    full = {f"linux-{part}": "1" for part in (
        "image-5.10.0-46-cloud-amd64", "headers-5.10.0-46-cloud-amd64",
        "headers-5.10.0-46-common", "kbuild-5.10", "kbuild-6.12.117+deb12",
        "image-6.12.117+deb12-amd64", "modules-7.3.4+deb13-amd64")}
    empty = {f"linux-{part}": "1" for part in (
        "image-cloud-amd64", "headers-amd64", "image-6.12-amd64",
        "headers-6.12-rt-amd64")}
    kernels.KernelArchive(["suite"]).unpack({**full, **empty}, tmp_path)
    assert unpacked == full


@pytest.mark.not_on("virt", reason="the model of the device is not run there")
def test_no_model(vms, monkeypatch, tmp_path):
    """Where no QEMU can be had that takes a device from a process, a test that
    needs one is skipped, and says why."""
    monkeypatch.setenv("IVSHMEM_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(qemu11, "OWN", "false")
    monkeypatch.setattr(kernels, "archive_uris",
                        lambda: {"main": "file:/nonexistent"})
    qemu11.find.cache_clear()
    try:
        with pytest.raises(pytest.skip.Exception,
                           match="needs QEMU 10.1 or later, which cannot be "
                                 "had: qemu-system-x86: apt-get update: .*nonexistent"):
            vms(guest([ModelDevice()]), servers={"device": {"guests": 1}})
    finally:
        qemu11.find.cache_clear()
