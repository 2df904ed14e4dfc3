// SPDX-License-Identifier: GPL-2.0-only
/*
 * IVSHMEM_WAIT: wait until a count differs from the one that the caller knows.
 *
 * As with a futex, the comparison is made after queueing up, so that an
 * interrupt between the caller's last look and the sleep is not lost.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "ivshmem.h"
#include "trace.h"

static ulong busy_poll_max_ns = 1000000;
module_param(busy_poll_max_ns, ulong, 0644);
MODULE_PARM_DESC(busy_poll_max_ns,
		 "Longest that IVSHMEM_WAIT polls before it sleeps, in ns (default 1000000)");

static u64 ivshmem_wait_count(struct ivshmem_file *ifile, u32 vector)
{
	if (vector == IVSHMEM_ANY_VECTOR)
		return ivshmem_subscribe_count(ifile);
	return atomic64_read(&ifile->ivs->vectors[vector].count);
}

static void ivshmem_wait_poll(struct ivshmem_file *ifile,
			      const struct ivshmem_wait *wait)
{
	u64 budget = min_t(u64, wait->busy_ns, READ_ONCE(busy_poll_max_ns));
	u64 now = ktime_get_ns();
	u64 end = min(now + min(budget, U64_MAX - now), wait->timeout_ns);

	while (ivshmem_wait_count(ifile, wait->vector) == wait->count &&
	       !ivshmem_device_gone(ifile->ivs) && !signal_pending(current) &&
	       ktime_get_ns() < end) {
		cond_resched();
		cpu_relax();
	}
}

/* Sleeps until @wait->count is no longer the count, and fills in what it is. */
static int ivshmem_wait_sleep(struct ivshmem_file *ifile,
			      struct ivshmem_wait *wait)
{
	ktime_t end = min_t(u64, wait->timeout_ns, KTIME_MAX);
	struct ivshmem_device *ivs = ifile->ivs;
	u64 seen = wait->count;
	struct wait_queue_head *queue;
	bool expired = wait->timeout_ns == 0;
	DEFINE_WAIT(entry);
	int ret;

	if (wait->vector == IVSHMEM_ANY_VECTOR) {
		ivshmem_subscribe_listen(ifile);
		queue = &ifile->wait;
	} else {
		queue = &ivs->vectors[wait->vector].wait;
	}

	for (;;) {
		prepare_to_wait(queue, &entry, TASK_INTERRUPTIBLE);
		wait->count = ivshmem_wait_count(ifile, wait->vector);
		if (ivshmem_device_gone(ivs))
			ret = -ENODEV;
		else if (wait->count != seen)
			ret = 0;
		else if (expired)
			ret = -ETIMEDOUT;
		else if (signal_pending(current))
			ret = -ERESTARTSYS;
		else
			ret = 1;
		if (ret <= 0)
			break;
		expired = !schedule_hrtimeout(end == KTIME_MAX ? NULL : &end,
					      HRTIMER_MODE_ABS);
	}
	finish_wait(queue, &entry);
	trace_wake(ivs, wait->vector, wait->count, ret);
	return ret;
}

/**
 * ivshmem_wait_ioctl() - IVSHMEM_WAIT.
 * @ifile: the open file
 * @arg:   the caller's struct; written back once the call has come to wait,
 *         whatever comes of that
 *
 * Returns 0 or a negative error, see struct ivshmem_wait.
 */
long ivshmem_wait_ioctl(struct ivshmem_file *ifile,
			struct ivshmem_wait __user *arg)
{
	struct ivshmem_device *ivs = ifile->ivs;
	struct ivshmem_wait wait;
	int ret;

	if (copy_from_user(&wait, arg, sizeof(wait)))
		return -EFAULT;
	if (wait.flags & ~IVSHMEM_WAIT_RING ||
	    memchr_inv(wait.reserved, 0, sizeof(wait.reserved)))
		return -EINVAL;
	if (!ivs->nr_vectors)
		return -ENXIO;
	if (wait.vector != IVSHMEM_ANY_VECTOR && wait.vector >= ivs->nr_vectors)
		return -EINVAL;

	if (wait.flags & IVSHMEM_WAIT_RING) {
		ret = ivshmem_doorbell_ring(ifile, wait.doorbell);
		if (ret)
			return ret;
		wait.flags &= ~IVSHMEM_WAIT_RING;
	}

	if (wait.busy_ns)
		ivshmem_wait_poll(ifile, &wait);
	ret = ivshmem_wait_sleep(ifile, &wait);

	if (copy_to_user(arg, &wait, sizeof(wait)))
		return -EFAULT;
	return ret;
}
