# SPDX-License-Identifier: MIT
"""What the guest programs are to notice, put into the driver on purpose.

Each program first passes with no mistake made, so that it is the mistake that it
fails for. test_lanes.py has those that only a debug kernel notices.
"""

import shlex

import pytest

from lab import mistakes
from lab.cluster import guest
from lab.tap import judge
from lab.vm import Doorbell, Plain, VMError

NODE, PLAIN = "/dev/ivshmem0", "/dev/ivshmem1"

PROGRAMS = {
    "basic": [],
    "busy": [],
    "churn": [NODE, 100],
    "epoll": [],
    "eventfd": [],
    "getinfo": [NODE, 4 << 20, 4, 0],
    "mmap": [],
    "plain": [PLAIN, 4 << 20, "plain"],
    "poll": [],
    "race": [NODE, "phase", 100],
    "read": [],
    "readers": [],
    "rights": [],
    "ring": [],
    "sharing": [],
    "signals": [],
    "sigio": [],
    "splice": [],
    "subscribe": [],
    "sysfs": [],
    "uio_both": [NODE],
    "uio_plain": [PLAIN],
    "uio_storm": [NODE, 500],
    "uio_unplug": [NODE],
    "unplug": [NODE, "unbind"],
    "uring": [],
    "waits": [],
}

# The mistake, the programs that notice it; then as in mistakes.make().
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
    ("event of vector 0", "read splice", "chardev.c",
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
    ("two alone", "churn", "chardev.c",
     "	list_del(&ifile->node);\n	ivs->exclusive = false;\n"
     "	mutex_unlock(&ivs->lock);",
     "	list_del(&ifile->node);\n	ivs->exclusive = false;\n"
     "	mutex_unlock(&ivs->lock);\n"
     "	if ({two alone}) {{\n		yield();\n"
     "		ivs->exclusive = false;\n	}}"),
    ("turn without end", "unplug", "chardev.c",
     "						 ivshmem_device_gone(ifile->ivs));\n"
     "	if (locked)",
     "						 (ivshmem_device_gone(ifile->ivs) &&\n"
     "						  !{turn without end}));\n"
     "	if (locked)"),
    ("unknown flag", "waits", "wait.c",
     "	if (wait.flags & ~IVSHMEM_WAIT_RING ||",
     "	if ((wait.flags & ~IVSHMEM_WAIT_RING && !{unknown flag}) ||"),
    ("ring again", "signals", "wait.c",
     "		wait.flags &= ~IVSHMEM_WAIT_RING;",
     "		wait.flags &= {ring again} ? ~0U : ~IVSHMEM_WAIT_RING;"),
    ("no timeout", "waits basic", "wait.c",
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
    ("counted twice", "race readers", "irq.c",
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
    ("uio elsewhere", "uio_both uio_plain", "uio.c",
     "	area.pgoff = 0;",
     "	area.pgoff = {uio elsewhere};"),
    ("uio misses", "uio_storm", "uio.c",
     "		smp_rmb();\n		uio_event_notify(&uio->info);",
     "		smp_rmb();\n"
     "		if (!{uio misses} ||\n"
     "		    atomic64_read(&ivs->vectors[0].count) % 2)\n"
     "			uio_event_notify(&uio->info);"),
    ("uio pages stay", "uio_unplug", "device.c",
     "	ivshmem_uio_zap(ivs);\n	ivshmem_uio_hangup(ivs);",
     "	if (!{uio pages stay})\n"
     "		ivshmem_uio_zap(ivs);\n	ivshmem_uio_hangup(ivs);"),
    ("does not poll", "busy", "wait.c",
     "	if (wait.busy_ns)",
     "	if (wait.busy_ns && !{does not poll})"),
    ("no bound", "busy", "wait.c",
     "READ_ONCE(busy_poll_max_ns));",
     "{no bound} ? U64_MAX :\n"
     "						   READ_ONCE(busy_poll_max_ns));"),
    ("does not yield", "busy", "wait.c",
     "		cond_resched();\n",
     "		if (!{does not yield})\n			cond_resched();\n"),
    ("deaf to signals", "busy", "wait.c",
     "!signal_pending(current) &&\n",
     "(!signal_pending(current) || {deaf to signals}) &&\n"),
    ("time of the namespace", "waits", "wait.c",
     "static int ivshmem_wait_sleep(struct ivshmem_file *ifile,\n"
     "			      struct ivshmem_wait *wait)\n"
     "{\n"
     "	ktime_t end = min_t(u64, wait->timeout_ns, KTIME_MAX);",
     "#include <linux/nsproxy.h>\n#include <linux/time_namespace.h>\n"
     "static int ivshmem_wait_sleep(struct ivshmem_file *ifile,\n"
     "			      struct ivshmem_wait *wait)\n"
     "{{\n"
     "	struct timens_offsets *offsets = &current->nsproxy->time_ns->offsets;\n"
     "	ktime_t end = min_t(u64, wait->timeout_ns, KTIME_MAX) -\n"
     "		      {time of the namespace} * NSEC_PER_SEC *\n"
     "		      offsets->monotonic.tv_sec;"),
    ("not restarted", "signals", "wait.c",
     "			ret = -ERESTARTSYS;",
     "			ret = {not restarted} ? -EINTR : -ERESTARTSYS;"),
    ("root alone rings", "rights", "doorbell.c",
     "		return ret;\n	trace_ring",
     "		return ret;\n"
     "	if ({root alone rings} && !capable(CAP_SYS_RAWIO)) {{\n"
     "		ivshmem_device_leave(ivs, idx);\n"
     "		return -EPERM;\n"
     "	}}\n"
     "	trace_ring"),
    ("plain rings", "plain", "doorbell.c",
     "	if (!ivs->nr_ring)",
     "	if (!ivs->nr_ring && !{plain rings})"),
    ("deaf after a choice", "sigio subscribe", "subscribe.c",
     "	if (ifile->listening)\n		ivshmem_subscribe_attach(ifile);\n"
     "	mutex_unlock(&ifile->lock);\n	kvfree(old);",
     "	if ({deaf after a choice})\n		ifile->listening = false;\n"
     "	if (ifile->listening)\n		ivshmem_subscribe_attach(ifile);\n"
     "	mutex_unlock(&ifile->lock);\n	kvfree(old);"),
    ("untold of a choice", "churn", "subscribe.c",
     "	if (ifile->listening)\n		ivshmem_subscribe_attach(ifile);\n"
     "	mutex_unlock(&ifile->lock);\n	kvfree(old);\n\n"
     "	/* What came while no link was there, or is new to those who wait. */\n",
     "	if ({untold of a choice})\n		schedule_timeout_uninterruptible(1);\n"
     "	if (ifile->listening)\n		ivshmem_subscribe_attach(ifile);\n"
     "	mutex_unlock(&ifile->lock);\n	kvfree(old);\n\n"
     "	if ({untold of a choice})\n		return 0;\n"),
    ("all are woken", "epoll", "subscribe.c",
     "	wake_up_poll(&link->ifile->wait, EPOLLIN | EPOLLRDNORM);",
     "	if ({all are woken})\n		wake_up_all(&link->ifile->wait);\n"
     "	else\n"
     "		wake_up_poll(&link->ifile->wait, EPOLLIN | EPOLLRDNORM);"),
    ("reported again", "sharing", "chardev.c",
     "		atomic64_cmpxchg(&ifile->seen[v], seen, event.count);",
     "		if ({reported again})\n"
     "			atomic64_set(&ifile->seen[v], event.count);\n"
     "		else\n"
     "			atomic64_cmpxchg(&ifile->seen[v], seen, event.count);"),
    ("always waits", "uring", "chardev.c",
     "	file->f_mode |= FMODE_NOWAIT;",
     "	if (!{always waits})\n		file->f_mode |= FMODE_NOWAIT;"),
    ("widened", "rights", "mmap.c",
     "		      VM_HUGEPAGE;\n	area->prot",
     "		      VM_HUGEPAGE | ({widened} ? VM_MAYWRITE : 0);\n"
     "	area->prot"),
    ("eventfd stays", "eventfd", "irq.c",
     "		eventfd_ctx_put(binding->ctx);",
     "		if (!{eventfd stays})\n			eventfd_ctx_put(binding->ctx);"),
    ("bound for ever", "eventfd", "chardev.c",
     "	ivshmem_irq_unbind_all(ifile);",
     "	if (!{bound for ever})\n		ivshmem_irq_unbind_all(ifile);"),
]
# No mistake from here on, and nobody uses the device any more; it is bound again
# where a program that unbinds it has stopped half-way.
RIGHT = f"""echo 0 > {mistakes.PARAMETER}
i=0
until [ $(cat /sys/module/ivshmem/refcnt) = 0 ]; do
	i=$((i + 1))
	[ $i -lt 300 ] || exit
	sleep 0.05
done
[ -e {NODE} ] || echo 0000:00:04.0 > /sys/bus/pci/drivers/ivshmem/bind"""
NAMES = ["none", *[name for name, *_ in MISTAKES]]


@pytest.fixture
def wrong(vms, builder, kernel):
    """A VM whose driver makes one of the mistakes, by default none."""
    folder = builder.out / "wrong"
    builder.once("wrong", mistakes.make, folder, NAMES,
                 [edit for _, _, *edit in MISTAKES])
    return vms(guest([Doorbell(options="addr=0x4"),
                      Plain(id="iv1", options="addr=0x5")],
                     own=builder.module(kernel, sources=folder)), share=True)[0]


def start(vm, program):
    """Starts a program; one that waits for the device to go sees it go."""
    args = PROGRAMS[program]
    job = vm.start_job(shlex.join([f"/tests/{program}", *map(str, args)]))
    if program == "uio_unplug":
        job.expect("^# ready$")
        vm.check("echo 0000:00:04.0 > /sys/bus/pci/drivers/ivshmem/unbind")
    return job


def notices(vm, program) -> bool:
    """Whether the program finds something wrong; the first thing is enough."""
    job = start(vm, program)
    try:
        job.expect("^not ok |^Bail out!", timeout=150)
    except VMError:
        return False
    job.kill()
    job.wait()
    return True


@pytest.mark.only_on("6.12")
@pytest.mark.parametrize("program", PROGRAMS)
def test_noticed(wrong, program):
    """Each mistake fails the program that looks for it."""
    judge(program, *start(wrong, program).wait(timeout=150))
    wrong.check(RIGHT)
    for number, (name, noticed_by, *_) in enumerate(MISTAKES, 1):
        if program not in noticed_by.split():
            continue
        wrong.check(f"echo {number} > {mistakes.PARAMETER}")
        noticed = notices(wrong, program)
        wrong.check(RIGHT)
        assert noticed, f"{program} does not notice: {name}"
