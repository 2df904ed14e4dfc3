# SPDX-License-Identifier: MIT
"""What tests are to notice, put into the driver on purpose. test_mistakes.py does
so for what a guest program notices by itself.

Each test is called as it stands, on machines whose driver makes one mistake, and
has to fail with certain words.
"""

import functools
import inspect
import re

import pytest

import test_device
import test_devices
import test_events
import test_fuzz
import test_mmap
import test_mmap_stress
import test_peers
import test_probe
import test_removal
import test_reset
import test_samples
import test_storm
import test_uio
import test_unplug
import test_vectors
from lab import guestmod, mistakes
from lab.cluster import guest
from lab.vm import Doorbell, Plain

MB = 1 << 20

# As in mistakes.make().
EDITS = [
    ("irq.c", "#include <linux/eventfd.h>",
     "#include <linux/delay.h>\n#include <linux/eventfd.h>"),
    ("irq.c",
     "	if (READ_ONCE(ivs->paused) || !ivshmem_irq_take_status(vec))\n"
     "		return IRQ_NONE;",
     "	if (READ_ONCE(ivs->paused) || !ivshmem_irq_take_status(vec))\n"
     "		return {all are mine} ? IRQ_HANDLED : IRQ_NONE;"),
    ("irq.c",
     "		if (readl(ivs->regs + IVSHMEM_REG_POSITION) == "
     "IVSHMEM_NOT_THERE)\n"
     "			return false;\n"
     "		atomic64_inc(&ivs->joins);",
     "		if (readl(ivs->regs + IVSHMEM_REG_POSITION) == "
     "IVSHMEM_NOT_THERE &&\n"
     "		    !{ones are a notice})\n"
     "			return false;\n"
     "		if (!{no notice by a pin})\n"
     "			atomic64_inc(&ivs->joins);"),
    ("irq.c",
     "	WRITE_ONCE(vec->status, status);\n	ivshmem_irq_fire(vec);",
     "	WRITE_ONCE(vec->status, {no status} ? 0 : status);\n"
     "	if (!{one in a hundred} || ++ivs->handled % 99)\n"
     "		ivshmem_irq_fire(vec);"),
    ("irq.c",
     "	if (ivs->per_peer && vec == ivs->vectors)",
     "	if ({slow handler})\n		mdelay(20);\n"
     "	if (ivs->per_peer && vec == ivs->vectors && "
     "!{no notice by a message})"),
    ("irq.c",
     "	if (waitqueue_active(&vec->wait))	/* ordered above */",
     "	if ({wakes all}) {{\n"
     "		unsigned int v;\n\n"
     "		for (v = 0; v < ivs->nr_vectors; v++)\n"
     "			wake_up_poll(&ivs->vectors[v].wait,\n"
     "				     EPOLLIN | EPOLLRDNORM);\n"
     "	}}\n"
     "	if (waitqueue_active(&vec->wait))	/* ordered above */"),
    ("irq.c",
     "		dev_warn(&pdev->dev, \"cannot take interrupt %d: %d\\n\",\n"
     "			 pdev->irq, ret);",
     "		dev_warn(&pdev->dev, \"cannot take interrupt %d: %d\\n\",\n"
     "			 pdev->irq, ret);\n"
     "		ivs->nr_vectors = {a vector without interrupt};"),
    ("irq.c",
     "	ivs->irq_mode = IVSHMEM_IRQ_INTX;\n"
     "	writel(IVSHMEM_MASK_ALL, ivs->regs",
     "	ivs->irq_mode = IVSHMEM_IRQ_INTX;\n"
     "	writel({masked} ? 0 : IVSHMEM_MASK_ALL, ivs->regs"),
    ("irq.c",
     "	ivshmem_irq_unpause(ivs);\n"
     "	writel(IVSHMEM_MASK_ALL, ivs->regs + IVSHMEM_REG_MASK);\n}",
     "	ivshmem_irq_unpause(ivs);\n"
     "	if (!{masked by a reset})\n"
     "		writel(IVSHMEM_MASK_ALL, ivs->regs + IVSHMEM_REG_MASK);\n}}"),
    ("irq.c",
     "		writel(0, ivs->regs + IVSHMEM_REG_MASK);\n"
     "		/* It may ignore that, and others on the line suffer for it. */\n"
     "		pci_intx(ivs->pdev, 0);",
     "		if (!{left unmasked})\n"
     "			writel(0, ivs->regs + IVSHMEM_REG_MASK);\n"
     "		pci_intx(ivs->pdev, {pin stays on});"),
    ("irq.c",
     "		want = ivshmem_irq_request(ivs, got);",
     "		want = ivshmem_irq_request(ivs, got);\n"
     "		if ({all or none} && want < got) {{\n"
     "			ivshmem_irq_release(ivs, want);\n"
     "			break;\n"
     "		}}"),
    ("irq.c",
     "		vec->ivs = ivs;",
     "		vec->ivs = ivs;\n"
     "		atomic64_set(&vec->count, {counted before});"),
    ("irq.c",
     "	for (i = 0; i < ivs->nr_vectors; i++)\n"
     "		ivshmem_irq_fire(&ivs->vectors[i]);",
     "	for (i = 0; i < ivs->nr_vectors && !{not caught up}; i++)\n"
     "		ivshmem_irq_fire(&ivs->vectors[i]);"),
    ("irq.c",
     "		if (!binding)\n			return -ENOMEM;",
     "		if (!binding) {{\n"
     "			if ({lets go first})\n"
     "				ivshmem_irq_bind(ifile, vector, -1);\n"
     "			return -ENOMEM;\n"
     "		}}"),
    ("irq.c",
     "		ret = -ENODEV;\n		if (binding)",
     "		ret = {bound too late} ? 0 : -ENODEV;\n		if (binding)"),
    ("subscribe.c",
     "		if (!links)\n			return -ENOMEM;",
     "		if (!links) {{\n"
     "			if ({all instead})\n"
     "				ivshmem_subscribe_set(ifile, NULL);\n"
     "			return -ENOMEM;\n"
     "		}}"),
    ("subscribe.c",
     "			if (v == 0)\n				atomic64_set_release",
     "			if (v == 0 && !{old notice})\n"
     "				atomic64_set_release"),
    ("chardev.c",
     "	if (!ifile)\n		return -ENOMEM;",
     "	if (!ifile) {{\n"
     "		ivs->exclusive = {open though refused};\n"
     "		return -ENOMEM;\n"
     "	}}"),
    ("chardev.c",
     "		if (ivshmem_device_gone(ivs))\n			return -ENODEV;\n"
     "		if (iov_iter_count(iter)",
     "		if (ivshmem_device_gone(ivs))\n"
     "			return {another error} ? -EIO : -ENODEV;\n"
     "		if (iov_iter_count(iter)"),
    ("chardev.c",
     "		return EPOLLHUP | EPOLLERR;",
     "		return EPOLLERR |\n"
     "		       ({another error} || {no hang-up} ? 0 : EPOLLHUP);"),
    ("chardev.c",
     "	if (req.flags & ~IVSHMEM_SUBSCRIBE_ALL || req.reserved ||\n"
     "	    req.bits > IVSHMEM_MAX_VECTORS)",
     "	if (req.flags & ~IVSHMEM_SUBSCRIBE_ALL || req.reserved ||\n"
     "	    (req.bits > IVSHMEM_MAX_VECTORS && !{any number of bits}))"),
    ("chardev.c",
     "		return -ENODEV;\n\n	switch (cmd) {",
     "		return {another error} ? -EIO : -ENODEV;\n\n	switch (cmd) {{"),
    ("chardev.c",
     "	if (cmd != IVSHMEM_RING_DOORBELL)\n		arg",
     "	if ({not for 32 bits})\n		return -ENOTTY;\n"
     "	if (cmd != IVSHMEM_RING_DOORBELL)\n		arg"),
    ("wait.c",
     "			ret = -ENODEV;",
     "			ret = {another error} ? -EIO : -ENODEV;"),
    ("wait.c",
     "	trace_wake(ivs",
     "	if (!{wakes untold})\n		trace_wake(ivs"),
    ("doorbell.c",
     "	ivs->per_peer = doorbell_per_peer < 0 ?",
     "	ivs->per_peer = doorbell_per_peer < 0 || {not forced} ?"),
    ("doorbell.c",
     "	ivs->min_ring = 1;",
     "	ivs->min_ring = !{rings nothing};"),
    ("doorbell.c",
     "	if (peer > ivs->max_peer ||",
     "	if ((peer > ivs->max_peer && !{any peer}) ||"),
    ("doorbell.c",
     "	else\n		writel(doorbell, ivs->regs",
     "	else if ({rings everybody})\n"
     "		for (peer = 0; peer < 3; peer++)\n"
     "			writel(peer << 16 | vector,\n"
     "			       ivs->regs + IVSHMEM_REG_DOORBELL);\n"
     "	else\n		writel(doorbell, ivs->regs"),
    ("device.c",
     "	synchronize_srcu(&ivs->srcu);\n\n	/* Faults enter",
     "	synchronize_srcu(&ivs->srcu);\n"
     "	if ({pages stay for a reset})\n		return;\n\n"
     "	/* Faults enter"),
    ("device.c",
     "	synchronize_srcu(&ivs->srcu);\n\n	/* As in ivshmem_device_hold(). */\n"
     "	ivshmem_mmap_zap(ivs);",
     "	if (!{does not wait})\n		synchronize_srcu(&ivs->srcu);\n"
     "	if (!{pages stay})\n		ivshmem_mmap_zap(ivs);"),
    ("device.c",
     "	iput(ivs->inode);",
     "	if (!{inode stays})\n		iput(ivs->inode);"),
    ("ivshmem.h",
     "		if (!ivshmem_device_held(ivs))\n			return 0;",
     "		if (!ivshmem_device_held(ivs) || {rings into a reset})\n"
     "			return 0;"),
    ("ivshmem.h",
     "		ret = wait_event_interruptible(ivs->held_wait,",
     "		if ({waits for ever})\n"
     "			wait_event(ivs->held_wait, !ivshmem_device_held(ivs));\n"
     "		ret = wait_event_interruptible(ivs->held_wait,"),
    ("pci.c",
     "	if (!ivs->revision && ivs->position == IVSHMEM_NOT_THERE)",
     "	if ({too early}) {{\n"
     "		void __iomem *mem = ioremap(ivs->mem, 4);\n\n"
     "		readl(mem);\n"
     "		iounmap(mem);\n"
     "	}}\n"
     "	if (!ivs->revision && ivs->position == IVSHMEM_NOT_THERE &&\n"
     "	    !{no patience})"),
    ("pci.c",
     "	if (!pci_device_is_present(ivs->pdev)) {",
     "	if (!{comes back as ones} && !pci_device_is_present(ivs->pdev)) {{"),
    ("pci.c",
     "	if (ivs->position > IVSHMEM_MAX_PEER)",
     "	if (ivs->position > IVSHMEM_MAX_PEER && !{any position})"),
    ("pci.c",
     "	if (pdev->pin)\n		pci_intx(pdev, 0);",
     "	if (pdev->pin && !{line at once})\n		pci_intx(pdev, 0);"),
    ("pci.c",
     "	ret = ida_alloc(&ivshmem_ida, GFP_KERNEL);",
     "	ret = {never again} ?\n"
     "	      ida_alloc_min(&ivshmem_ida, ivshmem_next++, GFP_KERNEL) :\n"
     "	      ida_alloc(&ivshmem_ida, GFP_KERNEL);"),
    ("pci.c",
     "static DEFINE_IDA(ivshmem_ida);",
     "static unsigned int ivshmem_next;\nstatic DEFINE_IDA(ivshmem_ida);"),
    ("pci.c",
     "	ret = pci_request_regions_exclusive(",
     "	ret = {not claimed} ? 0 : pci_request_regions_exclusive("),
    ("pci.c",
     "err_regions:\n	pci_release_regions(pdev);",
     "err_regions:\n	if (!{BARs stay})\n		pci_release_regions(pdev);"),
    ("pci.c",
     "	pci_release_regions(pdev);\n	pci_disable_device(pdev);\n"
     "	ida_free",
     "	pci_release_regions(pdev);\n"
     "	if (!{left enabled})\n		pci_disable_device(pdev);\n"
     "	ida_free"),
    ("uio.c",
     "	if (!ivshmem_uio_wanted)",
     "	if (!ivshmem_uio_wanted && !{not left out})"),
    ("uio.c",
     "		pad->end = PAGE_ALIGN(regs->end) - 1;",
     "		pad->end = PAGE_ALIGN(regs->end) - 1 - {short padding};"),
    ("uio.c",
     "	if (!ivs->uio->whole_page)\n		dev_info",
     "	ivs->uio->whole_page |= {shares its page};\n"
     "	if (!ivs->uio->whole_page)\n		dev_info"),
    ("uio.c",
     "							 IVSHMEM_BAR_REGS)) +\n"
     "			     vmf->pgoff);",
     "							 IVSHMEM_BAR_REGS)) +\n"
     "			     ({first page only} ? 0 : vmf->pgoff));"),
    ("uio.c",
     "	/* Whoever was quick to open the node hears what came since. */\n"
     "	smp_mb__after_atomic();\n	ivshmem_uio_report(uio);",
     "	if (!{early one lost})\n		ivshmem_uio_report(uio);"),
    ("mmap.c",
     "	return pgprot_decrypted(vm_get_page_prot(vma->vm_flags));",
     "	if ({uncached})\n"
     "		return pgprot_noncached(vm_get_page_prot(vma->vm_flags));\n"
     "	return pgprot_decrypted(vm_get_page_prot(vma->vm_flags));"),
    ("mmap.c",
     "	unsigned long start = max(table, vma->vm_start);\n"
     "	unsigned long end =",
     "	unsigned long start = {page by page} ? vmf->address :\n"
     "			      max(table, vma->vm_start);\n"
     "	unsigned long end = {page by page} ? start + PAGE_SIZE :"),
    ("mmap.c",
     "	if (write && !(vma->vm_flags & VM_WRITE))",
     "	if (write && !(vma->vm_flags & VM_WRITE) && !{debugger writes})"),
    ("mmap.c",
     "	area->flags = VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP |\n"
     "		      VM_HUGEPAGE;",
     "	area->flags = VM_PFNMAP | VM_DONTEXPAND | VM_HUGEPAGE |\n"
     "		      ({dumped} ? 0 : VM_IO | VM_DONTDUMP);"),
    ("mmap.c",
     "	settled = !pmd_none(*vmf->pmd) && !pmd_leaf(*vmf->pmd);",
     "	settled = !pmd_none(*vmf->pmd) &&\n"
     "		  (!pmd_leaf(*vmf->pmd) || {two sizes});"),
]
NAMES = ["none", *dict.fromkeys(re.findall(r"\{([A-Za-z][\w -]*)\}", "".join(
    wrong for *_, wrong in EDITS)))]


class Wrong:
    """What the fixture vms gives, with a driver that makes a mistake, or that can
    be told to make one."""

    def __init__(self, vms, module, mistake=None):
        self.vms = vms
        self.options = {"own": module}
        if mistake:
            self.options["append"] = f"ivshmem.mistake={NAMES.index(mistake)}"
        # A mistake may have the kernel say anything.
        vms.allow("")

    def __call__(self, *guests, **options):
        return self.vms(*[{**g, **self.options} for g in guests or (guest(),)],
                        **options)

    def discard(self):
        """Ends all at once: nobody is to use what is left of them."""
        for cluster in self.vms.own + self.vms.pooled:
            cluster.discard()
        self.vms.own.clear()
        self.vms.pooled.clear()


@pytest.fixture
def wrong(vms, builder, kernel):
    """Makes a Wrong, perhaps of a mistake."""
    folder = builder.out / "proofs"
    builder.once("proofs", mistakes.make, folder, NAMES, EDITS)
    return functools.partial(Wrong, vms, builder.module(kernel, sources=folder))


def prove(mistake, words, test, given):
    """Calls a test with those of its arguments that are given: it is to fail."""
    given = {name: value for name, value in given.items()
             if name in inspect.signature(test).parameters}
    with pytest.raises(AssertionError) as info:
        test(**given)
        pytest.fail(f"{test.__name__} does not notice: {mistake}")
    assert re.search(words, str(info.value)), f"{mistake}: {info.value}"


# Machines that tests share. Each function returns VMs, the models of their devices,
# and what the tests are given.

def forms(vms):
    """That of test_device.py."""
    machine = test_device.boot(vms, "q35", test_device.SERVERS)
    return [machine.vm], machine.models, {"machine": machine}


def first_design(vms):
    """Two whose devices are of the first design."""
    first = vms(test_device.first_guest(0), test_device.first_guest(1),
                servers=test_device.FIRST)
    return first.vms, first.servers, {"first": first}


def behind_a_port(vms):
    """One with a device that can be reset."""
    vm = test_reset.boot(vms, test_reset.doorbell)[0]
    return [vm], {}, {"either": vm, "slotted": vm, "sleepy": vm}


def stock(vms):
    """One with QEMU's own devices."""
    vm = vms(guest([Doorbell(options="addr=0x4"),
                    Plain("16M", id="iv1", options="addr=0x5")], cpus=2,
                   modules=["brd"]))[0]
    return [vm], {}, {"vm": vm, "stock": vm, "machine": vm, "pair": (None, vm)}


def entries(vm, lab):
    """Of small and of large memory."""
    guestmod.load(lab, vm, "pagewalk")
    test_mmap.check_entries(vm, 4 * MB, 16 * MB)


def traced(vm):
    """What a program does, as it is traced."""
    test_events.trace(vm)
    test_events.test_trace(vm)


# A mistake, the words, the test, and what else it is given.
SHARED = {
    forms: [
        ("all are mine", r"assert \(\d+ != \d+", test_device.test_silent),
        ("ones are a notice", r"assert \d+ == \d+", test_device.test_all_ones),
        ("no status", "'0x1'", test_device.test_status),
        ("one in a hundred", "intx_pair", test_device.test_shared_line),
        ("a vector without interrupt", r"'1\\n' == '0\\n'",
         test_device.test_no_interrupt),
        ("masked", "0 == 4294967295", test_device.test_probed),
        ("left unmasked", "4294967295 == 0", test_device.test_masked),
        ("pin stays on", "nobody cared", test_device.test_endless,
         {"mode": "deaf"}),
        ("any position", "not True", test_device.test_wrong_position),
        ("too early", r"assert \d+ == 0", test_device.test_late_position),
        ("line at once", r"assert (False|\d+ <=)", test_device.test_failed_line,
         {"position": 65536}),
    ],
    first_design: [
        ("any peer", "= refused", test_device.test_first_design, {"sender": 0}),
        ("rings nothing", "= refused", test_device.test_first_design,
         {"sender": 1}),
        ("no notice by a pin", "'0xffffffff'",
         test_device.test_first_design_join),
        ("no notice by a message", r"'0', '0', '0'",
         test_device.test_first_design_join),
        ("old notice", "not ok .*flags", test_device.test_first_design_subscribe,
         {"name": "pin"}),
        ("not forced", "ring 32 7: exit status 1",
         test_device.test_forced_layout),
        ("first page only", "not ok .*UIO_POSITION",
         test_device.test_first_design_uio, {"device": 3}),
    ],
    behind_a_port: [
        ("not caught up", "not ok .*dev_wait", test_reset.test_bus_reset),
        ("not caught up", "not ok .*io_uring wakes up", test_reset.test_sleep,
         {"state": "mem", "level": "core"}),
        ("comes back as ones", "not ok .*ENODEV", test_reset.test_lost,
         {"way": test_reset.reset}),
        ("rings into a reset", "a ring was lost", test_reset.test_bus_reset),
        ("waits for ever", "not ok .*ring_on", test_reset.test_signal),
        # QEMU may not survive it.
        ("pages stay for a reset", "not ok .*reads are wrong|exit status -11",
         test_reset.test_bus_reset),
    ],
    stock: [
        ("open though refused", "errno EBUSY", test_events.test_no_memory,
         {"call": "open"}),
        ("lets go first", "not ok .*irq_take", test_events.test_no_memory,
         {"call": "bind"}),
        ("all instead", "not ok .*irq_poll", test_events.test_no_memory,
         {"call": "subscribe"}),
        *[("another error", "No.*such.*device|unplugged", test_samples.test_unplug,
           {"command": command}) for command in test_samples.FAREWELLS],
        ("bound too late", "not ok .*not told", test_unplug.test_churn,
         {"late": "ivshmem_irq_bind"}),
        ("short padding", r"assert \(\d+, \d+\) ==", test_uio.test_padding),
        ("not left out", "uio0", test_uio.test_left_out),
        ("uncached", "not ok .*wrong_type", entries),
        ("page by page", "not ok .*faults", entries),
        ("debugger writes", "not ok .*ptrace", test_mmap.check_calls,
         {"node": "/dev/ivshmem1", "debuggers": True}),
        ("dumped", "not ok", test_mmap.check_calls,
         {"node": "/dev/ivshmem1", "debuggers": True}),
        ("wakes untold", r"\('wake'", traced),
        ("no hang-up", "not ok .*epoll", test_removal.removed,
         {"device": None, "way": test_removal.unbind}),
    ],
}


def choose(vms, models, mistake):
    """Has machines make a mistake from now on, whatever a test has left."""
    for name, model in models.items():
        options = {**test_device.SERVERS, **test_device.FIRST}[name]
        for index in range(options["guests"]):
            model.command("mode", index, "none")
            model.command("position", index, options.get("position", 0) + index)
    for vm in vms:
        vm.kill_jobs()
        vm.run("rmmod refuse")
        vm.check("mkdir -p /etc/modprobe.d; echo options ivshmem "
                 f"mistake={NAMES.index(mistake)} > /etc/modprobe.d/mistake.conf;"
                 " rmmod ivshmem && modprobe ivshmem")


@pytest.mark.only_on("6.12")
@pytest.mark.parametrize("machine", SHARED)
def test_shared(wrong, lab, machine):
    """On machines that make one mistake after the other."""
    boot = wrong()
    vms, models, given = machine(boot)
    for mistake, words, test, *more in SHARED[machine]:
        choose(vms, models, mistake)
        prove(mistake, words, test, {"lab": lab, **given, **dict(*more)})
    boot.discard()


# What some tests are given that boot their own.

def loads_itself(vms):
    """A VM in which the module comes and goes."""
    return {"vm": vms(guest(autoload=False))[0]}


def three(vms):
    """Three VMs on one server."""
    return {"trio": vms(guest(), guest(machine="pc"), guest(cpus=2)),
            "first": 0, "second": 1, "third": 2}


def pins(vms):
    """Devices with interrupt pins that can be reset."""
    return {"pins": test_reset.boot_pins(vms)}


def late(vms):
    """All forms of the device, with a position that takes its time."""
    return {"machine": test_device.boot(vms, "q35", test_device.SERVERS)}


def of_sizes(vms, lab):
    """As the fixture boot of test_mmap.py."""
    return functools.partial(test_mmap.boot_sizes, vms, lab)


# A mistake, the words, the test, and what gives it more.
OWN = [
    ("no patience", r"0 == 4294967295", test_device.test_probed, late),
    ("masked by a reset", "assert 0", test_reset.test_pin_reset, pins),
    ("wakes all", "not ok .*slept", test_events.test_wakeups, {"bits": 64}),
    ("wakes all", "not ok .*same", test_events.test_cost, {"bits": 64}),
    ("not for 32 bits", "ENOTTY", test_events.test_32bit, {"program": "ring"}),
    ("slow handler", r"still running|assert [\d.]+ <", test_storm.test_storm),
    ("rings everybody", "peers", test_peers.test_pair, three),
    ("counted before", "not ok .*bad", test_vectors.test_one),
    ("never again", "/dev/ivshmem0", test_devices.test_numbers),
    ("shares its page", "not ok .*ENXIO", test_uio.test_shared_page),
    ("early one lost", "not ok .*poll", test_uio.test_early),
    ("does not wait", "not ok .*dev_call_end", test_mmap.test_gate),
    ("two sizes", "died", test_mmap.test_meet),
    ("uncached", "X--DAC-UW", test_mmap.test_qemu_agrees),
    ("uncached", "'WB'", test_mmap.test_cost),
    ("pages stay", "not ok .*after", test_mmap_stress.test_unbind),
    ("BARs stay", "/proc/iomem", test_probe.test_failures, loads_itself),
    ("not claimed", "assert", test_probe.test_bar_in_use, loads_itself,
     {"bar": 2}),
    ("all or none", "only 0 of 4", test_probe.test_fewer_interrupts,
     loads_itself),
    ("inode stays", r"assert \d+ <", test_probe.test_leak, loads_itself),
    ("inode stays", r"assert \d+ < ", test_removal.test_removal,
     {"way": test_removal.unbind, "machine": "pc", "share": 20}),
    ("left enabled", "enabled", test_probe.test_load, loads_itself),
    ("any number of bits", "died", test_fuzz.test_fuzz),
]


@pytest.mark.only_on("6.12")
@pytest.mark.parametrize("number", range(len(OWN)), ids=[
    f"{mistake}-{test.__name__}" for mistake, _, test, *_ in OWN])
def test_own(wrong, lab, kernel, number):
    """On machines that a test boots itself."""
    mistake, words, test, *more = OWN[number]
    boot = wrong(mistake)
    given = {"vms": boot, "lab": lab, "kernel": kernel,
             "boot": of_sizes(boot, lab)}
    for give in more:
        given |= give if isinstance(give, dict) else give(boot)
    prove(mistake, words, test, given)
    boot.discard()
