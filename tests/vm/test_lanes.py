# SPDX-License-Identifier: MIT
"""Mistakes put into the driver on purpose: what is to notice them, does."""

import pytest

import test_probe
from lab import guestmod, mistakes
from lab.cluster import guest
from lab.tap import TapError, run_guest_program
from lab.vm import VMError

NODE = "/dev/ivshmem0"
OPEN = f"i=0; while [ $i -lt 20 ]; do : < {NODE}; i=$((i + 1)); done"
RING = """cd /sys/class/misc/ivshmem0
ivshmemctl ring $(cat position) 0
until [ $(cat counts/0) -gt 0 ]; do sleep 0.1; done"""

MISTAKES = ["none", "use after free", "leak", "out of bounds", "sleep", "lock",
            "lost wake-up", "data race", "leak of a failure"]
# As in mistakes.make().
EDITS = [
    ("chardev.c", """\
	kvfree(ifile);
	ivshmem_device_put(ivs);
""", """\
	if (!{leak})
		kvfree(ifile);
	ivshmem_device_put({use after free} ? ifile->ivs : ivs);
"""),
    ("chardev.c", "struct_size(ifile, seen, ivs->nr_vectors)",
     "struct_size(ifile, seen, ivs->nr_vectors - {out of bounds})"),
    ("pci.c", """\
err_put:
	ivshmem_device_put(ivs);
""", """\
err_put:
	if (!{leak of a failure})
		ivshmem_device_put(ivs);
"""),
    ("irq.c", """\
	ivshmem_uio_notify(ivs);
}""", """\
	ivshmem_uio_notify(ivs);
	if ({sleep}) {{
		mutex_lock(&ivs->lock);
		mutex_unlock(&ivs->lock);
	}}
}}"""),
    ("irq.c", """\
		spin_lock_irq(&vec->lock);
		ivshmem_irq_unlink(vec, ifile, &unbound);
		if (binding)""", """\
		if ({lock})
			spin_lock(&vec->lock);
		else
			spin_lock_irq(&vec->lock);
		ivshmem_irq_unlink(vec, ifile, &unbound);
		if (binding)"""),
    ("wait.c", """\
		prepare_to_wait(queue, &entry, TASK_INTERRUPTIBLE);
		wait->count = ivshmem_wait_count(ifile, wait->vector);
""", """\
		if ({lost wake-up})
			wait->count = ivshmem_wait_count(ifile, wait->vector);
		prepare_to_wait(queue, &entry, TASK_INTERRUPTIBLE);
		if (!{lost wake-up})
			wait->count = ivshmem_wait_count(ifile, wait->vector);
"""),
    ("wait.c", """\
	return atomic64_read(&ifile->ivs->vectors[vector].count);
""", """\
	if ({data race})
		return ifile->ivs->vectors[vector].count.counter;
	return atomic64_read(&ifile->ivs->vectors[vector].count);
"""),
]


@pytest.fixture(scope="session")
def sources(builder):
    """The copy, and where it is."""
    folder = builder.out / "mistakes"
    builder.once("mistakes", mistakes.make, folder, MISTAKES, EDITS)
    return folder


@pytest.fixture
def boot(vms, builder, kernel, sources):
    """Boots a VM whose driver makes one mistake."""
    def boot_one(name, **options):
        return vms(guest(own=builder.module(kernel, sources=sources),
                         append=f"ivshmem.mistake={MISTAKES.index(name)}",
                         **options))[0]
    return boot_one


def notices(vm, command, why):
    """The kernel stops at a mistake, or goes on, and its log says why."""
    with pytest.raises(VMError):
        vm.run(command, timeout=240)
        vm.check_log()
    assert why in vm.log()
    vm.destroy()


@pytest.mark.ci_debug
@pytest.mark.only_on("debug")
@pytest.mark.parametrize("name, command, why", [
    ("use after free", OPEN,
     "BUG: KASAN: slab-use-after-free in ivshmem_chardev_release"),
    ("out of bounds", OPEN,
     "BUG: KASAN: slab-out-of-bounds in ivshmem_chardev_open"),
    ("sleep", RING, "BUG: sleeping function called from invalid context"),
    ("lock", f"/tests/eventfd {NODE}", "WARNING: inconsistent lock state"),
], ids=["use-after-free", "out-of-bounds", "sleep", "lock"])
def test_noticed(boot, name, command, why):
    """What the kernel reports on the spot."""
    notices(boot(name), command, why)


@pytest.mark.ci_kcsan
@pytest.mark.only_on("kcsan")
def test_data_race(boot):
    """A read that the compiler may split, beside the interrupt handler."""
    notices(boot("data race"), f"/tests/race {NODE} free 100000",
            "BUG: KCSAN: data-race in ")


@pytest.mark.ci_debug
@pytest.mark.only_on("debug")
def test_leak(boot):
    """Memory that nobody points to once the module has gone."""
    vm = boot("leak")
    vm.check(OPEN)
    with pytest.raises(VMError, match="unreferenced object"):
        vm.stop()


@pytest.mark.ci_debug
@pytest.mark.only_on("debug")
@pytest.mark.timeout(900)
def test_leak_of_a_failure(boot):
    """Devices of probes that were refused something: a hundred, for kmemleak takes
    what only looks like a pointer for one."""
    vm = boot("leak of a failure", autoload=False)
    with pytest.raises(AssertionError, match="unreferenced object"):
        test_probe.test_each_place(vm)
    vm.destroy()


@pytest.mark.ci_debug
@pytest.mark.only_on("debug")
def test_lost_wakeup(boot, lab):
    """A look at the count before queueing up, not after."""
    vm = boot("lost wake-up")
    guestmod.load(lab, vm, "refuse", symbol="prepare_to_wait", late=3000,
                  comm="race")
    with pytest.raises(TapError):
        run_guest_program(vm, "race", NODE, "window", 9, timeout=240)
