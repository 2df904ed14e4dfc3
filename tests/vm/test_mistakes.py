# SPDX-License-Identifier: MIT
"""What the guest programs are to notice, put into the driver on purpose.

Each program first passes with no mistake made, so that it is the mistake that it
fails for. test_lanes.py has those that only a debug kernel notices.
"""

import pytest

from lab import mistakes
from lab.cluster import guest
from lab.tap import TapError, run_guest_program

NODE = "/dev/ivshmem0"

PROGRAMS = {
    "eventfd": [],
    "getinfo": [NODE, 4 << 20, 4, 0],
    "mmap": [],
    "poll": [],
    "race": [NODE, "phase", 100],
    "read": [],
    "rights": [],
    "ring": [],
    "signals": [],
    "sigio": [],
    "subscribe": [],
    "sysfs": [],
    "uio_both": [NODE],
    "unplug": [NODE, "unbind"],
    "waits": [],
}

# The mistake, the program that notices it; then as in mistakes.make().
MISTAKES = [
    ("no ring", "ring", "doorbell.c",
     "		writel(doorbell, ivs->regs",
     "		writel({no ring} ? ~0xffff : doorbell, ivs->regs"),
    ("ring without right", "rights", "doorbell.c",
     "	if (!ifile->writable)",
     "	if (!ifile->writable && !{ring without right})"),
    ("any vector", "ring", "doorbell.c",
     "vector >= ivs->nr_ring)",
     "(vector >= ivs->nr_ring && !{any vector}))"),
    ("argument cut", "ring", "doorbell.c",
     "	if ((u32)doorbell != doorbell &&",
     "	if (!{argument cut} && (u32)doorbell != doorbell &&"),
    ("event lost", "read", "chardev.c",
     "			iov_iter_revert(iter, copied);\n",
     "			iov_iter_revert(iter, copied);\n"
     "			if ({event lost})\n"
     "				atomic64_set(&ifile->seen[v], event.count);\n"),
    ("same vectors first", "read", "chardev.c",
     "	start = ifile->next;",
     "	start = {same vectors first} ? 0 : ifile->next;"),
    ("event of vector 0", "read", "chardev.c",
     "event = { .vector = v };",
     "event = {{ .vector = {event of vector 0} ? 0 : v }};"),
    ("old events", "read", "chardev.c",
     "			     atomic64_read(&ivs->vectors[v].count));\n\n"
     "	mutex_lock(&ivs->lock);",
     "			     atomic64_read(&ivs->vectors[v].count) -\n"
     "			     {old events});\n\n"
     "	mutex_lock(&ivs->lock);"),
    ("always ready", "poll", "chardev.c",
     "	if (ivshmem_subscribe_pending(ifile))\n"
     "		return EPOLLIN | EPOLLRDNORM;\n",
     "	if ({always ready} || ivshmem_subscribe_pending(ifile))\n"
     "		return EPOLLIN | EPOLLRDNORM;\n"),
    ("no hang-up", "unplug", "chardev.c",
     "		return EPOLLHUP | EPOLLERR;",
     "		return {no hang-up} ? 0 : EPOLLHUP | EPOLLERR;"),
    ("short", "getinfo", "chardev.c",
     "whence, ifile->ivs->mem_size);",
     "whence, ifile->ivs->mem_size - {short});"),
    ("wrong position", "getinfo", "chardev.c",
     ".position = READ_ONCE(ivs->position),",
     ".position = READ_ONCE(ivs->position) + {wrong position},"),
    ("unknown call", "getinfo", "chardev.c",
     "		return -ENOTTY;",
     "		return {unknown call} ? 0 : -ENOTTY;"),
    ("reserved field", "eventfd", "chardev.c",
     "	if (req.reserved)\n",
     "	if (req.reserved && !{reserved field})\n"),
    ("other vector", "subscribe", "chardev.c",
     "		__set_bit(v, vectors);",
     "		__set_bit({other vector} ? 0 : v, vectors);"),
    ("not exclusive", "rights", "chardev.c",
     "	} else if (ivs->exclusive ||",
     "	}} else if ((ivs->exclusive && !{not exclusive}) ||"),
    ("unknown flag", "waits", "wait.c",
     "	if (wait.flags & ~IVSHMEM_WAIT_RING ||",
     "	if ((wait.flags & ~IVSHMEM_WAIT_RING && !{unknown flag}) ||"),
    ("ring again", "signals", "wait.c",
     "		wait.flags &= ~IVSHMEM_WAIT_RING;",
     "		wait.flags &= {ring again} ? ~0U : ~IVSHMEM_WAIT_RING;"),
    ("no timeout", "waits", "wait.c",
     "			ret = -ETIMEDOUT;",
     "			ret = {no timeout} ? 0 : -ETIMEDOUT;"),
    ("deaf eventfd", "eventfd", "irq.c",
     "	if (!list_empty(&vec->bindings))",
     "	if (!list_empty(&vec->bindings) && !{deaf eventfd})"),
    ("bound twice", "eventfd", "irq.c",
     "		ivshmem_irq_unlink(vec, ifile, &unbound);\n"
     "		if (binding)",
     "		if (!{bound twice})\n"
     "			ivshmem_irq_unlink(vec, ifile, &unbound);\n"
     "		if (binding)"),
    ("counted twice", "race", "irq.c",
     "	count = atomic64_inc_return(&vec->count);",
     "	count = atomic64_add_return(1 + {counted twice}, &vec->count);"),
    ("pages stay", "unplug", "device.c",
     "	ivshmem_mmap_zap(ivs);\n	ivshmem_uio_zap(ivs);\n"
     "	ivshmem_uio_hangup(ivs);",
     "	if (!{pages stay})\n"
     "		ivshmem_mmap_zap(ivs);\n	ivshmem_uio_zap(ivs);\n"
     "	ivshmem_uio_hangup(ivs);"),
    ("private", "mmap", "mmap.c",
     "	if ((area->flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)",
     "	if (!{private} &&\n"
     "	    (area->flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)"),
    ("beyond the end", "mmap", "mmap.c",
     "area->pages > pages - area->pgoff)",
     "area->pages > pages - area->pgoff + {beyond the end})"),
    ("wrong count", "sysfs", "sysfs.c",
     "(u64)atomic64_read(&vec->count)",
     "(u64)atomic64_read(&vec->count) + {wrong count}"),
    ("no signal", "sigio", "subscribe.c",
     "	kill_fasync(&link->ifile->fasync, SIGIO, POLL_IN);\n"
     "	return 0;",
     "	if (!{no signal})\n"
     "		kill_fasync(&link->ifile->fasync, SIGIO, POLL_IN);\n"
     "	return 0;"),
    ("not disabled", "uio_both", "uio.c",
     "	if (!on) {",
     "	if (!on && !{not disabled}) {{"),
]
# No mistake from here on; and the device is bound again where a program that
# unbinds it has stopped half-way.
RIGHT = f"""echo 0 > {mistakes.PARAMETER}
[ -e {NODE} ] && exit
for device in /sys/bus/pci/devices/*; do
	! grep -q 0x1110 $device/device ||
		echo ${{device##*/}} > /sys/bus/pci/drivers/ivshmem/bind
done"""
NAMES = ["none", *[name for name, *_ in MISTAKES]]


@pytest.fixture
def wrong(vms, builder, kernel):
    """A VM whose driver makes one of the mistakes, by default none."""
    folder = builder.out / "wrong"
    builder.once("wrong", mistakes.make, folder, NAMES,
                 [edit for _, _, *edit in MISTAKES])
    return vms(guest(own=builder.module(kernel, sources=folder)), share=True)[0]


@pytest.mark.only_on("6.12")
@pytest.mark.parametrize("program", PROGRAMS)
def test_noticed(wrong, program):
    """Each mistake fails the program that looks for it."""
    args = PROGRAMS[program]
    run_guest_program(wrong, program, *args, timeout=150)
    for number, (name, noticed_by, *_) in enumerate(MISTAKES, 1):
        if noticed_by != program:
            continue
        wrong.check(f"echo {number} > {mistakes.PARAMETER}")
        try:
            run_guest_program(wrong, program, *args, timeout=150)
        except TapError:
            continue
        finally:
            wrong.check(RIGHT)
        pytest.fail(f"{program} does not notice: {name}")
